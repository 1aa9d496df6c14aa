//! Whether the events' topic holds records of a ledger: then a ledger topic without anything was deleted or emptied.
//!
//! # Invariants
//! Reads only. Says no only where nothing that may still be committed could mean yes.

use std::ops::Range;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Headers as _;
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

use crate::clock;
use crate::sink::kafka::Asking;
use crate::store::kafka::topic::{blocking, words};
use crate::store::kafka::{Ledgers, Untaken, reading};

const ASK: Duration = Duration::from_secs(10);
const TURN: Duration = Duration::from_millis(200);
/// How far back a partition is searched at first, in offsets: transactions end in markers, which take some too, and
/// others may write to the topic.
const SEARCH: i64 = 1_000;
/// The same of what may still be committed, where aborted records of others may lie about.
const SEARCH_OPEN: i64 = 100_000;

/// Whether the events' topic holds records that were written with this ledger.
pub(super) async fn is_left(ledgers: &Ledgers) -> Result<bool, Untaken> {
    let (config, ledger) = (reading::reader(ledgers)?, ledgers.options.topic.clone());
    let settings = ledgers.options.settings.clone();
    blocking(move || {
        let events = &settings.topic;
        let words = |error| words(&events.to_string(), &error);
        let open = |config: &ClientConfig| settings.consumer(config).map_err(words);
        let committed = open(&config)?;
        let all = open(config.clone().set("isolation.level", "read_uncommitted"))?;
        // Of a template every topic that it could have meant.
        let one = events.known().filter(|_| !events.is_template());
        let metadata = committed.fetch_metadata(one, ASK).map_err(words)?;
        let mut hidden = None;
        // One that is absent has no partition, and holds nothing of ours.
        for topic in metadata.topics().iter().filter(|topic| events.may_be(topic.name())) {
            for partition in 0..topic.partitions().len() as i32 {
                match find(&committed, &all, (topic.name(), partition), &ledger).map_err(words)? {
                    Trace::Committed => return Ok(true),
                    Trace::Hidden => hidden = Some((topic.name(), partition)),
                    Trace::None => {}
                }
            }
        }
        hidden.map_or(Ok(false), |(topic, partition)| Err(hides(&settings.brokers.join(","), topic, partition)))
    })
    .await
}

fn hides(brokers: &str, topic: &str, partition: i32) -> String {
    format!(
        "the ledger topic is empty or absent, and an open transaction hides whether topic {topic}, partition {partition}, \
         holds records that were written with it; one of ours ends within 15 s by itself; find another's: \
         kafka-transactions.sh --bootstrap-server {brokers} describe-producers --topic {topic} --partition {partition}, \
         and end its producer, or abort it there"
    )
}

/// Records of this ledger among a partition's last ones.
enum Trace {
    Committed,
    /// Behind the beginning of an open transaction: they are committed, or never will be.
    Hidden,
    None,
}

/// Looks at the end of what is committed, and at what is not yet.
fn find(
    committed: &BaseConsumer<Asking>,
    all: &BaseConsumer<Asking>,
    place: (&str, i32),
    ledger: &str,
) -> Result<Trace, KafkaError> {
    let is_ours = |headers: Option<&str>| headers == Some(ledger);
    let (low, stable) = committed.fetch_watermarks(place.0, place.1, ASK)?;
    let mut range = (stable - SEARCH).max(low)..stable;
    loop {
        match look_at(committed, place, range.clone(), is_ours)? {
            Seen::Wanted => return Ok(Trace::Committed),
            // All of it was aborted.
            Seen::Nothing if range.start > low => {
                range = (range.start - (range.end - range.start) * 2).max(low)..range.start;
            }
            Seen::Nothing | Seen::Others => break,
        }
    }
    let (_, end) = all.fetch_watermarks(place.0, place.1, ASK)?;
    let open = (end - SEARCH_OPEN).max(stable)..end;
    Ok(match !open.is_empty() && look_at(all, place, open, is_ours)? == Seen::Wanted {
        true => Trace::Hidden,
        false => Trace::None,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Nothing,
    Others,
    Wanted,
}

/// Whether a record in `offsets` that the consumer may see has a `ledger` header that is `wanted`.
pub(super) fn look_at(
    consumer: &BaseConsumer<Asking>,
    (topic, partition): (&str, i32),
    offsets: Range<i64>,
    wanted: impl Fn(Option<&str>) -> bool,
) -> Result<Seen, KafkaError> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offsets.start))?;
    consumer.assign(&list)?;
    let deadline = clock::uptime() + ASK;
    let mut seen = Seen::Nothing;
    while clock::uptime() < deadline {
        match consumer.poll(TURN) {
            Some(Ok(message)) if message.offset() >= offsets.end => return Ok(seen),
            Some(Ok(message)) => {
                let header = message.headers().and_then(|headers| headers.iter().find(|header| header.key == "ledger"));
                let ledger = header.and_then(|header| header.value).and_then(|value| std::str::from_utf8(value).ok());
                if wanted(ledger) {
                    return Ok(Seen::Wanted);
                }
                seen = Seen::Others;
                if message.offset() + 1 >= offsets.end {
                    return Ok(seen);
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(seen),
            Some(Err(error)) => return Err(error),
            None => {}
        }
    }
    Err(KafkaError::ConsumerQueueClose(Code::OperationTimedOut))
}
