// What NVML's public header nvml.h says of the numbers and structures that the fake uses: its ABI on 64-bit Linux.
#pragma once
#include <stdint.h>

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
};

typedef struct { char legacy_bus_id[16]; unsigned domain, bus, device, device_id, subsystem_id; char bus_id[32]; } Pci;
typedef struct { uint64_t total, free, used; } Memory;
typedef struct { unsigned version; uint64_t total, reserved, free, used; } MemoryV2;
typedef struct { unsigned gpu, memory; } Utilization;
typedef struct { unsigned version, sensor; int celsius; } TemperatureV1;

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

typedef struct { unsigned id, slices, instances, multiprocessors, copy, decoders, encoders, jpeg, ofa; } ComputeProfile;
typedef struct { unsigned version; ComputeProfile profile; char name[96]; } ComputeProfileV2;
typedef struct { void *device; unsigned id, profile, start, size; } GpuInstanceInfo;
typedef struct { void *device, *gpu_instance; unsigned id, profile, start, size; } ComputeInstanceInfo;
typedef struct { void *device; uint64_t type, data; unsigned gpu_instance, compute_instance; } Event;
