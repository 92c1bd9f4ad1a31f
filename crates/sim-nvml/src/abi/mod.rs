//! NVML's C interface, one file per noun.
//!
//! Must never decide a rule of the hardware: that is `sim-gpu`'s part. Here are arguments,
//! handles, versions of structs and the order of checks.

pub mod args;
pub(crate) mod clocks;
pub(crate) mod compute_instance;
pub(crate) mod discovery;
pub(crate) mod ecc;
pub(crate) mod events;
pub(crate) mod fields;
pub(crate) mod figures;
pub(crate) mod gpm;
pub(crate) mod gpu_instance;
pub mod handles;
pub(crate) mod library;
pub(crate) mod memory;
pub(crate) mod mig_device;
pub(crate) mod mig_mode;
pub(crate) mod modes;
pub(crate) mod nvlink;
pub(crate) mod pcie;
pub(crate) mod processes;
pub mod structs;
mod stubs;
mod table;
pub(crate) mod telemetry;
pub(crate) mod topology;
pub(crate) mod utilization;

/// From this branch on no implemented function is hidden.
pub(crate) const NEWEST: u32 = 560;

/// The driver branch that brought a symbol; 0 if it is older than every branch simulated here.
/// The branches are rounded to those that are simulated: R535 exports 332 functions, R550 350,
/// header 13.3 names 412; which ones came when was observed for few of them.
pub(crate) fn since(name: &str) -> u32 {
    match name {
        // Seen in the binding 13.615 only.
        "nvmlDeviceGetGpuFabricInfo_v4" | "nvmlEventSetWait_v3" => 610,
        // Absent from 550.163.01.
        "nvmlDeviceGetGpuInstanceProfileInfoByIdV"
        | "nvmlDeviceGetHandleByUUIDV"
        | "nvmlDeviceGetTemperatureV"
        | "nvmlDeviceGetAddressingMode"
        | "nvmlDeviceGetPciInfoExt_v1"
        | "nvmlSystemGetDriverBranch"
        | "nvmlDeviceGetDriverModel_v2" => 560,
        // Absent from 535.261.03.
        "nvmlDeviceGetGpuFabricInfoV"
        | "nvmlDeviceGetNumaNodeId"
        | "nvmlDeviceGetPciInfoExt"
        | "nvmlDeviceGetRunningProcessDetailList"
        | "nvmlDeviceGetModuleId" => 545,
        // Absent before the release that brought MIG profiles with names.
        "nvmlDeviceGetGpuInstanceProfileInfoV"
        | "nvmlGpuInstanceGetComputeInstanceProfileInfoV"
        | "nvmlDeviceGetMemoryInfo_v2"
        | "nvmlDeviceGetGpuInstancePossiblePlacements_v2"
        | "nvmlComputeInstanceGetInfo_v2" => 470,
        _ if name.starts_with("nvmlGpm") => 520,
        _ if name.ends_with("_v1") => 580,
        _ => 0,
    }
}
