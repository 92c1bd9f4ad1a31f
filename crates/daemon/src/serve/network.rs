//! The door to the network: TCP, with TLS unless it stays on this host.
//!
//! Must never open without TLS to anything but loopback.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::options::DaemonError;
use crate::serve::edge::{Network, Tls};
use crate::serve::hosts::Hosts;

/// An open door.
pub(crate) struct NetworkDoor {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<TlsAcceptor>,
    /// Where it listens; the port is known even if any free one was asked for.
    pub(crate) address: SocketAddr,
    /// What callers may call it.
    pub(crate) hosts: Hosts,
}

impl NetworkDoor {
    /// Opens it.
    pub(crate) async fn open(network: &Network) -> Result<Self, DaemonError> {
        let failed = |reason: String| DaemonError::Network { address: network.listen, reason };
        if network.tls.is_none() && !network.listen.ip().is_loopback() {
            return Err(failed(
                "without TLS only loopback is listened on, for tokens would travel in the open; \
                 name a certificate and its key"
                    .to_owned(),
            ));
        }
        let tls = network.tls.as_ref().map(acceptor).transpose().map_err(failed)?;
        let bound = TcpListener::bind(network.listen).await;
        let listener = bound.map_err(|error| failed(error.to_string()))?;
        let address = listener.local_addr().map_err(|error| failed(error.to_string()))?;
        let hosts = Hosts::new(address, &network.names);
        Ok(Self { listener, tls, address, hosts })
    }
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor, String> {
    let certificates = CertificateDer::pem_file_iter(&tls.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("{}: {error}", tls.certificate.display()))?;
    if certificates.is_empty() {
        return Err(format!("{} holds no certificate", tls.certificate.display()));
    }
    keep_secret(&tls.key)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key)
        .map_err(|error| format!("{}: {error}", tls.key.display()))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key));
    let mut config = config.map_err(|error| {
        format!("{} with {}: {error}", tls.certificate.display(), tls.key.display())
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// A key that everybody can read is none.
fn keep_secret(key: &Path) -> Result<(), String> {
    let found = std::fs::metadata(key).map_err(|error| format!("{}: {error}", key.display()))?;
    if found.permissions().mode() & 0o007 != 0 {
        return Err(format!("{} can be read by everybody; chmod 600 it", key.display()));
    }
    Ok(())
}
