//! How fast an account asks: one limit for all its requests, lowered by a 429 and raised again by quiet.

use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::Clock as _;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::turns::{Purpose, Turns};
use super::usage::{Counts, Usage};
use crate::clock;

/// Requests of this much time may go out at once.
const BURST_SECONDS: f64 = 2.0;
/// A 429 halves the rate, but never below this part of the configured one.
const FLOOR: f64 = 1.0 / 32.0;
/// After this long without a 429 the rate rises by a quarter.
const QUIET: Duration = Duration::from_secs(30);
const RISE: f64 = 1.25;
/// A turn that is far is looked at again so often.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Rate {
    /// Requests a second of the account, over all replicas.
    account: f64,
    turns: Turns,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Our share of the account's rate.
    configured: f64,
    limiter: DefaultDirectRateLimiter,
    current: f64,
    /// When the rate last changed or a 429 came, in uptime.
    changed: Duration,
    /// No request before this uptime: the API's `Retry-After` holds for the whole account.
    paused_until: Duration,
    sent: Counts,
}

impl Rate {
    /// `per_second` must be a number above zero; the configuration has checked it.
    pub(super) fn new(per_second: f64) -> Rate {
        let configured = if per_second.is_finite() { per_second.clamp(0.001, 10_000.0) } else { 5.0 };
        let state = State {
            configured,
            limiter: limiter(configured),
            current: configured,
            changed: clock::uptime(),
            paused_until: Duration::ZERO,
            sent: Counts::begin(clock::uptime()),
        };
        Rate { account: configured, turns: Turns::default(), state: Mutex::new(state) }
    }

    /// Requests a second at this moment.
    pub(super) fn current(&self) -> f64 {
        self.state().current
    }

    /// Our share of the configured rate.
    pub(super) fn configured(&self) -> f64 {
        self.state().configured
    }

    /// What was sent lately.
    pub(super) fn usage(&self) -> Usage {
        self.state().sent.usage(clock::uptime())
    }

    /// Waits for our turn. Dropping it gives the turn to the next.
    pub(super) async fn turn(&self, purpose: Purpose) {
        let _turn = self.turns.turn(purpose).await;
        while let Some(pause) = self.check() {
            // Our share may grow meanwhile.
            tokio::time::sleep(pause.min(LOOK)).await;
        }
        self.state().sent.sent(purpose, clock::uptime());
    }

    /// None when a request may go out now, else how long to wait before asking again.
    fn check(&self) -> Option<Duration> {
        let (mut state, now) = (self.state(), clock::uptime());
        if now < state.paused_until {
            return Some(state.paused_until - now);
        }
        if state.current < state.configured && now.saturating_sub(state.changed) >= QUIET {
            let raised = (state.current * RISE).min(state.configured);
            state.set(raised, now);
            tracing::debug!(rate = raised, "the request rate rises again");
        }
        let denied = state.limiter.check().err()?;
        Some(denied.wait_time_from(state.limiter.clock().now()).max(Duration::from_millis(1)))
    }

    /// The API said that we ask too fast, in answer to a request sent at `sent` (uptime).
    pub(super) fn lower(&self, sent: Duration, retry_after: Option<Duration>) {
        let (mut state, now) = (self.state(), clock::uptime());
        if let Some(pause) = retry_after {
            state.paused_until = state.paused_until.max(now + pause);
        }
        // Several requests in flight were sent at the same, old rate: they halve it once.
        if sent >= state.changed || state.current == state.configured {
            let lowered = (state.current / 2.0).max(state.configured * FLOOR);
            state.set(lowered, now);
        }
        state.changed = now;
    }

    /// Our part of the account's rate; a rate lowered by a 429 stays lowered in proportion.
    pub(super) fn set_share(&self, share: f64) {
        let mut state = self.state();
        let configured = (self.account * share.clamp(0.0, 1.0)).max(0.001);
        if configured != state.configured {
            let current = state.current / state.configured * configured;
            state.configured = configured;
            let now = clock::uptime();
            state.set(current, now);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn set(&mut self, rate: f64, now: Duration) {
        self.current = rate;
        self.changed = now;
        self.limiter = limiter(rate);
        // A new limiter begins with its whole burst, which a changed rate has not earned.
        let _ = self.limiter.check_n(burst(rate));
    }
}

fn limiter(rate: f64) -> DefaultDirectRateLimiter {
    let quota = Quota::with_period(Duration::from_secs_f64(1.0 / rate)).expect("the period is above zero");
    RateLimiter::direct(quota.allow_burst(burst(rate)))
}

fn burst(rate: f64) -> NonZeroU32 {
    NonZeroU32::new((rate * BURST_SECONDS) as u32).unwrap_or(NonZeroU32::MIN)
}
