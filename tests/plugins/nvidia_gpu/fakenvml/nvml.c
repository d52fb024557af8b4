// A libnvidia-ml.so.1 for tests: it answers what a file says, so that a test decides what the GPUs are.
//
// $FAKE_NVML_DIR/state   sections of key=value lines, no empty ones; looked at before every call, so replace it by a rename.
//                        [system], [gpu N], [mig N INDEX], [gi N ID], [ci N GI ID], where N is the index of the GPU. The functions
//                        below name their keys; without its key a call is not supported. No file: the driver is not loaded.
// fault.FUNCTION=…       in [system] or [gpu N], FUNCTION may be * there: a number is the answer of that call, `hang` keeps it from
//                        returning while the line is there, `crash` aborts, `crash-once` aborts if $FAKE_NVML_DIR/once.FUNCTION
//                        can still be removed.
// driver=, library=      in [system]: a process keeps the `library` it met first. While `driver` is another, all calls mismatch.
// $FAKE_NVML_DIR/calls   one line a call: the process and the function.
// $FAKE_NVML_DIR/ev.*    one datagram socket an event set. "UUID TYPE DATA GI CI" is an event (UUID may be -: of no device),
//                        "error N" lets one wait fail.
//
// Structures and numbers are those of the public nvml.h; the real nvidia-ml-py is what they are tested against.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))

enum {
    OK = 0,
    UNINITIALIZED = 1,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9,
    TIMEOUT = 10,
    GPU_IS_LOST = 15,
    LIB_RM_VERSION_MISMATCH = 18,
    ARGUMENT_VERSION_MISMATCH = 25,
    UNKNOWN = 999,
    HANG = -1,
};
enum { GPU = 1, MIG = 2, GI = 4, CI = 8 };
enum { MAX_OBJECTS = 2048, MAX_SECTIONS = 2048 };

// ---- structures of nvml.h -----------------------------------------------------------------------------------------------

typedef struct {
    char legacy_bus_id[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
} Pci;

typedef struct {
    uint64_t total, free, used;
} Memory;

typedef struct {
    unsigned version;
    uint64_t total, reserved, free, used;
} MemoryV2;

typedef struct {
    unsigned gpu, memory;
} Utilization;

typedef struct {
    unsigned version, sensor;
    int celsius;
} TemperatureV1;

typedef struct {
    unsigned field, scope;
    int64_t timestamp, latency;
    unsigned type;
    int answer;
    union {
        double real;
        unsigned number;
        uint64_t large;
    } value;
} FieldValue;

typedef struct {
    unsigned multiprocessors, copy, decoders, encoders, jpeg, ofa, gpu_slices, compute_slices;
    uint64_t memory;
} Attributes;

typedef struct {
    unsigned id, p2p, slices, instances, multiprocessors, copy, decoders, encoders, jpeg, ofa;
    uint64_t memory;
} GpuProfile;

typedef struct {
    unsigned version, id, p2p, slices, instances, multiprocessors, copy, decoders, encoders, jpeg, ofa;
    uint64_t memory;
    char name[96];
} GpuProfileV2;

typedef struct {
    unsigned id, slices, instances, multiprocessors, copy, decoders, encoders, jpeg, ofa;
} ComputeProfile;

typedef struct {
    unsigned version;
    ComputeProfile profile;
    char name[96];
} ComputeProfileV2;

typedef struct {
    void *device;
    unsigned id, profile, start, size;
} GpuInstanceInfo;

typedef struct {
    void *device, *gpu_instance;
    unsigned id, profile, start, size;
} ComputeInstanceInfo;

typedef struct {
    void *device;
    uint64_t type, data;
    unsigned gpu_instance, compute_instance;
} Event;

typedef struct {
    unsigned timeout, data_type;
    char uuid[96], module[16];
    uint64_t type, data, cursor, instance, microseconds, trace;
    unsigned gpu_instance, compute_instance, severity, category, code, scope, originator, module_instance, chiplet;
    unsigned level, attributes, record_size, group_attributes;
    unsigned char group_size, group_index;
} WaitV3;

// ---- the state file -----------------------------------------------------------------------------------------------------

typedef struct {
    char kind[8];
    int gpu, first, second;
    const char *body;  // zero-terminated lines, up to one that is empty or starts with '['
} Section;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;  // guards all that follows
static char *text;
static struct stat version;
static Section sections[MAX_SECTIONS];
static int section_count;
static char library[64];
static int users;

static const char *in_directory(char path[static 108], const char *format, ...)
{
    const char *directory = getenv("FAKE_NVML_DIR");
    int length = snprintf(path, 108, "%s/", directory ? directory : "/nonexistent");
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(path + length, (size_t)(108 - length), format, arguments);
    va_end(arguments);
    return path;
}

static void split(size_t size)
{
    section_count = 0;
    for (char *line = text; line < text + size; line += strlen(line) + 1) {
        char *end = strchr(line, '\n');
        if (end)
            *end = 0;
        Section *next = &sections[section_count];
        *next = (Section){.gpu = -1, .first = -1, .second = -1, .body = line + strlen(line) + 1};
        if (*line == '[' && section_count < MAX_SECTIONS - 1 &&
            sscanf(line, "[%7[a-z] %d %d %d", next->kind, &next->gpu, &next->first, &next->second) >= 1)
            section_count++;
    }
}

static void forget(void)
{
    section_count = 0;
    memset(&version, 0, sizeof version);
}

static void refresh(void)
{
    char path[108];
    struct stat now;
    int file = open(in_directory(path, "state"), O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &now)) {
        forget();
    } else if (now.st_ino != version.st_ino || now.st_size != version.st_size ||
               now.st_mtim.tv_sec != version.st_mtim.tv_sec || now.st_mtim.tv_nsec != version.st_mtim.tv_nsec) {
        free(text);
        text = calloc(1, (size_t)now.st_size + 2);
        ssize_t size = read(file, text, (size_t)now.st_size);
        split(size > 0 ? (size_t)size : 0);
        version = now;
    }
    if (file >= 0)
        close(file);
}

static const Section *section(const char *kind, int gpu, int first, int second)
{
    for (const Section *s = sections; s < sections + section_count; s++)
        if (!strcmp(s->kind, kind) && s->gpu == gpu && s->first == first && s->second == second)
            return s;
    return NULL;
}

static const char *value(const Section *of, const char *key)
{
    size_t length = strlen(key);
    for (const char *line = of->body; *line && *line != '['; line += strlen(line) + 1)
        if (!strncmp(line, key, length) && line[length] == '=')
            return line + length + 1;
    return NULL;
}

static const Section *section_with(const char *kind, const char *key, const char *wanted)
{
    for (const Section *s = sections; s < sections + section_count; s++) {
        const char *found = strcmp(s->kind, kind) ? NULL : value(s, key);
        if (found && !strcasecmp(found, wanted))
            return s;
    }
    return NULL;
}

// A key with numbers in it; valid until the next one.
static const char *numbered(const char *format, ...)
{
    static char key[96];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(key, sizeof key, format, arguments);
    va_end(arguments);
    return key;
}

// ---- handles: what they point at stays the same for the life of the process -----------------------------------------------

typedef struct {
    unsigned kind;
    char uuid[96];  // of the GPU or the MIG device
    int gpu_instance, compute_instance;
} Object;

static Object objects[MAX_OBJECTS];
static int object_count;

static Object *handle(unsigned kind, const char *uuid, int gpu_instance, int compute_instance)
{
    for (Object *o = objects; o < objects + object_count; o++)
        if (o->kind == kind && !strcmp(o->uuid, uuid) && o->gpu_instance == gpu_instance &&
            o->compute_instance == compute_instance)
            return o;
    if (object_count == MAX_OBJECTS || strlen(uuid) >= sizeof objects->uuid)
        abort();
    Object *o = &objects[object_count++];
    *o = (Object){.kind = kind, .gpu_instance = gpu_instance, .compute_instance = compute_instance};
    strcpy(o->uuid, uuid);
    return o;
}

static const Section *described(const Object *o)
{
    if (o->kind == MIG)
        return section_with("mig", "uuid", o->uuid);
    const Section *gpu = section_with("gpu", "uuid", o->uuid);
    if (!gpu || o->kind == GPU)
        return gpu;
    return section(o->kind == GI ? "gi" : "ci", gpu->gpu, o->gpu_instance, o->compute_instance);
}

// ---- entering and leaving a call ----------------------------------------------------------------------------------------

static void count(const char *function)
{
    char path[108], line[96];
    int length = snprintf(line, sizeof line, "%d %s\n", getpid(), function);
    int file = open(in_directory(path, "calls"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (file < 0)
        return;
    if (write(file, line, (size_t)length) != length)
        abort();
    close(file);
}

static int fault(const Section *of, const char *function)
{
    char path[108];
    const char *what = value(of, numbered("fault.%s", function));
    if (!what)
        what = value(of, "fault.*");
    if (!what)
        return OK;
    if (!strcmp(what, "hang"))
        return HANG;
    if (!strcmp(what, "crash") || (!strcmp(what, "crash-once") && !unlink(in_directory(path, "once.%s", function))))
        abort();
    return atoi(what);
}

static int judge(const char *function, const Object *object, unsigned kinds, const Section **of)
{
    const Section *system = section("system", -1, -1, -1);
    if (!system)
        return DRIVER_NOT_LOADED;
    const char *ours = value(system, "library"), *driver = value(system, "driver");
    if (!*library && ours)
        snprintf(library, sizeof library, "%s", ours);
    int answer = fault(system, function);
    if (answer)
        return answer;
    if (driver && strcmp(library, driver))
        return LIB_RM_VERSION_MISMATCH;
    if (!users && strncmp(function, "nvmlInit", 8))
        return UNINITIALIZED;
    *of = system;
    if (!kinds)
        return OK;
    if (object < objects || object >= objects + object_count || !(object->kind & kinds))
        return INVALID_ARGUMENT;
    *of = described(object);
    if (!*of)
        return object->kind == GPU ? GPU_IS_LOST : NOT_FOUND;
    return fault(section("gpu", (*of)->gpu, -1, -1), function);
}

static void hang(void)
{
    pthread_mutex_unlock(&mutex);
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    pthread_mutex_lock(&mutex);
    refresh();
}

// Returns with the mutex held, whatever the answer: `leave` is the other half.
static int enter(const char *function, const void *object, unsigned kinds, const Section **of)
{
    int answer;
    pthread_mutex_lock(&mutex);
    count(function);
    refresh();
    while ((answer = judge(function, object, kinds, of)) == HANG)
        hang();
    return answer;
}

static void leave(int *answer)
{
    (void)answer;
    pthread_mutex_unlock(&mutex);
}

// Starts the body of a function: `of` is the section that describes what the handle stands for.
#define CALL(object, kinds)                                                                     \
    const Section *of __attribute__((unused)) = NULL;                                           \
    int answer __attribute__((cleanup(leave))) = enter(__func__, object, kinds, &of);           \
    if (answer)                                                                                 \
    return answer

// As CALL for a function that then waits without the mutex.
static int allowed(const char *function)
{
    const Section *of;
    int answer = enter(function, NULL, 0, &of);
    leave(&answer);
    return answer;
}

static int scan(const Section *of, const char *key, int count, const char *format, ...)
{
    const char *found = value(of, key);
    if (!found)
        return NOT_SUPPORTED;
    va_list arguments;
    va_start(arguments, format);
    int filled = vsscanf(found, format, arguments);
    va_end(arguments);
    return filled == count ? OK : UNKNOWN;
}

static int number(const Section *of, const char *key, unsigned *out)
{
    return scan(of, key, 1, "%u", out);
}

static int copy(const char *from, char *out, size_t size)
{
    if (!from)
        return NOT_SUPPORTED;
    if (strlen(from) + 1 > size)
        return INSUFFICIENT_SIZE;
    strcpy(out, from);
    return OK;
}

// ---- the library and the system -------------------------------------------------------------------------------------------

API int nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    CALL(NULL, 0);
    users++;
    return OK;
}

API int nvmlInit_v2(void)
{
    return nvmlInitWithFlags(0);
}

API int nvmlShutdown(void)
{
    CALL(NULL, 0);
    users--;
    return OK;
}

API const char *nvmlErrorString(int answer)
{
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

API int nvmlSystemGetDriverVersion(char *out, unsigned size)
{
    CALL(NULL, 0);
    return copy(value(of, "driver"), out, size);
}

API int nvmlSystemGetNVMLVersion(char *out, unsigned size)
{
    CALL(NULL, 0);
    return copy(numbered("13.%s", library), out, size);
}

API int nvmlSystemGetCudaDriverVersion_v2(int *out)
{
    CALL(NULL, 0);
    return scan(of, "cuda", 1, "%d", out);
}

// ---- finding devices ------------------------------------------------------------------------------------------------------

API int nvmlDeviceGetCount_v2(unsigned *out)
{
    CALL(NULL, 0);
    for (*out = 0; section("gpu", (int)*out, -1, -1); ++*out)
        ;
    return OK;
}

// A GPU by its index, or by a key that has the value wanted.
static int locate(const char *function, int index, const char *key, const char *wanted, void **out)
{
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

API int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **out)
{
    CALL(NULL, 0);
    return locate(__func__, (int)index, NULL, NULL, out);
}

API int nvmlDeviceGetHandleByUUID(const char *uuid, void **out)
{
    CALL(NULL, 0);
    if (!section_with("mig", "uuid", uuid))
        return locate(__func__, 0, "uuid", uuid, out);
    *out = handle(MIG, uuid, -1, -1);
    return OK;
}

API int nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, void **out)
{
    CALL(NULL, 0);
    return locate(__func__, 0, "pci", bus_id, out);
}

// ---- what a device is -----------------------------------------------------------------------------------------------------

API int nvmlDeviceGetUUID(void *device, char *out, unsigned size)
{
    CALL(device, GPU | MIG);
    return copy(value(of, "uuid"), out, size);
}

API int nvmlDeviceGetName(void *device, char *out, unsigned size)
{
    CALL(device, GPU | MIG);
    return copy(value(of, "name"), out, size);
}

API int nvmlDeviceGetIndex(void *device, unsigned *out)
{
    CALL(device, GPU | MIG);
    *out = (unsigned)(of->first < 0 ? of->gpu : of->first);
    return OK;
}

API int nvmlDeviceGetMinorNumber(void *device, unsigned *out)
{
    CALL(device, GPU);
    return number(of, "minor", out);
}

static int describe_pci(Pci *out, const char *bus_id)
{
    memset(out, 0, sizeof *out);
    if (!bus_id || sscanf(bus_id, "%x:%x:%x", &out->domain, &out->bus, &out->device) != 3)
        return NOT_SUPPORTED;
    snprintf(out->bus_id, sizeof out->bus_id, "%08X:%02X:%02X.0", out->domain, out->bus & 255, out->device & 255);
    snprintf(out->legacy_bus_id, sizeof out->legacy_bus_id, "%04X:%02X:%02X.0", out->domain & 0xffff, out->bus & 255,
             out->device & 255);
    return OK;
}

API int nvmlDeviceGetPciInfo_v3(void *device, Pci *out)
{
    CALL(device, GPU);
    int done = describe_pci(out, value(of, "pci"));
    scan(of, "pci.ids", 2, "%x %x", &out->device_id, &out->subsystem_id);
    return done;
}

API int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor)
{
    CALL(device, GPU);
    return scan(of, "capability", 2, "%d %d", major, minor);
}

// memory=TOTAL RESERVED USED, in MiB
API int nvmlDeviceGetMemoryInfo_v2(void *device, MemoryV2 *out)
{
    CALL(device, GPU | MIG);
    if (out->version != (2u << 24 | sizeof *out))
        return ARGUMENT_VERSION_MISMATCH;
    int done = scan(of, "memory", 3, "%lu %lu %lu", &out->total, &out->reserved, &out->used);
    out->total <<= 20, out->reserved <<= 20, out->used <<= 20;
    out->free = out->total - out->reserved - out->used;
    return done;
}

// As nvml.h says, what is reserved counts as used here.
API int nvmlDeviceGetMemoryInfo(void *device, Memory *out)
{
    CALL(device, GPU | MIG);
    uint64_t reserved = 0;
    int done = scan(of, "memory", 3, "%lu %lu %lu", &out->total, &reserved, &out->used);
    out->total <<= 20, out->used = (out->used + reserved) << 20;
    out->free = out->total - out->used;
    return done;
}

API int nvmlDeviceGetMemoryAffinity(void *device, unsigned size, unsigned long *out, unsigned scope)
{
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
API int nvmlDeviceGetNumaNodeId(void *device, unsigned *out)
{
    CALL(device, GPU);
    return number(of, "numa.own", out);
}

// ---- how it is --------------------------------------------------------------------------------------------------------------

API int nvmlDeviceGetTemperature(void *device, unsigned sensor, unsigned *out)
{
    CALL(device, GPU);
    return sensor ? INVALID_ARGUMENT : number(of, "temperature", out);
}

API int nvmlDeviceGetTemperatureV(void *device, TemperatureV1 *out)
{
    CALL(device, GPU);
    if (out->version != (1u << 24 | sizeof *out))
        return ARGUMENT_VERSION_MISMATCH;
    return out->sensor ? INVALID_ARGUMENT : scan(of, "temperature", 1, "%d", &out->celsius);
}

API int nvmlDeviceGetPowerUsage(void *device, unsigned *out)
{
    CALL(device, GPU);
    return number(of, "power", out);
}

API int nvmlDeviceGetUtilizationRates(void *device, Utilization *out)
{
    CALL(device, GPU);
    return scan(of, "utilization", 2, "%u %u", &out->gpu, &out->memory);
}

// field.ID=NUMBER
API int nvmlDeviceGetFieldValues(void *device, int size, FieldValue *values)
{
    CALL(device, GPU);
    for (FieldValue *v = values; v < values + size; v++) {
        v->type = 1;
        v->answer = number(of, numbered("field.%u", v->field), &v->value.number);
    }
    return OK;
}

API int nvmlDeviceGetRemappedRows(void *device, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed)
{
    CALL(device, GPU);
    return scan(of, "remapped", 4, "%u %u %u %u", corrected, uncorrected, pending, failed);
}

API int nvmlDeviceGetRetiredPagesPendingStatus(void *device, unsigned *out)
{
    CALL(device, GPU);
    return number(of, "retirement", out);
}

// ecc.TYPE.COUNTER=NUMBER: type 1 is uncorrected, counter 0 is volatile
API int nvmlDeviceGetTotalEccErrors(void *device, unsigned type, unsigned counter, uint64_t *out)
{
    CALL(device, GPU);
    return scan(of, numbered("ecc.%u.%u", type, counter), 1, "%lu", out);
}

API int nvmlDeviceGetMemoryErrorCounter(void *device, unsigned type, unsigned counter, unsigned location, uint64_t *out)
{
    CALL(device, GPU);
    return scan(of, numbered("ecc.%u.%u.%u", type, counter, location), 1, "%lu", out);
}

// ---- how the GPUs are connected -----------------------------------------------------------------------------------------------

// ancestor.N=LEVEL: with the GPU of index N
API int nvmlDeviceGetTopologyCommonAncestor(void *device, void *other, unsigned *out)
{
    CALL(device, GPU);
    const Section *second = other >= (void *)objects && other < (void *)(objects + object_count) ? described(other) : NULL;
    return second ? number(of, numbered("ancestor.%d", second->gpu), out) : INVALID_ARGUMENT;
}

// links=HOW MANY; link.N=TYPE BUS ID for those that are up
static int link_of(const Section *of, unsigned link, unsigned *type, char bus_id[static 32])
{
    unsigned links = 0;
    int done = number(of, "links", &links);
    if (done || link >= links)
        return done ? done : INVALID_ARGUMENT;
    return scan(of, numbered("link.%u", link), 2, "%u %31s", type, bus_id) ? NOT_FOUND : OK;
}

API int nvmlDeviceGetNvLinkState(void *device, unsigned link, unsigned *out)
{
    CALL(device, GPU);
    char bus_id[32];
    unsigned type;
    int done = link_of(of, link, &type, bus_id);
    *out = done == OK;
    return done == NOT_FOUND ? OK : done;
}

API int nvmlDeviceGetNvLinkRemotePciInfo_v2(void *device, unsigned link, Pci *out)
{
    CALL(device, GPU);
    char bus_id[32];
    unsigned type;
    int done = link_of(of, link, &type, bus_id);
    return done ? done : describe_pci(out, bus_id);
}

API int nvmlDeviceGetNvLinkRemoteDeviceType(void *device, unsigned link, unsigned *out)
{
    CALL(device, GPU);
    char bus_id[32];
    return link_of(of, link, out, bus_id);
}

// ---- MIG ----------------------------------------------------------------------------------------------------------------------

// mig=NOW PENDING
API int nvmlDeviceGetMigMode(void *device, unsigned *now, unsigned *pending)
{
    CALL(device, GPU);
    return scan(of, "mig", 2, "%u %u", now, pending);
}

API int nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned *out)
{
    CALL(device, GPU);
    if (number(of, "mig.max", out))
        *out = 0;
    return OK;
}

API int nvmlDeviceGetMigDeviceHandleByIndex(void *device, unsigned index, void **out)
{
    CALL(device, GPU);
    unsigned most = 0;
    number(of, "mig.max", &most);
    const Section *mig = section("mig", of->gpu, (int)index, -1);
    if (index >= most || !mig)
        return index >= most ? INVALID_ARGUMENT : NOT_FOUND;
    *out = handle(MIG, value(mig, "uuid"), -1, -1);
    return OK;
}

API int nvmlDeviceIsMigDeviceHandle(void *device, unsigned *out)
{
    CALL(device, GPU | MIG);
    *out = ((Object *)device)->kind == MIG;
    return OK;
}

API int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(void *device, void **out)
{
    CALL(device, MIG);
    *out = handle(GPU, value(section("gpu", of->gpu, -1, -1), "uuid"), -1, -1);
    return OK;
}

// instance=GPU INSTANCE, COMPUTE INSTANCE
API int nvmlDeviceGetGpuInstanceId(void *device, unsigned *out)
{
    CALL(device, MIG);
    return scan(of, "instance", 1, "%u", out);
}

API int nvmlDeviceGetComputeInstanceId(void *device, unsigned *out)
{
    CALL(device, MIG);
    return scan(of, "instance", 1, "%*u %u", out);
}

API int nvmlDeviceGetAttributes_v2(void *device, Attributes *out)
{
    CALL(device, MIG);
    return scan(of, "attributes", 9, "%u %u %u %u %u %u %u %u %lu", &out->multiprocessors, &out->copy, &out->decoders,
                &out->encoders, &out->jpeg, &out->ofa, &out->gpu_slices, &out->compute_slices, &out->memory);
}

API int nvmlDeviceGetGpuInstanceById(void *device, unsigned id, void **out)
{
    CALL(device, GPU);
    if (!section("gi", of->gpu, (int)id, -1))
        return NOT_FOUND;
    *out = handle(GI, value(of, "uuid"), (int)id, -1);
    return OK;
}

// profile=ID START SIZE, in both kinds of instances
API int nvmlGpuInstanceGetInfo(void *instance, GpuInstanceInfo *out)
{
    CALL(instance, GI);
    out->device = handle(GPU, ((Object *)instance)->uuid, -1, -1);
    out->id = (unsigned)of->first;
    return scan(of, "profile", 3, "%u %u %u", &out->profile, &out->start, &out->size);
}

API int nvmlGpuInstanceGetComputeInstanceById(void *instance, unsigned id, void **out)
{
    CALL(instance, GI);
    if (!section("ci", of->gpu, of->first, (int)id))
        return NOT_FOUND;
    *out = handle(CI, ((Object *)instance)->uuid, of->first, (int)id);
    return OK;
}

API int nvmlComputeInstanceGetInfo_v2(void *instance, ComputeInstanceInfo *out)
{
    CALL(instance, CI);
    out->device = handle(GPU, ((Object *)instance)->uuid, -1, -1);
    out->gpu_instance = handle(GI, ((Object *)instance)->uuid, of->first, -1);
    out->id = (unsigned)of->second;
    return scan(of, "profile", 3, "%u %u %u", &out->profile, &out->start, &out->size);
}

// profile.INDEX=ID P2P SLICES INSTANCES MULTIPROCESSORS COPY DECODERS ENCODERS JPEG OFA MEMORY NAME
static int gpu_profile(const Section *of, unsigned index, GpuProfile *out, char name[static 96])
{
    return scan(of, numbered("profile.%u", index), 12, "%u %u %u %u %u %u %u %u %u %u %lu %95[^\n]", &out->id, &out->p2p,
                &out->slices, &out->instances, &out->multiprocessors, &out->copy, &out->decoders, &out->encoders, &out->jpeg,
                &out->ofa, &out->memory, name);
}

API int nvmlDeviceGetGpuInstanceProfileInfo(void *device, unsigned index, GpuProfile *out)
{
    CALL(device, GPU);
    char name[96];
    return gpu_profile(of, index, out, name);
}

static int gpu_profile_v2(const Section *of, unsigned index, GpuProfileV2 *out)
{
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

API int nvmlDeviceGetGpuInstanceProfileInfoV(void *device, unsigned index, GpuProfileV2 *out)
{
    CALL(device, GPU);
    return gpu_profile_v2(of, index, out);
}

API int nvmlDeviceGetGpuInstanceProfileInfoByIdV(void *device, unsigned id, GpuProfileV2 *out)
{
    CALL(device, GPU);
    for (unsigned index = 0; index < 32; index++) {
        unsigned found;
        if (!number(of, numbered("profile.%u", index), &found) && found == id)
            return gpu_profile_v2(of, index, out);
    }
    return NOT_SUPPORTED;
}

// compute.INDEX=ID SLICES INSTANCES MULTIPROCESSORS COPY DECODERS ENCODERS JPEG OFA NAME
API int nvmlGpuInstanceGetComputeInstanceProfileInfoV(void *instance, unsigned index, unsigned engine, ComputeProfileV2 *out)
{
    CALL(instance, GI);
    ComputeProfile *p = &out->profile;
    if (out->version != (2u << 24 | sizeof *out))
        return ARGUMENT_VERSION_MISMATCH;
    if (engine)
        return INVALID_ARGUMENT;
    return scan(of, numbered("compute.%u", index), 10, "%u %u %u %u %u %u %u %u %u %95[^\n]", &p->id, &p->slices, &p->instances,
                &p->multiprocessors, &p->copy, &p->decoders, &p->encoders, &p->jpeg, &p->ofa, out->name);
}

// ---- events -------------------------------------------------------------------------------------------------------------------

typedef struct {
    int socket, waiting;
    char path[108];
    uint64_t wanted[MAX_OBJECTS];  // by the number of the object
} EventSet;

API int nvmlEventSetCreate(EventSet **out)
{
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

API int nvmlEventSetFree(EventSet *set)
{
    CALL(NULL, 0);
    if (set->waiting)  // the real library would go on with freed memory
        abort();
    close(set->socket);
    unlink(set->path);
    free(set);
    return OK;
}

// events=MASK
API int nvmlDeviceGetSupportedEventTypes(void *device, uint64_t *out)
{
    CALL(device, GPU);
    return scan(of, "events", 1, "%lx", out);
}

API int nvmlDeviceRegisterEvents(void *device, uint64_t types, EventSet *set)
{
    CALL(device, GPU);
    uint64_t supported = 0;
    scan(of, "events", 1, "%lx", &supported);
    if (!supported || types & ~supported)
        return NOT_SUPPORTED;
    set->wanted[(Object *)device - objects] |= types;
    return OK;
}

static int64_t milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// What a datagram says: OK is an event that the set wants, TIMEOUT is none.
static int understand(EventSet *set, const char *datagram, Event *out)
{
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

static int next_event(EventSet *set, unsigned timeout, Event *out)
{
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

static int wait_for(const char *function, EventSet *set, unsigned timeout, Event *out)
{
    int answer = allowed(function);
    if (answer)
        return answer;
    __atomic_add_fetch(&set->waiting, 1, __ATOMIC_SEQ_CST);
    answer = next_event(set, timeout, out);
    __atomic_sub_fetch(&set->waiting, 1, __ATOMIC_SEQ_CST);
    return answer;
}

API int nvmlEventSetWait_v2(EventSet *set, Event *out, unsigned timeout)
{
    return wait_for(__func__, set, timeout, out);
}

API int nvmlEventSetWait_v3(EventSet *set, WaitV3 *out)
{
    Event event;
    unsigned timeout = out->timeout;
    int answer = wait_for(__func__, set, timeout, &event);
    if (answer)
        return answer;
    *out = (WaitV3){.timeout = timeout, .type = event.type, .data = event.data};
    out->gpu_instance = event.gpu_instance;
    out->compute_instance = event.compute_instance;
    return event.device ? copy(((Object *)event.device)->uuid, out->uuid, sizeof out->uuid) : OK;
}
