//! Why a receiver has not taken what it was sent, and what to do; all of it may heal.

use std::borrow::Cow;
use std::fmt;

/// A finding and its remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub finding: String,
    pub remedy: Cow<'static, str>,
    /// Whether a connection that was there broke: it is made again at once, and said only if it breaks again.
    pub broke: bool,
}

impl Fault {
    /// There is no connection.
    pub fn new(finding: impl Into<String>, remedy: impl Into<Cow<'static, str>>) -> Fault {
        Fault { finding: finding.into(), remedy: remedy.into(), broke: false }
    }

    /// A connection broke.
    pub fn broken(finding: impl Into<String>, remedy: impl Into<Cow<'static, str>>) -> Fault {
        Fault { broke: true, ..Fault::new(finding, remedy) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.finding, self.remedy)
    }
}
