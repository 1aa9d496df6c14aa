//! The demo with a real Kafka: jumpstream delivers exactly once, as a process that is killed and started again.
//!
//! Most kills come in the middle of a transaction, every third during the take-over that follows one.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::Error;
use super::child::{self, Child, Status};
use super::consumer::{Consumer, Isolation};
use super::play::{self, AT_LEAST, LAST_REQUESTS, PATIENCE, REDRAW, until};
use super::stage::{FIRST_KEY, Folder, options, quoted, sizes};
use super::tally::{self, Issued, Tally};
use super::topics::Topics;
use super::view::{Frame, View, thousands};
use crate::app;
use crate::clock::{self, Time};
use crate::emulator::{self, Emulator};
use crate::telemetry::status::State;

/// How long a transaction is waited for, to kill its writer.
const OPEN: Duration = Duration::from_secs(5);
/// What the brokers have been asked to commit is done by then.
const SETTLE: Duration = Duration::from_millis(50);
/// How long it stays dead.
const DEAD: Duration = Duration::from_millis(500);
/// A take-over takes longer than this where the dead one was a member of the group.
const TAKE_OVER: std::ops::Range<u32> = 100..1_500;

/// Makes its topics on the brokers, plays, and removes them whatever came of it.
pub(super) async fn perform(brokers: &str, events: u32, seed: u64, kills: u32) -> Result<Tally, Error> {
    let topics = Topics::make(brokers).await?;
    let played = tokio::select! {
        tally = run(&topics, events, seed, kills) => tally,
        () = app::first_signal() => Err(Error::Stopped),
    };
    topics.remove().await;
    played
}

async fn run(topics: &Topics, events: u32, seed: u64, kills: u32) -> Result<Tally, Error> {
    let (page_size, burst) = sizes(events);
    let emulator = Arc::new(emulator::start(options(events, seed, burst)).await?);
    let folder = Folder::make()?;
    let text = configuration(&emulator.url(), topics, &folder, page_size);
    folder.write_key(FIRST_KEY).and_then(|()| folder.write("demo.yaml", &text)).map_err(|why| folder.fault(why))?;
    let play = Killing {
        seed,
        events,
        kills,
        consumer: Consumer::start(&topics.brokers, &topics.events, Isolation::Committed)?,
        writing: Consumer::start(&topics.brokers, &topics.events, Isolation::Uncommitted)?,
        topics,
        emulator,
        child: Mutex::default(),
        status: watch::Sender::new(Status::default()),
        covered: watch::Sender::new(0.0),
        killed: AtomicU32::new(0),
        act: watch::Sender::new(format!("a day of events, {} of them in one millisecond", thousands(burst.into()))),
        begun: clock::uptime(),
        since: clock::wall(),
        folder,
    };
    let mut view = View::open();
    let issued = tokio::select! {
        issued = play.acts() => issued?,
        fault = play.show(&mut view) => return Err(fault),
    };
    let told = view.is_picture();
    view.close(&play.frame());
    play.verdict(issued, told).await
}

/// As somebody would write it: the state is in Kafka by default, and has names of its own here.
fn configuration(api: &str, topics: &Topics, folder: &Folder, page_size: u32) -> String {
    let Topics { brokers, events, ledger, group } = topics;
    format!(
        "accounts:\n  - {{endpoint: \"{api}\", api_key: {{file: {key}}}, requests_per_second: 80}}\n\
         poll: {{interval: 1s, page_size: {page_size}, start: 24h}}\n\
         sinks:\n  - {{type: kafka, brokers: [{brokers}], topic: {events}, delivery: exactly_once}}\n\
         state: {{type: kafka, topic: {ledger}, partitions: 1, group: {group}}}\n\
         server: {{listen: \"127.0.0.1:0\"}}\n\
         page: {{listen: \"127.0.0.1:0\"}}\n",
        key = quoted(&folder.path("api-key").to_string_lossy()),
        brokers = quoted(brokers),
    )
}

/// The demo under way.
struct Killing<'t> {
    seed: u64,
    events: u32,
    kills: u32,
    topics: &'t Topics,
    emulator: Arc<Emulator>,
    consumer: Consumer,
    /// Sees what is never committed, too.
    writing: Consumer,
    /// None while it is dead.
    child: Mutex<Option<Child>>,
    /// As the living child's page last said.
    status: watch::Sender<Status>,
    covered: watch::Sender<f64>,
    killed: AtomicU32,
    /// What happens now, in words.
    act: watch::Sender<String>,
    begun: Duration,
    since: Time,
    folder: Folder,
}

impl Killing<'_> {
    /// All acts, and in the end what the API has issued.
    async fn acts(&self) -> Result<Vec<Issued>, Error> {
        self.start()?;
        for number in 0..self.kills {
            if number % 3 == 1 {
                self.kill_at_its_start(number).await;
            } else {
                self.kill_in_a_transaction(number).await;
            }
            tokio::time::sleep(DEAD).await;
            self.say("started again; the group waits until it is sure that the dead one is dead");
            self.start()?;
        }
        let records = self.consumer.records();
        until(PATIENCE, || self.consumer.records() > records).await;
        self.say("new events all the while, many of them shown late");
        tokio::time::sleep(AT_LEAST).await;
        until(play::patience(self.events), || self.status.borrow().is_live()).await;
        let issued = self.last_events().await?;
        self.say("told to end, as by a service manager");
        let child = self.child().take();
        if let Some(child) = child {
            child.stop().await;
        }
        Ok(issued)
    }

    fn start(&self) -> Result<(), Error> {
        self.status.send_replace(Status::default());
        *self.child() = Some(Child::start(&self.folder.path("demo.yaml"))?);
        Ok(())
    }

    /// When its share of the day has been read, and a transaction is open.
    async fn kill_in_a_transaction(&self, number: u32) {
        let records = self.consumer.records();
        let share = u64::from(self.events) * u64::from(number + 1) / u64::from(self.kills + 1);
        // That new ones are committed shows that nothing is left open of the one before it.
        until(PATIENCE, || self.consumer.records() > records).await;
        self.say("it reads on where the last commit was");
        until(PATIENCE, || self.consumer.records() >= share || self.status.borrow().is_live()).await;
        self.say(format!("kill {} of {}: SIGKILL in the middle of a transaction", number + 1, self.kills));
        let deadline = clock::uptime() + OPEN;
        while clock::uptime() < deadline && self.topics.until_open(OPEN).await {
            // What stands still can't commit any more; what was on its way to the brokers has arrived.
            self.with_child(Child::freeze);
            tokio::time::sleep(SETTLE).await;
            if self.topics.until_open(SETTLE).await {
                break;
            }
            self.with_child(Child::thaw);
        }
        self.kill();
    }

    /// At any moment of its start.
    async fn kill_at_its_start(&self, number: u32) {
        self.say(format!("kill {} of {}: SIGKILL while it takes over from the dead one", number + 1, self.kills));
        let milliseconds = TAKE_OVER.start + getrandom::u32().unwrap_or_default() % TAKE_OVER.len() as u32;
        tokio::time::sleep(Duration::from_millis(milliseconds.into())).await;
        self.kill();
    }

    fn kill(&self) {
        let child = self.child().take();
        if let Some(child) = child {
            child.kill();
            self.killed.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn with_child(&self, order: impl FnOnce(&Child)) {
        if let Some(child) = self.child().as_ref() {
            order(child);
        }
    }

    /// Nothing new comes; waits until all that was issued has been read, and then for what must not come.
    async fn last_events(&self) -> Result<Vec<Issued>, Error> {
        self.emulator.end_arrivals();
        self.say("no more new events; the last late ones are still to be shown");
        let issued = play::issued(&self.emulator, self.since).await?;
        let distinct = tally::distinct(&issued);
        until(play::patience(self.events), || self.consumer.received().len() >= distinct).await;
        self.say("polled a few times more: nothing may come twice");
        let requests = self.emulator.activity().requests;
        until(PATIENCE, || self.emulator.activity().requests >= requests + LAST_REQUESTS).await;
        Ok(issued)
    }

    fn say(&self, act: impl Into<String>) {
        self.act.send_replace(act.into());
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows it until dropped, or until a consumer or the child has ended by itself.
    async fn show(&self, view: &mut View) -> Error {
        let client = match child::client() {
            Ok(client) => client,
            Err(fault) => return fault,
        };
        loop {
            view.show(&self.frame());
            if let Some(fault) = self.consumer.fault().or_else(|| self.writing.fault()) {
                return fault;
            }
            let page = match self.child().as_mut().map(|child| (child.last_words(), child.page())) {
                Some((Some(words), _)) => return Error::ChildEnded(words),
                Some((None, page)) => page,
                None => None,
            };
            if let Some(page) = page
                && let Some(status) = Status::ask(&client, &page).await
            {
                if let Some(covered) = status.covered() {
                    self.covered.send_replace(covered);
                }
                self.status.send_replace(status);
            }
            tokio::time::sleep(REDRAW).await;
        }
    }

    fn frame(&self) -> Frame {
        let activity = self.emulator.activity();
        let lives = self.child().is_some();
        Frame {
            seed: self.seed,
            elapsed: clock::uptime().saturating_sub(self.begun),
            way: [
                ("Insights API", self.emulator.events() as u64, "events"),
                ("source", activity.requests, "requests"),
                ("jumpstream", self.killed.load(Ordering::Relaxed).into(), "times killed"),
                ("Kafka", self.writing.records(), "written"),
                ("consumer", self.consumer.records(), "committed"),
            ],
            activity,
            covered: *self.covered.borrow(),
            trouble: match lives {
                true => self.status.borrow().trouble(),
                false => Some((State::Stopped, "not running".to_owned())),
            },
            act: self.act.borrow().clone(),
        }
    }

    /// `told`: what was survived stands above it.
    async fn verdict(self, issued: Vec<Issued>, told: bool) -> Result<Tally, Error> {
        let seconds = clock::uptime().saturating_sub(self.begun).as_secs_f64();
        let written = self.writing.finish().await?.records();
        let committed = self.consumer.finish().await?;
        let mut tally = Tally::of(&issued, &committed);
        tally.aborted = Some(written.saturating_sub(committed.records()));
        let kills = self.killed.load(Ordering::Relaxed);
        tally.remarks = play::remarks(&self.emulator.activity(), told, tally.delivered, seconds);
        tally
            .remarks
            .insert(0, ("kills", format!("{kills:>11}   of jumpstream, by SIGKILL, each followed by a new start")));
        Ok(tally)
    }
}
