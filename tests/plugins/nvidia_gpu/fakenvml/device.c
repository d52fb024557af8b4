// The library itself, and what it says of GPUs; the comments name the keys of the state that are not plain.
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "state.h"

// A function that only hands out one number.
#define NUMBER(function, key)                       \
    API int function(void *device, unsigned *out) { \
        CALL(device, GPU);                          \
        return number(of, key, out);                \
    }

// ---- the library and the system --------------------------------------------------------------------------------------------

API int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    CALL(NULL, 0);
    users++;
    return OK;
}

API int nvmlInit_v2(void) {
    return nvmlInitWithFlags(0);
}

API int nvmlShutdown(void) {
    CALL(NULL, 0);
    users--;
    return OK;
}

API const char *nvmlErrorString(int answer) {
    switch (answer) {
    case OK: return "Success";
    case UNINITIALIZED: return "Uninitialized";
    case INVALID_ARGUMENT: return "Invalid Argument";
    case NOT_SUPPORTED: return "Not Supported";
    case NOT_FOUND: return "Not Found";
    case DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case TIMEOUT: return "Timeout";
    case GPU_IS_LOST: return "GPU is lost";
    case LIB_RM_VERSION_MISMATCH: return "Driver/library version mismatch";
    default: return "Unknown Error";
    }
}

API int nvmlSystemGetDriverVersion(char *out, unsigned size) {
    CALL(NULL, 0);
    return copy(value(of, "driver"), out, size);
}

API int nvmlSystemGetNVMLVersion(char *out, unsigned size) {
    CALL(NULL, 0);
    return copy(numbered("13.%s", library), out, size);
}

API int nvmlSystemGetCudaDriverVersion_v2(int *out) {
    CALL(NULL, 0);
    return scan(of, "cuda", 1, "%d", out);
}

// ---- finding devices -------------------------------------------------------------------------------------------------------

API int nvmlDeviceGetCount_v2(unsigned *out) {
    CALL(NULL, 0);
    for (*out = 0; section("gpu", (int)*out, -1, -1); ++*out)
        ;
    return OK;
}

// A GPU by its index, or by a key that has the value wanted.
static int locate(const char *function, int index, const char *key, const char *wanted, void **out) {
    for (;; hang()) {
        const Section *gpu = key ? section_with("gpu", key, wanted) : section("gpu", index, -1, -1);
        int answer = gpu ? fault(gpu, function) : key ? NOT_FOUND : INVALID_ARGUMENT;
        if (answer == HANG)
            continue;
        if (gpu)
            *out = handle(GPU, value(gpu, "uuid"), -1, -1);
        return answer;
    }
}

API int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **out) {
    CALL(NULL, 0);
    return locate(__func__, (int)index, NULL, NULL, out);
}

API int nvmlDeviceGetHandleByUUID(const char *uuid, void **out) {
    CALL(NULL, 0);
    if (!section_with("mig", "uuid", uuid))
        return locate(__func__, 0, "uuid", uuid, out);
    *out = handle(MIG, uuid, -1, -1);
    return OK;
}

API int nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, void **out) {
    CALL(NULL, 0);
    return locate(__func__, 0, "pci", bus_id, out);
}

// ---- what a device is ------------------------------------------------------------------------------------------------------

API int nvmlDeviceGetUUID(void *device, char *out, unsigned size) {
    CALL(device, GPU | MIG);
    return copy(value(of, "uuid"), out, size);
}

API int nvmlDeviceGetName(void *device, char *out, unsigned size) {
    CALL(device, GPU | MIG);
    return copy(value(of, "name"), out, size);
}

API int nvmlDeviceGetIndex(void *device, unsigned *out) {
    CALL(device, GPU | MIG);
    *out = (unsigned)(of->first < 0 ? of->gpu : of->first);
    return OK;
}

NUMBER(nvmlDeviceGetMinorNumber, "minor")

static int describe_pci(Pci *out, const char *bus_id) {
    memset(out, 0, sizeof *out);
    if (!bus_id || sscanf(bus_id, "%x:%x:%x", &out->domain, &out->bus, &out->device) != 3)
        return NOT_SUPPORTED;
    snprintf(out->bus_id, sizeof out->bus_id, "%08X:%02X:%02X.0", out->domain, out->bus & 255, out->device & 255);
    snprintf(out->legacy_bus_id, sizeof out->legacy_bus_id, "%04X:%02X:%02X.0", out->domain & 0xffff, out->bus & 255,
             out->device & 255);
    return OK;
}

API int nvmlDeviceGetPciInfo_v3(void *device, Pci *out) {
    CALL(device, GPU);
    int done = describe_pci(out, value(of, "pci"));
    scan(of, "pci.ids", 2, "%x %x", &out->device_id, &out->subsystem_id);
    return done;
}

API int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
    CALL(device, GPU);
    return scan(of, "capability", 2, "%d %d", major, minor);
}

// memory=TOTAL RESERVED USED, in MiB
API int nvmlDeviceGetMemoryInfo_v2(void *device, MemoryV2 *out) {
    CALL(device, GPU | MIG);
    if (out->version != (2u << 24 | sizeof *out))
        return ARGUMENT_VERSION_MISMATCH;
    int done = scan(of, "memory", 3, "%lu %lu %lu", &out->total, &out->reserved, &out->used);
    out->total <<= 20, out->reserved <<= 20, out->used <<= 20;
    out->free = out->total - out->reserved - out->used;
    return done;
}

// As nvml.h says, what is reserved counts as used here.
API int nvmlDeviceGetMemoryInfo(void *device, Memory *out) {
    CALL(device, GPU | MIG);
    uint64_t reserved = 0;
    int done = scan(of, "memory", 3, "%lu %lu %lu", &out->total, &reserved, &out->used);
    out->total <<= 20, out->used = (out->used + reserved) << 20;
    out->free = out->total - out->used;
    return done;
}

API int nvmlDeviceGetMemoryAffinity(void *device, unsigned size, unsigned long *out, unsigned scope) {
    CALL(device, GPU);
    (void)scope;
    unsigned node = 0;
    int done = number(of, "numa", &node);
    if (!done && node / 64 >= size)
        return INSUFFICIENT_SIZE;
    for (unsigned word = 0; !done && word < size; word++)
        out[word] = word == node / 64 ? 1ul << node % 64 : 0;
    return done;
}

// The node of the GPU's own memory, which is none of its host's.
NUMBER(nvmlDeviceGetNumaNodeId, "numa.own")

// ---- how it is -------------------------------------------------------------------------------------------------------------

API int nvmlDeviceGetTemperature(void *device, unsigned sensor, unsigned *out) {
    CALL(device, GPU);
    return sensor ? INVALID_ARGUMENT : number(of, "temperature", out);
}

API int nvmlDeviceGetTemperatureV(void *device, TemperatureV1 *out) {
    CALL(device, GPU);
    if (out->version != (1u << 24 | sizeof *out))
        return ARGUMENT_VERSION_MISMATCH;
    return out->sensor ? INVALID_ARGUMENT : scan(of, "temperature", 1, "%d", &out->celsius);
}

NUMBER(nvmlDeviceGetPowerUsage, "power")

API int nvmlDeviceGetUtilizationRates(void *device, Utilization *out) {
    CALL(device, GPU);
    return scan(of, "utilization", 2, "%u %u", &out->gpu, &out->memory);
}

// field.ID=NUMBER
API int nvmlDeviceGetFieldValues(void *device, int size, FieldValue *values) {
    CALL(device, GPU);
    for (FieldValue *v = values; v < values + size; v++) {
        v->type = 1;
        v->answer = number(of, numbered("field.%u", v->field), &v->value.number);
    }
    return OK;
}

API int nvmlDeviceGetRemappedRows(void *device, unsigned *corrected, unsigned *uncorrected, unsigned *pending,
                                  unsigned *failed) {
    CALL(device, GPU);
    return scan(of, "remapped", 4, "%u %u %u %u", corrected, uncorrected, pending, failed);
}

NUMBER(nvmlDeviceGetRetiredPagesPendingStatus, "retirement")

// ecc.TYPE.COUNTER=NUMBER: type 1 is uncorrected, counter 0 is volatile
API int nvmlDeviceGetTotalEccErrors(void *device, unsigned type, unsigned counter, uint64_t *out) {
    CALL(device, GPU);
    return scan(of, numbered("ecc.%u.%u", type, counter), 1, "%lu", out);
}

API int nvmlDeviceGetMemoryErrorCounter(void *device, unsigned type, unsigned counter, unsigned location, uint64_t *out) {
    CALL(device, GPU);
    return scan(of, numbered("ecc.%u.%u.%u", type, counter, location), 1, "%lu", out);
}

// ---- how the GPUs are connected --------------------------------------------------------------------------------------------

// ancestor.N=LEVEL: with the GPU of index N
API int nvmlDeviceGetTopologyCommonAncestor(void *device, void *other, unsigned *out) {
    CALL(device, GPU);
    const Section *second = described(other);
    return second ? number(of, numbered("ancestor.%d", second->gpu), out) : INVALID_ARGUMENT;
}

// links=HOW MANY; link.N=TYPE BUS ID for those that are up
static int link_of(const Section *of, unsigned link, unsigned *type, char bus_id[static 32]) {
    unsigned links = 0;
    int done = number(of, "links", &links);
    if (done || link >= links)
        return done ? done : INVALID_ARGUMENT;
    return scan(of, numbered("link.%u", link), 2, "%u %31s", type, bus_id) ? NOT_FOUND : OK;
}

API int nvmlDeviceGetNvLinkState(void *device, unsigned link, unsigned *out) {
    CALL(device, GPU);
    char bus_id[32];
    unsigned type;
    int done = link_of(of, link, &type, bus_id);
    *out = done == OK;
    return done == NOT_FOUND ? OK : done;
}

API int nvmlDeviceGetNvLinkRemotePciInfo_v2(void *device, unsigned link, Pci *out) {
    CALL(device, GPU);
    char bus_id[32];
    unsigned type;
    int done = link_of(of, link, &type, bus_id);
    return done ? done : describe_pci(out, bus_id);
}

API int nvmlDeviceGetNvLinkRemoteDeviceType(void *device, unsigned link, unsigned *out) {
    CALL(device, GPU);
    char bus_id[32];
    return link_of(of, link, out, bus_id);
}
