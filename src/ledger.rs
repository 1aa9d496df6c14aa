//! The ledger.

pub mod checkpoint;
pub mod coverage;
pub mod minutes;

pub use checkpoint::{Checkpoint, Hour, Minute};
pub use coverage::Coverage;
pub use minutes::{Digest, Fingerprint, FingerprintKey, HourTotal};

/// What a ledger belongs to: an organization and a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamKey {
    pub organization: String,
    pub service: String,
}

impl std::fmt::Display for StreamKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.organization, self.service)
    }
}
