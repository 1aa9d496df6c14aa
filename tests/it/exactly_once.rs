//! Exactly once into Kafka, by the real program and a real broker: what a reader of committed records sees is the truth,
//! each event once, whoever was killed, frozen or replaced.
//!
//! A reader of everything sees more, which shows that the test bit: transactions were aborted.

mod format;
mod kill;
mod rebuild;
mod remade;
mod replicas;
mod token;
mod zombie;

use std::time::Duration;

use jumpstream::emulator::{Emulator, Options};

use crate::kafka::{Kafka, unique};
use crate::process::tally::Tally;
use crate::process::{Home, Settings, eventually};

const PARTITIONS: i32 = 3;

/// A cluster's topics for one test, and how replicas are configured.
struct Stage {
    kafka: &'static Kafka,
    topic: String,
    ledger: String,
    ledger_partitions: u32,
}

impl Stage {
    async fn set(test: &str, ledger_partitions: u32) -> Option<Stage> {
        let kafka = Kafka::shared(test).await?;
        let (topic, ledger) = (unique("events"), unique("ledger"));
        kafka.create_topic(&topic, PARTITIONS, &[]).await;
        Some(Stage { kafka, topic, ledger, ledger_partitions })
    }

    /// A replica's folder; `account` as in [`Settings`].
    fn home(&self, emulator: &Emulator, group: &str, account: &str) -> Home {
        let home = Home::new(Settings::of(emulator));
        self.join(&home, emulator, group, account);
        home
    }

    /// From its next start on the replica is a member of `group`.
    fn join(&self, home: &Home, emulator: &Emulator, group: &str, account: &str) {
        let Stage { kafka, topic, ledger, ledger_partitions } = self;
        let broker = kafka.bootstrap();
        home.configure(Settings {
            poll: "{interval: 1s, start: 2h, page_size: 5000}",
            account,
            sinks: &format!("[{{type: kafka, brokers: [\"{broker}\"], topic: {topic}}}]"),
            more: &format!(
                "state: {{type: kafka, topic: {ledger}, partitions: {ledger_partitions}, group: {group}}}\n"
            ),
            ..Settings::of(emulator)
        });
    }

    /// What a reader of committed records sees against what was to be seen by `until`; and how many records were
    /// written and never committed.
    async fn tally(&self, emulator: &Emulator, until: jiff::Timestamp) -> (Tally, usize) {
        let committed = self.kafka.read_all(&self.topic).await;
        let all = self.kafka.read_uncommitted(&self.topic).await.len();
        let texts = committed.iter().map(|message| message.text());
        let tally = Tally::of(&emulator.truth(Some(until)), &emulator.truth(None), texts);
        (tally, all - committed.len())
    }

    /// Waits until a reader of committed records sees another record than it did before.
    async fn flows(&self) {
        let count = async || self.kafka.read_visible(&self.topic).await.len();
        let before = count().await;
        eventually("events flow", async || {
            tokio::time::sleep(Duration::from_millis(200)).await;
            (count().await > before).then_some(())
        })
        .await;
    }
}

#[track_caller]
fn assert_once(tally: &Tally) {
    assert_eq!((tally.lost, tally.repeated, tally.foreign), (0, 0, 0), "{tally:?}");
}

/// Events keep coming, with every fault that passes by itself.
fn awkward(seed: u64) -> Options {
    Options {
        seed,
        events: 20_000,
        span: "1h".parse().unwrap(),
        rate: 400.0,
        ties: 0.05,
        duplicates: 0.01,
        late_share: 0.05,
        late_max: "5s".parse().unwrap(),
        gzip: true,
        fault_share: 0.08,
        slow_body: "1s".parse().unwrap(),
        ..Options::default()
    }
}
