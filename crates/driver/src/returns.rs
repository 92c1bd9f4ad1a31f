//! What NVML calls return, as a type that keeps values newer than this file.
//!
//! Must never lose a number: a code nobody knew when this was written stays [`NvmlReturn::Other`].

use core::fmt;

use serde::{Deserialize, Serialize};

/// A return value of NVML (`nvmlReturn_t`); on the wire its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "u32", into = "u32")]
pub enum NvmlReturn {
    /// 0: Success.
    Success,
    /// 1: Uninitialized.
    Uninitialized,
    /// 2: Invalid Argument.
    InvalidArgument,
    /// 3: Not Supported.
    NotSupported,
    /// 4: Insufficient Permissions.
    NoPermission,
    /// 5: Already Initialized.
    AlreadyInitialized,
    /// 6: Not Found.
    NotFound,
    /// 7: Insufficient Size.
    InsufficientSize,
    /// 8: Insufficient External Power.
    InsufficientPower,
    /// 9: Driver Not Loaded.
    DriverNotLoaded,
    /// 10: Timeout.
    Timeout,
    /// 11: Interrupt Request Issue.
    IrqIssue,
    /// 12: NVML Shared Library Not Found.
    LibraryNotFound,
    /// 13: Function Not Found.
    FunctionNotFound,
    /// 14: Corrupted infoROM.
    CorruptedInforom,
    /// 15: GPU is lost.
    GpuIsLost,
    /// 16: GPU requires reset.
    ResetRequired,
    /// 17: GPU access blocked by the operating system.
    OperatingSystem,
    /// 18: Driver/library version mismatch.
    LibraryVersionMismatch,
    /// 19: In use by another client.
    InUse,
    /// 20: Insufficient Memory.
    InsufficientMemory,
    /// 21: No data.
    NoData,
    /// 22: vGPU ECC not supported.
    VgpuEccNotSupported,
    /// 23: Insufficient Resources.
    InsufficientResources,
    /// 24: Invalid Frequency.
    InvalidFrequency,
    /// 25: Argument version mismatch.
    ArgumentVersionMismatch,
    /// 26: Requested functionality has been deprecated.
    Deprecated,
    /// 27: System is not in ready state.
    NotReady,
    /// 28: No supported GPUs were found.
    GpuNotFound,
    /// 29: Resource not in correct state to perform requested operation.
    InvalidState,
    /// 30: Requested reset type is not supported.
    ResetTypeNotSupported,
    /// 999: Unknown Error.
    Unknown,
    /// A number this version does not know.
    Other(u32),
}

/// What a caller does about a failed call (`nvml.h` has no such notion; this is policy drawn from
/// what clients met in the field).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryClass {
    /// Read the state again, wait, try again: somebody holds the thing, or it is busy.
    Retry,
    /// Trying again changes nothing.
    Stop,
    /// The GPU is not to be trusted until somebody looked at it.
    Quarantine,
}

impl NvmlReturn {
    /// The number NVML uses.
    pub const fn code(self) -> u32 {
        match self {
            Self::Success => 0,
            Self::Uninitialized => 1,
            Self::InvalidArgument => 2,
            Self::NotSupported => 3,
            Self::NoPermission => 4,
            Self::AlreadyInitialized => 5,
            Self::NotFound => 6,
            Self::InsufficientSize => 7,
            Self::InsufficientPower => 8,
            Self::DriverNotLoaded => 9,
            Self::Timeout => 10,
            Self::IrqIssue => 11,
            Self::LibraryNotFound => 12,
            Self::FunctionNotFound => 13,
            Self::CorruptedInforom => 14,
            Self::GpuIsLost => 15,
            Self::ResetRequired => 16,
            Self::OperatingSystem => 17,
            Self::LibraryVersionMismatch => 18,
            Self::InUse => 19,
            Self::InsufficientMemory => 20,
            Self::NoData => 21,
            Self::VgpuEccNotSupported => 22,
            Self::InsufficientResources => 23,
            Self::InvalidFrequency => 24,
            Self::ArgumentVersionMismatch => 25,
            Self::Deprecated => 26,
            Self::NotReady => 27,
            Self::GpuNotFound => 28,
            Self::InvalidState => 29,
            Self::ResetTypeNotSupported => 30,
            Self::Unknown => 999,
            Self::Other(code) => code,
        }
    }

    /// What NVML says for it (texts of driver R550), for when the library cannot be asked.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::Uninitialized => "Uninitialized",
            Self::InvalidArgument => "Invalid Argument",
            Self::NotSupported => "Not Supported",
            Self::NoPermission => "Insufficient Permissions",
            Self::AlreadyInitialized => "Already Initialized",
            Self::NotFound => "Not Found",
            Self::InsufficientSize => "Insufficient Size",
            Self::InsufficientPower => "Insufficient External Power",
            Self::DriverNotLoaded => "Driver Not Loaded",
            Self::Timeout => "Timeout",
            Self::IrqIssue => "Interrupt Request Issue",
            Self::LibraryNotFound => "NVML Shared Library Not Found",
            Self::FunctionNotFound => "Function Not Found",
            Self::CorruptedInforom => "Corrupted infoROM",
            Self::GpuIsLost => "GPU is lost",
            Self::ResetRequired => "GPU requires reset",
            Self::OperatingSystem => "GPU access blocked by the operating system",
            Self::LibraryVersionMismatch => "Driver/library version mismatch",
            Self::InUse => "In use by another client",
            Self::InsufficientMemory => "Insufficient Memory",
            Self::NoData => "No data",
            Self::VgpuEccNotSupported => "vGPU ECC not supported",
            Self::InsufficientResources => "Insufficient Resources",
            Self::InvalidFrequency => "Invalid Frequency",
            Self::ArgumentVersionMismatch => "Argument version mismatch",
            Self::Deprecated => "Requested functionality has been deprecated",
            Self::NotReady => "System is not in ready state",
            Self::GpuNotFound => "No supported GPUs were found",
            Self::InvalidState => "Resource not in correct state to perform requested operation",
            Self::ResetTypeNotSupported => "Requested reset type is not supported",
            Self::Unknown | Self::Other(_) => "Unknown Error",
        }
    }

    /// The stable error code shown to users.
    pub const fn error_code(self) -> &'static str {
        match self {
            Self::Success => "E-NVML-SUCCESS",
            Self::Uninitialized => "E-NVML-UNINITIALIZED",
            Self::InvalidArgument => "E-NVML-INVALID-ARGUMENT",
            Self::NotSupported => "E-NVML-NOT-SUPPORTED",
            Self::NoPermission => "E-NVML-NO-PERMISSION",
            Self::AlreadyInitialized => "E-NVML-ALREADY-INITIALIZED",
            Self::NotFound => "E-NVML-NOT-FOUND",
            Self::InsufficientSize => "E-NVML-INSUFFICIENT-SIZE",
            Self::InsufficientPower => "E-NVML-INSUFFICIENT-POWER",
            Self::DriverNotLoaded => "E-NVML-DRIVER-NOT-LOADED",
            Self::Timeout => "E-NVML-TIMEOUT",
            Self::IrqIssue => "E-NVML-IRQ-ISSUE",
            Self::LibraryNotFound => "E-NVML-LIBRARY-NOT-FOUND",
            Self::FunctionNotFound => "E-NVML-FUNCTION-NOT-FOUND",
            Self::CorruptedInforom => "E-NVML-CORRUPTED-INFOROM",
            Self::GpuIsLost => "E-NVML-GPU-IS-LOST",
            Self::ResetRequired => "E-NVML-RESET-REQUIRED",
            Self::OperatingSystem => "E-NVML-OPERATING-SYSTEM",
            Self::LibraryVersionMismatch => "E-NVML-VERSION-MISMATCH",
            Self::InUse => "E-NVML-IN-USE",
            Self::InsufficientMemory => "E-NVML-INSUFFICIENT-MEMORY",
            Self::NoData => "E-NVML-NO-DATA",
            Self::VgpuEccNotSupported => "E-NVML-VGPU-ECC-NOT-SUPPORTED",
            Self::InsufficientResources => "E-NVML-INSUFFICIENT-RESOURCES",
            Self::InvalidFrequency => "E-NVML-INVALID-FREQUENCY",
            Self::ArgumentVersionMismatch => "E-NVML-ARGUMENT-VERSION-MISMATCH",
            Self::Deprecated => "E-NVML-DEPRECATED",
            Self::NotReady => "E-NVML-NOT-READY",
            Self::GpuNotFound => "E-NVML-GPU-NOT-FOUND",
            Self::InvalidState => "E-NVML-INVALID-STATE",
            Self::ResetTypeNotSupported => "E-NVML-RESET-TYPE-NOT-SUPPORTED",
            Self::Unknown => "E-NVML-UNKNOWN",
            Self::Other(_) => "E-NVML-OTHER",
        }
    }

    /// Whether a call that changes something may have changed it before it returned this: the driver
    /// gave up waiting or met trouble on the way. The others are said before anything is touched.
    pub const fn leaves_doubt(self) -> bool {
        match self {
            Self::InsufficientPower
            | Self::Timeout
            | Self::IrqIssue
            | Self::CorruptedInforom
            | Self::GpuIsLost
            | Self::ResetRequired
            | Self::OperatingSystem
            | Self::InsufficientMemory
            | Self::NoData
            | Self::NotReady
            | Self::InvalidState
            | Self::Unknown
            | Self::Other(_) => true,
            Self::Success
            | Self::Uninitialized
            | Self::InvalidArgument
            | Self::NotSupported
            | Self::NoPermission
            | Self::AlreadyInitialized
            | Self::NotFound
            | Self::InsufficientSize
            | Self::DriverNotLoaded
            | Self::LibraryNotFound
            | Self::FunctionNotFound
            | Self::LibraryVersionMismatch
            | Self::InUse
            | Self::VgpuEccNotSupported
            | Self::InsufficientResources
            | Self::InvalidFrequency
            | Self::ArgumentVersionMismatch
            | Self::Deprecated
            | Self::GpuNotFound
            | Self::ResetTypeNotSupported => false,
        }
    }

    /// What to do when a call returned it.
    pub const fn retry_class(self) -> RetryClass {
        match self {
            Self::InUse | Self::Timeout | Self::NotReady | Self::InsufficientResources => {
                RetryClass::Retry
            }
            Self::GpuIsLost | Self::ResetRequired | Self::Unknown => RetryClass::Quarantine,
            Self::Success
            | Self::Uninitialized
            | Self::InvalidArgument
            | Self::NotSupported
            | Self::NoPermission
            | Self::AlreadyInitialized
            | Self::NotFound
            | Self::InsufficientSize
            | Self::InsufficientPower
            | Self::DriverNotLoaded
            | Self::IrqIssue
            | Self::LibraryNotFound
            | Self::FunctionNotFound
            | Self::CorruptedInforom
            | Self::OperatingSystem
            | Self::LibraryVersionMismatch
            | Self::InsufficientMemory
            | Self::NoData
            | Self::VgpuEccNotSupported
            | Self::InvalidFrequency
            | Self::ArgumentVersionMismatch
            | Self::Deprecated
            | Self::GpuNotFound
            | Self::InvalidState
            | Self::ResetTypeNotSupported
            | Self::Other(_) => RetryClass::Stop,
        }
    }
}

impl From<u32> for NvmlReturn {
    fn from(code: u32) -> Self {
        match code {
            0 => Self::Success,
            1 => Self::Uninitialized,
            2 => Self::InvalidArgument,
            3 => Self::NotSupported,
            4 => Self::NoPermission,
            5 => Self::AlreadyInitialized,
            6 => Self::NotFound,
            7 => Self::InsufficientSize,
            8 => Self::InsufficientPower,
            9 => Self::DriverNotLoaded,
            10 => Self::Timeout,
            11 => Self::IrqIssue,
            12 => Self::LibraryNotFound,
            13 => Self::FunctionNotFound,
            14 => Self::CorruptedInforom,
            15 => Self::GpuIsLost,
            16 => Self::ResetRequired,
            17 => Self::OperatingSystem,
            18 => Self::LibraryVersionMismatch,
            19 => Self::InUse,
            20 => Self::InsufficientMemory,
            21 => Self::NoData,
            22 => Self::VgpuEccNotSupported,
            23 => Self::InsufficientResources,
            24 => Self::InvalidFrequency,
            25 => Self::ArgumentVersionMismatch,
            26 => Self::Deprecated,
            27 => Self::NotReady,
            28 => Self::GpuNotFound,
            29 => Self::InvalidState,
            30 => Self::ResetTypeNotSupported,
            999 => Self::Unknown,
            code => Self::Other(code),
        }
    }
}

impl From<NvmlReturn> for u32 {
    fn from(value: NvmlReturn) -> Self {
        value.code()
    }
}

impl fmt::Display for NvmlReturn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text(), self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_both_ways() {
        for code in (0..40).chain([999, 1000, u32::MAX]) {
            assert_eq!(u32::from(NvmlReturn::from(code)), code);
        }
        assert_eq!(NvmlReturn::from(19), NvmlReturn::InUse);
        assert_eq!(NvmlReturn::from(77), NvmlReturn::Other(77));
    }

    #[test]
    fn error_codes_are_distinct() {
        let mut codes: Vec<&str> =
            (0..=30).chain([999, 77]).map(|code| NvmlReturn::from(code).error_code()).collect();
        codes.sort_unstable();
        let count = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), count);
    }

    #[test]
    fn only_a_broken_gpu_is_quarantined() {
        let quarantined: Vec<u32> = (0..=1000)
            .filter(|code| NvmlReturn::from(*code).retry_class() == RetryClass::Quarantine)
            .collect();
        assert_eq!(quarantined, [15, 16, 999]);
    }
}
