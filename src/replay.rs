//! A range delivered once more, on request: marked as a replay, beside whatever else runs.
//!
//! ```text
//!  source ──events──▶ plan::again ──those of the range──▶ record (delivery: replay) ──▶ commit ──▶ sinks
//!     ▲                    │                                                          └────▶ the progress file
//!     └──── next page ─────┘
//! ```
//!
//! The accounts are read side by side, the streams of one after the other, each from the oldest event to the newest. A
//! batch is committed as everywhere: first the events, then the progress file, which takes the ledger's place.
//!
//! # Invariants
//! Has nothing to do with the ledger of a stream, the lock on it, its group or its transactions: it neither reads nor
//! writes what a running instance lives by. Never claims a time as done before what it showed is delivered; so after a
//! crash nothing of the range is missing, and what was in flight comes again.
//!
//! # Cancellation
//! Dropping [`Replay::run`] is a crash.

mod progress;
mod reading;
mod tally;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use tokio::sync::watch;

use crate::clock::Time;
use crate::commit::{self, Burial, Route};
use crate::ledger::{Coverage, StreamKey};
use crate::plan::Aside;
use crate::retry::Schedule;
use crate::sink::{DeadLetters, Sink};
use crate::source::{self, Client, EventQuery};
use crate::stream::or_end;
pub use progress::{Error as ProgressError, Progress, Subject};
use reading::Reading;
pub use tally::{Tally, spell};

/// Failures in a row of one request after which it is something else that fails.
const TRIES: u32 = 5;
/// Rising pauses between them.
const PAUSE: Range<Duration> = Duration::from_millis(500)..Duration::from_secs(60);

/// What is delivered again.
pub struct Replay {
    pub range: Range<Time>,
    /// Events asked for at once, 1 to 10,000.
    pub page_size: u32,
    /// One list for each account.
    pub accounts: Vec<Vec<Stream>>,
    /// True once it is to end.
    pub shutdown: watch::Receiver<bool>,
}

/// An organization and a service of an account.
#[derive(Clone)]
pub struct Stream {
    pub key: StreamKey,
    pub client: Client,
    /// Whether requests name the organization.
    pub names_organization: bool,
}

/// Where it goes.
pub struct Outlets {
    pub sinks: Vec<Arc<dyn Sink>>,
    pub dead_letters: Option<Arc<dyn DeadLetters>>,
}

/// How it ended where nothing failed.
#[derive(Debug, Default)]
pub struct Ended {
    /// Told to, before all was delivered.
    pub early: bool,
    /// What the API couldn't be brought to show.
    pub unread: Vec<(StreamKey, Range<Time>, Aside)>,
}

/// How many events the API counts in what is left of a stream's range.
#[derive(Debug)]
pub struct Counted {
    pub stream: StreamKey,
    pub events: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{stream}, {} to {}: {error}", range.start, range.end)]
    Source { stream: StreamKey, range: Range<Time>, error: source::Error },
    #[error(transparent)]
    Commit(#[from] commit::Error),
    #[error(transparent)]
    Progress(#[from] ProgressError),
}

impl Stream {
    fn organization(&self) -> Option<&str> {
        self.names_organization.then_some(self.key.organization.as_str())
    }

    /// How many events the API counts; asked a few times, since much passes.
    async fn count(&self, range: Range<Time>) -> Result<u64, source::Error> {
        let query = EventQuery {
            service: self.key.service.clone(),
            start: range.start,
            end: Some(range.end),
            limit: 1,
            search_after: None,
        };
        let mut pauses = Schedule::new(PAUSE.start, PAUSE.end);
        for _ in 1..TRIES {
            if let Ok(events) = self.client.count(self.organization(), &query).await {
                return Ok(events);
            }
            tokio::time::sleep(pauses.pause()).await;
        }
        self.client.count(self.organization(), &query).await
    }
}

impl Replay {
    /// How many streams there are.
    pub fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.accounts.iter().flatten()
    }

    /// Where [`Self::run`] tells how far it has come.
    pub fn tally(&self) -> Arc<Tally> {
        Arc::new(Tally::of(self.streams().count()))
    }

    /// Delivers what is not done yet, until all is or it is told to end.
    ///
    /// # Errors
    /// What no waiting heals. What was delivered until then is in the progress file.
    pub async fn run(&self, outlets: Outlets, progress: Progress, tally: &Tally) -> Result<Ended, Error> {
        let progress = Arc::new(progress);
        let route = Route {
            sinks: outlets.sinks,
            dead_letters: outlets.dead_letters.map(Burial::Before),
            store: progress.clone(),
            transaction: None,
        };
        let mut place = 0;
        let accounts = self.accounts.iter().map(|streams| {
            let first = place;
            place += streams.len();
            self.account(streams, first, &route, &progress, tally)
        });
        let ended = try_join_all(accounts).await?.into_iter().fold(Ended::default(), Ended::and);
        if !ended.early && ended.unread.is_empty() {
            progress.finish()?;
        }
        Ok(ended)
    }

    /// The streams of an account, one after the other; the first of them has that place in the tally.
    async fn account(
        &self,
        streams: &[Stream],
        first: usize,
        route: &Route,
        progress: &Progress,
        tally: &Tally,
    ) -> Result<Ended, Error> {
        let mut all = Ended::default();
        for (place, stream) in (first..).zip(streams) {
            let done = route.load(&stream.key).await?.map_or_else(Coverage::default, |stored| stored.coverage);
            let mut reading = Reading::new(self, stream, route, progress, done);
            let ended = reading.read(|part| tally.set(place, part)).await?;
            all = all.and(ended);
            if all.early {
                break;
            }
        }
        Ok(all)
    }

    /// What is left of each stream, as the API counts it; none when told to end. `done`: what an earlier life has
    /// delivered, by stream.
    pub async fn count(&self, done: impl Fn(&StreamKey) -> Coverage) -> Result<Option<Vec<Counted>>, Error> {
        let mut counted = Vec::new();
        for stream in self.streams() {
            let mut events = 0;
            for gap in done(&stream.key).gaps(self.range.clone()) {
                let mut shutdown = self.shutdown.clone();
                match or_end(&mut shutdown, stream.count(gap.clone())).await {
                    Some(Ok(more)) => events += more,
                    Some(Err(error)) => return Err(Error::Source { stream: stream.key.clone(), range: gap, error }),
                    None => return Ok(None),
                }
            }
            counted.push(Counted { stream: stream.key.clone(), events });
        }
        Ok(Some(counted))
    }
}

impl Ended {
    fn and(mut self, other: Ended) -> Ended {
        self.early |= other.early;
        self.unread.extend(other.unread);
        self
    }
}
