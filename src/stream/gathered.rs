//! The batch being gathered, and the room that all batches of the process share.
//!
//! # Invariants
//! Nobody waits for room: where there is none, batches are small. A batch gives its room back when it is dropped, which
//! is when it has been committed.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::record::{DeadLetter, Record};

/// A batch closes at this many records, in mid-page too.
const RECORDS: usize = 10_000;
/// What all batches of the process may hold together: one that is committed and one that is gathered, and as much again.
const ROOM: usize = 32 << 20;
/// What every batch may hold beside that, so that no stream waits for another's memory.
const FREE: usize = 32 << 10;
/// Room is taken in pieces of this many bytes.
const PIECE: usize = 64 << 10;

/// What the batches of a process may hold of memory.
#[derive(Debug, Clone)]
pub struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Room {
        Room::of(ROOM)
    }
}

impl Room {
    /// Of so many bytes.
    pub fn of(bytes: usize) -> Room {
        Room(Arc::new(Semaphore::new(bytes / PIECE)))
    }

    /// Bytes that no batch holds.
    pub fn left(&self) -> usize {
        self.0.available_permits() * PIECE
    }
}

/// The batch being gathered.
#[derive(Default)]
pub(super) struct Gathered {
    pub records: Vec<Record>,
    pub dead: Vec<DeadLetter>,
    bytes: usize,
    /// Room for all but what is free.
    pub taken: Option<OwnedSemaphorePermit>,
}

impl Gathered {
    pub fn push(&mut self, record: Record) {
        self.bytes += record.value.len();
        self.records.push(record);
    }

    pub fn bury(&mut self, letter: DeadLetter) {
        self.bytes += letter.value.len();
        self.dead.push(letter);
    }

    /// Whether it is to be sent off: it has come to its end, or there is no room for what it holds already.
    pub fn is_full(&mut self, bytes: usize, room: &Room) -> bool {
        self.records.len() >= RECORDS || self.bytes >= bytes || !self.fits(room)
    }

    fn fits(&mut self, room: &Room) -> bool {
        let pieces = self.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = self.bytes.saturating_sub(FREE).div_ceil(PIECE).saturating_sub(pieces);
        if missing == 0 {
            return true;
        }
        let Ok(more) = room.0.clone().try_acquire_many_owned(missing as u32) else { return false };
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            None => self.taken = Some(more),
        }
        true
    }
}
