//! TLS to a receiver: the files that say whom we trust and who we are, and what a failed handshake means.
//!
//! # Invariants
//! The receiver's certificate and name are always verified. The files are read at each connection; nothing of them is
//! kept or shown.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::fault::Fault;
use crate::quote::quote;
use crate::record::syslog::Address;

/// Whom we trust, and who we are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// PEM; none is the system's roots.
    pub ca: Option<PathBuf>,
    /// Certificate chain and key, PEM.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The name that the certificate must be for; none is the address's host.
    pub server_name: Option<String>,
}

/// What the files looked like: a difference means that they were changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Stamp(Vec<Option<(u64, i64, i64, u64)>>);

impl Tls {
    pub(super) fn stamp(&self) -> Stamp {
        let client = self.client.iter().flat_map(|(certificate, key)| [certificate, key]);
        let stamp = |path: &PathBuf| {
            let file = std::fs::metadata(path).ok()?;
            Some((file.ino(), file.mtime(), file.mtime_nsec(), file.len()))
        };
        Stamp(self.ca.iter().chain(client).map(stamp).collect())
    }

    /// The name that the receiver's certificate must be for.
    fn name<'a>(&'a self, address: &'a Address) -> &'a str {
        self.server_name.as_deref().unwrap_or(&address.host)
    }

    pub(super) fn server_name(&self, address: &Address) -> Result<ServerName<'static>, Fault> {
        let name = self.name(address);
        ServerName::try_from(name.to_owned()).map_err(|_| {
            Fault::new(
                format!("{address}: `{}` is no name that a certificate could be for", quote(name)),
                "write `tls: {server_name: …}` with the name in the receiver's certificate",
            )
        })
    }

    /// Reads the files.
    pub(super) fn connector(&self) -> Result<TlsConnector, Fault> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            // 1.2 and 1.3: all that there is.
            .with_safe_default_protocol_versions()
            .map_err(|fault| Fault::new(format!("TLS: {fault}"), "report this"))?
            .with_root_certificates(self.roots()?);
        let config = match &self.client {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate)?;
                let key_der = PrivateKeyDer::from_pem_file(key)
                    .map_err(|fault| unreadable(key, &fault, "an unencrypted PEM key"))?;
                config.with_client_auth_cert(chain, key_der).map_err(|fault| {
                    Fault::new(
                        format!("{} and {} don't belong together ({fault})", certificate.display(), key.display()),
                        "correct tls.certificate and tls.key, which are read again",
                    )
                })?
            }
        };
        Ok(TlsConnector::from(Arc::new(config)))
    }

    fn roots(&self) -> Result<RootCertStore, Fault> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(path) => {
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|fault| unreadable(path, &fault, "certificates of authorities"))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err(Fault::new(
                        "this system has no certificates of authorities",
                        "install ca-certificates, or write `tls: {ca: …}`",
                    ));
                }
            }
        }
        Ok(roots)
    }

    /// Why there is no TLS, or none any more.
    pub(super) fn explain(&self, address: &Address, fault: &io::Error) -> Option<Fault> {
        let inner = fault.get_ref()?.downcast_ref::<rustls::Error>()?;
        let plain = if address.transport.is_relp() { "relp" } else { "tcp" };
        let (finding, remedy) = match inner {
            rustls::Error::InvalidCertificate(fault) => self.explain_certificate(address, fault),
            rustls::Error::AlertReceived(alert) => refused(*alert),
            rustls::Error::InvalidMessage(_) => (
                "what answers there doesn't speak TLS".to_owned(),
                format!("correct the port, or write `{plain}://` for a receiver without TLS"),
            ),
            other => {
                (format!("TLS failed: {}", quote(&other.to_string())), "look at the receiver's TLS settings".into())
            }
        };
        Some(Fault::new(format!("{address}: {finding}"), remedy))
    }

    fn explain_certificate(&self, address: &Address, fault: &CertificateError) -> (String, String) {
        let name = quote(self.name(address));
        match fault {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
                "its certificate has expired".into(),
                "renew the receiver's certificate, or set this machine's clock".into(),
            ),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
                "its certificate is not valid yet".into(),
                "set this machine's clock, or the receiver's certificate".into(),
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
                format!("its certificate is not for `{name}`"),
                "correct the address, or write `tls: {server_name: …}` with a name that the certificate has".into(),
            ),
            // The second where a stranger has an authority's name.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => (
                "its certificate is signed by nobody whom we trust".into(),
                "write `tls: {ca: …}` with the authority that signed it".into(),
            ),
            other => (
                format!("its certificate is refused ({})", quote(&other.to_string())),
                "correct the receiver's certificate".into(),
            ),
        }
    }
}

/// What the receiver says of us.
fn refused(alert: AlertDescription) -> (String, String) {
    let finding = format!("the receiver refuses TLS with us ({alert:?})");
    let remedy = match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            "it wants a certificate of ours: write `tls: {certificate: …, key: …}`"
        }
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateRevoked
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::AccessDenied => {
            "let it trust the certificate of tls.certificate, or give us another; the files are read again"
        }
        AlertDescription::HandshakeFailure => {
            "it may want a certificate of ours (`tls: {certificate: …, key: …}`), or know no cipher of TLS 1.2 or 1.3"
        }
        AlertDescription::ProtocolVersion => "it must speak TLS 1.2 or 1.3",
        AlertDescription::UnrecognisedName => "correct the address, or write `tls: {server_name: …}`",
        _ => "look at the receiver's log",
    };
    (finding, remedy.to_owned())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let expected = "certificates in PEM";
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let certificates = read.map_err(|fault| unreadable(path, &fault, expected))?;
    if certificates.is_empty() {
        return Err(unreadable(path, &"there are none", expected));
    }
    Ok(certificates)
}

fn unreadable(path: &Path, fault: &dyn std::fmt::Display, expected: &str) -> Fault {
    Fault::new(
        format!("{} doesn't hold {expected} ({})", path.display(), quote(&fault.to_string())),
        "correct the file, which is read again",
    )
}
