//! Somebody else's transaction stays open on a partition that we read or write.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};

use super::fleet::{Fleet, partition_of};
use super::{Stage, assert_once, calm, say};
use crate::kafka::{Kafka, Message, unique};
use crate::process::emulate;
use crate::random;

const LEDGER_PARTITIONS: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the brokers let a foreign transaction be open, where nobody ends it.
const SHORT: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(600);

/// How the foreign transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Timeout,
    Commit,
    /// After a take-over has refused, by what it tells one to do.
    Remedy,
}

/// In `make test` and in `make prove`: the last one waits for a minute.
const SAMPLE: &[Ending] = &[Ending::Timeout, Ending::Commit];
const ALL: &[Ending] = &[Ending::Timeout, Ending::Commit, Ending::Remedy, Ending::Commit];

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_transaction_on_a_ledger_holds_back_that_partition_alone_and_for_as_long_as_it_is_open() {
    for seed in random::seeds(1, 1) {
        let Some(kafka) = Kafka::shared("a foreign transaction on a ledger").await else { return };
        let stage = Stage::on(kafka, LEDGER_PARTITIONS).await;
        let emulator = emulate(calm(6, seed)).await;
        let ids = emulator.organizations();
        let account = format!(", organizations: [{}]", ids.join(", "));
        let partition = partition_of(&stage, &ids[0]);
        let (held, free): (BTreeSet<&str>, BTreeSet<&str>) =
            ids.iter().map(String::as_str).partition(|id| partition_of(&stage, id) == partition);
        assert!(!free.is_empty(), "all streams are in one partition");
        let mut fleet = Fleet::of(&stage, &ids, vec![stage.home(&emulator, &unique("group"), &account)]);
        fleet.start(0);
        fleet.until_all_owned().await;
        for ending in if random::is_prove() { ALL } else { SAMPLE } {
            let timeout = if *ending == Ending::Timeout { SHORT } else { LONG };
            let foreigner = Foreigner::intrude(&stage.brokers, &stage.ledger, partition, timeout).await;
            // Whoever owns the partition goes on.
            stage.flows_in(&stage.topic, |message| is_of(message, &held)).await;
            fleet.running.remove(&0).unwrap().kill();
            let before = stage.visible(&stage.topic).await.iter().filter(|message| is_of(message, &held)).count();

            // Another group, which knows nothing of a dead member.
            stage.join(&fleet.homes[0], &emulator, &unique("group"), &account);
            let mut process = fleet.homes[0].start(&[]);
            let mark = |partition: u32| format!("taken over partition={partition}");
            for other in fleet.partitions.iter().filter(|each| **each != partition) {
                process.said(&mark(*other)).await;
            }
            stage.flows_in(&stage.topic, |message| is_of(message, &free)).await;
            assert_eq!(process.count(&mark(partition)), 0, "taken over without having read it all:\n{}", process.log());
            match ending {
                Ending::Timeout => {}
                Ending::Commit => foreigner.commit().await,
                Ending::Remedy => abort_as_told(kafka, &mut process, &stage, partition).await,
            }
            process.said(&mark(partition)).await;
            stage.flows_in(&stage.topic, |message| is_of(message, &held)).await;
            let after = stage.visible(&stage.topic).await.iter().filter(|message| is_of(message, &held)).count();
            println!("{ending:?}: {} events of the partition since the foreign transaction ended", after - before);
            process.ready().await;
            if *ending == Ending::Commit {
                process.said("what isn't jumpstream's").await;
            }
            fleet.running.insert(0, process);
        }
        let until = emulator.now();
        fleet.stop().await;
        fleet.homes[0].catch_up().await;
        let (tally, uncommitted) = stage.tally(&emulator, until).await;
        say(&format!("seed {seed}, foreign transactions on a ledger"), &tally, uncommitted);
        assert_once(&tally);
    }
}

/// The take-over refuses, names the transaction and says how to end it; which is done.
async fn abort_as_told(kafka: &Kafka, process: &mut crate::process::Process, stage: &Stage, partition: u32) {
    let said = process.said("an open transaction that isn't ours").await;
    let Stage { ledger, brokers, .. } = stage;
    assert!(said.contains(&format!("partition {partition} of ledger topic {ledger}")), "{said}");
    let now = process.degraded("an open transaction that isn't ours").await;
    assert!(now.reasons.iter().any(|reason| reason.contains(ledger)), "{now:?}");
    let mut commands = said.split("kafka-transactions.sh ").skip(1).map(|command| {
        let command = command.split([',', ';']).next().unwrap();
        command.strip_prefix(&format!("--bootstrap-server {brokers} ")).unwrap().to_owned()
    });
    let found = kafka.transactions(&commands.next().unwrap()).await;
    let open = found.lines().skip(1).find(|line| !line.trim_end().ends_with("None")).unwrap();
    println!("the open transaction, as the message has it looked for: {open}");
    let abort = commands.next().unwrap();
    let offset = abort.rsplit(' ').next().unwrap();
    assert!(open.trim_end().ends_with(offset), "{open}: not the offset of {abort}");
    kafka.transactions(&abort).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_transaction_on_the_events_topic_holds_back_its_readers_and_not_us() {
    for seed in random::seeds(1, 1) {
        let Some(stage) = Stage::set("a foreign transaction on the events' topic", LEDGER_PARTITIONS).await else {
            return;
        };
        // So many that some of them have their events in the partition.
        let emulator = emulate(calm(24, seed)).await;
        let account = format!(", organizations: [{}]", emulator.organizations().join(", "));
        // Open before anything of ours is there, and still when it is taken over.
        let foreigner = Foreigner::intrude(&stage.brokers, &stage.topic, 0, LONG).await;
        let home = stage.home(&emulator, &unique("group"), &account);
        for _ in 0..2 {
            let mut process = home.start(&[]);
            process.ready().await;
            stage.flows_in(&stage.topic, |message| message.partition != 0).await;
            let delivered = process.metric("jumpstream_delivered_events_total", &[]).await;
            assert!(delivered > 0.0);
            process.kill();
            stage.join(&home, &emulator, &unique("group"), &account);
        }
        let until = emulator.now();
        home.catch_up().await;
        let in_partition =
            async || stage.visible(&stage.topic).await.iter().filter(|message| message.partition == 0).count();
        assert_eq!(in_partition().await, 0, "the transaction was not open: the test did not bite");
        foreigner.abort().await;
        let (tally, uncommitted) = stage.tally(&emulator, until).await;
        say(&format!("seed {seed}, a foreign transaction on the events' topic"), &tally, uncommitted);
        assert_once(&tally);
        assert!(in_partition().await > 0, "nothing was behind the open transaction: the test did not bite");
    }
}

fn is_of(message: &Message, organizations: &BTreeSet<&str>) -> bool {
    message.header("organization").is_some_and(|organization| organizations.contains(organization))
}

/// A producer that is nobody of ours, in the midst of a transaction.
pub(super) struct Foreigner(std::sync::Arc<ThreadedProducer<DefaultProducerContext>>);

impl Foreigner {
    /// Begins a transaction, writes a record to the partition, and leaves it open.
    pub async fn intrude(brokers: &str, topic: &str, partition: u32, timeout: Duration) -> Foreigner {
        Foreigner::write(brokers, topic, partition, 1, timeout).await
    }

    /// The same with so many records.
    pub async fn write(brokers: &str, topic: &str, partition: u32, records: usize, timeout: Duration) -> Foreigner {
        let config = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("transactional.id", unique("foreigner"))
            .set("transaction.timeout.ms", timeout.as_millis().to_string())
            .to_owned();
        let topic = topic.to_owned();
        let open = move || {
            let producer: ThreadedProducer<_> = config.create().unwrap();
            producer.init_transactions(PATIENCE).unwrap();
            producer.begin_transaction().unwrap();
            for _ in 0..records {
                let record = BaseRecord::to(&topic).partition(partition as i32).key("not ours").payload("nor this");
                producer.send(record).unwrap_or_else(|(error, _)| panic!("{error}"));
            }
            producer.flush(PATIENCE).unwrap();
            Foreigner(std::sync::Arc::new(producer))
        };
        tokio::task::spawn_blocking(open).await.unwrap()
    }

    pub async fn commit(&self) {
        let producer = self.0.clone();
        tokio::task::spawn_blocking(move || producer.commit_transaction(PATIENCE).unwrap()).await.unwrap();
    }

    pub async fn abort(&self) {
        let producer = self.0.clone();
        tokio::task::spawn_blocking(move || producer.abort_transaction(PATIENCE).unwrap()).await.unwrap();
    }
}
