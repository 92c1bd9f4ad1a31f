//! How a daemon is to run, and why it could not.
//!
//! Must never read the environment: whoever starts a daemon decides what it may contain.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use driver::DriverError;
use store::StoreError;

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
    /// The socket for administrators (mode 0600).
    pub admin_socket: PathBuf,
    /// Whether other users may connect (socket mode 0666 instead of 0600).
    pub shared: bool,
    /// Whether it runs for the length of one command: it does what it is asked and nothing by
    /// itself, and leaves when its standard input ends and no plan is open.
    pub passive: bool,
    /// Leave after so long without leases, queue or callers; `None` stays for ever.
    pub leave_when_idle: Option<Duration>,
    /// The configuration, and where to read it anew when SIGHUP comes.
    pub config: config::Effective,
    /// Where it came from.
    pub sources: config::Sources,
}

/// Why a daemon could not run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Another daemon has the same state.
    #[error("another daemon already runs on {}", .0.display())]
    AlreadyRunning(PathBuf),
    /// A file or folder it needs cannot be used.
    #[error("cannot use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The driver does not answer.
    #[error("the driver does not answer")]
    Driver(#[from] DriverError),
    /// The simulated host cannot be used.
    #[error("the simulated host cannot be used")]
    Simulated(#[from] sim_nvml::SimError),
    /// The journal cannot be used.
    #[error("the journal cannot be used")]
    Store(#[from] StoreError),
    /// The door to the network cannot be opened.
    #[error("cannot listen on {address}: {reason}")]
    Network {
        /// Where.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// The system refused something a daemon cannot do without.
    #[error("cannot {what}")]
    System {
        /// What was wanted.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}
