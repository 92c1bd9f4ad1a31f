//! Locks between processes.
//!
//! Must never outlive its holder: the kernel drops a lock when the process that took it dies.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::shared::SharedError;

/// A lock on a file that the kernel drops when its holder dies.
#[derive(Debug)]
pub(crate) struct FileLock(File);

impl FileLock {
    /// Waits for the lock; nobody else holds it, shared or not, until the value is dropped.
    ///
    /// # Errors
    /// [`SharedError::Io`].
    pub(crate) fn take(path: &Path) -> Result<Self, SharedError> {
        Self::lock(path, FlockOperation::LockExclusive)
    }

    /// Waits until nobody holds the lock alone, and shares it.
    ///
    /// # Errors
    /// [`SharedError::Io`].
    pub(crate) fn share(path: &Path) -> Result<Self, SharedError> {
        Self::lock(path, FlockOperation::LockShared)
    }

    fn lock(path: &Path, how: FlockOperation) -> Result<Self, SharedError> {
        let file = File::open(path).map_err(SharedError::io("open", path))?;
        loop {
            match flock(&file, how) {
                Ok(()) => return Ok(Self(file)),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(SharedError::io("lock", path)(error.into())),
            }
        }
    }
}

impl Drop for FileLock {
    /// Unlocks explicitly: a forked child may still hold a copy of the descriptor.
    fn drop(&mut self) {
        let _unlocked = flock(&self.0, FlockOperation::Unlock);
    }
}
