// MIG devices: compute instances in GPU instances, and the profiles that say how large these are.
#define _GNU_SOURCE
#include <string.h>

#include "state.h"

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
