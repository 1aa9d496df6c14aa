//! Whose turn it is under one rate limit: live polls, gaps and verification each have a share, and lend what they don't use.
//!
//! Start-time fair queueing (Goyal, Vin and Cheng 1996): each request is given a start on a common clock, the later the
//! more its purpose has had for its share; the earliest start goes first. A purpose that was idle has saved nothing.
//!
//! # Invariants
//! One turn at a time. A turn that is dropped, taken or not, goes to the next.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Purpose {
    /// The newest time, and whatever has to be known before it can be read.
    #[default]
    Live,
    Gap,
    Verification,
}

/// Parts of a hundred, by purpose.
const SHARES: [f64; 3] = [60.0, 25.0, 15.0];

/// The queue of those who wait.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<Mutex<Queue>>);

#[derive(Debug, Default)]
struct Queue {
    /// Whether somebody has the turn.
    taken: bool,
    /// The start of the request that had the turn last.
    clock: f64,
    /// Where the next request of a purpose starts at the earliest.
    next: [f64; 3],
    waiting: [VecDeque<oneshot::Sender<Turn>>; 3],
}

/// The turn; dropping it gives it on.
#[derive(Debug)]
pub(super) struct Turn(Option<Turns>);

impl Turns {
    pub async fn turn(&self, purpose: Purpose) -> Turn {
        let waits = {
            let mut queue = self.queue();
            if !queue.taken {
                queue.taken = true;
                queue.charge(purpose as usize);
                return Turn(Some(self.clone()));
            }
            let (sender, receiver) = oneshot::channel();
            queue.waiting[purpose as usize].push_back(sender);
            receiver
        };
        // The sender is dropped only with all that wait.
        waits.await.unwrap_or(Turn(None))
    }

    /// Gives the turn to the next that still waits for it.
    fn give_on(&self) {
        let mut queue = self.queue();
        while let Some((purpose, sender)) = queue.pop() {
            match sender.send(Turn(Some(self.clone()))) {
                Ok(()) => return queue.charge(purpose),
                // It waits no more; what was sent must not give the turn on by itself as well.
                Err(mut turn) => turn.0 = None,
            }
        }
        queue.taken = false;
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Counts a turn when it is given, since whoever waits may go away first.
    fn charge(&mut self, purpose: usize) {
        self.clock = self.clock.max(self.next[purpose]);
        self.next[purpose] = self.clock + 1.0 / SHARES[purpose];
    }

    /// Whoever starts earliest.
    fn pop(&mut self) -> Option<(usize, oneshot::Sender<Turn>)> {
        let waiting = (0..SHARES.len()).filter(|purpose| !self.waiting[*purpose].is_empty());
        let purpose = waiting.min_by(|one, other| self.next[*one].total_cmp(&self.next[*other]))?;
        Some((purpose, self.waiting[purpose].pop_front()?))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            turns.give_on();
        }
    }
}
