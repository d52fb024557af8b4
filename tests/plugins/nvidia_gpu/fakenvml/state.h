// What the test wrote, handles that outlive its changes, and the way into every call.
//
// $FAKE_NVML_DIR/state   sections of key=value lines, none empty; looked at before every call, so replace it by a rename.
//                        [system], [gpu N], [mig N INDEX], [gi N ID], [ci N GI ID], where N is the index of the GPU.
//                        The functions name their keys; without its key a call is not supported. Without the file the
//                        driver is not loaded.
// fault.FUNCTION=…       in [system] or [gpu N], where FUNCTION may be *: a number is what that call answers, `hang` keeps
//                        it from returning while the line is there, `crash` aborts, `crash-once` aborts if
//                        $FAKE_NVML_DIR/once.FUNCTION can still be removed.
// driver=, library=      in [system]: a process keeps the `library` it met first, and while `driver` is another one no
//                        call of it succeeds.
// $FAKE_NVML_DIR/calls   one line a call: the process and the function.
#pragma once
#include <pthread.h>
#include <stddef.h>

#include "abi.h"

#define API __attribute__((visibility("default")))

enum { HANG = -1 };  // as an answer of a fault
enum { GPU = 1, MIG = 2, GI = 4, CI = 8 };  // what handles point at
enum { MAX_OBJECTS = 2048 };

typedef struct {
    char kind[8];
    int gpu, first, second;
    const char *body;  // zero-terminated lines, up to one that is empty or starts with '['
} Section;

typedef struct {
    unsigned kind;
    char uuid[96];  // of the GPU or the MIG device
    int gpu_instance, compute_instance;
} Object;

extern pthread_mutex_t mutex;  // guards all of this
extern Object objects[MAX_OBJECTS];
extern char library[64];  // the version that this process has loaded
extern int users;         // initialisations without their shutdown

// A path in $FAKE_NVML_DIR.
const char *in_directory(char path[static 108], const char *format, ...);

// A section by its numbers, -1 for those that its kind does not have, or by the value of a key; NULL if there is none.
const Section *section(const char *kind, int gpu, int first, int second);
const Section *section_with(const char *kind, const char *key, const char *wanted);

// A key with numbers in it; valid until the next one.
const char *numbered(const char *format, ...);

// What a section says of a key: as text, NULL without that key; or as an answer of NVML, with what was found in `out`.
const char *value(const Section *of, const char *key);
int scan(const Section *of, const char *key, int count, const char *format, ...);
int number(const Section *of, const char *key, unsigned *out);
int copy(const char *from, char *out, size_t size);

// The handle of something, always the same one, and the section of what it points at; NULL once that is gone.
Object *handle(unsigned kind, const char *uuid, int gpu_instance, int compute_instance);
const Section *described(const void *object);

// What the file wants of this call: an error, HANG, or OK; a crash does not return.
int fault(const Section *of, const char *function);
// Wait a little without the mutex; then sections may be others.
void hang(void);

// Begin a call and end it; between them the mutex is held, whatever `enter` answers.
int enter(const char *function, const void *object, unsigned kinds, const Section **of);
void leave(int *answer);
// Begin and end a call that goes on without the mutex.
int allowed(const char *function);

// Starts the body of a function: `of` is the section that describes what the handle stands for.
#define CALL(object, kinds)                                                                     \
    const Section *of __attribute__((unused)) = NULL;                                           \
    int answer __attribute__((cleanup(leave))) = enter(__func__, object, kinds, &of);           \
    if (answer)                                                                                 \
    return answer
