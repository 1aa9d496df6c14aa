//! One organization's and one service's loop: plan, fetch, admit, format, commit.
//!
//! While one batch is being committed the next one is fetched and admitted; there are never more than these two, and
//! a sink that waits makes the loop wait with it. All streams share the room that their batches take. Requests that are
//! not the live edge's are in the air together ([`air`]), and their answers are taken in one after the other. After a
//! failed commit everything in memory is dropped and the ledger is read again from the store.
//!
//! # Invariants
//! Owns its ledger; nobody else changes it. Decides nothing about order or time (the plan does) and nothing about
//! durability (commit does). Waits for everything that can heal and says so; ends only when told to, or with an error
//! that no waiting heals.
//!
//! # Cancellation
//! Dropping [`Stream::run`] is a crash, which ends the commit in flight too: what was not committed is read again.

mod air;
pub mod causes;
mod counting;
mod failing;
mod fetch;
mod gathered;
pub mod lateness;
mod owner;
pub(crate) mod query;
mod report;
mod server_time;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::clock::{self, Time};
use crate::commit::{self, Batch, Route};
use crate::ledger::{Cause, Checkpoint, FingerprintKey, Ledger, StreamKey};
use crate::plan::{Ask, Asked, Plan, Settings};
use crate::record::DeadLetter;
use crate::source::{Class, Client, Error as SourceError, Purpose};
use air::{Air, Landed};
use failing::Failing;
use gathered::Gathered;
pub use gathered::Room;
use report::Report;
pub use report::{Faults, Telemetry};

/// Failures in a row after which a paged read begins anew, since its cursor may be what fails.
const CURSOR_TRIES: u32 = 5;
/// From so many failures in a row on they are told.
const NEWS: u32 = 3;
/// Rising pauses between failed requests.
const PAUSE: std::ops::Range<Duration> = Duration::from_millis(500)..Duration::from_secs(60);

/// What a stream is made of.
pub struct Stream {
    pub key: StreamKey,
    pub client: Client,
    /// Whether requests name the organization (`x-org-id`): only where it was configured.
    pub names_organization: bool,
    pub settings: Settings,
    /// Where coverage begins for a stream first seen at the server's time given; asked at each start, since the
    /// configuration may have moved it earlier.
    pub start: Arc<dyn Fn(Time) -> Time + Send + Sync>,
    pub route: Arc<Route>,
    pub telemetry: Telemetry,
    /// Shared by all streams.
    pub room: Room,
    /// How often a checkpoint that holds no event is saved.
    pub idle_save: Duration,
    /// True once the process is to end.
    pub shutdown: watch::Receiver<bool>,
}

/// Why a stream ended without having been told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Commit(#[from] commit::Error),
    #[error("the commit's task ended: {0}")]
    Task(String),
}

impl Error {
    /// Whether the stream's home is to be taken over anew, or is another's by now.
    pub fn gives_up(&self) -> bool {
        matches!(self, Error::Commit(error) if error.gives_up())
    }
}

impl Stream {
    /// Reads and delivers until told to end; then commits what it has.
    ///
    /// # Errors
    /// A fault that no waiting heals and that would meet every other stream too. One that concerns this stream alone
    /// stops it, and it stays to say so.
    pub async fn run(self) -> Result<(), Error> {
        let mut report = Report::new(&self.telemetry, &self.settings.ages);
        let stream = Arc::new(self);
        let ended = stream.clone().read(&mut report).await;
        if let Err(error) = &ended
            && error.gives_up()
        {
            // The whole home is: it says so once.
            return ended;
        }
        report.ended(&ended);
        match ended {
            Err(Error::Commit(error)) if error.is_of_one_stream() => {
                stream.until_shutdown(std::future::pending::<()>()).await;
                Ok(())
            }
            ended => ended,
        }
    }

    async fn read(self: Arc<Self>, report: &mut Report) -> Result<(), Error> {
        let Some(now) = self.server_time(report).await else { return Ok(()) };
        let mut ledger = match self.route.load(&self.key).await? {
            Some(stored) => Ledger::open(stored),
            None => Ledger::begin(random_key(), now, (self.start)(now)),
        };
        ledger.move_start((self.start)(now));
        report.opened(&ledger, now);
        let plan = Plan::new(self.settings.clone());
        Reading::new(self, ledger, plan, report).read().await
    }

    /// None when told to end first.
    async fn until_shutdown<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        or_end(&mut self.shutdown.clone(), future).await
    }

    fn organization(&self) -> Option<&str> {
        self.names_organization.then_some(self.key.organization.as_str())
    }
}

/// What `future` gives; none when told to end first. A value that is there already counts.
pub(crate) async fn or_end<T>(shutdown: &mut watch::Receiver<bool>, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        value = future => Some(value),
        _ = shutdown.wait_for(|ends| *ends) => None,
    }
}

/// Random, since the fingerprints' key must not be guessable.
fn random_key() -> FingerprintKey {
    let mut key = [0; 16];
    getrandom::fill(&mut key).expect("the operating system has random numbers");
    FingerprintKey(key)
}

/// A stream at work.
struct Reading<'r> {
    stream: Arc<Stream>,
    organization: Arc<str>,
    ledger: Ledger,
    plan: Plan,
    report: &'r mut Report,
    gathered: Gathered,
    /// One batch at most; a set, since that ends its task when dropped.
    in_flight: JoinSet<Result<Vec<DeadLetter>, commit::Error>>,
    air: Air,
    schedule: crate::retry::Schedule,
    /// The reads that fail.
    failing: BTreeMap<Asked, Failing>,
    /// When a failure made us pause last, in [`clock::uptime`].
    paused_at: Option<Duration>,
    /// [`clock::uptime`] of the last checkpoint.
    saved_at: Duration,
    /// The same of the last poll's beginning, and of the last one's success.
    polled_at: Option<Duration>,
    poll_succeeded_at: Option<Duration>,
    /// What the batch in flight brings us to.
    coming: Option<report::Milestone>,
    /// [`Client::key_changes`] when the key was last known to be this organization's.
    key_changes: u64,
}

/// What came of a commit's task.
type Ended = Result<Result<Vec<DeadLetter>, commit::Error>, JoinError>;

/// What a stream that has nothing to ask hears of first.
enum Next {
    Landed(Result<Landed, JoinError>),
    Committed(Ended),
    /// There is something to ask again.
    Due,
}

/// Whether to go on.
enum Turn {
    Next,
    End,
}

impl<'r> Reading<'r> {
    fn new(stream: Arc<Stream>, ledger: Ledger, plan: Plan, report: &'r mut Report) -> Reading<'r> {
        Reading {
            organization: stream.key.organization.as_str().into(),
            stream,
            ledger,
            plan,
            report,
            gathered: Gathered::default(),
            in_flight: JoinSet::new(),
            air: Air::default(),
            schedule: crate::retry::Schedule::new(PAUSE.start, PAUSE.end),
            failing: BTreeMap::new(),
            paused_at: None,
            saved_at: clock::uptime(),
            polled_at: None,
            poll_succeeded_at: None,
            coming: None,
            key_changes: 0,
        }
    }

    async fn read(&mut self) -> Result<(), Error> {
        while !*self.stream.shutdown.borrow() {
            if self.may_be_anothers()
                && let Turn::End = self.check_owner().await?
            {
                break;
            }
            let Some(now) = self.stream.server_time(self.report).await else { break };
            let latest = self.stream.client.latest().unwrap_or(now);
            if let Some(edge) = self.plan.check_edge(&mut self.ledger, latest) {
                self.report.impossible_edge(edge, &self.ledger);
            }
            let turn = match self.plan.next(&mut self.ledger, now) {
                Ask::Page(ask) if self.plan.is_polling() => self.poll(ask).await?,
                Ask::Wait { until } => self.wait(until.since(now)).await?,
                ask => {
                    self.send(ask);
                    self.land_if_any().await?
                }
            };
            if let Turn::End = turn {
                break;
            }
        }
        let now = self.now();
        self.ledger.still_hindered(now);
        self.submit().await?;
        self.settle().await
    }

    /// Nothing to ask for now: waits for whatever comes first. Where no answer is awaited, what was admitted is sent off,
    /// comes to its end and is told; else the next page tells.
    async fn wait(&mut self, pause: Duration) -> Result<Turn, Error> {
        if self.air.is_empty() {
            if self.ledger.has_admitted() {
                self.submit().await?;
            }
            self.settle().await?;
            self.tell();
        }
        let mut shutdown = self.stream.shutdown.clone();
        let next = async {
            tokio::select! {
                Some(landed) = self.air.landed() => Next::Landed(landed),
                Some(ended) = self.in_flight.join_next() => Next::Committed(ended),
                () = tokio::time::sleep(pause) => Next::Due,
            }
        };
        match or_end(&mut shutdown, next).await {
            None => return Ok(Turn::End),
            Some(Next::Due) => {}
            Some(Next::Committed(ended)) => self.committed(ended)?,
            Some(Next::Landed(landed)) => return self.land(landed).await,
        }
        Ok(Turn::Next)
    }

    /// Whatever the clocks say, polls keep some of their interval between them. False when told to end.
    async fn may_poll(&mut self) -> bool {
        let pause = (self.stream.settings.interval / 4).min(Duration::from_secs(1));
        let due = self.polled_at.map_or(Duration::ZERO, |polled_at| polled_at + pause);
        let rest = due.saturating_sub(clock::uptime());
        let waited = rest.is_zero() || self.stream.until_shutdown(tokio::time::sleep(rest)).await.is_some();
        self.polled_at = Some(clock::uptime());
        waited
    }

    /// Tells where the reading stands.
    fn tell(&mut self) {
        let undated = self.stream.client.is_undated();
        self.report.undated(undated, undated);
        let settled = self.in_flight.is_empty() && !self.ledger.has_admitted();
        let now = self.now();
        self.report.reading(&self.ledger, &self.plan, now, settled);
    }

    /// Failures in a row of what was asked last.
    fn failures(&self) -> u32 {
        if self.plan.is_checking() {
            return self.plan.check_failures();
        }
        self.failing.get(&self.plan.asked()).map_or(0, |failing| failing.count)
    }

    /// What was asked last has come.
    fn succeeded(&mut self) {
        self.failing.remove(&self.plan.asked());
        if self.plan.is_polling() {
            self.poll_succeeded_at = Some(clock::uptime());
        }
        self.healed();
    }

    fn healed(&mut self) {
        self.schedule.reset();
        self.ledger.healed(self.now());
        self.report.healed();
    }

    /// The server's time; its own where it is not known.
    fn now(&self) -> Time {
        self.stream.client.now().unwrap_or_default()
    }

    /// Of what was asked last.
    fn purpose(&self) -> Purpose {
        match () {
            () if self.plan.is_polling() => Purpose::Live,
            () if self.plan.is_checking() => Purpose::Verification,
            () => Purpose::Gap,
        }
    }

    /// For what was asked last.
    fn client(&self) -> Client {
        self.stream.client.asking_for(self.purpose())
    }

    /// A request of `sent_at`, in [`clock::uptime`], failed: says so and waits for what the error's class says.
    async fn failed(&mut self, error: SourceError, sent_at: Duration) -> Result<Turn, Error> {
        if self.plan.is_checking() && !error.is_of_the_key() {
            return Ok(self.check_failed(&error));
        }
        self.failing.entry(self.plan.asked()).or_default().count += 1;
        let failures = self.failures();
        // Tries have pauses of their own.
        self.polled_at = None;
        if error.class() == Class::FutureStart {
            return self.correct_clock(&error).await;
        }
        self.tell_failure(&error);
        // Whatever was read before the failure is not held back by it.
        if self.ledger.has_admitted() {
            self.submit().await?;
        }
        self.hindered(causes::cause(&error)).await?;
        self.give_way(&error);
        if self.paused_at.is_some_and(|paused_at| sent_at < paused_at) {
            // It was in the air when another one failed, and that has been waited for.
            return Ok(Turn::Next);
        }
        self.paused_at = Some(clock::uptime());
        let pause = match error.class() {
            // A server that says 0 s again and again means something else.
            Class::Retry { after: Some(after) } if failures > 1 => after.max(self.schedule.pause()),
            Class::Retry { after: Some(after) } => after,
            Class::Retry { after: None } | Class::FutureStart => self.schedule.pause(),
            Class::Credential | Class::Refused => PAUSE.end.min(self.schedule.pause() * 4),
        };
        let stream = self.stream.clone();
        let waited = stream.until_shutdown(async {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stream.client.credential_changed(), if error.class() == Class::Credential => {}
            }
        });
        if waited.await.is_none() {
            return Ok(Turn::End);
        }
        Ok(Turn::Next)
    }

    /// Nothing can be read. It is stored as often as an edge that moves alone, so that it is known after a crash too.
    async fn hindered(&mut self, cause: Cause) -> Result<(), Error> {
        self.ledger.hindered(cause, self.now());
        if self.is_save_due() { self.submit().await } else { Ok(()) }
    }

    /// Whether a checkpoint that holds no event is to be saved again.
    fn is_save_due(&self) -> bool {
        clock::uptime().saturating_sub(self.saved_at) >= self.stream.idle_save
    }

    /// Gives up the read that fails again and again, so that it holds up no other.
    fn give_way(&mut self, error: &SourceError) {
        let (now, polling) = (self.stream.client.now().unwrap_or_default(), self.plan.is_polling());
        let failures = self.failures();
        if !polling && !self.plan.is_in_window() {
            return if failures >= CURSOR_TRIES {
                self.plan.abandon_read(now)
            };
        }
        let refused = error.may_be_of_the_request();
        let since = self.failing.entry(self.plan.asked()).or_default().since(refused);
        // While nothing else succeeds it is the API that fails, not this read.
        let alone = !polling && self.poll_succeeded_at.is_some_and(|succeeded| succeeded > since);
        let tries = if self.plan.is_narrowing() { 1 } else { CURSOR_TRIES };
        if error.is_of_the_answer() && (polling || alone || self.plan.is_narrowing()) && failures >= tries {
            self.plan.read_unreadable(now);
        } else if refused && (polling || alone) {
            self.plan.read_refused(now);
        } else if failures >= CURSOR_TRIES || error.class() == Class::Refused {
            return self.plan.abandon_read(now);
        } else {
            return;
        }
        // The next read begins with a good name.
        self.failing.remove(&self.plan.asked());
    }

    /// What passes at the first or second try is no news.
    fn tell_failure(&mut self, error: &SourceError) {
        let failures = self.failures();
        let passing = match error.class() {
            Class::Retry { after } => failures < NEWS && after.is_none_or(|after| after < PAUSE.end / 4),
            _ => false,
        };
        if passing {
            tracing::debug!(stream = %self.stream.key, "asking again: {error}");
        } else {
            self.report.trouble(error);
        }
    }

    /// The API says that our time is its future: its `Date` was wrong, so the clock is set anew and the edge cut back.
    async fn correct_clock(&mut self, error: &SourceError) -> Result<Turn, Error> {
        let believed = self.stream.client.now();
        self.stream.client.reset_clock();
        self.report.trouble(error);
        let pause = self.schedule.pause();
        if self.stream.until_shutdown(tokio::time::sleep(pause)).await.is_none() {
            return Ok(Turn::End);
        }
        let Some(now) = self.stream.server_time(self.report).await else { return Ok(Turn::End) };
        self.plan.cut_back(&mut self.ledger, believed.unwrap_or(now), now);
        // An age was counted back from the wrong time.
        self.ledger.move_start((self.stream.start)(now));
        Ok(Turn::Next)
    }

    /// Sends the gathered batch off, after the one before it has come to its end.
    async fn submit(&mut self) -> Result<(), Error> {
        if !self.ledger.has_changed() {
            return Ok(());
        }
        self.settle().await?;
        // What no clock has surely left behind may be read again, and must be known then.
        let passed = self.stream.client.surely_passed().min(self.ledger.edge());
        let kept = self.stream.settings.ages.last().unwrap_or_default();
        passed.inspect(|passed| self.ledger.forget_settled(*passed - kept, *passed));
        let Gathered { records, dead, taken, .. } = std::mem::take(&mut self.gathered);
        let whole = self.stream.route.store.due(&self.stream.key);
        let checkpoint: Checkpoint = self.ledger.checkpoint_with(&whole);
        let settled = self.plan.has_settled(&self.ledger, self.now());
        self.coming = Some(self.report.milestone(&records, &self.ledger, settled));
        self.saved_at = clock::uptime();
        let stream = self.stream.clone();
        self.in_flight.spawn(async move {
            let (_timer, _taken) = (stream.telemetry.metrics.commit_timer(), taken);
            commit::commit(&stream.route, &stream.key, Batch { records, dead, checkpoint }).await
        });
        Ok(())
    }

    /// Waits for the batch in flight.
    async fn settle(&mut self) -> Result<(), Error> {
        let before = self.now();
        let Some(ended) = self.in_flight.join_next().await else { return Ok(()) };
        self.ledger.was_hindered(Cause::SinkBlocked, before..self.now());
        self.committed(ended)
    }

    fn committed(&mut self, ended: Ended) -> Result<(), Error> {
        let dead = ended.map_err(|error| Error::Task(error.to_string()))??;
        if let Some(milestone) = self.coming.take() {
            let now = self.stream.client.now().unwrap_or_else(clock::wall);
            self.report.committed(milestone, &dead, now);
            crate::fail_point!("settled");
        }
        Ok(())
    }
}
