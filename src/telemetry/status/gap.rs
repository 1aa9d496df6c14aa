//! Wanted time that has not been read, as `/status` says it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::clock::Time;

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

/// Why time went by without being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It lies before the stream's first run.
    Backfill,
    KeyRefused,
    /// The API limited the account's rate.
    Throttled,
    /// The API refused the requests: no licence, no such path.
    RequestsRefused,
    /// The API was out of reach, or its answers were not whole.
    ApiFailing,
    SinkBlocked,
    /// No process ran, or none that still runs saw why: that is not stored.
    #[default]
    NotRunningOrUnknown,
}

impl Cause {
    pub fn words(self) -> &'static str {
        match self {
            Cause::Backfill => "before the first run",
            Cause::KeyRefused => "the key was refused",
            Cause::Throttled => "the API limited our rate",
            Cause::RequestsRefused => "the API refused our requests",
            Cause::ApiFailing => "the API failed or was out of reach",
            Cause::SinkBlocked => "a sink was blocked",
            Cause::NotRunningOrUnknown => "not running or unknown",
        }
    }
}
