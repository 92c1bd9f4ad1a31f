//! Structs that cross the C ABI: those of nvml-wrapper-sys with their sizes proved, and those it
//! lacks.
//!
//! Must never change a layout: sizes and offsets are those of `nvml.h` 13.3.29 on x86-64.

use std::ffi::c_char;

pub use nvml_wrapper_sys::bindings as sys;

/// The version word of a versioned struct: its size and, in the high byte, its number.
pub const fn version_of<T>(number: u32) -> u32 {
    size_of::<T>() as u32 | number << 24
}

/// `nvmlProcessDetail_v1_t`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct ProcessDetail {
    /// Process id.
    pub pid: u32,
    /// Bytes, or all ones.
    pub used_gpu_memory: u64,
    /// GPU instance, or all ones.
    pub gpu_instance: u32,
    /// Compute instance, or all ones.
    pub compute_instance: u32,
    /// Confidential memory; 0 here.
    pub protected_memory: u64,
}

/// `nvmlProcessDetailList_v1_t`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct ProcessDetailList {
    /// Version word.
    pub version: u32,
    /// 0 compute, 1 graphics, 2 MPS.
    pub mode: u32,
    /// Room, then length.
    pub count: u32,
    /// The entries.
    pub array: *mut ProcessDetail,
}

/// `nvmlUUID_v1_t`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Uuid {
    /// Version word.
    pub version: u32,
    /// 1 text, 2 binary.
    pub kind: u32,
    /// Text with NUL, or 16 bytes.
    pub value: [c_char; 41],
}

/// `nvmlDriverBranch_v1_t`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct DriverBranch {
    /// Version word.
    pub version: u32,
    /// Text.
    pub branch: [c_char; 80],
}

/// `nvmlPciInfoExt_v1_t`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct PciInfoExt {
    /// Version word.
    pub version: u32,
    /// Domain.
    pub domain: u32,
    /// Bus.
    pub bus: u32,
    /// Device.
    pub device: u32,
    /// Device and vendor.
    pub pci_device: u32,
    /// Subsystem.
    pub pci_subsystem: u32,
    /// Base class.
    pub base_class: u32,
    /// Sub class.
    pub sub_class: u32,
    /// Long address.
    pub bus_id: [c_char; 32],
}

/// The part of `nvmlGpmMetricsGet_t` before its array, whose length grew between headers while the
/// version stayed 1.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct GpmHead {
    /// Version, 1.
    pub version: u32,
    /// How many metrics follow.
    pub num_metrics: u32,
    /// Earlier sample.
    pub sample1: u64,
    /// Later sample.
    pub sample2: u64,
}

/// `nvmlGpmMetric_t`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct GpmMetric {
    /// Which metric.
    pub id: u32,
    /// Return code of this one.
    pub code: u32,
    /// Its value.
    pub value: f64,
    /// Short name, owned by the library.
    pub short_name: *const c_char,
    /// Long name, owned by the library.
    pub long_name: *const c_char,
    /// Unit, owned by the library.
    pub unit: *const c_char,
}

/// `nvmlGpuFabricInfo_v3_t`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct FabricInfoV3 {
    /// Version word.
    pub version: u32,
    /// Cluster.
    pub cluster_uuid: [u8; 16],
    /// Status of the registration.
    pub status: u32,
    /// Clique.
    pub clique_id: u32,
    /// 0 not supported, 1 not started, 2 in progress, 3 completed.
    pub state: u8,
    /// Health bits.
    pub health_mask: u32,
    /// Health summary.
    pub health_summary: u8,
}

/// `nvmlTemperature_v1_t`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Temperature {
    /// Version word.
    pub version: u32,
    /// 0 = GPU.
    pub sensor: u32,
    /// Degrees Celsius.
    pub temperature: i32,
}

macro_rules! sizes {
    ($($type:ty = $size:literal;)*) => {
        $(const _: () = assert!(size_of::<$type>() == $size);)*
    };
}

sizes! {
    sys::nvmlPciInfo_t = 68;
    sys::nvmlMemory_t = 24;
    sys::nvmlMemory_v2_t = 40;
    sys::nvmlBAR1Memory_t = 24;
    sys::nvmlUtilization_t = 8;
    sys::nvmlProcessInfo_v1_t = 16;
    sys::nvmlProcessInfo_v2_t = 24;
    sys::nvmlProcessInfo_t = 24;
    ProcessDetail = 32;
    ProcessDetailList = 24;
    sys::nvmlDeviceAttributes_t = 40;
    sys::nvmlGpuInstancePlacement_t = 8;
    sys::nvmlComputeInstancePlacement_t = 8;
    sys::nvmlGpuInstanceProfileInfo_t = 48;
    sys::nvmlGpuInstanceProfileInfo_v2_t = 152;
    sys::nvmlGpuInstanceProfileInfo_v3_t = 152;
    sys::nvmlGpuInstanceInfo_t = 24;
    sys::nvmlComputeInstanceProfileInfo_t = 36;
    sys::nvmlComputeInstanceProfileInfo_v2_t = 136;
    sys::nvmlComputeInstanceProfileInfo_v3_t = 140;
    sys::nvmlComputeInstanceInfo_t = 32;
    sys::nvmlEventData_t = 32;
    sys::nvmlFieldValue_t = 40;
    sys::nvmlSample_t = 16;
    sys::nvmlProcessUtilizationSample_t = 32;
    GpmHead = 24;
    GpmMetric = 40;
    sys::nvmlGpmSupport_t = 8;
    sys::nvmlGpuFabricInfo_t = 28;
    sys::nvmlGpuFabricInfo_v2_t = 36;
    FabricInfoV3 = 40;
    Uuid = 52;
    DriverBranch = 84;
    PciInfoExt = 64;
    Temperature = 12;
    sys::nvmlEccErrorCounts_t = 32;
    sys::nvmlRowRemapperHistogramValues_t = 20;
}

const _: () = assert!(size_of::<GpmHead>() + 333 * size_of::<GpmMetric>() == 13344);

/// Checks the version word of a struct that has one version.
///
/// # Errors
/// ARGUMENT_VERSION_MISMATCH.
pub fn fixed_version<T>(word: u32, number: u32) -> Result<(), sim_gpu::Return> {
    if word == version_of::<T>(number) {
        Ok(())
    } else {
        Err(sim_gpu::Return::ArgumentVersionMismatch)
    }
}
