//! An authority made for the occasion, and the certificates of receivers, good and bad, and of clients.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};
use tempfile::TempDir;

/// The name that good certificates of receivers are for.
pub const NAME: &str = "localhost";
/// The name of the client that a receiver lets in.
pub const CLIENT: &str = "jumpstream.example";

/// What is wrong with a receiver's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    Expired,
    /// Good for another host.
    OtherName,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// Made anew at every call, so that those of one are a stranger's to another.
pub struct Authority {
    pub pem: String,
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "jumpstream's tests");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority { pem: issuer.pem(), issuer, folder };
        let client = authority.sign(CLIENT, ExtendedKeyUsagePurpose::ClientAuth, |_| ());
        authority.write("ca.pem", &authority.pem);
        authority.write("client.pem", &client.certificate);
        authority.write("client.key", &client.key);
        authority
    }

    /// A receiver's.
    pub fn server(&self) -> Pair {
        self.sign(NAME, ExtendedKeyUsagePurpose::ServerAuth, |_| ())
    }

    /// A receiver's that a client must not accept.
    pub fn flawed(&self, flaw: Flaw) -> Pair {
        let name = if flaw == Flaw::OtherName { "elsewhere.example" } else { NAME };
        self.sign(name, ExtendedKeyUsagePurpose::ServerAuth, |params| {
            if flaw == Flaw::Expired {
                (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
            }
        })
    }

    /// What a client must trust.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub fn client_certificate(&self) -> PathBuf {
        self.folder.path().join("client.pem")
    }

    /// PKCS #8.
    pub fn client_key(&self) -> PathBuf {
        self.folder.path().join("client.key")
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.folder.path().join(name), content).unwrap();
    }

    fn sign(&self, name: &str, usage: ExtendedKeyUsagePurpose, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.insert_extended_key_usage(usage);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        Pair { certificate: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }
}
