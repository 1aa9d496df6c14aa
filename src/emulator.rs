//! A Directory Insights API to try against: faithful in its answers, awkward on demand, and it knows the truth.
//!
//! It speaks HTTP and nothing else: whoever reads from it cannot tell it from another machine.
//! `docs/reference/insights-api.md` says which behaviour is documented, which is seen, and which is a guess that
//! has a switch.
//!
//! # Invariants
//! Imports nothing of the rest of the crate, its clock included, so that a mistake on one side cannot cancel out one
//! on the other. The same options and the same clock give the same events, byte for byte, in whatever steps the
//! clock moved. An event's bytes never change, and an event that was shown is shown again until its retention ends.

#![allow(clippy::disallowed_methods, reason = "it stands in for another machine, which has a clock of its own")]

mod api;
mod arrival;
mod body;
mod catalog;
mod control;
mod dataset;
mod fault;
mod filter;
mod interval;
mod journal;
mod options;
mod page;
mod query;
mod random;
mod record;
mod serve;
mod template;
mod time;
mod world;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use control::Truth;
pub use fault::Kind;
pub use options::{Distinct, EmptyCursor, End, Options, OverLimit};
pub use time::Span;

use control::Walk;
use serve::Shared;
use world::{World, locked};

/// How long requests in flight may take to end when the emulator stops.
const GRACE: Duration = Duration::from_secs(1);

/// Why the emulator doesn't start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the emulator's options make no sense: {0}")]
    Options(&'static str),
    #[error("cannot listen on {address}: {source}; give --listen a free port, or port 0")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("the emulator failed while it made its data set; are there too many --events for this machine?")]
    Dataset(#[source] tokio::task::JoinError),
}

/// A running emulator. Dropping it stops it too, without waiting.
pub struct Emulator {
    address: SocketAddr,
    world: Arc<World>,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

/// What it was asked, and what went wrong with that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    /// All that came, failed ones included.
    pub requests: u64,
    /// Those whose key was refused.
    pub refused: u64,
    /// How many requests each kind of trouble struck.
    pub faults: BTreeMap<Kind, u64>,
}

/// Makes the data set, then listens. Dropping the future before it is done leaves nothing behind.
pub async fn start(options: Options) -> Result<Emulator, Error> {
    if let Some(fault) = options.fault() {
        return Err(Error::Options(fault));
    }
    let address = options.listen;
    let listener = TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
    let address = listener.local_addr().map_err(|source| Error::Listen { address, source })?;
    let world = tokio::task::spawn_blocking(|| Arc::new(World::new(options))).await.map_err(Error::Dataset)?;
    let (stop, stopped) = watch::channel(false);
    let router =
        Router::new().fallback(serve::serve).with_state(Shared { world: world.clone(), stopped: stopped.clone() });
    // Answers are written whole; waiting for more to send would only delay small ones.
    let listener = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
    let server = tokio::spawn(async move {
        let mut stopped = stopped;
        let stopping = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
        // It serves until it is told to stop; accepting is tried again for ever.
        drop(axum::serve(listener, router).with_graceful_shutdown(stopping).await);
    });
    Ok(Emulator { address, world, stop, server })
}

impl Emulator {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS`, to which clients add `/insights/directory/v1`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The ids of its organizations; the first is the one a key is asked for without `x-org-id`.
    pub fn organizations(&self) -> Vec<String> {
        let dataset = self.world.dataset(self.world.clock.now());
        dataset.organizations.iter().map(|organization| organization.id.clone()).collect()
    }

    /// How many records it holds, stored duplicates and those that aren't visible yet included.
    pub fn records(&self) -> usize {
        let dataset = self.world.dataset(self.world.clock.now());
        dataset.organizations.iter().map(|organization| organization.len()).sum()
    }

    /// As [`Self::records`], without the stored duplicates.
    pub fn events(&self) -> usize {
        let dataset = self.world.dataset(self.world.clock.now());
        dataset.organizations.iter().map(|organization| organization.distinct()).sum()
    }

    /// What its clock shows.
    pub fn now(&self) -> jiff::Timestamp {
        time::timestamp_of(self.world.clock.now())
    }

    /// Sets its clock forward.
    pub fn advance(&self, by: Duration) {
        self.world.clock.advance(Span::from(by).nanos());
    }

    /// Every distinct event that is visible by `until` (its now), in the order of organizations and answers.
    pub fn truth(&self, until: Option<jiff::Timestamp>) -> Vec<Truth> {
        let Some(mut walk) = Walk::new(&self.world, None, until.map(time::nanos_of)) else { return Vec::new() };
        std::iter::from_fn(|| walk.next()).flatten().collect()
    }

    /// Puts `key` in the first key's place, which is refused from now on.
    pub fn rotate_key(&self, key: &str) {
        self.world.rotate(None, key, None);
    }

    /// Lets the next request fail in this way, after those that were ordered before.
    pub fn fail_next(&self, kind: Kind) {
        locked(&self.world.faults).order(kind);
    }

    /// What it was asked so far.
    pub fn activity(&self) -> Activity {
        let (requests, refused) = locked(&self.world.journal).sums();
        Activity { requests, refused, faults: locked(&self.world.faults).struck() }
    }

    /// From now on no event comes by itself; those that have come may still become visible later.
    pub fn end_arrivals(&self) {
        let now = self.world.clock.now();
        self.world.dataset_mut().end_arrivals(now);
    }

    /// Serves until `shutdown` is done, then stops. Cancelling stops it without waiting.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) {
        shutdown.await;
        self.stop().await;
    }

    /// Stops listening and waits at most a second for the requests in flight. Cancelling leaves it stopping.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(GRACE, &mut self.server).await.is_err() {
            self.server.abort();
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}
