//! The consumer at the far end: reads the topic while it is written, as the in-process Kafka forgets what is old.

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
use super::stage::{PARTITIONS, TOPIC};
use super::tally::Received;
use crate::clock;

/// How long the last records may take.
const LAST: Duration = Duration::from_secs(15);
const TURN: Duration = Duration::from_millis(50);

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

impl Consumer {
    pub fn start(brokers: &str) -> Result<Consumer, Error> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "jumpstream-demo")
            .set("enable.auto.commit", "false")
            // Else records that were forgotten before they were read would be passed over in silence.
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", "100")
            .create()?;
        let mut places = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            places.add_partition_offset(TOPIC, partition, Offset::Offset(0))?;
        }
        consumer.assign(&places)?;
        let shared = Arc::new(Shared::default());
        let reader = Reader { consumer, shared: shared.clone(), next: [0; PARTITIONS as usize] };
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
    shared: Arc<Shared>,
    /// Each partition's next offset.
    next: [i64; PARTITIONS as usize],
}

impl Reader {
    fn run(mut self) -> Result<(), String> {
        while !self.shared.finish.load(Ordering::Relaxed) {
            if self.shared.abandoned.load(Ordering::Relaxed) {
                return Ok(());
            }
            self.turn()?;
        }
        let deadline = clock::uptime() + LAST;
        for partition in 0..PARTITIONS {
            let end = self.consumer.fetch_watermarks(TOPIC, partition, LAST).map_err(|error| error.to_string())?.1;
            while self.next[partition as usize] < end {
                self.turn()?;
                if clock::uptime() > deadline {
                    return Err(format!("the last records of partition {partition} don't come within {LAST:?}"));
                }
            }
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<(), String> {
        let message = match self.consumer.poll(TURN) {
            None => return Ok(()),
            Some(Ok(message)) => message,
            // A connection that comes late is tried again by the client itself.
            Some(Err(KafkaError::MessageConsumption(
                rdkafka::types::RDKafkaErrorCode::BrokerTransportFailure
                | rdkafka::types::RDKafkaErrorCode::AllBrokersDown,
            ))) => return Ok(()),
            Some(Err(error)) => return Err(error.to_string()),
        };
        self.next[message.partition() as usize] = message.offset() + 1;
        self.shared.received().add(message.payload().unwrap_or_default());
        self.shared.records.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
