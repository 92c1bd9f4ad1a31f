//! The names by which callers over the network may call this host.
//!
//! Must never take a stranger's name: a page that a browser was lured to could reach a daemon on
//! loopback under a name of its own.

use std::net::{IpAddr, SocketAddr};

/// What a `Host` or `Origin` may name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hosts {
    port: u16,
    names: Vec<String>,
}

impl Hosts {
    /// The names of a daemon that listens at `address`: addresses, `names`, and on loopback
    /// `localhost`.
    pub(crate) fn new(address: SocketAddr, names: &[String]) -> Self {
        let mut names = names.to_vec();
        if address.ip().is_loopback() {
            names.push("localhost".to_owned());
        }
        Self { port: address.port(), names }
    }

    /// Whether `host` (with or without a port) means this daemon. An address does: names are what
    /// a stranger can point anywhere.
    pub(crate) fn knows(&self, host: &str) -> bool {
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name, Some(port)),
            _ => (host, None),
        };
        let port_fits = match port {
            Some(port) => port.parse() == Ok(self.port),
            None => matches!(self.port, 80 | 443),
        };
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        let is_address = bare.parse::<IpAddr>().is_ok();
        port_fits && (is_address || self.names.iter().any(|known| known.eq_ignore_ascii_case(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_known_names_with_the_right_port_are_known() {
        let hosts = Hosts::new("127.0.0.1:8443".parse().unwrap(), &["gpu1.lab".to_owned()]);
        for known in ["127.0.0.1:8443", "localhost:8443", "[::1]:8443", "GPU1.lab:8443"] {
            assert!(hosts.knows(known), "{known}");
        }
        for strange in ["evil.example:8443", "127.0.0.1:80", "127.0.0.1", "", "localhost", ":8443"]
        {
            assert!(!hosts.knows(strange), "{strange}");
        }
        let open = Hosts::new("10.0.0.1:443".parse().unwrap(), &[]);
        assert!(open.knows("10.0.0.1"));
        assert!(!open.knows("localhost"));
    }
}
