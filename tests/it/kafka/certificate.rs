//! An authority made for the occasion, and the certificates that it signs: the broker's and a client's.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use tempfile::TempDir;

/// Files of PEM, for as long as this lives.
pub struct Certificates {
    pub ca_pem: String,
    /// The broker's key, then its certificate: one file is what Kafka wants.
    pub server_pem: String,
    folder: TempDir,
}

impl Certificates {
    /// Made anew at every call, so that those of one broker are a stranger's to another.
    pub fn generate() -> Certificates {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "jumpstream's tests");
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();

        let (server, server_key) =
            signed(&ca, "kafka", ["localhost", "127.0.0.1"].as_slice(), ExtendedKeyUsagePurpose::ServerAuth);
        let (client, client_key) = signed(&ca, "client", &[], ExtendedKeyUsagePurpose::ClientAuth);
        let (next, next_key) = signed(&ca, "client", &[], ExtendedKeyUsagePurpose::ClientAuth);
        let folder = tempfile::tempdir().unwrap();
        let ca_pem = ca.pem();
        for (name, content) in [
            ("ca.pem", &ca_pem),
            ("client.pem", &client),
            ("client.key", &client_key),
            ("next.pem", &next),
            ("next.key", &next_key),
        ] {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        Certificates { ca_pem, server_pem: server_key + &server, folder }
    }

    /// The authority, which a client must trust.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for a client.
    pub fn client_certificate(&self) -> PathBuf {
        self.folder.path().join("client.pem")
    }

    /// Its key, PKCS #8.
    pub fn client_key(&self) -> PathBuf {
        self.folder.path().join("client.key")
    }

    /// The certificate that comes after the client's, and its key.
    pub fn next_client(&self) -> (PathBuf, PathBuf) {
        (self.folder.path().join("next.pem"), self.folder.path().join("next.key"))
    }
}

/// A certificate and its key, as PEM.
fn signed(
    ca: &CertifiedIssuer<'_, KeyPair>,
    name: &str,
    hosts: &[&str],
    usage: ExtendedKeyUsagePurpose,
) -> (String, String) {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.insert_extended_key_usage(usage);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, ca).unwrap().pem(), key.serialize_pem())
}
