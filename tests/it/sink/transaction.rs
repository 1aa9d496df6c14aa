//! Transactions over a real broker: all or nothing, one owner at a time, and no outage makes a wrong commit.

mod fate;
mod outage;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jumpstream::record::Reason;
use jumpstream::sink::kafka::{Lost, Outcome, Outgoing, Settings, Topics, Transactions};
use rdkafka::message::{Header, OwnedHeaders};

use super::{DEADLINE, settings};
use crate::kafka::{Kafka, unique};

/// The events' topic and the ledger's.
struct Place {
    events: String,
    ledger: String,
    id: String,
}

impl Place {
    async fn make(kafka: &Kafka) -> Place {
        let place = Place { events: unique("tx-events"), ledger: unique("tx-ledger"), id: unique("tx-id") };
        kafka.create_topic(&place.events, 3, &[]).await;
        kafka.create_topic(&place.ledger, 2, &[]).await;
        place
    }

    /// A producer that has the id.
    async fn owner(&self, brokers: &str) -> Arc<Transactions> {
        let owner = self.stranger(brokers);
        owner.open(DEADLINE).await.unwrap();
        owner
    }

    /// A producer that has asked nobody for the id yet.
    fn stranger(&self, brokers: &str) -> Arc<Transactions> {
        let usual = vec![self.events.clone(), self.ledger.clone()];
        Arc::new(Transactions::new(Topics::new(settings(brokers, &self.events)), &*self.id, usual).unwrap())
    }

    /// The numbers as events, and behind them one entry in the ledger's second partition.
    async fn commit(&self, owner: &Transactions, numbers: std::ops::Range<usize>) -> Result<Outcome, Lost> {
        let values: Vec<String> = numbers.map(value).collect();
        let commit = self.commit_values(owner, &values);
        tokio::time::timeout(2 * DEADLINE, commit).await.expect("within the deadline")
    }

    async fn commit_values(&self, owner: &Transactions, values: &[String]) -> Result<Outcome, Lost> {
        owner.commit(values.len() + 1, |index| self.message(values, index)).await
    }

    fn message<'a>(&'a self, values: &'a [String], index: usize) -> Outgoing<'a> {
        match values.get(index) {
            Some(value) => {
                let headers = OwnedHeaders::new().insert(Header { key: "event-id", value: Some(value) });
                let (key, value) = (Some(&value.as_bytes()[..6]), Some(value.as_bytes()));
                Outgoing { headers, ..Outgoing::to(self.events.as_str(), key, value) }
            }
            None => Outgoing { partition: Some(1), ..Outgoing::to(self.ledger.as_str(), Some(b"entry"), None) },
        }
    }

    /// How often each event is committed, and how many entries the ledger has.
    async fn committed(&self, kafka: &Kafka) -> (HashMap<String, usize>, usize) {
        let mut times = HashMap::new();
        for message in kafka.read_all(&self.events).await {
            *times.entry(message.text().to_owned()).or_default() += 1;
        }
        (times, kafka.read_all(&self.ledger).await.len())
    }

    /// These numbers are committed, each once, and nothing else; and so many entries.
    async fn holds(&self, kafka: &Kafka, numbers: std::ops::Range<usize>, entries: usize) {
        let (times, found) = self.committed(kafka).await;
        let expected: Vec<String> = numbers.map(value).collect();
        let missing: Vec<&String> = expected.iter().filter(|value| times.get(*value) != Some(&1)).collect();
        assert!(missing.is_empty(), "{} missing or repeated, as {:?}", missing.len(), missing.first());
        assert_eq!((times.len(), found), (expected.len(), entries));
    }
}

/// Wide enough for batches of more than one request.
fn value(number: usize) -> String {
    format!("{number:06} {}", "x".repeat(600))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_visible_whole_and_only_once_committed() {
    let Some(kafka) = Kafka::shared("a transaction").await else { return };
    let place = Place::make(kafka).await;
    let owner = place.owner(&kafka.bootstrap()).await;
    assert_eq!(place.commit(&owner, 0..10_000).await, Ok(Outcome::Committed));
    assert_eq!(place.commit(&owner, 10_000..10_001).await, Ok(Outcome::Committed));
    assert_eq!(owner.commit(0, |_| unreachable!()).await, Ok(Outcome::Committed));
    assert_eq!(owner.trouble(), None);
    place.holds(kafka, 0..10_001, 2).await;
    let entries = kafka.read_all(&place.ledger).await;
    assert!(entries.iter().all(|entry| entry.partition == 1 && entry.value.is_none()), "{entries:?}");
    let event = &kafka.read_all(&place.events).await[0];
    assert_eq!(event.header("event-id"), Some(event.text()));
    assert_eq!(event.key.as_deref(), Some(&event.text().as_bytes()[..6]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_owner_fences_the_older_whose_transaction_is_gone() {
    let Some(kafka) = Kafka::shared("a newer owner").await else { return };
    let place = Place::make(kafka).await;
    let older = place.owner(&kafka.bootstrap()).await;
    assert_eq!(place.commit(&older, 0..10).await, Ok(Outcome::Committed));
    // The older one stops in the midst of its sending, as a frozen process does.
    let (stopped, stop) = std::sync::mpsc::channel::<()>();
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let paused = tokio::spawn({
        let (older, events) = (older.clone(), place.events.clone());
        let values: Vec<String> = (10..20).map(value).collect();
        async move {
            let message = |index: usize| {
                if index == 8 {
                    stopped.send(()).unwrap();
                    wait.lock().unwrap().recv().unwrap();
                }
                Outgoing::to(events.as_str(), None, Some(values[index].as_bytes()))
            };
            older.commit(10, message).await
        }
    });
    tokio::task::spawn_blocking(move || stop.recv().unwrap()).await.unwrap();
    let newer = place.owner(&kafka.bootstrap()).await;
    assert_eq!(place.commit(&newer, 20..30).await, Ok(Outcome::Committed));
    go_on.send(()).unwrap();
    assert_eq!(paused.await.unwrap(), Err(Lost::Fenced { id: place.id.clone() }));
    // Nor ever again.
    assert!(place.commit(&older, 30..31).await.is_err());
    assert_eq!(place.commit(&newer, 31..32).await, Ok(Outcome::Committed));
    let (times, entries) = place.committed(kafka).await;
    let expected: HashMap<String, usize> =
        (0..10).chain(20..30).chain(31..32).map(|number| (value(number), 1)).collect();
    assert_eq!((times, entries), (expected, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_brokers_refuse_is_named_and_the_others_go_on() {
    let Some(kafka) = Kafka::shared("a refused record").await else { return };
    let place = Place { events: unique("tx-limited"), ledger: unique("tx-ledger"), id: unique("tx-id") };
    kafka.create_topic(&place.events, 3, &[("max.message.bytes", "100000")]).await;
    kafka.create_topic(&place.ledger, 2, &[]).await;
    let owner = place.owner(&kafka.bootstrap()).await;
    let mut values: Vec<String> = (0..2_000).map(value).collect();
    values[700] = format!("{:06} {}", 700, super::broker::noise(150_000));
    values[800] = format!("{:06} {}", 800, "x".repeat(150_000));
    // Known beforehand, and only where no compression could help.
    let refused = |index| owner.topics().refuse(index, &place.message(&values, index)).map(|refused| refused.reason);
    assert_eq!((refused(699), refused(700), refused(800)), (None, Some(Reason::TooLargeForSink), None));
    // And by the brokers.
    let outcome = place.commit_values(&owner, &values).await;
    let Ok(Outcome::Refused(refused)) = outcome else { panic!("not refused: {outcome:?}") };
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!((refused[0].index, refused[0].reason), (700, Reason::TooLargeForSink));
    assert!(refused[0].explanation.contains("max.message.bytes of 100000"), "{}", refused[0].explanation);
    assert_eq!(kafka.read_all(&place.events).await, [], "an aborted transaction is visible");
    values.remove(700);
    assert_eq!(place.commit_values(&owner, &values).await, Ok(Outcome::Committed));
    assert_eq!(place.commit(&owner, 2_000..3_000).await, Ok(Outcome::Committed));
    let (times, entries) = place.committed(kafka).await;
    assert!(times.values().all(|times| *times == 1));
    assert_eq!((times.len(), entries), (1_999 + 1_000, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_record_is_found_among_its_neighbours() {
    let Some(kafka) = Kafka::shared("an invalid record").await else { return };
    let place = Place { events: unique("tx-compacted"), ledger: unique("tx-ledger"), id: unique("tx-id") };
    // Takes no record without a key.
    kafka.create_topic(&place.events, 1, &[("cleanup.policy", "compact")]).await;
    kafka.create_topic(&place.ledger, 2, &[]).await;
    let owner = place.owner(&kafka.bootstrap()).await;
    let values: Vec<String> = (0..50).map(value).collect();
    let keyless = |bad: usize| {
        let (place, values) = (&place, &values);
        move |index| {
            let outgoing = place.message(values, index);
            if index == bad { Outgoing { key: None, ..outgoing } } else { outgoing }
        }
    };
    let outcome = owner.commit(51, keyless(17)).await;
    let Ok(Outcome::Refused(refused)) = outcome else { panic!("not refused: {outcome:?}") };
    assert_eq!(refused.iter().map(|refused| refused.index).collect::<Vec<_>>(), [17]);
    assert_eq!(refused[0].reason, Reason::Refused);
    assert_eq!(owner.commit(51, keyless(51)).await, Ok(Outcome::Committed));
    place.holds(kafka, 0..50, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_told_and_waited_for() {
    let Some(kafka) = Kafka::shared("a missing topic").await else { return };
    let place = Place { events: unique("tx-missing"), ledger: unique("tx-ledger"), id: unique("tx-id") };
    kafka.create_topic(&place.ledger, 2, &[]).await;
    let owner = place.owner(&kafka.bootstrap()).await;
    let commit = async { place.commit(&owner, 0..100).await };
    let create = async {
        let trouble = super::eventually("the trouble", || owner.trouble()).await;
        assert!(trouble.contains(&format!("--create --topic {}", place.events)), "{trouble}");
        kafka.create_topic(&place.events, 3, &[]).await;
    };
    let (outcome, ()) = tokio::join!(commit, create);
    assert_eq!(outcome, Ok(Outcome::Committed));
    assert_eq!(owner.trouble(), None);
    place.holds(kafka, 0..100, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_are_away_are_told_and_the_id_is_not_waited_for_endlessly() {
    let place = Place { events: unique("tx-none"), ledger: unique("tx-none"), id: unique("tx-id") };
    let owner = place.stranger("127.0.0.1:9");
    let lost = owner.open(Duration::from_secs(3)).await.unwrap_err();
    assert!(matches!(&lost, Lost::Away { why, .. } if why.contains("no broker of 127.0.0.1:9")), "{lost}");
    let lost = place.commit(&owner, 0..1).await.unwrap_err();
    assert!(matches!(lost, Lost::Unknown { .. }), "{lost}");
}
