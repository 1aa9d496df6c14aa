//! How late a stream's events are, as `/status` says it.

use serde::{Deserialize, Serialize};

use crate::clock::Time;

/// How late events are since the stream was opened here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lateness {
    pub since: Time,
    /// Live and late ones; what was read of gaps says nothing of lateness.
    pub events: u64,
    /// Of them, those that a poll found in its overlap.
    pub within_overlap: u64,
    /// Of them, those that only comparing with the API found.
    pub beyond_overlap: u64,
    /// So late half of those that comparing found were at most; none where they are too few.
    pub half_within_seconds: Option<u64>,
    /// How late the latest was when it was found.
    pub latest_seconds: Option<u64>,
    pub last_age_seconds: u64,
    pub verdict: Verdict,
    /// What `verify.after` should be, where it should be something else.
    pub suggested_ages_seconds: Option<Vec<u64>>,
}

/// Whether the ages at which events are looked for fit how late they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Too few events were seen to say.
    TooLittle,
    /// Nothing was found at the last age, and it was looked for as long as that.
    Fits,
    /// The same, but it was not looked for as long.
    FitsSoFar,
    /// Something was found only at the last age: more may come later, and nothing looks for it.
    LastAgeTooShort,
    /// Most were found at an age long after the one before: one between would have found them sooner.
    AgeMissing,
}
