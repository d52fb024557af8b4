#define _GNU_SOURCE
#include "state.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_SECTIONS = 2048 };

// ---- the state file --------------------------------------------------------------------------------------------------------

pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;  // guards all that follows
static char *text;
static struct stat version;
static Section sections[MAX_SECTIONS];
static int section_count;
char library[64];
int users;

const char *in_directory(char path[static 108], const char *format, ...) {
    const char *directory = getenv("FAKE_NVML_DIR");
    int length = snprintf(path, 108, "%s/", directory ? directory : "/nonexistent");
    if (length > 80)  // what follows must still fit into the address of a socket
        abort();
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(path + length, (size_t)(108 - length), format, arguments);
    va_end(arguments);
    return path;
}

static void split(size_t size) {
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

static void forget(void) {
    section_count = 0;
    memset(&version, 0, sizeof version);
}

static void refresh(void) {
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

const Section *section(const char *kind, int gpu, int first, int second) {
    for (const Section *s = sections; s < sections + section_count; s++)
        if (!strcmp(s->kind, kind) && s->gpu == gpu && s->first == first && s->second == second)
            return s;
    return NULL;
}

const char *value(const Section *of, const char *key) {
    size_t length = strlen(key);
    for (const char *line = of->body; *line && *line != '['; line += strlen(line) + 1)
        if (!strncmp(line, key, length) && line[length] == '=')
            return line + length + 1;
    return NULL;
}

const Section *section_with(const char *kind, const char *key, const char *wanted) {
    for (const Section *s = sections; s < sections + section_count; s++) {
        const char *found = strcmp(s->kind, kind) ? NULL : value(s, key);
        if (found && !strcasecmp(found, wanted))
            return s;
    }
    return NULL;
}

const char *numbered(const char *format, ...) {
    static char key[96];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(key, sizeof key, format, arguments);
    va_end(arguments);
    return key;
}

// ---- handles: what they point at stays the same for the life of the process ------------------------------------------------

Object objects[MAX_OBJECTS];
static int object_count;

Object *handle(unsigned kind, const char *uuid, int gpu_instance, int compute_instance) {
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

const Section *described(const void *object) {
    const Object *o = object;
    if (o < objects || o >= objects + object_count)
        return NULL;
    if (o->kind == MIG)
        return section_with("mig", "uuid", o->uuid);
    const Section *gpu = section_with("gpu", "uuid", o->uuid);
    if (!gpu || o->kind == GPU)
        return gpu;
    return section(o->kind == GI ? "gi" : "ci", gpu->gpu, o->gpu_instance, o->compute_instance);
}

// ---- entering and leaving a call -------------------------------------------------------------------------------------------

static void count(const char *function) {
    char path[108], line[96];
    int length = snprintf(line, sizeof line, "%d %s\n", getpid(), function);
    int file = open(in_directory(path, "calls"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (file < 0)
        return;
    if (write(file, line, (size_t)length) != length)
        abort();
    close(file);
}

int fault(const Section *of, const char *function) {
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

static int judge(const char *function, const Object *object, unsigned kinds, const Section **of) {
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

void hang(void) {
    pthread_mutex_unlock(&mutex);
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    pthread_mutex_lock(&mutex);
    refresh();
}

int enter(const char *function, const void *object, unsigned kinds, const Section **of) {
    int answer;
    pthread_mutex_lock(&mutex);
    count(function);
    refresh();
    while ((answer = judge(function, object, kinds, of)) == HANG)
        hang();
    return answer;
}

void leave(int *answer) {
    (void)answer;
    pthread_mutex_unlock(&mutex);
}

int allowed(const char *function) {
    const Section *of;
    int answer = enter(function, NULL, 0, &of);
    leave(&answer);
    return answer;
}

int scan(const Section *of, const char *key, int count, const char *format, ...) {
    const char *found = value(of, key);
    if (!found)
        return NOT_SUPPORTED;
    va_list arguments;
    va_start(arguments, format);
    int filled = vsscanf(found, format, arguments);
    va_end(arguments);
    return filled == count ? OK : UNKNOWN;
}

int number(const Section *of, const char *key, unsigned *out) {
    return scan(of, key, 1, "%u", out);
}

int copy(const char *from, char *out, size_t size) {
    if (!from)
        return NOT_SUPPORTED;
    if (strlen(from) + 1 > size)
        return INSUFFICIENT_SIZE;
    strcpy(out, from);
    return OK;
}
