//! The types of the C signatures, under the names the function table uses.
//!
//! Must never be used for anything but the ABI.

use crate::abi::structs::sys;

pub use crate::abi::args::{Buffer, In, Out, Text};
pub use crate::abi::handles::{ComputeInstance, Device, EventSet, GpmSample, GpuInstance};
pub use crate::abi::structs::{
    DriverBranch, GpmHead, PciInfoExt, ProcessDetailList, Temperature, Uuid,
};

/// `nvmlExcludedDeviceInfo_t`.
pub type ExcludedDevice = sys::nvmlExcludedDeviceInfo_t;
/// `nvmlPciInfo_t`.
pub type PciInfo = sys::nvmlPciInfo_t;
/// `nvmlDeviceAddressingMode_t`.
pub type AddressingMode = sys::nvmlDeviceAddressingMode_v1_t;
/// `nvmlDeviceAttributes_t`.
pub type Attributes = sys::nvmlDeviceAttributes_t;
/// `nvmlGpuInstanceProfileInfo_t`, the first version.
pub type GiProfile = sys::nvmlGpuInstanceProfileInfo_t;
/// `nvmlGpuInstancePlacement_t`.
pub type GiPlacement = sys::nvmlGpuInstancePlacement_t;
/// `nvmlGpuInstanceInfo_t`.
pub type GiInfo = sys::nvmlGpuInstanceInfo_t;
/// `nvmlComputeInstanceProfileInfo_t`, the first version.
pub type CiProfile = sys::nvmlComputeInstanceProfileInfo_t;
/// `nvmlComputeInstancePlacement_t`.
pub type CiPlacement = sys::nvmlComputeInstancePlacement_t;
/// `nvmlComputeInstanceInfo_t`.
pub type CiInfo = sys::nvmlComputeInstanceInfo_t;
/// `nvmlMemory_t`.
pub type Memory = sys::nvmlMemory_t;
/// `nvmlMemory_v2_t`.
pub type MemoryV2 = sys::nvmlMemory_v2_t;
/// `nvmlBAR1Memory_t`.
pub type Bar1 = sys::nvmlBAR1Memory_t;
/// `nvmlProcessInfo_v1_t`.
pub type ProcessV1 = sys::nvmlProcessInfo_v1_t;
/// `nvmlProcessInfo_t`, the layout of the second and third version.
pub type Process = sys::nvmlProcessInfo_t;
/// `nvmlProcessUtilizationSample_t`.
pub type ProcessUtilization = sys::nvmlProcessUtilizationSample_t;
/// `nvmlUtilization_t`.
pub type Utilization = sys::nvmlUtilization_t;
/// `nvmlSample_t`.
pub type Sample = sys::nvmlSample_t;
/// `nvmlConfComputeMemSizeInfo_t`.
pub type ConfComputeMemory = sys::nvmlConfComputeMemSizeInfo_t;
/// `nvmlEccErrorCounts_t`.
pub type EccCounts = sys::nvmlEccErrorCounts_t;
/// `nvmlRowRemapperHistogramValues_t`.
pub type RowRemapper = sys::nvmlRowRemapperHistogramValues_t;
/// `nvmlGpuFabricInfo_t`.
pub type FabricInfo = sys::nvmlGpuFabricInfo_t;
/// `nvmlFieldValue_t`.
pub type FieldValue = sys::nvmlFieldValue_t;
/// `nvmlEventData_t`.
pub type EventData = sys::nvmlEventData_t;
/// `nvmlGpmSupport_t`.
pub type GpmSupport = sys::nvmlGpmSupport_t;
