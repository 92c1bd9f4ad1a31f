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
    /// Leave after so long without leases, queue or callers; `None` stays for ever.
    pub leave_when_idle: Option<Duration>,
    /// The configuration, and where to read it anew when SIGHUP comes.
    pub config: config::Effective,
    /// Where it came from.
    pub sources: config::Sources,
    /// Who comes in, and how.
    pub edge: Edge,
}

/// Who comes in, through which doors, and how often.
#[derive(Debug, Clone)]
pub struct Edge {
    /// Users who administrate through the users' socket, beside root and the daemon's own.
    pub admins: Vec<u32>,
    /// The door to the network; shut unless there is one.
    pub network: Option<Network>,
    /// What one caller may take.
    pub limits: Limits,
    /// How long audited calls are kept.
    pub audit_kept: Duration,
}

impl Default for Edge {
    fn default() -> Self {
        Self {
            admins: Vec::new(),
            network: None,
            limits: Limits::default(),
            audit_kept: Duration::from_secs(90 * 86_400),
        }
    }
}

/// A door to the network.
#[derive(Debug, Clone)]
pub struct Network {
    /// Where to listen. Without TLS it must be a loopback address.
    pub listen: SocketAddr,
    /// How connections are encrypted.
    pub tls: Option<Tls>,
    /// Names by which callers may call this host, beside its address.
    pub names: Vec<String>,
}

/// Files for TLS.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The certificate and those that vouch for it (PEM).
    pub certificate: PathBuf,
    /// Its private key (PEM).
    pub key: PathBuf,
}

/// What one caller may take. Administrators on this machine may take more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Calls a second, in the long run.
    pub per_second: u32,
    /// Calls at once.
    pub burst: u32,
    /// Connections at a time.
    pub connections: u32,
}

impl Default for Limits {
    /// A user who starts a hundred jobs at once is not slowed down; a loop that never sleeps is.
    fn default() -> Self {
        Self { per_second: 100, burst: 500, connections: 256 }
    }
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
