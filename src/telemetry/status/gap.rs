//! Wanted time that has not been read, as `/status` says it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::clock::Time;
pub use crate::ledger::Cause;

/// A wanted range that has not been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    pub from: Time,
    pub to: Time,
    /// Why it is not read yet, one word: `unread`, `unpageable`, `refused`.
    pub reason: Cow<'static, str>,
    /// Why it came to be.
    #[serde(default)]
    pub cause: Cause,
}
