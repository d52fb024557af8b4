// Event sets, each of which is a datagram socket, $FAKE_NVML_DIR/ev.PID.N. "UUID TYPE DATA GI CI" is an event, where UUID
// may be - if it is of no GPU; "error N" lets one wait fail.
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "state.h"

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
