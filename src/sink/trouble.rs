//! What a sink waits for: said once when it begins, once when it is over, and whenever asked in between.
//!
//! # Invariants
//! Never waits itself and never decides anything. A trouble lasts exactly as long as someone waits for it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock;
pub use crate::quote::quote;

/// The trouble of one sink, shared by all its deliveries.
#[derive(Debug)]
pub struct Trouble {
    sink: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: usize,
    since: Duration,
    text: Option<String>,
}

impl Trouble {
    /// `sink` names it in the log: `kafka topic jumpcloud.events`.
    pub fn new(sink: impl Into<String>) -> Trouble {
        Trouble { sink: sink.into(), state: Mutex::default() }
    }

    /// What is waited for at this moment; none when all is well.
    pub fn text(&self) -> Option<String> {
        self.state().text.clone()
    }

    /// One delivery's part in it; nothing is said before [`Wait::until`].
    pub fn wait(&self) -> Wait<'_> {
        Wait { trouble: self, waits: false }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half way, so a poisoned state is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One delivery that may wait. Dropped while it waits, it says nothing more.
#[derive(Debug)]
pub struct Wait<'a> {
    trouble: &'a Trouble,
    waits: bool,
}

impl Wait<'_> {
    /// Waits until `text` has healed: a sentence with the remedy, the same for as long as the cause is the same.
    pub fn until(&mut self, text: impl Into<String>) {
        let text = text.into();
        let mut state = self.trouble.state();
        if !self.waits {
            self.waits = true;
            state.waiting += 1;
            if state.waiting == 1 {
                state.since = clock::uptime();
            }
        }
        if state.text.as_ref() != Some(&text) {
            tracing::warn!(sink = self.trouble.sink, "waiting: {text}");
            state.text = Some(text);
        }
    }

    /// What was waited for has healed.
    pub fn over(&mut self) {
        if let Some(lasted) = self.leave() {
            tracing::info!(sink = self.trouble.sink, "recovered after {} s", lasted.as_secs());
        }
    }

    /// Leaves the waiting; the last one out takes the text along and gives how long the trouble lasted.
    fn leave(&mut self) -> Option<Duration> {
        if !std::mem::take(&mut self.waits) {
            return None;
        }
        let mut state = self.trouble.state();
        state.waiting -= 1;
        if state.waiting > 0 {
            return None;
        }
        state.text = None;
        Some(clock::uptime().saturating_sub(state.since))
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}
