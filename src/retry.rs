//! How long to wait between tries. The only file that knows the `backoff` crate, of which it uses the schedule alone.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;

/// A rising, jittered pause that never gives up.
#[derive(Debug)]
pub struct Schedule(ExponentialBackoff);

impl Schedule {
    /// Pauses from `first`, doubling up to `longest`, each drawn from ±25 % of it.
    ///
    /// # Panics
    /// Where `first` is zero or longer than `longest`: refused here once, so that no loop can spin.
    pub fn new(first: Duration, longest: Duration) -> Schedule {
        assert!(!first.is_zero() && first <= longest, "a pause must be above zero and not longer than the longest");
        let mut backoff = ExponentialBackoff {
            initial_interval: first,
            max_interval: longest,
            multiplier: 2.0,
            randomization_factor: 0.25,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        backoff.reset();
        Schedule(backoff)
    }

    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        self.0.next_backoff().unwrap_or(self.0.max_interval)
    }

    /// Begins again at the first pause, after a success.
    pub fn reset(&mut self) {
        self.0.reset();
    }
}
