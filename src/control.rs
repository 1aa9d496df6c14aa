//! Control records: what a reader of the events must know beside them. A stream was blind from one time to another, some
//! time is lost, and jumpstream lives.
//!
//! Each stream shows its [`Watch`] what it has committed; a clock shows it the time, so that a stream that stands still is
//! seen too. What has changed is queued and written beside the events.
//!
//! # Invariants
//! Delays no event: nothing here waits but the writer, which has a task of its own. What is queued is bounded, and what
//! that costs is counted. A record is written at least once, unless the process ends before; its id is the same each time.

pub mod blindness;
pub mod queue;
pub mod record;

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

use crate::clock::{self, Time};
use crate::ledger::{Ledger, StreamKey};
use crate::sink::{ControlRecord, ControlRecords};
use crate::telemetry::metrics::Metrics;
use blindness::{Blindness, Reach, Reason};
use queue::Queue;
use record::{Kind, Streams};

/// How often each stream is shown the time.
const LOOK: Duration = Duration::from_secs(1);
const HEARTBEAT: Duration = Duration::from_secs(60);
/// A commit that takes so long waits for a sink.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a process tells of its streams. Clones share it.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

struct Inner {
    options: Options,
    queue: Queue,
    streams: Mutex<Vec<Weak<Watched>>>,
}

pub struct Options {
    /// This process among all that share the work.
    pub replica: String,
    pub settings: blindness::Settings,
    pub metrics: Metrics,
}

/// Says what the server's time is; none where it is not known.
pub type TimeSource = Box<dyn Fn() -> Option<Time> + Send + Sync>;

/// Watches one stream, for as long as a clone of it is there.
#[derive(Clone)]
pub struct Watch {
    control: Control,
    watched: Arc<Watched>,
}

struct Watched {
    stream: StreamKey,
    now: TimeSource,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// None before the ledger was opened.
    stream: Option<(Blindness, Reach)>,
    trouble: Option<Reason>,
    /// [`clock::uptime`] when the commit in flight began.
    committing: Option<Duration>,
}

impl Control {
    pub fn new(options: Options) -> Control {
        Control(Arc::new(Inner { options, queue: Queue::default(), streams: Mutex::default() }))
    }

    /// Watches a stream, once it has said how far it has come.
    pub fn watch(&self, stream: StreamKey, now: TimeSource) -> Watch {
        let watched = Arc::new(Watched { stream, now, seen: Mutex::default() });
        let mut streams = self.streams();
        streams.retain(|stream| stream.strong_count() > 0);
        streams.push(Arc::downgrade(&watched));
        Watch { control: self.clone(), watched }
    }

    /// Shows the streams the time, and says every minute that it does. Never ends.
    pub async fn keep(&self) {
        let (mut look, mut heartbeat) = (every(LOOK), every(HEARTBEAT));
        loop {
            tokio::select! {
                _ = look.tick() => drop(self.look()),
                _ = heartbeat.tick() => {
                    let streams = self.look();
                    self.tell(record::heartbeat(&self.0.options.replica, streams, clock::wall()));
                }
            }
        }
    }

    /// Writes what is queued. Never ends; dropped, it may write its last records again.
    pub async fn write(&self, records: &dyn ControlRecords) {
        loop {
            let (kinds, batch): (Vec<Kind>, Vec<ControlRecord>) = self.0.queue.take().await.into_iter().unzip();
            for refused in records.write(&batch).await {
                tracing::warn!("a control record is refused and left out: {}", refused.explanation);
                self.dropped(kinds[refused.index]);
            }
            self.0.queue.written();
        }
    }

    /// Returns when everything that is queued has been written.
    pub async fn written(&self) {
        self.0.queue.emptied().await;
    }

    /// How many records are not written yet.
    pub fn waiting(&self) -> usize {
        self.0.queue.len()
    }

    fn look(&self) -> Streams {
        let living: Vec<Arc<Watched>> = self.streams().iter().filter_map(Weak::upgrade).collect();
        let mut streams = Streams { streams: living.len(), ..Streams::default() };
        for watched in living {
            let now = (watched.now)();
            let mut seen = watched.seen();
            if let Some(now) = now {
                self.look_at(&watched.stream, &mut seen, now);
            }
            match &seen.stream {
                Some((blindness, _)) => streams.blind += usize::from(blindness.is_open()),
                None => streams.starting += 1,
            }
        }
        streams
    }

    /// What it says of a stream is queued in the order in which that is seen, since nobody else looks meanwhile.
    fn look_at(&self, stream: &StreamKey, seen: &mut Seen, now: Time) {
        let trouble = seen.waits_for();
        let Some((blindness, reach)) = &mut seen.stream else { return };
        while let Some(change) = blindness.look(now, reach, trouble) {
            self.tell(record::change(stream, &change, clock::wall()));
        }
    }

    fn tell(&self, (kind, record): (Kind, ControlRecord)) {
        if let Some(kind) = self.0.queue.push(kind, record) {
            self.dropped(kind);
        }
    }

    fn dropped(&self, kind: Kind) {
        self.0.options.metrics.control_dropped(kind.as_str());
    }

    fn streams(&self) -> MutexGuard<'_, Vec<Weak<Watched>>> {
        self.0.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where this machine stood still it goes on with one tick, not with all that it missed.
fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    interval
}

impl Watch {
    /// The stream's ledger as it was stored.
    pub fn opened(&self, ledger: &Ledger, now: Time) {
        let blindness = Blindness::new(self.control.0.options.settings, ledger.first_run());
        let mut seen = self.watched.seen();
        seen.stream = Some((blindness, Reach::of(ledger)));
        self.control.look_at(&self.watched.stream, &mut seen, now);
    }

    /// A batch is being committed.
    pub fn committing(&self) {
        self.watched.seen().committing = Some(clock::uptime());
    }

    /// What the stream has come to is committed.
    pub fn reached(&self, reach: Reach, now: Time) {
        let mut seen = self.watched.seen();
        seen.committing = None;
        if let Some((_, own)) = &mut seen.stream {
            *own = reach;
        }
        self.control.look_at(&self.watched.stream, &mut seen, now);
    }

    /// What the stream waits for; none when all is well.
    pub fn trouble(&self, trouble: Option<Reason>) {
        self.watched.seen().trouble = trouble;
    }

    /// Time that the API no longer kept when it was read.
    pub fn lost(&self, ranges: &[Range<Time>]) {
        for range in ranges {
            self.control.tell(record::loss(&self.watched.stream, range, clock::wall()));
        }
    }
}

impl Watched {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn waits_for(&self) -> Option<Reason> {
        let is_stuck = |since: Duration| clock::uptime().saturating_sub(since) > PATIENCE;
        let stuck = self.committing.filter(|since| is_stuck(*since)).map(|_| Reason::SinkBlocked);
        stuck.or(self.trouble)
    }
}
