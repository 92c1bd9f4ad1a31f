//! Who comes in, through which doors, and how often, as the configuration says.
//!
//! Must never say who may do what: that is [`crate::members`]'s part.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use config::Config;

/// What holds from start to end.
#[derive(Debug, Clone)]
pub(crate) struct Edge {
    /// The door to the network; shut unless there is one.
    pub(crate) network: Option<Network>,
    /// What one caller may take.
    pub(crate) limits: Limits,
    /// How long audited calls are kept.
    pub(crate) audit_kept: Duration,
}

/// A door to the network.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    /// Where to listen. Without TLS it must be a loopback address.
    pub(crate) listen: SocketAddr,
    /// How connections are encrypted.
    pub(crate) tls: Option<Tls>,
    /// Names by which callers may call this host, beside its address.
    pub(crate) names: Vec<String>,
}

/// Files for TLS.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    /// The certificate and those that vouch for it (PEM).
    pub(crate) certificate: PathBuf,
    /// Its private key (PEM).
    pub(crate) key: PathBuf,
}

/// What one caller may take. Administrators on this machine may take more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Calls a second, in the long run.
    pub(crate) per_second: u32,
    /// Calls at once.
    pub(crate) burst: u32,
    /// Connections at a time.
    pub(crate) connections: u32,
}

impl Edge {
    /// What a configuration says.
    pub(crate) fn of(config: &Config) -> Self {
        let tls = config.tcp.certificate.clone().zip(config.tcp.key.clone());
        let tls = tls.map(|(certificate, key)| Tls { certificate, key });
        let names = config.tcp.names.clone();
        Self {
            network: config.tcp.listen.map(|listen| Network { listen, tls, names }),
            limits: Limits {
                per_second: config.limits.calls_per_second,
                burst: config.limits.burst,
                connections: config.limits.connections,
            },
            audit_kept: Duration::from_millis(config.journal.audit_retention.get()),
        }
    }
}
