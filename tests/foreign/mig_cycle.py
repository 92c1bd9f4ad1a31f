"""The whole life of MIG instances on one GPU, through nvidia-ml-py.

Usage: mig_cycle.py [GPU-INDEX]

Needs a GPU without instances on which nobody works; leaves it as it was found. Never run it on
hardware that somebody uses. Asserts hard, and prints what it saw. The library is the
libnvidia-ml.so.1 that the dynamic loader finds (LD_LIBRARY_PATH).
"""

import sys
from contextlib import contextmanager
from ctypes import byref, c_uint

import pynvml as n

#: Rounding of memory sizes that differ between driver versions, in MiB.
TOLERANCE_MIB = 512
MIB = 1 << 20
PROFILE_ENUMS = 18
COMPUTE_PROFILE_ENUMS = 9


@contextmanager
def refused(code, what):
    """Demands that what is inside fails with the NVML return `code`."""
    try:
        yield
    except n.NVMLError as error:
        assert error.value == code, f"{what}: {error} ({error.value}), not {code}"
    else:
        raise AssertionError(f"{what}: was accepted, must be refused with {code}")


def code_of(call, *arguments):
    """The NVML return of a call that may fail."""
    try:
        call(*arguments)
    except n.NVMLError as error:
        return error.value
    return n.NVML_SUCCESS


def text(value):
    return value.decode() if isinstance(value, bytes) else value



def profiles_of(gpu):
    """Every GPU instance profile the board has; the enumeration must end where the header says."""
    found = []
    for enum in range(PROFILE_ENUMS):
        try:
            info = n.nvmlDeviceGetGpuInstanceProfileInfo(gpu, enum)
        except n.NVMLError as error:
            assert error.value == n.NVML_ERROR_NOT_SUPPORTED, f"profile enum {enum}: {error}"
            with refused(n.NVML_ERROR_NOT_SUPPORTED, f"profile enum {enum}, first form"):
                n.nvmlDeviceGetGpuInstanceProfileInfo(gpu, enum, version=1)
            continue
        first = n.nvmlDeviceGetGpuInstanceProfileInfo(gpu, enum, version=1)
        for field, _ in n.c_nvmlGpuInstanceProfileInfo_t._fields_:
            assert getattr(first, field) == getattr(info, field), f"enum {enum}: {field} differs"
        found.append(info)
    for enum in (PROFILE_ENUMS, PROFILE_ENUMS + 1, 1000):
        with refused(n.NVML_ERROR_INVALID_ARGUMENT, f"profile enum {enum}"):
            n.nvmlDeviceGetGpuInstanceProfileInfo(gpu, enum)
    assert found, "the GPU offers no profiles"
    ids = [info.id for info in found]
    assert len(set(ids)) == len(ids), f"profile ids repeat: {ids}"
    return found


def placements_of(gpu, profile):
    """The legal placements of a profile, asked for as the header wants: count first."""
    count = c_uint(0)
    n.nvmlDeviceGetGpuInstancePossiblePlacements(gpu, profile.id, None, byref(count))
    array = (n.c_nvmlGpuInstancePlacement_t * count.value)()
    again = c_uint(count.value)
    n.nvmlDeviceGetGpuInstancePossiblePlacements(gpu, profile.id, array, byref(again))
    assert again.value == count.value
    return [(placement.start, placement.size) for placement in array]


def gpu_instances(gpu, profile):
    array = (n.c_nvmlGpuInstance_t * 32)()
    count = c_uint(0)
    n.nvmlDeviceGetGpuInstances(gpu, profile.id, array, byref(count))
    return [n.nvmlGpuInstanceGetInfo(array[i]) for i in range(count.value)]


def compute_profiles_of(instance):
    """Every compute instance profile inside one GPU instance."""
    found = []
    for enum in range(COMPUTE_PROFILE_ENUMS):
        shared = n.NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED
        try:
            found.append(n.nvmlGpuInstanceGetComputeInstanceProfileInfo(instance, enum, shared))
        except n.NVMLError as error:
            assert error.value == n.NVML_ERROR_NOT_SUPPORTED, f"compute enum {enum}: {error}"
    with refused(n.NVML_ERROR_INVALID_ARGUMENT, "compute profile enum after the last"):
        n.nvmlGpuInstanceGetComputeInstanceProfileInfo(instance, COMPUTE_PROFILE_ENUMS, 0)
    return found


def mig_devices(gpu):
    """MIG device handles by index, which must be without gaps."""
    most = n.nvmlDeviceGetMaxMigDeviceCount(gpu)
    handles = []
    for index in range(most):
        try:
            handles.append(n.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index))
        except n.NVMLError as error:
            assert error.value == n.NVML_ERROR_NOT_FOUND, f"MIG index {index}: {error}"
            break
    for index in range(len(handles), most):
        with refused(n.NVML_ERROR_NOT_FOUND, f"MIG index {index} after {len(handles)} devices"):
            n.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index)
    return handles


def create(gpu, profile, start, size):
    placement = n.c_nvmlGpuInstancePlacement_t(start, size)
    return n.nvmlDeviceCreateGpuInstanceWithPlacement(gpu, profile.id, byref(placement))


def check_mig_device(gpu, handle, instance_id, compute_id, profile, slices):
    """Everything a client asks a MIG device."""
    # The binding hands back the C integer itself.
    assert n.nvmlDeviceIsMigDeviceHandle(handle).value == 1
    assert n.nvmlDeviceIsMigDeviceHandle(gpu).value == 0
    assert n.nvmlDeviceGetGpuInstanceId(handle) == instance_id
    assert n.nvmlDeviceGetComputeInstanceId(handle) == compute_id
    parent = n.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
    assert n.nvmlDeviceGetUUID(parent) == n.nvmlDeviceGetUUID(gpu)
    uuid = text(n.nvmlDeviceGetUUID(handle))
    assert uuid.startswith("MIG-"), uuid
    assert n.nvmlDeviceGetGpuInstanceId(n.nvmlDeviceGetHandleByUUID(uuid)) == instance_id
    name = text(n.nvmlDeviceGetName(handle))
    assert name.startswith(text(n.nvmlDeviceGetName(gpu)) + " MIG "), name
    attributes = n.nvmlDeviceGetAttributes_v2(handle)
    assert attributes.gpuInstanceSliceCount == profile.sliceCount
    assert attributes.computeInstanceSliceCount == slices
    memory = n.nvmlDeviceGetMemoryInfo(handle)
    assert memory.total == memory.used + memory.free
    assert abs(memory.total // MIB - profile.memorySizeMB) <= TOLERANCE_MIB, memory.total
    assert abs(attributes.memorySizeMB - memory.total // MIB) <= TOLERANCE_MIB
    with refused(n.NVML_ERROR_NOT_SUPPORTED, "utilization of a MIG device"):
        n.nvmlDeviceGetUtilizationRates(handle)
    assert n.nvmlDeviceGetComputeRunningProcesses(handle) == []
    return uuid, name, memory


def enable(index):
    """Brings MIG mode into force; whether it was on before."""
    gpu = n.nvmlDeviceGetHandleByIndex(index)
    current, pending = n.nvmlDeviceGetMigMode(gpu)
    assert current == pending, f"a mode change is pending ({current}, {pending}); reset the GPU"
    if current == n.NVML_DEVICE_MIG_ENABLE:
        return True
    with refused(n.NVML_ERROR_NOT_SUPPORTED, "create with MIG off"):
        n.nvmlDeviceCreateGpuInstance(gpu, 0)
    with refused(n.NVML_ERROR_NOT_SUPPORTED, "attributes of a whole GPU"):
        n.nvmlDeviceGetAttributes_v2(gpu)
    activation = n.nvmlDeviceSetMigMode(gpu, n.NVML_DEVICE_MIG_ENABLE)
    assert activation == n.NVML_SUCCESS, f"MIG mode is pending only (activation {activation})"
    return False


def check_profiles(gpu):
    """Profiles and placements of the empty GPU; the profile to work with."""
    profiles = profiles_of(gpu)
    grid = max(start + size for profile in profiles for start, size in placements_of(gpu, profile))
    for profile in profiles:
        placements = placements_of(gpu, profile)
        assert placements == sorted(set(placements)), placements
        assert len({size for _, size in placements}) == 1, placements
        assert all(start + size <= grid for start, size in placements), placements
        capacity = n.nvmlDeviceGetGpuInstanceRemainingCapacity(gpu, profile.id)
        assert capacity == profile.instanceCount, (text(profile.name), capacity)
        assert gpu_instances(gpu, profile) == []
        starts = ",".join(str(start) for start, _ in placements)
        print(
            f"  profile {profile.id:>3}  {text(profile.name):<16} {profile.memorySizeMB:>7} MiB"
            f"  at most {profile.instanceCount}  starts {starts} of {grid}"
        )
    plain = [p for p in profiles if "+" not in text(p.name) and "-" not in text(p.name)]
    half = max((p for p in plain if p.instanceCount >= 2), key=lambda p: p.sliceCount)
    return profiles, half


def check_instance(gpu, profiles, half):
    """One GPU instance, its compute instance, and every wrong order."""
    start, size = placements_of(gpu, half)[0]
    instance = create(gpu, half, start, size)
    info = n.nvmlGpuInstanceGetInfo(instance)
    assert info.profileId == half.id
    assert (info.placement.start, info.placement.size) == (start, size)
    listed = gpu_instances(gpu, half)
    assert [entry.id for entry in listed] == [info.id]
    by_id = n.nvmlGpuInstanceGetInfo(n.nvmlDeviceGetGpuInstanceById(gpu, info.id))
    assert (by_id.id, by_id.placement.start) == (info.id, start)
    print(f"  GPU instance {info.id} of {text(half.name)} at {start}:{size}")

    with refused(n.NVML_ERROR_INSUFFICIENT_RESOURCES, "the same place again"):
        create(gpu, half, start, size)
    full = max(profiles, key=lambda profile: placements_of(gpu, profile)[0][1])
    assert n.nvmlDeviceGetGpuInstanceRemainingCapacity(gpu, full.id) == 0
    with refused(n.NVML_ERROR_INSUFFICIENT_RESOURCES, "the whole GPU beside an instance"):
        n.nvmlDeviceCreateGpuInstance(gpu, full.id)
    assert n.nvmlDeviceGetGpuInstanceRemainingCapacity(gpu, half.id) == half.instanceCount - 1
    with refused(n.NVML_ERROR_NOT_FOUND, "a GPU instance that does not exist"):
        n.nvmlDeviceGetGpuInstanceById(gpu, 14 if info.id != 14 else 13)
    assert mig_devices(gpu) == [], "a GPU instance without compute is no MIG device"

    whole = [p for p in compute_profiles_of(instance) if p.sliceCount == half.sliceCount]
    whole = min(whole, key=lambda profile: profile.id)
    compute = n.nvmlGpuInstanceCreateComputeInstance(instance, whole.id)
    made = n.nvmlComputeInstanceGetInfo(compute)
    assert made.profileId == whole.id
    with refused(n.NVML_ERROR_INSUFFICIENT_RESOURCES, "a second whole compute instance"):
        n.nvmlGpuInstanceCreateComputeInstance(instance, whole.id)

    [device] = mig_devices(gpu)
    uuid, name, memory = check_mig_device(gpu, device, info.id, made.id, half, half.sliceCount)
    print(f"  {uuid}  {name}  {memory.total // MIB} MiB, {memory.used // MIB} MiB used")
    whole_gpu = n.nvmlDeviceGetMemoryInfo(gpu)
    assert abs(whole_gpu.used - memory.used) <= 2 * MIB, "the GPU uses what its instances use"

    with refused(n.NVML_ERROR_IN_USE, "destroy a GPU instance with a compute instance"):
        n.nvmlGpuInstanceDestroy(instance)
    with refused(n.NVML_ERROR_IN_USE, "disable MIG with instances"):
        n.nvmlDeviceSetMigMode(gpu, n.NVML_DEVICE_MIG_DISABLE)
    n.nvmlComputeInstanceDestroy(compute)
    assert mig_devices(gpu) == []
    assert code_of(n.nvmlComputeInstanceDestroy, compute) != n.NVML_SUCCESS
    n.nvmlGpuInstanceDestroy(instance)
    assert gpu_instances(gpu, half) == []
    return whole, (start, size), info.id, uuid


def check_again(gpu, half, whole, place, instance_id, uuid):
    """The same instance made again is the same to every client."""
    instance = create(gpu, half, *place)
    assert n.nvmlGpuInstanceGetInfo(instance).id == instance_id
    compute = n.nvmlGpuInstanceCreateComputeInstance(instance, whole.id)
    [device] = mig_devices(gpu)
    assert text(n.nvmlDeviceGetUUID(device)) == uuid
    n.nvmlComputeInstanceDestroy(compute)
    n.nvmlGpuInstanceDestroy(instance)
    print("  made again with the same id and UUID")


def check_parts(gpu, half):
    """Two compute instances that share one GPU instance."""
    instance = create(gpu, half, *placements_of(gpu, half)[-1])
    instance_id = n.nvmlGpuInstanceGetInfo(instance).id
    parts = [p for p in compute_profiles_of(instance) if p.sliceCount == 1]
    part = min(parts, key=lambda profile: profile.id)
    made = [n.nvmlGpuInstanceCreateComputeInstance(instance, part.id) for _ in range(2)]
    infos = [n.nvmlComputeInstanceGetInfo(compute) for compute in made]
    assert [info.id for info in infos] == [0, 1]
    assert [(i.placement.start, i.placement.size) for i in infos] == [(0, 1), (1, 1)]
    devices = mig_devices(gpu)
    assert len(devices) == 2
    seen = [check_mig_device(gpu, d, instance_id, i, half, 1) for i, d in enumerate(devices)]
    assert seen[0][0] != seen[1][0], "two devices with one UUID"
    assert seen[0][2].total == seen[1][2].total, "both see the memory of their GPU instance"
    # Indexes close up when a device goes.
    n.nvmlComputeInstanceDestroy(made[0])
    [left] = mig_devices(gpu)
    assert n.nvmlDeviceGetComputeInstanceId(left) == 1
    n.nvmlComputeInstanceDestroy(made[1])
    n.nvmlGpuInstanceDestroy(instance)
    print(f"  two parts: {seen[0][1]}")


def clean(gpu):
    """Destroys what a failed run left; this script has the GPU to itself."""
    for enum in range(PROFILE_ENUMS):
        try:
            profile = n.nvmlDeviceGetGpuInstanceProfileInfo(gpu, enum)
            infos = gpu_instances(gpu, profile)
        except n.NVMLError:
            continue
        for info in infos:
            instance = n.nvmlDeviceGetGpuInstanceById(gpu, info.id)
            for compute in range(8):
                try:
                    found = n.nvmlGpuInstanceGetComputeInstanceById(instance, compute)
                except n.NVMLError:
                    continue
                n.nvmlComputeInstanceDestroy(found)
            n.nvmlGpuInstanceDestroy(instance)


def main():
    index = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    n.nvmlInit()
    gpu = n.nvmlDeviceGetHandleByIndex(index)
    print(f"GPU {index}: {text(n.nvmlDeviceGetName(gpu))} {text(n.nvmlDeviceGetUUID(gpu))}")
    was_on = enable(index)
    # A mode change may make every handle invalid.
    gpu = n.nvmlDeviceGetHandleByIndex(index)
    on = n.NVML_DEVICE_MIG_ENABLE
    assert list(n.nvmlDeviceGetMigMode(gpu)) == [on, on]
    assert mig_devices(gpu) == [], "the GPU has MIG devices; this script needs it empty"
    profiles, half = check_profiles(gpu)
    try:
        whole, place, instance_id, uuid = check_instance(gpu, profiles, half)
        check_again(gpu, half, whole, place, instance_id, uuid)
        check_parts(gpu, half)
    except BaseException:
        clean(gpu)
        raise
    for profile in profiles:
        capacity = n.nvmlDeviceGetGpuInstanceRemainingCapacity(gpu, profile.id)
        assert capacity == profile.instanceCount, "the GPU holds less than before"
    if not was_on:
        assert n.nvmlDeviceSetMigMode(gpu, n.NVML_DEVICE_MIG_DISABLE) == n.NVML_SUCCESS
        gpu = n.nvmlDeviceGetHandleByIndex(index)
        assert list(n.nvmlDeviceGetMigMode(gpu)) == [n.NVML_DEVICE_MIG_DISABLE] * 2
    n.nvmlShutdown()
    with refused(n.NVML_ERROR_UNINITIALIZED, "a question after nvmlShutdown"):
        n.nvmlDeviceGetCount()
    print(f"passed: {len(profiles)} profiles, instances made and destroyed, GPU as before")


if __name__ == "__main__":
    main()
