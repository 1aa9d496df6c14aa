//! How TLS is spoken to what takes events: `tls` of a sink.

use std::path::PathBuf;

use super::super::key::{Key, Kind, Presence};
use super::super::read::Section;

const CA: Key = Key::new(
    "ca",
    Kind::Input,
    Presence::Optional("the system's roots"),
    "The authorities that the other side's certificate is verified against, PEM.",
    "/etc/ca.pem",
);

const CERTIFICATE: Key = Key::new(
    "certificate",
    Kind::Input,
    Presence::Optional("none"),
    "Our own certificate and its chain, PEM; together with `key`.",
    "/etc/tls.crt",
);

const KEY: Key = Key::new(
    "key",
    Kind::Input,
    Presence::Optional("none"),
    "The certificate's key, PEM, unencrypted.",
    "/etc/tls.key",
);

const SERVER_NAME: Key = Key::new(
    "server_name",
    Kind::Text,
    Presence::Optional("the address's host"),
    "The name that the receiver's certificate must be for.",
    "siem.example.com",
);

/// Of a Kafka sink.
pub(super) const KEYS: &[Key] = &[CA, CERTIFICATE, KEY];
/// Of a syslog sink.
pub(super) const WITH_NAME: &[Key] = &[CA, CERTIFICATE, KEY, SERVER_NAME];

/// TLS, with the other side's name always verified.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// None is the system's roots.
    pub ca: Option<PathBuf>,
    pub client: Option<ClientCertificate>,
}

/// PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Tls {
    pub(super) fn section(section: &Section) -> Option<Tls> {
        let written = |name| section.node(name).is_some();
        let ca = written("ca").then(|| section.input("ca"));
        let certificate = written("certificate").then(|| section.input("certificate"));
        let key = written("key").then(|| section.input("key"));
        let client = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate?, key?)),
            (None, None) => None,
            (certificate, _) => {
                let (written, missing) =
                    if certificate.is_some() { ("certificate", "key") } else { ("key", "certificate") };
                section.fault(written, format!("`{written}` without `{missing}`"), "write both, or neither");
                return None;
            }
        };
        let client = client.map(|(certificate, key)| ClientCertificate { certificate, key });
        Some(Tls { ca: ca.map_or(Some(None), |ca| ca.map(Some))?, client })
    }
}
