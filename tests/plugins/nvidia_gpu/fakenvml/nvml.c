// A libnvidia-ml.so.1 for tests: it answers what a file says, so that a test decides what the GPUs are and do.
//
// state.h tells what the file looks like; the comments here name the keys. Events come by datagrams to a socket of each
// event set, $FAKE_NVML_DIR/ev.PID.N: "UUID TYPE DATA GI CI" is one (UUID may be -: of no GPU), "error N" fails one wait.
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "state.h"

#define API __attribute__((visibility("default")))

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

API int nvmlDeviceGetMinorNumber(void *device, unsigned *out) {
    CALL(device, GPU);
    return number(of, "minor", out);
}

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
API int nvmlDeviceGetNumaNodeId(void *device, unsigned *out) {
    CALL(device, GPU);
    return number(of, "numa.own", out);
}

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

API int nvmlDeviceGetPowerUsage(void *device, unsigned *out) {
    CALL(device, GPU);
    return number(of, "power", out);
}

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

API int nvmlDeviceGetRetiredPagesPendingStatus(void *device, unsigned *out) {
    CALL(device, GPU);
    return number(of, "retirement", out);
}

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
    const Section *second = other >= (void *)objects && other < (void *)(objects + object_count) ? described(other) : NULL;
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

// ---- MIG -------------------------------------------------------------------------------------------------------------------

// mig=NOW PENDING
API int nvmlDeviceGetMigMode(void *device, unsigned *now, unsigned *pending) {
    CALL(device, GPU);
    return scan(of, "mig", 2, "%u %u", now, pending);
}

API int nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned *out) {
    CALL(device, GPU);
    if (number(of, "mig.max", out))
        *out = 0;
    return OK;
}

API int nvmlDeviceGetMigDeviceHandleByIndex(void *device, unsigned index, void **out) {
    CALL(device, GPU);
    unsigned most = 0;
    number(of, "mig.max", &most);
    const Section *mig = section("mig", of->gpu, (int)index, -1);
    if (index >= most || !mig)
        return index >= most ? INVALID_ARGUMENT : NOT_FOUND;
    *out = handle(MIG, value(mig, "uuid"), -1, -1);
    return OK;
}

API int nvmlDeviceIsMigDeviceHandle(void *device, unsigned *out) {
    CALL(device, GPU | MIG);
    *out = ((Object *)device)->kind == MIG;
    return OK;
}

API int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(void *device, void **out) {
    CALL(device, MIG);
    *out = handle(GPU, value(section("gpu", of->gpu, -1, -1), "uuid"), -1, -1);
    return OK;
}

// instance=GPU INSTANCE, COMPUTE INSTANCE
API int nvmlDeviceGetGpuInstanceId(void *device, unsigned *out) {
    CALL(device, MIG);
    return scan(of, "instance", 1, "%u", out);
}

API int nvmlDeviceGetComputeInstanceId(void *device, unsigned *out) {
    CALL(device, MIG);
    return scan(of, "instance", 1, "%*u %u", out);
}

API int nvmlDeviceGetAttributes_v2(void *device, Attributes *out) {
    CALL(device, MIG);
    return scan(of, "attributes", 9, "%u %u %u %u %u %u %u %u %lu", &out->multiprocessors, &out->copy, &out->decoders,
                &out->encoders, &out->jpeg, &out->ofa, &out->gpu_slices, &out->compute_slices, &out->memory);
}

API int nvmlDeviceGetGpuInstanceById(void *device, unsigned id, void **out) {
    CALL(device, GPU);
    if (!section("gi", of->gpu, (int)id, -1))
        return NOT_FOUND;
    *out = handle(GI, value(of, "uuid"), (int)id, -1);
    return OK;
}

// profile=ID START SIZE, in both kinds of instances
API int nvmlGpuInstanceGetInfo(void *instance, GpuInstanceInfo *out) {
    CALL(instance, GI);
    out->device = handle(GPU, ((Object *)instance)->uuid, -1, -1);
    out->id = (unsigned)of->first;
    return scan(of, "profile", 3, "%u %u %u", &out->profile, &out->start, &out->size);
}

API int nvmlGpuInstanceGetComputeInstanceById(void *instance, unsigned id, void **out) {
    CALL(instance, GI);
    if (!section("ci", of->gpu, of->first, (int)id))
        return NOT_FOUND;
    *out = handle(CI, ((Object *)instance)->uuid, of->first, (int)id);
    return OK;
}

API int nvmlComputeInstanceGetInfo_v2(void *instance, ComputeInstanceInfo *out) {
    CALL(instance, CI);
    out->device = handle(GPU, ((Object *)instance)->uuid, -1, -1);
    out->gpu_instance = handle(GI, ((Object *)instance)->uuid, of->first, -1);
    out->id = (unsigned)of->second;
    return scan(of, "profile", 3, "%u %u %u", &out->profile, &out->start, &out->size);
}

// profile.INDEX=ID P2P SLICES INSTANCES MULTIPROCESSORS COPY DECODERS ENCODERS JPEG OFA MEMORY NAME
static int gpu_profile(const Section *of, unsigned index, GpuProfile *out, char name[static 96]) {
    return scan(of, numbered("profile.%u", index), 12, "%u %u %u %u %u %u %u %u %u %u %lu %95[^\n]", &out->id, &out->p2p,
                &out->slices, &out->instances, &out->multiprocessors, &out->copy, &out->decoders, &out->encoders, &out->jpeg,
                &out->ofa, &out->memory, name);
}

API int nvmlDeviceGetGpuInstanceProfileInfo(void *device, unsigned index, GpuProfile *out) {
    CALL(device, GPU);
    char name[96];
    return gpu_profile(of, index, out, name);
}

static int gpu_profile_v2(const Section *of, unsigned index, GpuProfileV2 *out) {
    GpuProfile p;
    if (out->version != (2u << 24 | sizeof *out))
        return ARGUMENT_VERSION_MISMATCH;
    int done = gpu_profile(of, index, &p, out->name);
    if (done)
        return done;
    memcpy(&out->id, &p, offsetof(GpuProfile, memory));
    out->memory = p.memory;
    return OK;
}

API int nvmlDeviceGetGpuInstanceProfileInfoV(void *device, unsigned index, GpuProfileV2 *out) {
    CALL(device, GPU);
    return gpu_profile_v2(of, index, out);
}

API int nvmlDeviceGetGpuInstanceProfileInfoByIdV(void *device, unsigned id, GpuProfileV2 *out) {
    CALL(device, GPU);
    for (unsigned index = 0; index < 32; index++) {
        unsigned found;
        if (!number(of, numbered("profile.%u", index), &found) && found == id)
            return gpu_profile_v2(of, index, out);
    }
    return NOT_SUPPORTED;
}

// compute.INDEX=ID SLICES INSTANCES MULTIPROCESSORS COPY DECODERS ENCODERS JPEG OFA NAME
API int nvmlGpuInstanceGetComputeInstanceProfileInfoV(void *instance, unsigned index, unsigned engine, ComputeProfileV2 *out) {
    CALL(instance, GI);
    ComputeProfile *p = &out->profile;
    if (out->version != (2u << 24 | sizeof *out))
        return ARGUMENT_VERSION_MISMATCH;
    if (engine)
        return INVALID_ARGUMENT;
    return scan(of, numbered("compute.%u", index), 10, "%u %u %u %u %u %u %u %u %u %95[^\n]", &p->id, &p->slices, &p->instances,
                &p->multiprocessors, &p->copy, &p->decoders, &p->encoders, &p->jpeg, &p->ofa, out->name);
}

// ---- events ----------------------------------------------------------------------------------------------------------------

typedef struct {
    int socket, waiting;
    char path[108];
    uint64_t wanted[MAX_OBJECTS];  // by the number of the object
} EventSet;

API int nvmlEventSetCreate(EventSet **out) {
    CALL(NULL, 0);
    static int created;
    EventSet *set = calloc(1, sizeof *set);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, in_directory(set->path, "ev.%d.%d", getpid(), created++));
    set->socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (set->socket < 0 || bind(set->socket, (void *)&address, sizeof address))
        return UNKNOWN;
    *out = set;
    return OK;
}

API int nvmlEventSetFree(EventSet *set) {
    CALL(NULL, 0);
    if (set->waiting)  // the real library would go on with freed memory
        abort();
    close(set->socket);
    unlink(set->path);
    free(set);
    return OK;
}

// events=MASK
API int nvmlDeviceGetSupportedEventTypes(void *device, uint64_t *out) {
    CALL(device, GPU);
    return scan(of, "events", 1, "%lx", out);
}

API int nvmlDeviceRegisterEvents(void *device, uint64_t types, EventSet *set) {
    CALL(device, GPU);
    uint64_t supported = 0;
    scan(of, "events", 1, "%lx", &supported);
    if (!supported || types & ~supported)
        return NOT_SUPPORTED;
    set->wanted[(Object *)device - objects] |= types;
    return OK;
}

static int64_t milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// What a datagram says: OK is an event that the set wants, TIMEOUT is none.
static int understand(EventSet *set, const char *datagram, Event *out) {
    int error;
    char uuid[96];
    if (sscanf(datagram, "error %d", &error) == 1)
        return error;
    if (sscanf(datagram, "%95s %lu %lu %u %u", uuid, &out->type, &out->data, &out->gpu_instance, &out->compute_instance) != 5)
        return UNKNOWN;
    out->device = NULL;
    if (!strcmp(uuid, "-"))
        return OK;
    pthread_mutex_lock(&mutex);
    Object *gpu = handle(GPU, uuid, -1, -1);
    int wanted = (set->wanted[gpu - objects] & out->type) != 0;
    pthread_mutex_unlock(&mutex);
    out->device = gpu;
    return wanted ? OK : TIMEOUT;
}

static int next_event(EventSet *set, unsigned timeout, Event *out) {
    char datagram[256];
    int64_t deadline = milliseconds() + timeout;
    for (;;) {
        int64_t left = deadline - milliseconds();
        struct pollfd ready = {.fd = set->socket, .events = POLLIN};
        int some = poll(&ready, 1, left < 0 ? 0 : left > 1000000000 ? 1000000000 : (int)left);
        if (!some)
            return TIMEOUT;
        ssize_t size = some < 0 ? -1 : recv(set->socket, datagram, sizeof datagram - 1, 0);
        if (size < 0 && errno != EINTR && errno != EAGAIN)
            return UNKNOWN;
        if (size < 0)
            continue;
        datagram[size] = 0;
        int answer = understand(set, datagram, out);
        if (answer != TIMEOUT)
            return answer;
    }
}

API int nvmlEventSetWait_v2(EventSet *set, Event *out, unsigned timeout) {
    int answer = allowed(__func__);
    if (answer)
        return answer;
    __atomic_add_fetch(&set->waiting, 1, __ATOMIC_SEQ_CST);
    answer = next_event(set, timeout, out);
    __atomic_sub_fetch(&set->waiting, 1, __ATOMIC_SEQ_CST);
    return answer;
}
