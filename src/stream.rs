//! One organization's and one service's loop: plan, fetch, admit, format, commit.
//!
//! While one batch is being committed the next one is fetched and admitted; there are never more than these two, and
//! a sink that waits makes the loop wait with it. All streams share the room that their batches take. After a failed commit everything in memory is dropped and the
//! ledger is read again from the store.
//!
//! # Invariants
//! Owns its ledger; nobody else changes it. Decides nothing about order or time (the plan does) and nothing about
//! durability (commit does). Waits for everything that can heal and says so; ends only when told to, or with an error
//! that no waiting heals.
//!
//! # Cancellation
//! Dropping [`Stream::run`] is a crash, which ends the commit in flight too: what was not committed is read again.

mod counting;
mod fetch;
mod gathered;
mod report;
mod server_time;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::{self, Time};
use crate::commit::{self, Batch, Route};
use crate::ledger::{Checkpoint, FingerprintKey, Ledger, StreamKey};
use crate::plan::{Ask, Plan, Settings};
use crate::record::DeadLetter;
use crate::source::{Class, Client, Error as SourceError, Purpose};
use gathered::Gathered;
pub use gathered::Room;
use report::Report;
pub use report::{Faults, Telemetry};

/// Failures in a row after which a paged read begins anew, since its cursor may be what fails.
const CURSOR_TRIES: u32 = 5;
/// From so many failures in a row on they are told.
const NEWS: u32 = 3;
/// A request that is not for the live edge waits so long for its turn at least.
const PATIENCE: Duration = Duration::from_millis(200);
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
        let mut report = Report::new(&self.telemetry);
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
        report.opened(&ledger);
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
    schedule: crate::retry::Schedule,
    /// Failures in a row, of gaps' reads and of polls: a poll that succeeds says nothing of a window's cursor.
    failures: [u32; 2],
    /// [`clock::uptime`] of the last checkpoint.
    saved_at: Duration,
    /// The same of the last poll's beginning, of the last read's success, and of the first of the failures in a row,
    /// the last two as `failures`.
    polled_at: Option<Duration>,
    succeeded_at: [Option<Duration>; 2],
    failing_since: [Option<Duration>; 2],
    /// What the batch in flight brings us to.
    coming: Option<report::Milestone>,
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
            schedule: crate::retry::Schedule::new(PAUSE.start, PAUSE.end),
            failures: [0; 2],
            saved_at: clock::uptime(),
            polled_at: None,
            succeeded_at: [None; 2],
            failing_since: [None; 2],
            coming: None,
        }
    }

    async fn read(&mut self) -> Result<(), Error> {
        while !*self.stream.shutdown.borrow() {
            let Some(now) = self.stream.server_time(self.report).await else { break };
            let latest = self.stream.client.latest().unwrap_or(now);
            if let Some(edge) = self.plan.check_edge(&mut self.ledger, latest) {
                self.report.impossible_edge(edge, &self.ledger);
            }
            let turn = match self.plan.next(&mut self.ledger, now) {
                Ask::Page(ask) => self.page(ask).await?,
                Ask::Interval { range, unit } => self.interval(range, unit).await?,
                Ask::Count { range } => self.count(range).await?,
                Ask::Wait { until } => self.wait(until.since(now)).await?,
            };
            if let Turn::End = turn {
                break;
            }
        }
        self.submit().await?;
        self.settle().await
    }

    /// Nothing to ask: sends off what was admitted, lets it come to its end, then sleeps.
    async fn wait(&mut self, pause: Duration) -> Result<Turn, Error> {
        if self.ledger.has_admitted() {
            self.submit().await?;
        }
        self.settle().await?;
        self.tell();
        Ok(match self.stream.until_shutdown(tokio::time::sleep(pause)).await {
            Some(()) => Turn::Next,
            None => Turn::End,
        })
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

    /// Of the read asked last.
    fn failures(&mut self) -> &mut u32 {
        &mut self.failures[usize::from(self.plan.is_polling())]
    }

    /// A count came, which says nothing of the window that it is made for.
    fn counted(&mut self) {
        if self.failing_since[0].is_none() {
            self.failures[0] = 0;
        }
        self.schedule.reset();
        self.report.healed();
    }

    fn succeeded(&mut self) {
        *self.failures() = 0;
        let polling = usize::from(self.plan.is_polling());
        self.succeeded_at[polling] = Some(clock::uptime());
        self.failing_since[polling] = None;
        self.schedule.reset();
        self.report.healed();
    }

    /// The server's time; its own where it is not known.
    fn now(&self) -> Time {
        self.stream.client.now().unwrap_or_default()
    }

    /// For what was asked last. Whatever is not for the live edge waits for its turn only until the next poll is due.
    fn client(&self) -> Client {
        let purpose = match () {
            () if self.plan.is_polling() => return self.stream.client.clone(),
            () if self.plan.is_checking() => Purpose::Verification,
            () => Purpose::Gap,
        };
        let patience = self.plan.poll_due().since(self.now()).max(PATIENCE);
        self.stream.client.asking_for(purpose, patience)
    }

    /// A request failed: says so and waits for what the error's class says.
    async fn failed(&mut self, error: SourceError) -> Result<Turn, Error> {
        if let SourceError::NoTurn { .. } = error {
            return Ok(Turn::Next);
        }
        if self.plan.is_checking() && error.class() != Class::Credential {
            return Ok(self.check_failed(&error));
        }
        *self.failures() += 1;
        let failures = *self.failures();
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
        self.give_way(&error);
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
        if error.class() == Class::Credential {
            return self.check_owner().await;
        }
        Ok(Turn::Next)
    }

    /// Gives up the read that fails again and again, so that it holds up no other.
    fn give_way(&mut self, error: &SourceError) {
        let (now, polling) = (self.stream.client.now().unwrap_or_default(), self.plan.is_polling());
        let failures = *self.failures();
        if !polling && !self.plan.is_in_window() {
            // Counting fails.
            return if failures >= CURSOR_TRIES {
                self.plan.abandon_read(now)
            };
        }
        let since = *self.failing_since[usize::from(polling)].get_or_insert_with(clock::uptime);
        // While nothing else succeeds it is the API that fails, not this read.
        let alone = !polling && self.succeeded_at[1].is_some_and(|succeeded| succeeded > since);
        let refused = error.class() == Class::Refused || matches!(error, SourceError::Forbidden { .. });
        let tries = if self.plan.is_narrowing() { 1 } else { CURSOR_TRIES };
        if error.is_of_the_answer() && (polling || alone || self.plan.is_narrowing()) && failures >= tries {
            self.plan.read_unreadable(now);
        } else if refused && (polling || alone || self.plan.is_refused_some()) {
            self.plan.read_refused(now);
        } else if failures >= CURSOR_TRIES || error.class() == Class::Refused {
            return self.plan.abandon_read(now);
        } else {
            return;
        }
        // The next read begins with a good name.
        self.failures[usize::from(polling)] = 0;
        self.failing_since[usize::from(polling)] = None;
    }

    /// What passes at the first or second try is no news.
    fn tell_failure(&mut self, error: &SourceError) {
        let failures = *self.failures();
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

    /// The key may have been replaced by another organization's: its events must not fill this ledger.
    async fn check_owner(&mut self) -> Result<Turn, Error> {
        let stream = self.stream.clone();
        loop {
            let Some(seen) = stream.until_shutdown(stream.client.organizations()).await else { return Ok(Turn::End) };
            let foreign =
                seen.is_ok_and(|all| !all.is_empty() && all.iter().all(|one| one.id != stream.key.organization));
            if !foreign {
                return Ok(Turn::Next);
            }
            self.report.foreign_key();
            if stream.until_shutdown(tokio::time::sleep(PAUSE.end)).await.is_none() {
                return Ok(Turn::End);
            }
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
        let Some(ended) = self.in_flight.join_next().await else { return Ok(()) };
        let dead = ended.map_err(|error| Error::Task(error.to_string()))??;
        if let Some(milestone) = self.coming.take() {
            let now = self.stream.client.now().unwrap_or_else(clock::wall);
            self.report.committed(milestone, &dead, now);
            crate::fail_point!("settled");
        }
        Ok(())
    }
}
