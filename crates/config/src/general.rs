//! The configuration of the daemon itself.
//!
//! Must never hold a value that depends on who runs the daemon: such a one is absent here, and
//! whoever starts the daemon fills it in.

use std::net::SocketAddr;
use std::path::PathBuf;

use broker::TenantRules;
use model::{Millis, StopClients};

use crate::rules::{
    FairShare, Placement, Preemption, Queue, Reclaim, Repartition, Requests, Tenant, Window,
};

/// All that a file may say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// The daemon.
    pub daemon: DaemonKeys,
    /// Who may open what.
    pub access: Access,
    /// Who may do what only an administrator may.
    pub admins: Admins,
    /// Changes of MIG mode.
    pub mode: Mode,
    /// The interface over TCP.
    pub tcp: Tcp,
    /// The journal.
    pub journal: Journal,
    /// Names of slices for containers.
    pub cdi: Cdi,
    /// What one user may have.
    pub limits: Limits,
    /// What holds for requests.
    pub requests: Requests,
    /// Order between tenants.
    pub fair_share: FairShare,
    /// Order of the queue.
    pub queue: Queue,
    /// Taking back what is idle.
    pub reclaim: Reclaim,
    /// Taking back what was borrowed.
    pub preemption: Preemption,
    /// Where a slice goes.
    pub placement: Placement,
    /// Rearranging idle room.
    pub repartition: Repartition,
    /// Rules of those who belong to no tenant below, each of whom is a tenant of their own, and of
    /// what a tenant leaves out.
    pub tenant_defaults: TenantRules,
    /// Tenants by name.
    pub tenants: Vec<Tenant>,
    /// Room kept by the week.
    pub windows: Vec<Window>,
}

/// `[daemon]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonKeys {
    /// Whether MIG mode may be enabled on empty GPUs.
    pub auto_mig: bool,
    /// From TERM to KILL when a lease's processes must end.
    pub grace: Millis,
    /// How long an idle slice stays for reuse.
    pub warm_for: Millis,
    /// How long a GPU may fail to answer before its leases are ended.
    pub failing_for: Millis,
    /// How long one step of a change may take in the driver before the change is given up.
    pub step_limit: Millis,
    /// Whether other users may connect; `None`: only to root's daemon of the real machine.
    pub shared: Option<bool>,
    /// The socket for users; `None`: where the machine's sockets are.
    pub socket: Option<PathBuf>,
    /// The socket for administrators; `None`: beside the other.
    pub admin_socket: Option<PathBuf>,
    /// How much is logged.
    pub log: LogLevel,
}

impl Default for DaemonKeys {
    fn default() -> Self {
        Self {
            auto_mig: false,
            grace: Millis::from_secs(10),
            warm_for: Millis::from_secs(300),
            failing_for: Millis::from_secs(300),
            // Some forty times what drivers take in public reports.
            step_limit: Millis::from_secs(60),
            shared: None,
            socket: None,
            admin_socket: None,
            log: LogLevel::default(),
        }
    }
}

/// How much is logged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// And what looks wrong.
    Warn,
    /// And what happened.
    #[default]
    Info,
    /// And every event.
    Debug,
    /// And everything.
    Trace,
}

impl LogLevel {
    /// The word of a log filter.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// `[access]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Whether slices are closed to those who did not lease them.
    pub enforce: Enforce,
}

/// Whether slices are closed to those who did not lease them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Enforce {
    /// Device nodes stay as the driver makes them; who would have been refused is reported.
    #[default]
    Observe,
    /// Device nodes are closed, and opened for one lease at a time.
    On,
    /// Nothing is looked at.
    Off,
}

/// `[admins]`. Root is always one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admins {
    /// Names of users.
    pub users: Vec<String>,
    /// Names of groups.
    pub groups: Vec<String>,
}

/// `[mode]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mode {
    /// Units that may be stopped while a GPU's mode changes or a GPU is reset.
    pub stop_clients: StopClients,
}

/// `[tcp]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tcp {
    /// Where to listen; `None`: nowhere.
    pub listen: Option<SocketAddr>,
    /// The certificate, PEM.
    pub certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
    /// Names by which callers may call this host, beside its address.
    pub names: Vec<String>,
}

/// `[journal]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    /// What an acknowledged event survives.
    pub durability: Durability,
    /// How long events are kept; `None`: for ever.
    pub retention: Option<Millis>,
    /// How long it is kept who changed what.
    pub audit_retention: Millis,
}

impl Default for Journal {
    fn default() -> Self {
        // A quarter, so that the last one can still be accounted for.
        let retention = Some(Millis::from_secs(90 * 24 * 3600));
        let audit_retention = Millis::from_secs(90 * 24 * 3600);
        Self { durability: Durability::default(), retention, audit_retention }
    }
}

/// What an acknowledged event survives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// The death of the daemon at any instruction.
    #[default]
    Process,
    /// The loss of power, too; each commit waits for the disk.
    Power,
}

/// `[cdi]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cdi {
    /// Where the file is written; `None`: where container engines look.
    pub path: Option<PathBuf>,
}

/// `[limits]`: what one user may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Requests waiting.
    pub waiting: u32,
    /// Bookings.
    pub bookings: u32,
    /// How far ahead a booking may begin.
    pub book_ahead: Millis,
    /// Calls a second, in the long run.
    pub calls_per_second: u32,
    /// Calls at once.
    pub burst: u32,
    /// Connections at a time.
    pub connections: u32,
}

impl Default for Limits {
    fn default() -> Self {
        let book_ahead = Millis::from_secs(90 * 24 * 3600);
        // Who starts a hundred jobs at once is not slowed down; a loop that never sleeps is.
        let (calls_per_second, burst, connections) = (100, 500, 256);
        Self { waiting: 1000, bookings: 20, book_ahead, calls_per_second, burst, connections }
    }
}
