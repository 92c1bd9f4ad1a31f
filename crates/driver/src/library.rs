//! Finding NVML: the real library from trusted absolute paths, or any resolver of names.
//!
//! Must never search the environment: `LD_LIBRARY_PATH` or a relative name would let an unprivileged
//! user choose the code a root daemon runs.

#![allow(unsafe_code, reason = "loads the library and takes addresses out of it")]

use core::ffi::c_void;
use core::fmt;
use core::ptr::NonNull;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::DriverError;

/// Answers for a symbol's name with the address of its function, or `None` if NVML at hand has no
/// such function.
///
/// Contract: an address must belong to a function with the C signature `nvml.h` gives that name, and
/// must stay valid while any clone of the resolver lives. Whoever builds a resolver vouches for it.
pub type Resolver = Arc<dyn Fn(&str) -> Option<NonNull<c_void>> + Send + Sync>;

/// Where [`Library::load`] looks, in order: Debian and Ubuntu; RHEL, SUSE; Arch; ARM servers; WSL2;
/// the driver container of the GPU operator, which mounts the host's driver under
/// `/run/nvidia/driver`.
pub const TRUSTED_PATHS: &[&str] = &[
    "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1",
    "/usr/lib64/libnvidia-ml.so.1",
    "/usr/lib/libnvidia-ml.so.1",
    "/usr/lib/aarch64-linux-gnu/libnvidia-ml.so.1",
    "/usr/lib/wsl/lib/libnvidia-ml.so.1",
    "/run/nvidia/driver/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1",
    "/run/nvidia/driver/usr/lib64/libnvidia-ml.so.1",
    "/run/nvidia/driver/usr/lib/aarch64-linux-gnu/libnvidia-ml.so.1",
];

/// A loaded NVML library file.
pub struct Library {
    path: PathBuf,
    library: Arc<libloading::Library>,
}

impl Library {
    /// Loads the first library found at [`TRUSTED_PATHS`].
    ///
    /// # Errors
    /// [`DriverError::LibraryNotFound`] if none exists, [`DriverError::LibraryLoad`] if the first
    /// that exists does not load.
    pub fn load() -> Result<Self, DriverError> {
        let found = TRUSTED_PATHS.iter().map(Path::new).find(|path| path.exists());
        match found {
            Some(path) => Self::load_path(path),
            None => Err(DriverError::LibraryNotFound {
                tried: TRUSTED_PATHS.iter().map(PathBuf::from).collect(),
            }),
        }
    }

    /// Loads the library at `path`. The file runs in this process with all its rights: the caller
    /// vouches that it is an NVML.
    ///
    /// # Errors
    /// [`DriverError::LibraryNotFound`] if the file does not exist or the path is relative (a bare
    /// name would make the dynamic linker search), [`DriverError::LibraryLoad`] if it does not load.
    pub fn load_path(path: &Path) -> Result<Self, DriverError> {
        if !path.is_absolute() || !path.exists() {
            return Err(DriverError::LibraryNotFound { tried: vec![path.into()] });
        }
        // SAFETY: loading runs the initialisers of the file; the caller vouches for it (documented),
        // and `load` uses only paths that root alone may write.
        let loaded = unsafe { libloading::Library::new(path) };
        match loaded {
            Ok(library) => Ok(Self { path: path.into(), library: Arc::new(library) }),
            Err(source) => Err(DriverError::LibraryLoad { path: path.into(), source }),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A resolver over the library; it keeps the library loaded.
    pub fn resolver(&self) -> Resolver {
        let library = Arc::clone(&self.library);
        Arc::new(move |name: &str| {
            // SAFETY: the symbol is only taken as an address here; whoever calls it gives it the
            // signature of `nvml.h`.
            let symbol = unsafe { library.get::<*mut c_void>(name.as_bytes()) }.ok()?;
            // SAFETY: the address outlives the borrow, for the closure owns a clone of the library.
            let address = unsafe { symbol.try_as_raw_ptr() };
            address.and_then(NonNull::new)
        })
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Library").field("path", &self.path).finish_non_exhaustive()
    }
}
