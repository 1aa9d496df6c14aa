//! Reads a partition from its beginning until the owner's own entry is seen, or all that is committed by now.
//!
//! # Invariants
//! Reads only what was committed. Changes nothing, joins no group.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

use crate::clock;
use crate::sink::kafka::Asking;
use crate::store::Error;
use crate::store::kafka::fold::{Fold, Folded};
use crate::store::kafka::{Ledgers, Untaken};

/// How long nothing may come before it is asked what hides the rest.
const PATIENCE: Duration = Duration::from_secs(60);
const TURN: Duration = Duration::from_millis(100);
const ASK: Duration = Duration::from_secs(10);

/// What came of it.
pub(super) enum Read {
    /// All up to the owner's entry.
    Whole(Folded),
    /// Nothing came for long, though the entry is there: an open transaction before it, which begins here, hides it.
    Stuck { offset: i64 },
}

/// Where reading ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Until {
    /// The owner entry with this token.
    Owner([u8; 16]),
    /// What is committed by now.
    Now,
}

/// Reads partition `number`. Dropped, it ends within a second or so.
pub(super) async fn read(ledgers: &Ledgers, number: u32, until: Until) -> Result<Read, Untaken> {
    let (topic, settings) = (ledgers.options.topic.clone(), ledgers.options.settings.clone());
    let config = reader(ledgers)?;
    let fold = Fold::new(number, ledgers.layout);
    // Its drop tells the thread that nobody waits any more.
    let (alive, dropped) = std::sync::mpsc::channel::<()>();
    let reading = tokio::task::spawn_blocking(move || {
        let abandoned = move || dropped.try_recv() == Err(std::sync::mpsc::TryRecvError::Disconnected);
        let consumer = settings.consumer(&config).map_err(|error| not_now(&topic, &error))?;
        read_until(&consumer, &topic, number, until, fold, abandoned)
    });
    let read = reading.await.map_err(|error| Untaken::NotNow(error.to_string()))?;
    drop(alive);
    read
}

/// A consumer of what was committed, in no group.
pub(super) fn reader(ledgers: &Ledgers) -> Result<ClientConfig, Error> {
    let fault =
        |fault: crate::sink::Error| Error::Client { topic: ledgers.options.topic.clone(), fault: fault.to_string() };
    let mut config = ledgers.options.settings.client().map_err(fault)?;
    // librdkafka wants a name even where no group is joined; no offset is ever committed.
    config.set("group.id", format!("{}-reader", ledgers.options.topic));
    config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    config.set("isolation.level", "read_committed").set("auto.offset.reset", "earliest");
    config.set("enable.partition.eof", "true");
    // A take-over waits for every round trip.
    config.set("fetch.wait.max.ms", "50").set("fetch.error.backoff.ms", "50");
    // What a restart reads is some 64 MB at most: a few of librdkafka's 64 MiB queues would be the larger part.
    config.set("queued.max.messages.kbytes", "16384");
    Ok(config)
}

fn not_now(topic: &str, error: &KafkaError) -> Untaken {
    Untaken::NotNow(format!("reading ledger topic {topic}: {error}"))
}

fn read_until(
    consumer: &BaseConsumer<Asking>,
    topic: &str,
    number: u32,
    until: Until,
    mut fold: Fold,
    abandoned: impl Fn() -> bool,
) -> Result<Read, Untaken> {
    let at = |source| Untaken::Fatal(Error::Topic { topic: topic.to_owned(), source });
    let not_now = |error: KafkaError| not_now(topic, &error);
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, number as i32, Offset::Beginning).map_err(not_now)?;
    consumer.assign(&list).map_err(not_now)?;
    let mut since = clock::uptime();
    loop {
        match consumer.poll(TURN) {
            Some(Ok(message)) => {
                fold.take(message.offset(), message.key().unwrap_or_default(), message.payload()).map_err(at)?;
                let is_owned = |token| fold.owner().is_some_and(|owner| owner.token == token);
                if matches!(until, Until::Owner(token) if is_owned(token)) {
                    return fold.finish().map(Read::Whole).map_err(at);
                }
                since = clock::uptime();
            }
            Some(Err(KafkaError::PartitionEOF(_))) if matches!(until, Until::Now) => {
                return fold.finish().map(Read::Whole).map_err(at);
            }
            Some(Err(KafkaError::PartitionEOF(_))) => {}
            Some(Err(error)) => tracing::debug!(topic, number, "reading the ledger: {error}"),
            None if abandoned() => return Err(Untaken::NotNow("nobody waits for it any more".to_owned())),
            None if clock::uptime().saturating_sub(since) > PATIENCE => {
                // What readers of committed records may see ends where the oldest open transaction begins.
                let (_, offset) = consumer.fetch_watermarks(topic, number as i32, ASK).map_err(not_now)?;
                return Ok(Read::Stuck { offset });
            }
            None => {}
        }
    }
}
