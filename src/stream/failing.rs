//! How one read has failed so far. It never says what to do about it.

use std::time::Duration;

use crate::clock;

/// One read's failures in a row.
#[derive(Debug, Default)]
pub struct Failing {
    pub count: u32,
    /// [`clock::uptime`] of the first of those that were like the last one, and whether those were refusals.
    like: Option<(Duration, bool)>,
}

impl Failing {
    /// Since when nothing but refusals came, or nothing but other failures.
    pub fn since(&mut self, refused: bool) -> Duration {
        let like = self.like.filter(|(_, each)| *each == refused);
        self.like.insert(like.unwrap_or_else(|| (clock::uptime(), refused))).0
    }
}
