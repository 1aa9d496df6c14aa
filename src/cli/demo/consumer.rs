//! A consumer at the far end: reads the topic while it is written, as the in-process Kafka forgets what is old.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::Error;
use super::stage::PARTITIONS;
use super::tally::Received;
use crate::clock;

/// How long the last records may take.
const LAST: Duration = Duration::from_secs(15);
const TURN: Duration = Duration::from_millis(50);

/// What it gets to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Isolation {
    /// What any consumer should read by: whole transactions, and what was written without one.
    Committed,
    /// What was aborted and what is still open, too.
    Uncommitted,
}

/// A thread that reads until it is told to finish. Dropped, it ends by itself.
pub(super) struct Consumer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    received: Mutex<Received>,
    records: AtomicU64,
    /// What is there now is all that comes.
    finish: AtomicBool,
    abandoned: AtomicBool,
    fault: Mutex<Option<String>>,
}

impl Isolation {
    /// Kafka's word for it.
    fn property(self) -> &'static str {
        match self {
            Isolation::Committed => "read_committed",
            Isolation::Uncommitted => "read_uncommitted",
        }
    }
}

impl Consumer {
    pub fn start(brokers: &str, topic: &str, isolation: Isolation) -> Result<Consumer, Error> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            // The client wants a name even where no group is joined.
            .set("group.id", "jumpstream-demo")
            .set("enable.auto.commit", "false")
            .set("isolation.level", isolation.property())
            // Offsets don't tell the end of a partition: the marks that end transactions have some too.
            .set("enable.partition.eof", "true")
            // Else records that were forgotten before they were read would be passed over in silence.
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", "100")
            .create()?;
        let shared = Arc::new(Shared::default());
        let reader = Reader { consumer, topic: topic.to_owned(), shared: shared.clone(), places: Default::default() };
        reader.assign()?;
        let thread = std::thread::Builder::new().name("consumer".into()).spawn(move || {
            let shared = reader.shared.clone();
            if let Err(fault) = reader.run() {
                *shared.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
            }
        });
        let thread = thread.map_err(|error| Error::Consumer(format!("starting its thread: {error}")))?;
        Ok(Consumer { shared, thread: Some(thread) })
    }

    /// Records read so far.
    pub fn records(&self) -> u64 {
        self.shared.records.load(Ordering::Relaxed)
    }

    pub fn received(&self) -> MutexGuard<'_, Received> {
        self.shared.received()
    }

    /// Why it has ended before its time.
    pub fn fault(&self) -> Option<Error> {
        let fault = self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner).clone();
        fault.map(Error::Consumer)
    }

    /// Reads on to the end of every partition.
    pub async fn finish(mut self) -> Result<Received, Error> {
        self.shared.finish.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = tokio::task::spawn_blocking(move || thread.join()).await;
            ended.ok().and_then(Result::ok).ok_or_else(|| Error::Consumer("its thread panicked".to_owned()))?;
        }
        match self.fault() {
            Some(fault) => Err(fault),
            None => Ok(std::mem::take(&mut *self.received())),
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.shared.abandoned.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn received(&self) -> MutexGuard<'_, Received> {
        // Nothing in here panics half way, so a poisoned state is a whole one.
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Reader {
    consumer: BaseConsumer,
    topic: String,
    shared: Arc<Shared>,
    /// Each partition's.
    places: [Place; PARTITIONS as usize],
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    next: i64,
    /// Nothing more was there.
    at_end: bool,
}

impl Reader {
    fn run(mut self) -> Result<(), String> {
        while !self.shared.finish.load(Ordering::Relaxed) {
            if self.shared.abandoned.load(Ordering::Relaxed) {
                return Ok(());
            }
            self.turn()?;
        }
        // An end that was seen before may be one no more; begun anew, each partition tells it again.
        self.places.iter_mut().for_each(|place| place.at_end = false);
        self.assign().map_err(|error| error.to_string())?;
        let deadline = clock::uptime() + LAST;
        while let Some(partition) = self.places.iter().position(|place| !place.at_end) {
            self.turn()?;
            if clock::uptime() > deadline {
                return Err(format!("the last records of partition {partition} don't come within {LAST:?}"));
            }
        }
        Ok(())
    }

    /// Reads on where each partition stands.
    fn assign(&self) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for (partition, place) in (0..).zip(&self.places) {
            list.add_partition_offset(&self.topic, partition, Offset::Offset(place.next))?;
        }
        self.consumer.assign(&list)
    }

    fn turn(&mut self) -> Result<(), String> {
        let message = match self.consumer.poll(TURN) {
            None => return Ok(()),
            Some(Ok(message)) => message,
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                self.places[partition as usize].at_end = true;
                return Ok(());
            }
            // A connection that comes late is tried again by the client itself.
            Some(Err(KafkaError::MessageConsumption(
                rdkafka::types::RDKafkaErrorCode::BrokerTransportFailure
                | rdkafka::types::RDKafkaErrorCode::AllBrokersDown,
            ))) => return Ok(()),
            Some(Err(error)) => return Err(error.to_string()),
        };
        self.places[message.partition() as usize] = Place { next: message.offset() + 1, at_end: false };
        self.shared.received().add(message.payload().unwrap_or_default());
        self.shared.records.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
