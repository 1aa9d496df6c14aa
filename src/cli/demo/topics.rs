//! The demo's own topics on a Kafka that somebody else runs: made, looked at, removed.
//!
//! # Invariants
//! Touches no topic or group but those whose names it has made up itself.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};

use super::Error;
use super::stage::PARTITIONS;
use crate::clock;

/// How long the brokers may take to answer anything.
const ANSWER: Duration = Duration::from_secs(10);
/// How often it is asked whether a transaction is open: they last some milliseconds.
const GLANCE: Duration = Duration::from_millis(2);

/// A topic for events, the name of one for the ledger, which jumpstream makes itself, and of a consumer group.
#[derive(Debug, Clone)]
pub(super) struct Topics {
    pub brokers: String,
    pub events: String,
    pub ledger: String,
    pub group: String,
}

impl Topics {
    /// Makes the events' topic under a new name; returns when it can be written to.
    pub async fn make(brokers: &str) -> Result<Topics, Error> {
        let name = format!("jumpstream-demo-{:08x}", getrandom::u32().unwrap_or_default());
        let topics = Topics {
            brokers: brokers.to_owned(),
            events: format!("{name}.events"),
            ledger: format!("{name}.ledger"),
            group: name,
        };
        let asked = topics.clone();
        blocking(move || asked.client("read_uncommitted")?.fetch_metadata(None, ANSWER).map(|_| ()))
            .await
            .map_err(|fault| topics.fault("no broker answers", &fault))?;
        let wanted = NewTopic::new(&topics.events, PARTITIONS, TopicReplication::Fixed(-1));
        let made = topics.admin()?.create_topics([&wanted], &options()).await?.pop();
        if let Some(Err((_, code))) = made {
            return Err(topics.fault("the brokers make no topic", &code));
        }
        let asked = topics.clone();
        match blocking(move || asked.await_leaders()).await {
            Ok(true) => Ok(topics),
            Ok(false) => Err(topics.fault("a new topic gets no leader", &format!("waited {ANSWER:?}"))),
            Err(fault) => Err(topics.fault("a new topic gets no leader", &fault)),
        }
    }

    /// Removes what was made; says so where that fails, since it is somebody else's Kafka.
    pub async fn remove(&self) {
        let Ok(admin) = self.admin() else { return };
        let names = [self.events.as_str(), self.ledger.as_str()];
        let left = match admin.delete_topics(&names, &options()).await {
            Ok(deleted) => deleted.into_iter().filter_map(Result::err).map(|(name, _)| name).collect(),
            Err(_) => names.map(str::to_owned).to_vec(),
        };
        // The ledger's is absent where jumpstream never came so far.
        if left.contains(&self.events) {
            eprintln!(
                "jumpstream: could not remove the topics {} of {}; remove them by hand",
                left.join(", "),
                self.brokers
            );
        }
        // One that still has members, as after Ctrl-C, goes by itself once it was empty for the brokers' retention.
        let _ = admin.delete_groups(&[&self.group], &options()).await;
    }

    /// Waits until records stand in the topic that no reader of committed ones may see yet: whether that came.
    pub async fn until_open(&self, patience: Duration) -> bool {
        let topics = self.clone();
        let look = move || {
            let clients = (topics.client("read_uncommitted")?, topics.client("read_committed")?);
            let deadline = clock::uptime() + patience;
            while clock::uptime() < deadline {
                if topics.is_open(&clients)? {
                    return Ok(true);
                }
                std::thread::sleep(GLANCE);
            }
            Ok(false)
        };
        blocking(look).await.unwrap_or(false)
    }

    fn is_open(&self, (all, committed): &(BaseConsumer, BaseConsumer)) -> KafkaResult<bool> {
        for partition in 0..PARTITIONS {
            let stable = committed.fetch_watermarks(&self.events, partition, ANSWER)?.1;
            // Asked second, so that a commit in between is no open transaction: then this end moves on as well, and
            // the next look finds both equal.
            let end = all.fetch_watermarks(&self.events, partition, ANSWER)?.1;
            if end > stable && committed.fetch_watermarks(&self.events, partition, ANSWER)?.1 < end {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn await_leaders(&self) -> KafkaResult<bool> {
        let client = self.client("read_uncommitted")?;
        let deadline = clock::uptime() + ANSWER;
        while clock::uptime() < deadline {
            let metadata = client.fetch_metadata(Some(&self.events), ANSWER)?;
            let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
            if partitions.filter(|each| each.leader() >= 0).count() == PARTITIONS as usize {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(false)
    }

    /// Asks and never reads.
    fn client(&self, isolation: &str) -> KafkaResult<BaseConsumer> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("isolation.level", isolation).create()
    }

    fn admin(&self) -> KafkaResult<AdminClient<DefaultClientContext>> {
        ClientConfig::new().set("bootstrap.servers", &self.brokers).create()
    }

    fn fault(&self, finding: &str, why: &dyn std::fmt::Display) -> Error {
        Error::Brokers { brokers: self.brokers.clone(), why: format!("{finding} ({why})") }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> KafkaResult<T> + Send + 'static) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error: KafkaError| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
