//! A producer whose answers a thread of its own takes in.
//!
//! The library's own such producer waits in turns of 100 ms and spins through the last millisecond of each, which is a
//! hundredth of a core for every idle producer. Answers end a turn at once, so that turns may be long.
//!
//! # Invariants
//! Never holds up whoever drops it.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::config::{ClientConfig, FromClientConfigAndContext as _};
use rdkafka::error::KafkaResult;
use rdkafka::producer::{BaseProducer, Producer as _, PurgeConfig};

use super::flight::Context;

/// How long an idle producer outlives its owner at most.
const TURN: Duration = Duration::from_secs(1);

pub(super) struct Polled {
    producer: Arc<BaseProducer<Context>>,
    ends: Arc<AtomicBool>,
}

impl Polled {
    pub fn open(config: &ClientConfig, context: Context) -> KafkaResult<Polled> {
        let producer = Arc::new(BaseProducer::from_config_and_context(config, context)?);
        let ends = Arc::new(AtomicBool::new(false));
        let (polled, ended) = (producer.clone(), ends.clone());
        let poll = move || {
            while !ended.load(Ordering::Relaxed) {
                polled.poll(TURN);
            }
            // The last one who has the producer ends it, which may take seconds: it is this thread.
            while Arc::strong_count(&polled) > 1 {
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        let named = std::thread::Builder::new().name("kafka answers".to_owned());
        named
            .spawn(poll)
            .map_err(|_| rdkafka::error::KafkaError::ClientCreation("no thread can be made".to_owned()))?;
        Ok(Polled { producer, ends })
    }
}

impl Deref for Polled {
    type Target = BaseProducer<Context>;

    fn deref(&self) -> &BaseProducer<Context> {
        &self.producer
    }
}

impl Drop for Polled {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // What is given back ends the thread's turn.
        self.producer.purge(PurgeConfig::default().queue().inflight().non_blocking());
    }
}
