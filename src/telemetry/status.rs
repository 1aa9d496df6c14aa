//! What `/status` and `/readyz` say: each stream's status, and a board that puts all of them together.
//!
//! # Invariants
//! Reads what the parts publish and asks nothing of them that could wait. Only a part that has not started makes the
//! process not ready: everything later is `degraded`, because no other replica would fare better.

mod gap;
mod lateness;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::clock::{self, Time};
use crate::telemetry::quote;
pub use gap::{Cause, Gap};
pub use lateness::{Lateness, Verdict};

/// The version of the JSON; a change that breaks a reader raises it.
pub const VERSION: u32 = 1;
/// How many gaps a stream shows.
const GAPS: usize = 100;
/// How many reasons are listed.
const REASONS: usize = 20;

/// What a stream is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its ledger is being read.
    Starting,
    /// It reads a gap; live polls go on beside it.
    Reading,
    /// Everything wanted has been read up to the edge.
    Live,
    /// For something that should pass by itself.
    Waiting,
    /// By something that needs a person.
    Blocked,
    Stopped,
}

impl State {
    /// As it is serialised.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Reading => "reading",
            State::Live => "live",
            State::Waiting => "waiting",
            State::Blocked => "blocked",
            State::Stopped => "stopped",
        }
    }
}

/// A stream's figures at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamStatus {
    pub account: String,
    pub organization: String,
    pub service: String,
    pub state: State,
    /// Why the stream is not all right; a stream with a reason is degraded.
    pub reason: Option<String>,
    /// Since when it has been in `state`.
    pub since: Time,
    pub start: Option<Time>,
    pub edge: Option<Time>,
    /// At the moment of [`Self::as_of`]; what is shown has grown since.
    pub lag_seconds: Option<f64>,
    /// The part of the wanted time, start to edge, that has been read: 0 to 1.
    pub covered_share: f64,
    pub gap_seconds: f64,
    /// The first hundred; see [`Self::set_gaps`].
    pub gaps: Vec<Gap>,
    /// All of them.
    pub gap_count: usize,
    pub delivered: Delivered,
    pub duplicates: u64,
    pub dead_letters: u64,
    /// Since there were gaps to read.
    pub gap_events_read: u64,
    /// An estimate; none where there are no gaps.
    pub gap_events_expected: Option<u64>,
    pub events_per_second: f64,
    /// Until the gaps are read, at the present speed.
    pub seconds_left: Option<f64>,
    pub compared: Compared,
    /// None before anything was read.
    #[serde(default)]
    pub lateness: Option<Lateness>,
    pub ledger: LedgerSize,
    pub poll_interval_seconds: f64,
    pub overlap_seconds: f64,
    /// [`clock::uptime`] when these figures were taken.
    #[serde(skip)]
    pub as_of: Duration,
}

/// Events delivered since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Delivered {
    pub live: u64,
    pub late: u64,
    pub backfill: u64,
}

/// How far what was read has been compared with the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Compared {
    /// Everything wanted up to here was counted at one age at least.
    pub counted_until: Option<Time>,
    /// Everything wanted up to here was read again at its last age and compared, or can't be proven any more.
    pub verified_until: Option<Time>,
    /// Events that the API counts and does not show.
    pub missing_events: u64,
    /// Delivered events that the API did not show when it was last asked.
    pub doubted_events: u64,
    /// The same, after three tries.
    pub gone_events: u64,
    /// Time whose count still differs.
    pub unsettled_seconds: u64,
    /// Time of which the API can't tell any more.
    pub unprovable_seconds: u64,
    /// How long the API keeps events, as far as is known.
    pub retention_seconds: u64,
    /// Until it forgets the oldest wanted time that has not been read.
    pub retention_left_seconds: u64,
    /// Wanted time that has not been read and that it has forgotten, as far as is known.
    #[serde(default)]
    pub past_retention_seconds: u64,
    /// Time that was read only when it had forgotten it.
    #[serde(default)]
    pub lost_seconds: u64,
}

/// What the ledger takes in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LedgerSize {
    pub fingerprints: u64,
    pub bytes: u64,
}

impl StreamStatus {
    /// A stream that has read nothing yet, not even its ledger.
    pub fn starting(account: &str, organization: &str, service: &str) -> StreamStatus {
        StreamStatus {
            account: account.into(),
            organization: organization.into(),
            service: service.into(),
            state: State::Starting,
            reason: None,
            since: clock::wall(),
            start: None,
            edge: None,
            lag_seconds: None,
            covered_share: 0.0,
            gap_seconds: 0.0,
            gaps: Vec::new(),
            gap_count: 0,
            delivered: Delivered::default(),
            duplicates: 0,
            dead_letters: 0,
            gap_events_read: 0,
            gap_events_expected: None,
            events_per_second: 0.0,
            seconds_left: None,
            compared: Compared::default(),
            lateness: None,
            ledger: LedgerSize::default(),
            poll_interval_seconds: 0.0,
            overlap_seconds: 0.0,
            as_of: clock::uptime(),
        }
    }

    /// Counts all, keeps the first hundred.
    pub fn set_gaps(&mut self, gaps: impl IntoIterator<Item = Gap>) {
        let mut gaps = gaps.into_iter();
        self.gaps = gaps.by_ref().take(GAPS).collect();
        self.gap_count = self.gaps.len() + gaps.count();
    }

    /// As it is to be shown: lag as of now, the reason safe to print.
    fn shown(mut self) -> StreamStatus {
        let age = clock::uptime().saturating_sub(self.as_of).as_secs_f64();
        self.lag_seconds = self.lag_seconds.map(|lag| lag + age);
        self.reason = self.reason.as_deref().map(quote);
        self
    }
}

/// Whether this process can take work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// Still starting: what it waits for.
    NotReady(String),
    Ready,
    /// It works, but not everything is all right.
    Degraded(Vec<String>),
}

impl Readiness {
    /// `not_ready`, `ready` or `degraded`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Readiness::NotReady(_) => "not_ready",
            Readiness::Ready => "ready",
            Readiness::Degraded(_) => "degraded",
        }
    }

    pub fn reasons(&self) -> &[String] {
        match self {
            Readiness::NotReady(reason) => std::slice::from_ref(reason),
            Readiness::Ready => &[],
            Readiness::Degraded(reasons) => reasons,
        }
    }
}

/// `/status`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    pub version: u32,
    /// The release.
    pub jumpstream: Cow<'static, str>,
    pub time: Time,
    pub state: Cow<'static, str>,
    pub reasons: Vec<String>,
    /// Null with a local state.
    pub replica: Option<Replica>,
    /// By name.
    #[serde(default)]
    pub accounts: Vec<AccountStatus>,
    /// Those that run here.
    pub streams: Vec<StreamStatus>,
}

/// What this replica has of what all replicas share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// The partitions of the ledger topic that are ours.
    pub partitions: Vec<u32>,
    pub of_partitions: u32,
    pub streams: usize,
    pub of_streams: usize,
}

/// How much of its request rate an account uses, here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccountStatus {
    pub name: String,
    /// What may be sent at this moment: this replica's share of the configured rate, less after a 429.
    pub requests_per_second: f64,
    /// The same without what a 429 took of it.
    pub configured_requests_per_second: f64,
    pub used: Used,
}

/// Requests a second that were sent lately, by what they were for.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Used {
    pub over_seconds: u64,
    pub live: f64,
    pub gaps: f64,
    pub verification: f64,
}

/// Says what an account uses; must not block.
pub type AccountSource = Arc<dyn Fn() -> AccountStatus + Send + Sync>;

/// Says what this replica has; must not block.
pub type ReplicaSource = Arc<dyn Fn() -> Option<Replica> + Send + Sync>;

/// Says what a part waits for at this moment; must not block.
pub type TroubleSource = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// Where the parts report. Clones share it.
#[derive(Clone, Default)]
pub struct Board(Arc<Mutex<Parts>>);

#[derive(Default)]
struct Parts {
    next_latch: u64,
    latches: BTreeMap<u64, String>,
    streams: Vec<watch::Receiver<StreamStatus>>,
    troubles: Vec<(String, TroubleSource)>,
    replica: Option<ReplicaSource>,
    accounts: Vec<AccountSource>,
}

impl Board {
    pub fn new() -> Board {
        Board::default()
    }

    /// Holds the process not ready until the latch is dropped; `reason` says what is waited for.
    pub fn hold(&self, reason: impl Into<String>) -> Latch {
        let mut parts = self.parts();
        let number = parts.next_latch;
        parts.next_latch += 1;
        parts.latches.insert(number, reason.into());
        Latch { board: self.clone(), number }
    }

    /// Shows a stream until its sender is dropped.
    pub fn stream(&self, status: watch::Receiver<StreamStatus>) {
        self.parts().streams.push(status);
    }

    /// Asks a part (a sink, the store, an account) for its trouble whenever someone wants to know.
    pub fn trouble(&self, name: impl Into<String>, source: TroubleSource) {
        self.parts().troubles.push((name.into(), source));
    }

    /// Asks for what this replica has whenever someone wants to know.
    pub fn replica(&self, source: ReplicaSource) {
        self.parts().replica = Some(source);
    }

    /// Asks an account for what it uses whenever someone wants to know.
    pub fn account(&self, source: AccountSource) {
        self.parts().accounts.push(source);
    }

    /// Whether this process can take work, and what is wrong otherwise.
    pub fn readiness(&self) -> Readiness {
        self.readiness_with(&self.streams())
    }

    /// All that is waited for or wrong at this moment: what holds the process not ready, then what degrades it.
    pub fn waits(&self) -> Vec<String> {
        let parts = self.parts();
        let (mut waits, troubles) =
            (parts.latches.values().map(|reason| quote(reason)).collect::<Vec<_>>(), parts.troubles.clone());
        drop(parts);
        let said = said(&troubles);
        // A latch may say the same, and of the same part.
        waits.retain(|latch| !said.iter().any(|(_, said)| latch.ends_with(said)));
        waits.extend(reasons(said, &self.streams()));
        waits
    }

    /// Everything, as `/status` shows it.
    pub fn status(&self) -> Status {
        let streams = self.streams();
        let readiness = self.readiness_with(&streams);
        let (replica, accounts) = {
            let parts = self.parts();
            (parts.replica.clone(), parts.accounts.clone())
        };
        Status {
            version: VERSION,
            jumpstream: env!("CARGO_PKG_VERSION").into(),
            time: clock::wall(),
            state: readiness.as_str().into(),
            reasons: readiness.reasons().to_vec(),
            replica: replica.and_then(|source| source()),
            accounts: accounts.iter().map(|source| source()).collect(),
            streams,
        }
    }

    /// The streams that live, by organization and service.
    fn streams(&self) -> Vec<StreamStatus> {
        let mut parts = self.parts();
        parts.streams.retain(|stream| stream.has_changed().is_ok());
        let mut streams: Vec<StreamStatus> =
            parts.streams.iter().map(|stream| stream.borrow().clone().shown()).collect();
        drop(parts);
        streams.sort_by(|a, b| (&a.organization, &a.service).cmp(&(&b.organization, &b.service)));
        streams
    }

    fn readiness_with(&self, streams: &[StreamStatus]) -> Readiness {
        let (latches, troubles) = {
            let parts = self.parts();
            (parts.latches.values().map(|reason| quote(reason)).collect::<Vec<_>>(), parts.troubles.clone())
        };
        if !latches.is_empty() {
            return Readiness::NotReady(latches.join("; "));
        }
        match reasons(said(&troubles), streams) {
            reasons if reasons.is_empty() => Readiness::Ready,
            reasons => Readiness::Degraded(reasons),
        }
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What each part waits for now, where it waits.
fn said(troubles: &[(String, TroubleSource)]) -> Vec<(&str, String)> {
    troubles.iter().filter_map(|(name, source)| Some((name.as_str(), quote(&source()?)))).collect()
}

/// One line a fault: what many streams of an account share, or what a part already says, is said once.
fn reasons(troubles: Vec<(&str, String)>, streams: &[StreamStatus]) -> Vec<String> {
    let mut shared = BTreeMap::<(&str, &str), Vec<&StreamStatus>>::new();
    for stream in streams {
        let reason = match (&stream.reason, stream.state) {
            (Some(reason), _) => reason,
            (None, State::Blocked) => "blocked",
            (None, _) => continue,
        };
        if !troubles.iter().any(|(_, said)| said == reason) {
            shared.entry((&stream.account, reason)).or_default().push(stream);
        }
    }
    let mut reasons: Vec<String> = troubles.iter().map(|(name, said)| format!("{name}: {said}")).collect();
    reasons.extend(shared.iter().map(|((account, reason), streams)| match streams.as_slice() {
        [stream] => format!("{}/{}: {reason}", stream.organization, stream.service),
        streams => format!("account {account}, {} streams: {reason}", streams.len()),
    }));
    if reasons.len() > REASONS {
        let left_out = reasons.len() - REASONS;
        reasons.truncate(REASONS);
        reasons.push(format!("and {left_out} more; see /status"));
    }
    reasons
}

/// Holds the process not ready for as long as it lives.
#[must_use]
pub struct Latch {
    board: Board,
    number: u64,
}

impl Latch {
    /// Changes what is waited for.
    pub fn say(&self, reason: impl Into<String>) {
        self.board.parts().latches.insert(self.number, reason.into());
    }
}

impl Drop for Latch {
    fn drop(&mut self) {
        self.board.parts().latches.remove(&self.number);
    }
}
