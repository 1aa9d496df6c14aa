//! What the operator chose of polling and comparing, and what follows from it.

use std::time::Duration;

use super::due::Ages;

/// The least of [`Settings::lagging`].
const LAGGING: Duration = Duration::from_secs(300);

/// What the operator chose.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Time from the beginning of one live poll to the next.
    pub interval: Duration,
    /// Events asked for at once, 1 to 10,000.
    pub page_size: u32,
    /// Windows of gaps that are read at a time, at least one.
    pub windows: usize,
    /// When what was read is compared with the API again.
    pub ages: Ages,
    /// How long the API keeps events; learned where none is given.
    pub retention: Option<Duration>,
}

impl Settings {
    /// How far behind the edge may lie and still be polled from.
    pub fn lagging(&self) -> Duration {
        LAGGING.max(self.interval * 3)
    }
}
