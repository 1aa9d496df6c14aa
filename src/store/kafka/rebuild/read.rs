//! Reads all that was committed to the events' topics, once.
//!
//! # Invariants
//! Reads only. What is written after it began is not looked at; what may still be committed is waited for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _};
use rdkafka::metadata::MetadataTopic;
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

use crate::clock;
use crate::sink::kafka::{Asking, Settings};
use crate::store::kafka::rebuild::gather::{Carried, Gather, Taken};
use crate::store::kafka::topic::words;

const ASK: Duration = Duration::from_secs(10);
const TURN: Duration = Duration::from_millis(100);
/// How long nothing may come.
const PATIENCE: Duration = Duration::from_secs(60);

/// How far it has come, for whoever looks.
#[derive(Debug, Default)]
pub struct Progress {
    read: AtomicU64,
    whole: AtomicU64,
}

impl Progress {
    /// Offsets read, and all that are to be read; 0 before that is known.
    pub fn look(&self) -> (u64, u64) {
        (self.read.load(Ordering::Relaxed), self.whole.load(Ordering::Relaxed))
    }
}

/// What was read of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    pub partitions: usize,
    /// Of this ledger, each an event.
    pub events: u64,
    pub replays: u64,
    pub others: u64,
    pub unreadable: u64,
    pub unowned: u64,
    /// Partitions whose first records are gone.
    pub cut: usize,
}

impl Tally {
    fn count(&mut self, taken: Taken) {
        *match taken {
            Taken::Event => &mut self.events,
            Taken::Replay => &mut self.replays,
            Taken::Other => &mut self.others,
            Taken::Unreadable => &mut self.unreadable,
            Taken::Unowned => &mut self.unowned,
        } += 1;
    }
}

/// Topics by their names.
pub type Topics = BTreeMap<String, Tally>;

/// Reads every topic that events may have gone to, and `further` ones. Blocks; an error is a sentence.
pub(super) fn read(
    readers: &Readers,
    mut gather: Gather,
    further: &[String],
    progress: &Progress,
) -> Result<(Gather, Topics), String> {
    let mut topics = readers.topics(further)?;
    let mut stretches = BTreeMap::new();
    for (topic, tally) in &mut topics {
        let found = readers.stretches(topic, tally)?;
        progress.whole.fetch_add(found.values().map(Stretch::left).sum(), Ordering::Relaxed);
        stretches.insert(topic.clone(), found);
    }
    for (topic, stretches) in stretches {
        readers.settle(&topic, &stretches)?;
        let tally = topics.entry(topic.clone()).or_default();
        readers.read(&topic, stretches, progress, |message| tally.count(gather.take(carried(message))))?;
    }
    Ok((gather, topics))
}

/// A partition's records that are to be read.
struct Stretch {
    from: i64,
    end: i64,
}

impl Stretch {
    fn left(&self) -> u64 {
        self.end.abs_diff(self.from)
    }

    /// How many offsets further that is.
    fn advance(&mut self, to: i64) -> u64 {
        let to = to.clamp(self.from, self.end);
        to.abs_diff(std::mem::replace(&mut self.from, to))
    }
}

/// Two clients: what one sees is committed, the other sees how much there is.
pub(super) struct Readers {
    settings: Settings,
    committed: BaseConsumer<Asking>,
    all: BaseConsumer<Asking>,
}

impl Readers {
    /// For threads that may wait.
    pub fn open(settings: Settings, mut config: ClientConfig) -> Result<Readers, String> {
        // Much is read: in fewer and larger answers.
        config.set("fetch.min.bytes", "65536").set("fetch.wait.max.ms", "100");
        let consumer = |config: &ClientConfig| settings.consumer(config).map_err(|error| error.to_string());
        let committed = consumer(&config)?;
        let all = consumer(config.set("isolation.level", "read_uncommitted"))?;
        Ok(Readers { settings, committed, all })
    }

    /// The topics that are there, of those that events may have gone to, and all `further` ones.
    fn topics(&self, further: &[String]) -> Result<Topics, String> {
        let events = &self.settings.topic;
        let mut topics = Topics::new();
        if events.is_template() {
            // The brokers' own may fit it as well, where nothing of ours can be.
            let fits = |name: &str| events.may_be(name) && !name.starts_with("__");
            topics = self.look(None)?;
            topics.retain(|name, tally| fits(name) && tally.partitions > 0);
        }
        let named = events.known().filter(|_| !events.is_template());
        for name in named.into_iter().chain(further.iter().map(String::as_str)) {
            let found = self.look(Some(name))?;
            if found.values().all(|tally| tally.partitions == 0) {
                return Err(format!(
                    "topic {} doesn't exist, so it can't tell what was delivered; correct its name, or choose another \
                     state.topic to begin anew",
                    name.escape_debug()
                ));
            }
            topics.extend(found);
        }
        match topics.is_empty() {
            true => Err(format!("no topic fits {events}; name those that hold its events with --topic")),
            false => Ok(topics),
        }
    }

    fn look(&self, topic: Option<&str>) -> Result<Topics, String> {
        let brokers = || self.settings.brokers.join(",");
        let metadata =
            self.all.fetch_metadata(topic, ASK).map_err(|_| format!("no broker of {} answers", brokers()))?;
        let partitions = |topic: &MetadataTopic| Tally { partitions: topic.partitions().len(), ..Tally::default() };
        Ok(metadata.topics().iter().map(|topic| (topic.name().to_owned(), partitions(topic))).collect())
    }

    /// Where each partition begins and ends at this moment; those that hold nothing are left out.
    fn stretches(&self, topic: &str, tally: &mut Tally) -> Result<BTreeMap<i32, Stretch>, String> {
        let mut stretches = BTreeMap::new();
        for partition in 0..tally.partitions as i32 {
            let ends = self.all.fetch_watermarks(topic, partition, ASK);
            let (from, end) = ends.map_err(|error| words(topic, &error))?;
            tally.cut += usize::from(from > 0);
            if from < end {
                stretches.insert(partition, Stretch { from, end });
            }
        }
        Ok(stretches)
    }

    /// Waits until nothing below the ends may still be committed or aborted.
    fn settle(&self, topic: &str, stretches: &BTreeMap<i32, Stretch>) -> Result<(), String> {
        let deadline = clock::uptime() + PATIENCE;
        for (partition, stretch) in stretches {
            loop {
                let ends = self.committed.fetch_watermarks(topic, *partition, ASK);
                if ends.map_err(|error| words(topic, &error))?.1 >= stretch.end {
                    break;
                }
                if clock::uptime() > deadline {
                    return Err(format!(
                        "an open transaction hides records of topic {topic}, partition {partition}; find it: \
                         kafka-transactions.sh --bootstrap-server {} describe-producers --topic {topic} --partition \
                         {partition}, and end its producer, or abort it there",
                        self.settings.brokers.join(",")
                    ));
                }
                std::thread::sleep(TURN);
            }
        }
        Ok(())
    }

    /// Each committed record of the stretches.
    fn read(
        &self,
        topic: &str,
        mut stretches: BTreeMap<i32, Stretch>,
        progress: &Progress,
        mut each: impl FnMut(&BorrowedMessage<'_>),
    ) -> Result<(), String> {
        let mut list = TopicPartitionList::new();
        for (partition, stretch) in &stretches {
            let added = list.add_partition_offset(topic, *partition, Offset::Offset(stretch.from));
            added.map_err(|error| words(topic, &error))?;
        }
        self.committed.assign(&list).map_err(|error| words(topic, &error))?;
        let mut heard = clock::uptime();
        while !stretches.is_empty() {
            if clock::uptime().saturating_sub(heard) > PATIENCE {
                let seconds = PATIENCE.as_secs();
                return Err(format!("nothing came of topic {topic} for {seconds} s; look at the brokers' log"));
            }
            let (partition, to) = match self.committed.poll(TURN) {
                Some(Ok(message)) if message.topic() == topic => {
                    let wanted = stretches.get(&message.partition());
                    if wanted.is_some_and(|stretch| message.offset() < stretch.end) {
                        each(&message);
                    }
                    (message.partition(), message.offset() + 1)
                }
                // Behind the last record are markers, or what was aborted.
                Some(Err(KafkaError::PartitionEOF(partition))) => (partition, i64::MAX),
                Some(Err(error)) => {
                    tracing::debug!(topic, "reading events: {error}");
                    continue;
                }
                Some(Ok(_)) | None => continue,
            };
            heard = clock::uptime();
            let Some(stretch) = stretches.get_mut(&partition) else { continue };
            progress.read.fetch_add(stretch.advance(to), Ordering::Relaxed);
            if stretch.left() == 0 {
                stretches.remove(&partition);
                let mut done = TopicPartitionList::new();
                done.add_partition(topic, partition);
                // Others may go on writing there.
                self.committed.pause(&done).map_err(|error| words(topic, &error))?;
            }
        }
        self.committed.unassign().map_err(|error| words(topic, &error))
    }
}

fn carried<'a>(message: &'a BorrowedMessage<'_>) -> Carried<'a> {
    let mut carried = Carried { value: message.payload(), ..Carried::default() };
    for header in message.headers().into_iter().flat_map(|headers| headers.iter()) {
        let text = header.value.and_then(|value| std::str::from_utf8(value).ok());
        match header.key {
            "ledger" => carried.ledger = text,
            "organization" => carried.organization = text,
            "delivery" => carried.delivery = text,
            "ingested-at" => carried.ingested_at = text,
            _ => {}
        }
    }
    carried
}
