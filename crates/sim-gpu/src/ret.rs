//! NVML's return codes as a type, with the texts of the real library.
//!
//! Must never be used for anything a real driver could not answer.

use core::fmt;

/// What an NVML call returns. Codes and names: `nvml.h` 13.3.29; texts: `nvmlErrorString` of
/// 550.163.01.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[repr(u32)]
pub enum Return {
    /// 0: it worked.
    Success,
    /// 1: `nvmlInit` was not called.
    Uninitialized,
    /// 2: an argument is wrong, or a handle is dead.
    InvalidArgument,
    /// 3: not on this device, or not in this mode.
    NotSupported,
    /// 4: the caller may not.
    NoPermission,
    /// 5: deprecated.
    AlreadyInitialized,
    /// 6: no such thing.
    NotFound,
    /// 7: the buffer is too small.
    InsufficientSize,
    /// 8: the external power cable is missing.
    InsufficientPower,
    /// 9: the driver is not loaded.
    DriverNotLoaded,
    /// 10: the wait ended without an answer.
    Timeout,
    /// 11: the kernel saw an interrupt issue.
    IrqIssue,
    /// 12: the library was not found.
    LibraryNotFound,
    /// 13: the library lacks the function.
    FunctionNotFound,
    /// 14: the infoROM is corrupt.
    CorruptedInforom,
    /// 15: the GPU fell off the bus.
    GpuIsLost,
    /// 16: the GPU must be reset first.
    ResetRequired,
    /// 17: the operating system blocks the GPU.
    OperatingSystem,
    /// 18: driver and library differ in version.
    LibRmVersionMismatch,
    /// 19: another client uses it.
    InUse,
    /// 20: not enough memory.
    Memory,
    /// 21: no data.
    NoData,
    /// 22: ECC for virtual GPUs is not supported.
    VgpuEccNotSupported,
    /// 23: no room: slices, engines or slots are taken.
    InsufficientResources,
    /// 24: the frequency is not supported.
    FreqNotSupported,
    /// 25: the version word of a structure is wrong.
    ArgumentVersionMismatch,
    /// 26: deprecated.
    Deprecated,
    /// 27: the system is not ready.
    NotReady,
    /// 28: no GPU was found.
    GpuNotFound,
    /// 29: the resource is not in the right state.
    InvalidState,
    /// 30: this kind of reset is not supported.
    ResetTypeNotSupported,
    /// 999: anything else.
    Unknown = 999,
}

impl Return {
    /// Every value, ascending by code.
    pub const ALL: [Self; 32] = [
        Self::Success,
        Self::Uninitialized,
        Self::InvalidArgument,
        Self::NotSupported,
        Self::NoPermission,
        Self::AlreadyInitialized,
        Self::NotFound,
        Self::InsufficientSize,
        Self::InsufficientPower,
        Self::DriverNotLoaded,
        Self::Timeout,
        Self::IrqIssue,
        Self::LibraryNotFound,
        Self::FunctionNotFound,
        Self::CorruptedInforom,
        Self::GpuIsLost,
        Self::ResetRequired,
        Self::OperatingSystem,
        Self::LibRmVersionMismatch,
        Self::InUse,
        Self::Memory,
        Self::NoData,
        Self::VgpuEccNotSupported,
        Self::InsufficientResources,
        Self::FreqNotSupported,
        Self::ArgumentVersionMismatch,
        Self::Deprecated,
        Self::NotReady,
        Self::GpuNotFound,
        Self::InvalidState,
        Self::ResetTypeNotSupported,
        Self::Unknown,
    ];

    /// The number of `nvmlReturn_t`.
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The value with this number; `None` for a number the header does not name.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|value| value.code() == code)
    }

    /// The value with this name, as the scenario files and `migctl sim fault` write it: the
    /// header's name without `NVML_ERROR_`, in any case (`in_use`, `INSUFFICIENT_RESOURCES`).
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.trim();
        let bare = ["NVML_ERROR_", "nvml_error_", "NVML_", "nvml_"]
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix))
            .unwrap_or(name);
        Self::ALL.into_iter().find(|value| value.name().eq_ignore_ascii_case(bare))
    }

    /// The header's name without `NVML_` and `ERROR_`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "SUCCESS",
            Self::Uninitialized => "UNINITIALIZED",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::NotSupported => "NOT_SUPPORTED",
            Self::NoPermission => "NO_PERMISSION",
            Self::AlreadyInitialized => "ALREADY_INITIALIZED",
            Self::NotFound => "NOT_FOUND",
            Self::InsufficientSize => "INSUFFICIENT_SIZE",
            Self::InsufficientPower => "INSUFFICIENT_POWER",
            Self::DriverNotLoaded => "DRIVER_NOT_LOADED",
            Self::Timeout => "TIMEOUT",
            Self::IrqIssue => "IRQ_ISSUE",
            Self::LibraryNotFound => "LIBRARY_NOT_FOUND",
            Self::FunctionNotFound => "FUNCTION_NOT_FOUND",
            Self::CorruptedInforom => "CORRUPTED_INFOROM",
            Self::GpuIsLost => "GPU_IS_LOST",
            Self::ResetRequired => "RESET_REQUIRED",
            Self::OperatingSystem => "OPERATING_SYSTEM",
            Self::LibRmVersionMismatch => "LIB_RM_VERSION_MISMATCH",
            Self::InUse => "IN_USE",
            Self::Memory => "MEMORY",
            Self::NoData => "NO_DATA",
            Self::VgpuEccNotSupported => "VGPU_ECC_NOT_SUPPORTED",
            Self::InsufficientResources => "INSUFFICIENT_RESOURCES",
            Self::FreqNotSupported => "FREQ_NOT_SUPPORTED",
            Self::ArgumentVersionMismatch => "ARGUMENT_VERSION_MISMATCH",
            Self::Deprecated => "DEPRECATED",
            Self::NotReady => "NOT_READY",
            Self::GpuNotFound => "GPU_NOT_FOUND",
            Self::InvalidState => "INVALID_STATE",
            Self::ResetTypeNotSupported => "RESET_TYPE_NOT_SUPPORTED",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// What `nvmlErrorString` of 550.163.01 says. 30 is newer than that library; its text is ours.
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
            Self::LibRmVersionMismatch => "Driver/library version mismatch",
            Self::InUse => "In use by another client",
            Self::Memory => "Insufficient Memory",
            Self::NoData => "No data",
            Self::VgpuEccNotSupported => "vGPU ECC not supported",
            Self::InsufficientResources => "Insufficient Resources",
            Self::FreqNotSupported => "Invalid Frequency",
            Self::ArgumentVersionMismatch => "Argument version mismatch",
            Self::Deprecated => "Requested functionality has been deprecated",
            Self::NotReady => "System is not in ready state",
            Self::GpuNotFound => "No supported GPUs were found",
            Self::InvalidState => "Resource not in correct state to perform requested operation",
            Self::ResetTypeNotSupported => "Reset type not supported",
            Self::Unknown => "Unknown Error",
        }
    }

    /// [`Self::text`] as the driver of one branch says it: R535 and older do not know 28 and 29
    /// yet, R550 does not know 30 (observed on 535.261.03 and 550.163.01).
    pub fn text_in(self, branch: u32) -> &'static str {
        let newest = match branch {
            ..=535 => 27,
            536..=550 => 29,
            _ => 30,
        };
        if self.code() > newest { Self::Unknown.text() } else { self.text() }
    }
}

impl fmt::Display for Return {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for Return {}
