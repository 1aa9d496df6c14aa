//! Reads what a topic holds, whole and once, with a consumer that belongs to no group and commits nothing.

use std::time::Duration;

use jumpstream::clock;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::metadata::Metadata;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

/// How long a read may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which messages count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// The committed ones, once no transaction is open.
    Settled,
    /// The committed ones before the first open transaction of their partition.
    Committed,
    /// All.
    Uncommitted,
}

/// A message, copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
    pub key: Option<Vec<u8>>,
    /// None is a tombstone.
    pub value: Option<Vec<u8>>,
    /// In the order they came in; values that are no text are shown with replacement characters.
    pub headers: Vec<(String, String)>,
}

impl Message {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The value as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(self.value.as_deref().expect("a tombstone has no value")).expect("the value is no text")
    }

    fn copy(message: &BorrowedMessage<'_>) -> Message {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        Message {
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.map(|each| (each.key.to_owned(), each.value.map(text).unwrap_or_default())).collect(),
        }
    }
}

/// What the broker says of itself and its topics; none while it does not answer.
pub async fn metadata(bootstrap: String) -> Option<Metadata> {
    blocking(move || consumer(&bootstrap, View::Uncommitted).fetch_metadata(None, Duration::from_secs(2)).ok()).await
}

/// Every message of a topic that counts, by partition and offset.
pub async fn read(bootstrap: String, topic: &str, view: View) -> Vec<Message> {
    let topic = topic.to_owned();
    blocking(move || {
        let consumer = consumer(&bootstrap, view);
        let metadata = consumer.fetch_metadata(Some(&topic), Duration::from_secs(10)).unwrap();
        let partitions: Vec<i32> = metadata.topics()[0].partitions().iter().map(|each| each.id()).collect();
        assert!(!partitions.is_empty(), "there is no topic {topic}");
        if view == View::Settled {
            await_settled(&bootstrap, &topic, &partitions);
        }
        drain(&consumer, &topic, &partitions)
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|failure| std::panic::resume_unwind(failure.into_panic()))
}

fn consumer(bootstrap: &str, view: View) -> BaseConsumer {
    let isolation = if view == View::Uncommitted { "read_uncommitted" } else { "read_committed" };
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        // Named because librdkafka insists; with assigned partitions it is never joined.
        .set("group.id", "jumpstream-test-reader")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", isolation)
        .set("reconnect.backoff.max.ms", "200")
        .create()
        .unwrap()
}

/// Waits until what `read_committed` may see ends where the log ends.
fn await_settled(bootstrap: &str, topic: &str, partitions: &[i32]) {
    let (committed, all) = (consumer(bootstrap, View::Committed), consumer(bootstrap, View::Uncommitted));
    let deadline = clock::uptime() + PATIENCE;
    let end = |consumer: &BaseConsumer, partition| {
        consumer.fetch_watermarks(topic, partition, Duration::from_secs(10)).unwrap().1
    };
    for &partition in partitions {
        while end(&committed, partition) < end(&all, partition) {
            assert!(clock::uptime() < deadline, "a transaction in {topic}, partition {partition}, stays open");
        }
    }
}

/// Reads until every partition has said that this is its end.
fn drain(consumer: &BaseConsumer, topic: &str, partitions: &[i32]) -> Vec<Message> {
    let mut assignment = TopicPartitionList::new();
    for &partition in partitions {
        assignment.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let deadline = clock::uptime() + PATIENCE;
    let mut messages = Vec::new();
    let mut open = partitions.to_vec();
    while !open.is_empty() {
        assert!(
            clock::uptime() < deadline,
            "no end of {topic}, partitions {open:?}, after {} messages",
            messages.len()
        );
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => messages.push(Message::copy(&message)),
            Some(Err(KafkaError::PartitionEOF(partition))) => open.retain(|each| *each != partition),
            // The client mends what can be mended; the deadline ends the rest.
            Some(Err(_)) | None => {}
        }
    }
    messages.sort_by_key(|message| (message.partition, message.offset));
    messages
}
