//! How much of an account's rate is used, and for what: its requests of the last minutes.

use std::collections::VecDeque;
use std::time::Duration;

use super::turns::Purpose;

/// So many minutes are looked back on.
const MINUTES: u64 = 10;

/// Requests a second over the last ten minutes, or since the account was opened.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usage {
    /// How long that is.
    pub over: Duration,
    pub live: f64,
    pub gaps: f64,
    pub verification: f64,
}

/// Requests sent, by minute and purpose.
#[derive(Debug)]
pub(super) struct Counts {
    /// In uptime.
    begun: Duration,
    /// Minutes of uptime, the newest last; those without a request are missing.
    minutes: VecDeque<(u64, [u32; 3])>,
}

impl Counts {
    pub fn begin(now: Duration) -> Counts {
        Counts { begun: now, minutes: VecDeque::new() }
    }

    pub fn sent(&mut self, purpose: Purpose, now: Duration) {
        let minute = now.as_secs() / 60;
        self.minutes.retain(|(own, _)| own + MINUTES > minute);
        if self.minutes.back().is_none_or(|(own, _)| *own != minute) {
            self.minutes.push_back((minute, [0; 3]));
        }
        self.minutes.back_mut().into_iter().for_each(|(_, sent)| sent[purpose as usize] += 1);
    }

    pub fn usage(&self, now: Duration) -> Usage {
        let first = (now.as_secs() / 60).saturating_sub(MINUTES - 1);
        let over = now.saturating_sub(self.begun.max(Duration::from_secs(first * 60)));
        // Within its first second an account has no rate to speak of.
        let seconds = over.as_secs_f64().max(1.0);
        let rate = |purpose: Purpose| {
            let sent = self.minutes.iter().filter(|(minute, _)| *minute >= first).map(|(_, sent)| sent);
            sent.map(|sent| f64::from(sent[purpose as usize])).sum::<f64>() / seconds
        };
        let [live, gaps, verification] = [Purpose::Live, Purpose::Gap, Purpose::Verification].map(rate);
        Usage { over, live, gaps, verification }
    }
}
