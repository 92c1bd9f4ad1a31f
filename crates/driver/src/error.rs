//! Why a driver operation failed, with the GPU, the words of NVML and what to do next.
//!
//! Must never hide a return value: every failed call keeps its [`NvmlReturn`].

use std::path::PathBuf;

use model::GpuUuid;

use crate::returns::{NvmlReturn, RetryClass};

/// Why an operation on the driver failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// No NVML library lies at any trusted path.
    #[error("no NVML library found; looked for {}", paths(tried))]
    LibraryNotFound {
        /// The absolute paths tried, in order.
        tried: Vec<PathBuf>,
    },
    /// A library exists but cannot be loaded.
    #[error("cannot load {}", path.display())]
    LibraryLoad {
        /// Which file.
        path: PathBuf,
        /// What the dynamic linker said.
        #[source]
        source: libloading::Error,
    },
    /// The NVML at hand lacks a function: every symbol is optional.
    #[error("this NVML has no {name}")]
    MissingSymbol {
        /// The function.
        name: &'static str,
    },
    /// The session was closed and not reopened.
    #[error("the NVML session is closed")]
    Closed,
    /// The session was closed but calls or event watches of it still run; it ends when they do.
    #[error("the NVML session still serves {users} calls or event watches")]
    SessionInUse {
        /// How many others hold the session.
        users: usize,
    },
    /// The driver has no GPU with that UUID.
    #[error("no GPU {gpu} on this machine")]
    UnknownGpu {
        /// Who was asked for.
        gpu: GpuUuid,
    },
    /// NVML refused or failed.
    #[error("cannot {operation}{}: {text}", on(gpu.as_ref()))]
    Call {
        /// What was attempted, in words: `create a GPU instance of profile 19 at 4:1`.
        operation: String,
        /// On which GPU, where it concerned one.
        gpu: Option<GpuUuid>,
        /// What NVML returned.
        result: NvmlReturn,
        /// NVML's words for it.
        text: String,
    },
    /// NVML reported success and reading back shows otherwise.
    #[error("the driver reported success, yet could not {operation}{}: {found}", on(gpu.as_ref()))]
    NotAsReported {
        /// What was attempted.
        operation: String,
        /// On which GPU.
        gpu: Option<GpuUuid>,
        /// What reading back showed.
        found: String,
    },
    /// NVML reported success and reading back failed: nobody knows whether it was done right. The
    /// words say what stands.
    #[error("could not {operation}{}: {found}", on(Some(gpu)))]
    Unverified {
        /// What was attempted.
        operation: String,
        /// On which GPU.
        gpu: GpuUuid,
        /// What was done, why it is unsure, and what stands.
        found: String,
        /// Whether the GPU may now hold something else than before.
        stands: bool,
    },
    /// The instance a step names is no longer what the step expects; nothing was changed.
    #[error("refused to {operation} on {gpu}: {found}")]
    Changed {
        /// What was to be done.
        operation: String,
        /// On which GPU.
        gpu: GpuUuid,
        /// What is there now.
        found: String,
    },
    /// The step is no NVML call: a reset is the host's part.
    #[error("NVML cannot {operation}")]
    NotNvml {
        /// What was to be done.
        operation: String,
    },
}

fn paths(tried: &[PathBuf]) -> String {
    let texts: Vec<String> = tried.iter().map(|path| path.display().to_string()).collect();
    texts.join(", ")
}

fn on(gpu: Option<&GpuUuid>) -> String {
    gpu.map(|gpu| format!(" on {gpu}")).unwrap_or_default()
}

impl DriverError {
    /// The stable code shown to users: `E-NVML-IN-USE`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::LibraryNotFound { .. } => "E-DRIVER-LIBRARY-NOT-FOUND",
            Self::LibraryLoad { .. } => "E-DRIVER-LIBRARY-LOAD",
            Self::MissingSymbol { .. } => "E-NVML-MISSING-SYMBOL",
            Self::Closed => "E-DRIVER-CLOSED",
            Self::SessionInUse { .. } => "E-DRIVER-SESSION-IN-USE",
            Self::UnknownGpu { .. } => "E-GPU-UNKNOWN",
            Self::Call { result, .. } => result.error_code(),
            Self::NotAsReported { .. } => "E-DRIVER-NOT-AS-REPORTED",
            Self::Unverified { .. } => "E-DRIVER-UNVERIFIED",
            Self::Changed { .. } => "E-INSTANCE-CHANGED",
            Self::NotNvml { .. } => "E-DRIVER-NOT-NVML",
        }
    }

    /// What NVML returned, where a call failed.
    pub const fn nvml_return(&self) -> Option<NvmlReturn> {
        match self {
            Self::Call { result, .. } => Some(*result),
            Self::LibraryNotFound { .. }
            | Self::LibraryLoad { .. }
            | Self::MissingSymbol { .. }
            | Self::Closed
            | Self::SessionInUse { .. }
            | Self::UnknownGpu { .. }
            | Self::NotAsReported { .. }
            | Self::Unverified { .. }
            | Self::Changed { .. }
            | Self::NotNvml { .. } => None,
        }
    }

    /// What the caller does about it.
    pub const fn retry_class(&self) -> RetryClass {
        match self {
            Self::Call { result, .. } => result.retry_class(),
            Self::SessionInUse { .. } | Self::Unverified { stands: false, .. } => RetryClass::Retry,
            Self::NotAsReported { .. } | Self::Unverified { stands: true, .. } => {
                RetryClass::Quarantine
            }
            Self::LibraryNotFound { .. }
            | Self::LibraryLoad { .. }
            | Self::MissingSymbol { .. }
            | Self::Closed
            | Self::UnknownGpu { .. }
            | Self::Changed { .. }
            | Self::NotNvml { .. } => RetryClass::Stop,
        }
    }

    /// The GPU it happened on, where it concerned one.
    pub const fn gpu(&self) -> Option<&GpuUuid> {
        match self {
            Self::UnknownGpu { gpu } | Self::Unverified { gpu, .. } | Self::Changed { gpu, .. } => {
                Some(gpu)
            }
            Self::Call { gpu, .. } | Self::NotAsReported { gpu, .. } => gpu.as_ref(),
            Self::LibraryNotFound { .. }
            | Self::LibraryLoad { .. }
            | Self::MissingSymbol { .. }
            | Self::Closed
            | Self::SessionInUse { .. }
            | Self::NotNvml { .. } => None,
        }
    }

    /// What to do next, in one sentence; empty where there is nothing to advise.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::LibraryNotFound { .. } => {
                "install the NVIDIA driver, or use --simulate HOST for a simulated machine"
            }
            Self::LibraryLoad { .. } => "reinstall the NVIDIA driver's user-space libraries",
            Self::MissingSymbol { .. } => "update the NVIDIA driver: this one lacks the function",
            Self::Closed => "wait for the maintenance of the GPU to end",
            Self::SessionInUse { .. } => "wait for the running calls to end and try again",
            Self::UnknownGpu { .. } => "list the GPUs with `migctl gpus`",
            Self::NotAsReported { .. } | Self::Unverified { .. } | Self::Changed { .. } => {
                "look at what exists with `migctl status` and try again"
            }
            Self::NotNvml { .. } => "reset the GPU through the host",
            Self::Call { result, .. } => call_hint(*result),
        }
    }
}

const fn call_hint(result: NvmlReturn) -> &'static str {
    match result {
        NvmlReturn::InUse => {
            "see who is on the GPU with `migctl status` and `fuser -v /dev/nvidia*`"
        }
        NvmlReturn::NoPermission => {
            "run as root, or give read access to /dev/nvidia-caps/nvidia-cap1 (mig/config)"
        }
        NvmlReturn::InsufficientResources => {
            "the place or its engines are taken; see `migctl status`"
        }
        NvmlReturn::NotSupported => "check MIG mode and the board with `migctl gpus`",
        NvmlReturn::GpuIsLost => "the GPU fell off the bus; see `dmesg | grep Xid`, then reboot",
        NvmlReturn::ResetRequired => "drain the GPU and reset it",
        NvmlReturn::DriverNotLoaded => "load the kernel module: `modprobe nvidia`",
        NvmlReturn::LibraryVersionMismatch => {
            "library and kernel module differ: reload the module or reboot"
        }
        NvmlReturn::Timeout | NvmlReturn::NotReady => "try again in a few seconds",
        NvmlReturn::NotFound => "it does not exist any more; see `migctl status`",
        NvmlReturn::Unknown => "see `dmesg | grep NVRM`",
        NvmlReturn::Success
        | NvmlReturn::Uninitialized
        | NvmlReturn::InvalidArgument
        | NvmlReturn::AlreadyInitialized
        | NvmlReturn::InsufficientSize
        | NvmlReturn::InsufficientPower
        | NvmlReturn::IrqIssue
        | NvmlReturn::LibraryNotFound
        | NvmlReturn::FunctionNotFound
        | NvmlReturn::CorruptedInforom
        | NvmlReturn::OperatingSystem
        | NvmlReturn::InsufficientMemory
        | NvmlReturn::NoData
        | NvmlReturn::VgpuEccNotSupported
        | NvmlReturn::InvalidFrequency
        | NvmlReturn::ArgumentVersionMismatch
        | NvmlReturn::Deprecated
        | NvmlReturn::GpuNotFound
        | NvmlReturn::InvalidState
        | NvmlReturn::ResetTypeNotSupported
        | NvmlReturn::Other(_) => "see `dmesg | grep NVRM`, and NVML's documentation for the code",
    }
}
