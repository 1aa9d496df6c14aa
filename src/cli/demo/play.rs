//! What happens in the demo, act by act, and how it is watched.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::Error;
use super::consumer::{Consumer, Isolation};
use super::stage::{Folder, LATE_MAX, Stage, TOPIC};
use super::tally::{self, Issued, Tally};
use super::view::{Frame, View, failed, survived, thousands};
use crate::clock::{self, Time};
use crate::emulator::{Activity, Emulator, Kind};
use crate::exit_code::ExitCode;
use crate::telemetry::status::{Board, State};

pub(super) const REDRAW: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_millis(50);
/// How long an act stays that would otherwise be over before it is read.
pub(super) const AT_LEAST: Duration = Duration::from_millis(2_500);
/// How long anything may take that the play waits for; then it goes on, and the tally says what is missing.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Polls that must bring nothing new, once everything is there.
pub(super) const LAST_REQUESTS: u64 = 2;

/// Plays it to its end and gives the verdict. Dropped, it takes the pipeline with it.
pub(super) async fn run(stage: Stage, events: u32, seed: u64) -> Result<Tally, Error> {
    let Stage { emulator, app, brokers, burst, folder, kafka: _kafka } = stage;
    let board = app.board();
    let consumer = Consumer::start(&brokers, TOPIC, Isolation::Committed)?;
    let (end, ended) = oneshot::channel::<()>();
    let mut pipeline = JoinSet::new();
    pipeline.spawn(app.run_until(async move {
        // Either way it is over.
        let _ = ended.await;
        ExitCode::Done
    }));
    let (begun, since) = (clock::uptime(), clock::wall());
    let act = watch::Sender::new(String::new());
    let play = Play { seed, events, burst, emulator: Arc::new(emulator), board, consumer, act, begun, since, folder };
    let mut view = View::open();
    let issued = tokio::select! {
        issued = play.acts() => issued?,
        fault = play.show(&mut view) => return Err(fault),
        _ = pipeline.join_next() => return Err(Error::Ended),
    };
    let told = view.is_picture();
    view.close(&play.frame());
    drop(end);
    pipeline.join_next().await;
    play.verdict(issued, told).await
}

/// The demo under way.
struct Play {
    seed: u64,
    events: u32,
    burst: u32,
    emulator: Arc<Emulator>,
    board: Board,
    consumer: Consumer,
    /// What happens now, in words.
    act: watch::Sender<String>,
    begun: Duration,
    since: Time,
    folder: Folder,
}

impl Play {
    /// All acts, and in the end what the API has issued.
    async fn acts(&self) -> Result<Vec<Issued>, Error> {
        self.say(format!("a day of events, {} of them in one millisecond", thousands(self.burst.into())));
        until(PATIENCE, || self.consumer.records() > 0).await;
        self.say("too many requests: 429, with and without Retry-After");
        self.strike(&[Kind::RateLimitedSeconds, Kind::RateLimited, Kind::RateLimitedDate]).await;
        self.say("out of order: 500, 502, 503");
        self.strike(&[Kind::InternalError, Kind::BadGateway, Kind::Unavailable]).await;
        self.say("answers that end in mid-body, are empty or miscounted");
        self.strike(&[Kind::CutBody, Kind::EmptyBody, Kind::WrongCount]).await;
        self.revoke().await?;
        self.say("new events all the while, many of them shown late");
        tokio::time::sleep(AT_LEAST).await;
        until(self.patience(), || self.has_read_the_day()).await;
        self.last_events().await
    }

    /// The key is refused until another one stands in its file.
    async fn revoke(&self) -> Result<(), Error> {
        self.say("the key is revoked; nobody restarts anything");
        Stage::revoke_key(&self.emulator);
        until(PATIENCE, || self.is_blocked()).await;
        tokio::time::sleep(AT_LEAST).await;
        self.say("a new key was written to the key's file");
        self.folder.hand_out_key()?;
        until(PATIENCE, || !self.is_blocked()).await;
        Ok(())
    }

    /// Nothing new comes; waits until all that was issued has been read, and then for what must not come.
    async fn last_events(&self) -> Result<Vec<Issued>, Error> {
        self.emulator.end_arrivals();
        self.say("no more new events; the last late ones are still to be shown");
        let issued = issued(&self.emulator, self.since).await?;
        let distinct = tally::distinct(&issued);
        until(self.patience(), || self.consumer.received().len() >= distinct).await;
        self.say("polled a few times more: nothing may come twice");
        let requests = self.emulator.activity().requests;
        until(PATIENCE, || self.emulator.activity().requests >= requests + LAST_REQUESTS).await;
        Ok(issued)
    }

    /// Strikes with each in turn, with good answers in between.
    async fn strike(&self, kinds: &[Kind]) {
        for kind in kinds {
            let struck = || self.emulator.activity().faults.get(kind).copied().unwrap_or_default();
            let before = struck();
            self.emulator.fail_next(*kind);
            until(PATIENCE, || struck() > before).await;
            let answered = || {
                let activity = self.emulator.activity();
                activity.requests - failed(&activity)
            };
            let before = answered();
            until(PATIENCE, || answered() > before + 1).await;
        }
    }

    fn say(&self, act: impl Into<String>) {
        self.act.send_replace(act.into());
    }

    fn is_blocked(&self) -> bool {
        self.board.status().streams.iter().any(|stream| stream.state == State::Blocked)
    }

    fn has_read_the_day(&self) -> bool {
        self.board.status().streams.iter().all(|stream| stream.state == State::Live)
    }

    fn patience(&self) -> Duration {
        patience(self.events)
    }

    /// Shows it until dropped, or until the consumer has ended.
    async fn show(&self, view: &mut View) -> Error {
        loop {
            view.show(&self.frame());
            if let Some(fault) = self.consumer.fault() {
                return fault;
            }
            tokio::time::sleep(REDRAW).await;
        }
    }

    fn frame(&self) -> Frame {
        let (activity, status) = (self.emulator.activity(), self.board.status());
        let stream = status.streams.first();
        let delivered = stream.map(|stream| stream.delivered).unwrap_or_default();
        // Acknowledged, and the ledger saved: a moment after a consumer can read it.
        let committed = delivered.live + delivered.late + delivered.backfill;
        Frame {
            seed: self.seed,
            elapsed: clock::uptime().saturating_sub(self.begun),
            way: [
                ("Insights API", self.emulator.events() as u64, "events"),
                ("source", activity.requests, "requests"),
                ("ledger", stream.map_or(0, |stream| stream.duplicates), "already had"),
                ("Kafka", committed, "committed"),
                ("consumer", self.consumer.records(), "read back"),
            ],
            activity,
            covered: stream.map_or(0.0, |stream| stream.covered_share),
            trouble: match &*status.state {
                "not_ready" => Some((State::Starting, "starting".to_owned())),
                _ => stream
                    .and_then(|stream| Some((stream.state, stream.reason.clone()?)))
                    .or_else(|| Some((State::Waiting, status.reasons.first()?.clone()))),
            },
            act: self.act.borrow().clone(),
        }
    }

    /// `told`: what was survived stands above it.
    async fn verdict(self, issued: Vec<Issued>, told: bool) -> Result<Tally, Error> {
        let seconds = clock::uptime().saturating_sub(self.begun).as_secs_f64();
        let mut tally = Tally::of(&issued, &self.consumer.finish().await?);
        tally.remarks = remarks(&self.emulator.activity(), told, tally.delivered, seconds);
        Ok(tally)
    }
}

/// How it went, in a line or two; `told`: what was survived stands above it already.
pub(super) fn remarks(activity: &Activity, told: bool, delivered: u64, seconds: f64) -> Vec<(&'static str, String)> {
    let mut remarks = Vec::new();
    remarks.push(("requests", format!("{:>11}   {} of them failed", thousands(activity.requests), failed(activity))));
    if !told {
        remarks.push(("survived", survived(activity)));
    }
    let speed = thousands((delivered as f64 / seconds) as u64);
    remarks.push(("took", format!("{seconds:.0} s, {speed} events/s, troubles and pauses included")));
    remarks
}

/// Waits for it, but not for ever: the tally says what is missing then.
pub(super) async fn until(patience: Duration, condition: impl Fn() -> bool) {
    let reached = async {
        while !condition() {
            tokio::time::sleep(LOOK).await;
        }
    };
    let _ = tokio::time::timeout(patience, reached).await;
}

/// For the reading of everything.
pub(super) fn patience(events: u32) -> Duration {
    PATIENCE + LATE_MAX + Duration::from_millis(events.into())
}

/// Everything that was issued, also what is yet to be shown. A second or so for 100,000.
pub(super) async fn issued(emulator: &Arc<Emulator>, since: Time) -> Result<Vec<Issued>, Error> {
    let emulator = emulator.clone();
    let truth = tokio::task::spawn_blocking(move || {
        let all = emulator.truth(Some(emulator.now() + 2 * LATE_MAX));
        all.iter().map(|truth| Issued::of(truth, since)).collect()
    });
    truth.await.map_err(|error| Error::Consumer(error.to_string()))
}
