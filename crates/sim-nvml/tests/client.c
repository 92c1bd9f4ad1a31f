/* A client written against NVML's documentation, with its own declarations: it shares no line with
 * the library it tests. Says "ok" if everything is as a real A100 says it. */
#include <stdio.h>
#include <string.h>

typedef void *nvmlDevice_t, *nvmlGpuInstance_t, *nvmlComputeInstance_t;
typedef unsigned long long u64;
typedef struct { unsigned id, p2p, slices, instances, sm, ce, dec, enc, jpg, ofa; u64 memory; } gi_profile_v1;
typedef struct { unsigned version, id, p2p, slices, instances, sm, ce, dec, enc, jpg, ofa; u64 memory; char name[96]; } gi_profile_v2;
typedef struct { unsigned version, id, slices, instances, sm, ce, dec, enc, jpg, ofa; u64 memory; char name[96]; unsigned caps; } gi_profile_v3;
typedef struct { unsigned start, size; } placement_t;
typedef struct { nvmlDevice_t device; unsigned id, profile; placement_t placement; } gi_info;
typedef struct { unsigned id, slices, instances, sm, ce, dec, enc, jpg, ofa; } ci_profile_v1;
typedef struct { nvmlDevice_t device; nvmlGpuInstance_t gi; unsigned id, profile; placement_t placement; } ci_info;
typedef struct { unsigned sm, ce, dec, enc, jpg, ofa, gi_slices, ci_slices; u64 memory; } attributes_t;
typedef struct { u64 total, free, used; } memory_t;
typedef struct { unsigned version; u64 total, reserved, free, used; } memory_v2_t;
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; } pci_t;

extern int nvmlInit_v2(void), nvmlShutdown(void);
extern const char *nvmlErrorString(int);
extern int nvmlDeviceGetCount_v2(unsigned *), nvmlDeviceGetHandleByIndex_v2(unsigned, nvmlDevice_t *);
extern int nvmlDeviceGetName(nvmlDevice_t, char *, unsigned), nvmlDeviceGetUUID(nvmlDevice_t, char *, unsigned);
extern int nvmlDeviceGetPciInfo_v3(nvmlDevice_t, pci_t *);
extern int nvmlDeviceSetMigMode(nvmlDevice_t, unsigned, int *), nvmlDeviceGetMigMode(nvmlDevice_t, unsigned *, unsigned *);
extern int nvmlDeviceGetGpuInstanceProfileInfo(nvmlDevice_t, unsigned, gi_profile_v1 *);
extern int nvmlDeviceGetGpuInstanceProfileInfoV(nvmlDevice_t, unsigned, void *);
extern int nvmlDeviceGetGpuInstancePossiblePlacements_v2(nvmlDevice_t, unsigned, placement_t *, unsigned *);
extern int nvmlDeviceCreateGpuInstanceWithPlacement(nvmlDevice_t, unsigned, const placement_t *, nvmlGpuInstance_t *);
extern int nvmlGpuInstanceGetInfo(nvmlGpuInstance_t, gi_info *), nvmlGpuInstanceDestroy(nvmlGpuInstance_t);
extern int nvmlDeviceGetGpuInstances(nvmlDevice_t, unsigned, nvmlGpuInstance_t *, unsigned *);
extern int nvmlGpuInstanceGetComputeInstanceProfileInfo(nvmlGpuInstance_t, unsigned, unsigned, ci_profile_v1 *);
extern int nvmlGpuInstanceCreateComputeInstance(nvmlGpuInstance_t, unsigned, nvmlComputeInstance_t *);
extern int nvmlComputeInstanceGetInfo_v2(nvmlComputeInstance_t, ci_info *), nvmlComputeInstanceDestroy(nvmlComputeInstance_t);
extern int nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t, unsigned, nvmlDevice_t *);
extern int nvmlDeviceGetHandleByUUID(const char *, nvmlDevice_t *);
extern int nvmlDeviceGetAttributes_v2(nvmlDevice_t, attributes_t *);
extern int nvmlDeviceGetMemoryInfo(nvmlDevice_t, memory_t *), nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t, memory_v2_t *);
extern int nvmlVgpuTypeGetName(unsigned, char *, unsigned *);

static int failures;
#define CHECK(what) do { if (!(what)) { printf("line %d: %s\n", __LINE__, #what); failures++; } } while (0)

int main(void)
{
    unsigned n = 77, current = 7, pending = 7, count;
    int activation = 99;
    nvmlDevice_t gpu, mig, same;
    nvmlGpuInstance_t gi, list[8];
    nvmlComputeInstance_t ci;
    char text[96];
    pci_t pci;
    gi_profile_v1 v1;
    gi_profile_v2 v2;
    gi_profile_v3 v3;
    placement_t places[16], at = { 4, 4 };
    gi_info info;
    ci_profile_v1 ci_profile;
    ci_info ci_is;
    attributes_t attributes;
    memory_t memory;
    memory_v2_t memory2;

    CHECK(nvmlDeviceGetCount_v2(&n) == 1);
    CHECK(nvmlInit_v2() == 0);
    CHECK(nvmlDeviceGetCount_v2(&n) == 0 && n == 2);
    CHECK(nvmlDeviceGetHandleByIndex_v2(1, &gpu) == 0);
    CHECK(nvmlDeviceGetName(gpu, text, 96) == 0 && !strcmp(text, "NVIDIA A100-SXM4-40GB"));
    CHECK(nvmlDeviceGetPciInfo_v3(gpu, &pci) == 0 && pci.id == 0x20B010DE && strlen(pci.bus_id) == 16);
    CHECK(sizeof v1 == 48 && sizeof v2 == 152 && sizeof v3 == 152 && sizeof pci == 68);
    CHECK(nvmlDeviceGetMigMode(gpu, &current, &pending) == 0 && current == 0 && pending == 0);
    CHECK(nvmlDeviceSetMigMode(gpu, 1, &activation) == 0 && activation == 0);
    CHECK(nvmlDeviceGetMigMode(gpu, &current, &pending) == 0 && current == 1 && pending == 1);

    CHECK(nvmlDeviceGetGpuInstanceProfileInfo(gpu, 2, &v1) == 0);
    CHECK(v1.id == 9 && v1.slices == 3 && v1.instances == 2 && v1.sm == 42 && v1.dec == 2);
    v2.version = sizeof v2 | 2 << 24;
    CHECK(nvmlDeviceGetGpuInstanceProfileInfoV(gpu, 2, &v2) == 0);
    CHECK(v2.id == 9 && v2.sm == 42 && v2.memory == v1.memory && !strcmp(v2.name, "3g.20gb"));
    v3.version = sizeof v3 | 3 << 24;
    CHECK(nvmlDeviceGetGpuInstanceProfileInfoV(gpu, 7, &v3) == 0);
    CHECK(v3.id == 20 && v3.slices == 1 && v3.instances == 1 && !strcmp(v3.name, "1g.5gb+me"));
    v3.version = sizeof v3 | 9 << 24;
    CHECK(nvmlDeviceGetGpuInstanceProfileInfoV(gpu, 7, &v3) == 25);

    count = 0;
    CHECK(nvmlDeviceGetGpuInstancePossiblePlacements_v2(gpu, 9, NULL, &count) == 0 && count == 2);
    CHECK(nvmlDeviceGetGpuInstancePossiblePlacements_v2(gpu, 9, places, &count) == 0);
    CHECK(places[0].start == 0 && places[1].start == 4 && places[1].size == 4);

    CHECK(nvmlDeviceCreateGpuInstanceWithPlacement(gpu, 9, &at, &gi) == 0);
    CHECK(nvmlGpuInstanceGetInfo(gi, &info) == 0);
    CHECK(info.device == gpu && info.id == 2 && info.profile == 9 && info.placement.start == 4);
    CHECK(nvmlDeviceGetGpuInstances(gpu, 9, list, &count) == 0 && count == 1 && list[0] == gi);
    CHECK(nvmlGpuInstanceGetComputeInstanceProfileInfo(gi, 2, 0, &ci_profile) == 0);
    CHECK(ci_profile.id == 2 && ci_profile.slices == 3 && ci_profile.sm == 42);
    CHECK(nvmlGpuInstanceCreateComputeInstance(gi, ci_profile.id, &ci) == 0);
    CHECK(nvmlDeviceGetMigDeviceHandleByIndex(gpu, 0, &mig) == 0);
    CHECK(nvmlComputeInstanceGetInfo_v2(ci, &ci_is) == 0);
    CHECK(ci_is.device == mig && ci_is.gi == gi && ci_is.id == 0 && ci_is.placement.size == 3);
    CHECK(nvmlDeviceGetUUID(mig, text, 96) == 0 && nvmlDeviceGetHandleByUUID(text, &same) == 0 && same == mig);
    CHECK(nvmlDeviceGetAttributes_v2(mig, &attributes) == 0);
    CHECK(attributes.sm == 42 && attributes.gi_slices == 3 && attributes.ci_slices == 3);
    CHECK(nvmlDeviceGetMemoryInfo(mig, &memory) == 0 && memory.total == attributes.memory << 20);
    CHECK(memory.free + memory.used == memory.total);
    memory2.version = sizeof memory2 | 2 << 24;
    CHECK(nvmlDeviceGetMemoryInfo_v2(mig, &memory2) == 0 && memory2.total == memory.total);
    CHECK(nvmlVgpuTypeGetName(1, text, &count) == 3);

    CHECK(nvmlGpuInstanceDestroy(gi) == 19);
    CHECK(nvmlComputeInstanceDestroy(ci) == 0);
    CHECK(nvmlGpuInstanceDestroy(gi) == 0);
    CHECK(nvmlGpuInstanceGetInfo(gi, &info) == 2);
    CHECK(nvmlDeviceGetMemoryInfo(mig, &memory) == 2);
    CHECK(!strcmp(nvmlErrorString(19), "In use by another client"));
    CHECK(nvmlShutdown() == 0);
    if (!failures)
        puts("ok");
    return failures != 0;
}
