//! Who comes in, through which doors, and how often, as the configuration says.
//!
//! Must never read a name as a right: what a name means is asked of this machine at the call.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use config::{Admins, Config};
use host::Users;
use model::Uid;

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

/// Whether a user is named, or is in a group that is, among this machine's own users and groups
/// (`/etc/passwd`, `/etc/group`).
pub(crate) fn administrates(admins: &Admins, uid: Uid) -> bool {
    if admins.users.is_empty() && admins.groups.is_empty() {
        return false;
    }
    let users = Users::load();
    if admins.users.iter().any(|name| users.uid_of(name) == Some(uid)) {
        return true;
    }
    if admins.groups.is_empty() {
        return false;
    }
    let Some(name) = users.name_of(uid) else { return false };
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let primary = primary_group(name);
    in_group(&groups, &admins.groups, name, primary)
}

/// The number of a user's own group.
fn primary_group(name: &str) -> Option<u32> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(3)?.parse().ok()
}

fn in_group(groups: &str, wanted: &[String], name: &str, primary: Option<u32>) -> bool {
    groups.lines().any(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [group, _, number, members] = fields.as_slice() else { return false };
        wanted.iter().any(|known| known == group)
            && (members.split(',').any(|member| member == name)
                || (primary.is_some() && number.parse().ok() == primary))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_a_named_group_are_found_by_list_and_by_their_own_group() {
        let groups = "root:x:0:\ngpu-admins:x:44:kim,lee\nstaff:x:50:kimberly\nbroken\n";
        let wanted = ["gpu-admins".to_owned()];
        assert!(in_group(groups, &wanted, "lee", Some(1)));
        assert!(in_group(groups, &wanted, "park", Some(44)));
        assert!(!in_group(groups, &wanted, "kimberly", Some(50)));
        assert!(!in_group(groups, &["staff".to_owned()], "kim", None));
        assert!(!administrates(&Admins::default(), Uid::new(1)));
    }
}
