"""What an NVML client sees of a machine: GPUs, MIG devices, memory, processes.

Usage: show_node.py [--json]

Changes nothing. The library is the libnvidia-ml.so.1 that the dynamic loader finds
(LD_LIBRARY_PATH).
"""

import json
import sys

import pynvml as n

MIB = 1 << 20


def text(value):
    return value.decode() if isinstance(value, bytes) else value


def memory_of(handle):
    memory = n.nvmlDeviceGetMemoryInfo(handle)
    return {"total_mib": memory.total // MIB, "used_mib": memory.used // MIB}


def processes_of(handle):
    found = n.nvmlDeviceGetComputeRunningProcesses(handle)
    return [
        {
            "pid": process.pid,
            "used_mib": None if process.usedGpuMemory is None else process.usedGpuMemory // MIB,
        }
        for process in found
    ]


def mig_devices_of(gpu):
    devices = []
    for index in range(n.nvmlDeviceGetMaxMigDeviceCount(gpu)):
        try:
            handle = n.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index)
        except n.NVMLError_NotFound:
            break
        devices.append(
            {
                "index": index,
                "uuid": text(n.nvmlDeviceGetUUID(handle)),
                "name": text(n.nvmlDeviceGetName(handle)),
                "gpu_instance": n.nvmlDeviceGetGpuInstanceId(handle),
                "compute_instance": n.nvmlDeviceGetComputeInstanceId(handle),
                "memory": memory_of(handle),
                "processes": processes_of(handle),
            }
        )
    return devices


def mig_mode_of(gpu):
    """`on`, `off`, `pending`, or None where the GPU cannot do MIG."""
    try:
        current, pending = n.nvmlDeviceGetMigMode(gpu)
    except n.NVMLError_NotSupported:
        return None
    if current != pending:
        return "pending"
    return "on" if current == n.NVML_DEVICE_MIG_ENABLE else "off"


def node():
    gpus = []
    for index in range(n.nvmlDeviceGetCount()):
        gpu = n.nvmlDeviceGetHandleByIndex(index)
        mode = mig_mode_of(gpu)
        gpus.append(
            {
                "index": index,
                "uuid": text(n.nvmlDeviceGetUUID(gpu)),
                "name": text(n.nvmlDeviceGetName(gpu)),
                "mig": mode,
                "memory": memory_of(gpu),
                "processes": processes_of(gpu),
                "mig_devices": mig_devices_of(gpu) if mode == "on" else [],
            }
        )
    return {"driver": text(n.nvmlSystemGetDriverVersion()), "gpus": gpus}


def line_of(device, indent):
    memory = device["memory"]
    print(
        f"{indent}{device['index']}: {device['name']}  {device['uuid']}"
        f"  {memory['used_mib']} of {memory['total_mib']} MiB"
    )
    for process in device["processes"]:
        used = "?" if process["used_mib"] is None else process["used_mib"]
        print(f"{indent}   pid {process['pid']}  {used} MiB")


def main():
    n.nvmlInit()
    try:
        seen = node()
    finally:
        n.nvmlShutdown()
    if sys.argv[1:] == ["--json"]:
        json.dump(seen, sys.stdout, indent=2)
        print()
        return
    print(f"driver {seen['driver']}, {len(seen['gpus'])} GPUs")
    for gpu in seen["gpus"]:
        line_of(gpu, "")
        print(f"   MIG {gpu['mig'] or 'not supported'}")
        for device in gpu["mig_devices"]:
            line_of(device, "   ")


if __name__ == "__main__":
    main()
