//! A daemon over the network: where it is, how it is known, and the token that is shown to it.
//!
//! Must never show a token to a host that has not proved who it is, loopback apart.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::Uri;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Where systems keep the certificates that they trust.
const SYSTEM_ROOTS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
];

/// Why a daemon over the network cannot be meant.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The address makes no sense.
    #[error("`{0}` is no address of a daemon; write https://HOST:PORT")]
    Address(String),
    /// Without TLS only this host may be called.
    #[error("`{0}` would carry the token in the open; use https://")]
    Open(String),
    /// A file cannot be used.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// No file of trusted certificates was found.
    #[error("this system has no file of trusted certificates; name the daemon's with --ca")]
    NoRoots,
}

/// A connection of any kind.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A daemon over the network.
#[derive(Clone)]
pub struct Remote {
    url: String,
    authority: String,
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    token: String,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the token.
        f.debug_struct("Remote").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Remote {
    /// The daemon at `url`, which is shown `token`. It must prove itself by a certificate that one
    /// in the file `ca` vouches for, or one that the system trusts.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn new(url: &str, token: &str, ca: Option<&Path>) -> Result<Self, RemoteError> {
        let wrong = || RemoteError::Address(url.to_owned());
        let parsed: Uri = url.parse().map_err(|_| wrong())?;
        let authority = parsed.authority().ok_or_else(wrong)?.clone();
        if !matches!(parsed.path(), "" | "/") || authority.as_str().contains('@') {
            return Err(wrong());
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let (tls, port) = match parsed.scheme_str() {
            Some("https") => {
                let name = ServerName::try_from(host.clone()).map_err(|_| wrong())?;
                (Some((connector(ca)?, name)), 443)
            }
            Some("http") if is_this_host(&host) => (None, 80),
            Some("http") => return Err(RemoteError::Open(url.to_owned())),
            _ => return Err(wrong()),
        };
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            authority: authority.to_string(),
            port: authority.port_u16().unwrap_or(port),
            host,
            tls,
            token: token.trim().to_owned(),
        })
    }

    /// Its address, for messages.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What the header `Host` says.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// What the header `Authorization` says.
    pub(crate) fn authorization(&self) -> String {
        format!("Bearer {}", self.token)
    }

    /// Connects, and has the daemon prove itself.
    pub(crate) async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some((connector, name)) => Ok(Box::new(connector.connect(name.clone(), stream).await?)),
        }
    }
}

fn is_this_host(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn connector(ca: Option<&Path>) -> Result<TlsConnector, RemoteError> {
    let system = || SYSTEM_ROOTS.iter().map(Path::new).find(|path| path.exists());
    let path = ca.or_else(system).ok_or(RemoteError::NoRoots)?;
    let unusable = |reason: String| RemoteError::File { path: path.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path);
    let certificates = certificates.map_err(|error| unusable(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        // What the system trusts holds some that no library takes; one of one's own must do.
        if let Err(error) = roots.add(certificate)
            && ca.is_some()
        {
            return Err(unusable(error.to_string()));
        }
    }
    if roots.is_empty() {
        return Err(unusable("it holds no certificate".to_owned()));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_or_this_host_is_called() {
        let of = |url: &str| Remote::new(url, "t", None);
        assert!(matches!(of("http://gpu1:8443"), Err(RemoteError::Open(_))));
        for wrong in ["gpu1", "ftp://gpu1", "https://", "https://kim@gpu1", "http://localhost/x"] {
            assert!(matches!(of(wrong), Err(RemoteError::Address(_))), "{wrong}");
        }
        let local = of("http://[::1]:8080/").unwrap();
        assert_eq!((local.host.as_str(), local.port), ("::1", 8080));
        assert_eq!((local.authority(), local.url()), ("[::1]:8080", "http://[::1]:8080"));
        assert!(!format!("{local:?}").contains("Bearer"));
    }

    #[test]
    fn a_file_without_certificates_is_named() {
        let file = std::env::temp_dir().join(format!("migd-no-ca-{}", std::process::id()));
        std::fs::write(&file, "nothing").unwrap();
        let error = Remote::new("https://gpu1", "t", Some(&file)).unwrap_err().to_string();
        std::fs::remove_file(&file).unwrap();
        assert!(error.contains("migd-no-ca") && error.contains("no certificate"), "{error}");
    }
}
