//! Exactly once into Kafka, by the real program and a real broker: what a reader of committed records sees is the truth,
//! each event once, whoever was killed, frozen or replaced.
//!
//! A reader of everything sees more, which shows that the test bit: transactions were aborted.

mod brokers;
mod cut_off;
mod fleet;
mod forbidden;
mod foreign;
mod format;
mod full_disk;
mod kill;
mod late;
mod rebuild;
mod remade;
mod replicas;
mod rights;
mod share;
mod token;
mod too_large;
mod zombie;

use std::time::Duration;

use jumpstream::emulator::{Emulator, Options};

use crate::kafka::reader::{self, View};
use crate::kafka::{Kafka, Message, unique};
use crate::kill::awkward;
use crate::process::tally::Tally;
use crate::process::{Home, Settings, eventually};

const PARTITIONS: i32 = 3;

/// A cluster's topics for one test, and how replicas are configured.
pub struct Stage {
    /// `host:port`, separated by commas.
    pub brokers: String,
    topic: String,
    pub ledger: String,
    ledger_partitions: u32,
}

/// A replica's configuration, beside what all of a stage share.
#[derive(Clone, Copy, Default)]
pub struct Member<'a> {
    pub group: &'a str,
    /// As in [`Settings`].
    pub account: &'a str,
    /// The way to the brokers, where it is another than the stage's.
    pub brokers: Option<&'a str>,
    /// Where events go, where that is not the stage's topic; further keys of the sink may follow.
    pub topic: Option<&'a str>,
    /// Further lines.
    pub more: &'a str,
}

impl Stage {
    /// On the broker that tests share.
    pub async fn set(test: &str, ledger_partitions: u32) -> Option<Stage> {
        Some(Stage::on(Kafka::shared(test).await?, ledger_partitions).await)
    }

    async fn on(kafka: &Kafka, ledger_partitions: u32) -> Stage {
        let stage = Stage::at(kafka.bootstrap(), ledger_partitions);
        kafka.create_topic(&stage.topic, PARTITIONS, &[]).await;
        stage
    }

    /// Its topic is still to be made.
    fn at(brokers: String, ledger_partitions: u32) -> Stage {
        Stage { brokers, topic: unique("events"), ledger: unique("ledger"), ledger_partitions }
    }

    /// A replica's folder; `account` as in [`Settings`].
    pub fn home(&self, emulator: &Emulator, group: &str, account: &str) -> Home {
        self.home_of(emulator, Member { group, account, ..Member::default() })
    }

    pub fn home_of(&self, emulator: &Emulator, member: Member<'_>) -> Home {
        let home = Home::new(Settings::of(emulator));
        self.configure(&home, emulator, member);
        home
    }

    /// From its next start on the replica is a member of `group`.
    fn join(&self, home: &Home, emulator: &Emulator, group: &str, account: &str) {
        self.configure(home, emulator, Member { group, account, ..Member::default() });
    }

    fn configure(&self, home: &Home, emulator: &Emulator, member: Member<'_>) {
        let Stage { brokers, topic, ledger, ledger_partitions } = self;
        let Member { group, account, more, .. } = member;
        let brokers = member.brokers.unwrap_or(brokers).replace(',', "\", \"");
        let topic = member.topic.unwrap_or(topic);
        home.configure(Settings {
            poll: "{interval: 1s, start: 2h, page_size: 5000}",
            account,
            sinks: &format!("[{{type: kafka, brokers: [\"{brokers}\"], topic: {topic}}}]"),
            more: &format!(
                "state: {{type: kafka, topic: {ledger}, partitions: {ledger_partitions}, group: {group}}}\n{more}"
            ),
            ..Settings::of(emulator)
        });
    }

    /// What readers of committed records see of its topic once no transaction is open.
    pub async fn settled(&self) -> Vec<Message> {
        reader::read(self.brokers.clone(), &self.topic, View::Settled).await
    }

    /// What readers of committed records see of a topic now.
    async fn visible(&self, topic: &str) -> Vec<Message> {
        reader::read(self.brokers.clone(), topic, View::Committed).await
    }

    /// What a reader of committed records sees against what was to be seen by `until`; and how many records were
    /// written and never committed.
    async fn tally(&self, emulator: &Emulator, until: jiff::Timestamp) -> (Tally, usize) {
        self.tally_of(&[&self.topic], emulator, until).await
    }

    /// The same of several topics, that hold all events together.
    async fn tally_of(&self, topics: &[&str], emulator: &Emulator, until: jiff::Timestamp) -> (Tally, usize) {
        let (mut committed, mut all) = (Vec::new(), 0);
        for topic in topics {
            committed.extend(reader::read(self.brokers.clone(), topic, View::Settled).await);
            all += reader::read(self.brokers.clone(), topic, View::Uncommitted).await.len();
        }
        let texts = committed.iter().map(|message| message.text());
        let tally = Tally::of(&emulator.truth(Some(until)), &emulator.truth(None), texts);
        (tally, all - committed.len())
    }

    /// Waits until a reader of committed records sees another record than it did before.
    pub async fn flows(&self) {
        self.flows_in(&self.topic, |_| true).await;
    }

    /// The same of some of a topic's records.
    async fn flows_in(&self, topic: &str, counts: impl Fn(&Message) -> bool) {
        let count = async || self.visible(topic).await.into_iter().filter(&counts).count();
        let before = count().await;
        eventually("events flow", async || {
            tokio::time::sleep(Duration::from_millis(200)).await;
            (count().await > before).then_some(())
        })
        .await;
    }
}

/// The broker of [`Stage::set`], for a test that has been given one.
async fn shared() -> &'static Kafka {
    Kafka::shared("the stage's own broker").await.expect("it was there a moment ago")
}

#[track_caller]
fn assert_once(tally: &Tally) {
    assert_eq!((tally.lost, tally.repeated, tally.foreign), (0, 0, 0), "{tally:?}");
}

/// Prints what came of it.
fn say(what: &str, tally: &Tally, uncommitted: usize) {
    println!(
        "{what}: {} events, lost {}, twice {}, {uncommitted} written and never committed",
        tally.true_events, tally.lost, tally.repeated
    );
}

/// The same, in several organizations: events, and faults, for a test that has other troubles than these.
pub fn calm(organizations: u32, seed: u64) -> Options {
    Options { organizations, events: 4_000, rate: 200.0, fault_share: 0.02, ..awkward(seed) }
}
