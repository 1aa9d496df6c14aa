//! What is known of the topics that records go to: whether they are there, and how large a batch each takes.
//!
//! # Invariants
//! Looked up once and kept until someone finds it wrong; never creates a topic.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use flate2::Compression;
use flate2::write::DeflateEncoder;
use rdkafka::error::RDKafkaErrorCode as Code;

use super::inspect::{Topic, inspect_topic, sentence};
use super::line::{LOOK, Outgoing};
use super::{Inspection, Settings, config};
use crate::record::Reason;
use crate::sink::Refused;

/// No batch is made smaller than this; a topic that takes less takes no event either.
const SMALLEST_BATCH: u64 = 16 * 1024;

/// The topics of one cluster, shared by all who write to them.
#[derive(Debug)]
pub struct Topics {
    settings: Arc<Settings>,
    /// Each topic that is there, with its `max.message.bytes`, where we may ask for it.
    known: RwLock<HashMap<String, Option<u64>>>,
    /// The largest batch for topics whose limit isn't known, in bytes.
    assumed: AtomicU64,
}

impl Topics {
    pub fn new(settings: Settings) -> Arc<Topics> {
        Arc::new(Topics {
            settings: Arc::new(settings),
            known: RwLock::default(),
            assumed: AtomicU64::new(config::BATCH_BYTES),
        })
    }

    pub(super) fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Looks the topic up, unless it is known. An error is a sentence; asking again is up to the caller.
    ///
    /// Dropping it lets the look end by itself.
    pub async fn learn(&self, topic: &str) -> Result<(), String> {
        if self.knows(topic) {
            return Ok(());
        }
        match inspect_topic(&self.settings, topic, LOOK).await {
            Inspection { topic: Some(Ok(Topic { max_message_bytes, .. })), .. } => {
                let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
                known.insert(topic.to_owned(), max_message_bytes.ok());
                Ok(())
            }
            Inspection { brokers: Err(fault), .. } | Inspection { topic: Some(Err(fault)), .. } => Err(fault),
            Inspection { .. } => Err(sentence(&self.settings, topic, Code::UnknownTopicOrPartition, "")),
        }
    }

    /// Whether the topic was there when last looked up.
    pub fn knows(&self, topic: &str) -> bool {
        self.known().contains_key(topic)
    }

    /// The largest batch that the topic takes, as compressed, in bytes (`max.message.bytes`); none where it isn't known.
    pub fn limit(&self, topic: &str) -> Option<u64> {
        self.known().get(topic).copied().flatten()
    }

    /// What the topic will surely refuse, so that no transaction is lost for it; what it takes only if it compresses
    /// well enough is tried with the same kind of compression. The brokers have the last word.
    pub fn refuse(&self, index: usize, outgoing: &Outgoing<'_>) -> Option<Refused> {
        let limit = self.limit(&outgoing.topic)?;
        let size = outgoing.wire_size();
        let compression = self.settings.properties.get("compression.type").map_or("lz4", String::as_str);
        let refused = size > limit
            && match compression {
                "none" => true,
                // The only one that may come out smaller than deflate.
                "zstd" => false,
                _ => deflated(outgoing.value.unwrap_or_default()) > limit,
            };
        refused.then(|| self.refused(index, Reason::TooLargeForSink, Code::MessageSizeTooLarge, outgoing))
    }

    /// A refusal in words.
    pub(super) fn refused(&self, index: usize, reason: Reason, code: Code, outgoing: &Outgoing<'_>) -> Refused {
        let topic = &outgoing.topic;
        let (size, limit) = (outgoing.wire_size(), self.limit(topic));
        let limit = limit.map_or(String::new(), |limit| format!(" of {limit}"));
        let explanation = match reason {
            Reason::TooLargeForSink => format!(
                "a record of {size} bytes is over max.message.bytes{limit} of topic {topic}, as compressed; raise it: \
                 kafka-configs.sh --alter --topic {topic} --add-config max.message.bytes={}",
                size.next_power_of_two()
            ),
            _ => format!("topic {topic} refuses the record: {code}"),
        };
        Refused { index, reason, explanation }
    }

    /// What is known may be wrong by now: each is looked up again.
    pub(super) fn forget(&self) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// A batch of `was` bytes was too large for the topic, though no record of it is: where its limit isn't told, a
    /// lower one is guessed.
    pub(super) fn lower(&self, topic: &str, was: u64) {
        if self.limit(topic).is_none() {
            self.assumed.fetch_min((was / 2).max(SMALLEST_BATCH), Ordering::Relaxed);
        }
    }

    /// The largest batch that every known topic takes, in bytes before compression.
    pub(super) fn batch_bytes(&self) -> u64 {
        let assumed = self.assumed.load(Ordering::Relaxed);
        let smallest = self.known().values().map(|limit| limit.unwrap_or(assumed)).min();
        smallest.unwrap_or(assumed).clamp(SMALLEST_BATCH, config::BATCH_BYTES)
    }

    fn known(&self) -> RwLockReadGuard<'_, HashMap<String, Option<u64>>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long the value is after deflate, which leaves it no longer than lz4, snappy or gzip would.
fn deflated(value: &[u8]) -> u64 {
    let mut encoder = DeflateEncoder::new(Count(0), Compression::best());
    // Counting can't fail.
    let _ = encoder.write_all(value);
    encoder.finish().map_or(0, |count| count.0)
}

struct Count(u64);

impl std::io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
