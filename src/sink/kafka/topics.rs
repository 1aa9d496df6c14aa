//! What is known of the topics that records go to: whether they are there, and how large a batch each takes.
//!
//! # Invariants
//! Looked up once and kept until someone finds it wrong; never creates a topic.

use std::collections::{HashMap, HashSet};
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use rdkafka::error::RDKafkaErrorCode as Code;

use super::fate::{is_of_size, is_of_topic};
use super::flight::Failure;
use super::inspect::{Topic, inspect_topic, sentence};
use super::line::{LOOK, Outgoing};
use super::{Inspection, Settings, config};
use crate::clock;
use crate::record::Reason;
use crate::sink::Refused;

/// No batch is made smaller than this; a topic that takes less takes no event either.
const SMALLEST_BATCH: u64 = 16 * 1024;
/// How long a topic that can't be had is not asked for.
const RETRY: Duration = Duration::from_secs(60);

/// The topics of one cluster, shared by all who write to them.
#[derive(Debug)]
pub struct Topics {
    settings: Arc<Settings>,
    known: RwLock<HashMap<String, State>>,
    /// The largest batch for topics whose limit isn't known, in bytes.
    assumed: AtomicU64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    There {
        /// `max.message.bytes`, where we may ask for it.
        limit: Option<u64>,
        /// It was there before too, and refused our records all the same.
        doubtful: bool,
    },
    /// Its records go elsewhere until this uptime.
    GivenUp { until: Duration, was_there: bool },
}

/// Why nothing is known of a topic; a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unlearnt {
    /// It is not there, or not for us.
    #[error("{0}")]
    Absent(String),
    /// No broker could be asked.
    #[error("{0}")]
    Away(String),
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

    /// Looks the topic up, unless it is known. Asking again after an error is up to the caller.
    ///
    /// Dropping it lets the look end by itself.
    pub async fn learn(&self, topic: &str) -> Result<(), Unlearnt> {
        if self.knows(topic) {
            return Ok(());
        }
        self.look_up(topic).await
    }

    /// Looks up again what the limits of the topics are that have found a record or a batch of these too large: they
    /// may have been lowered since.
    pub(super) async fn learn_limits<'a>(&self, failures: &[Failure], message: &impl Fn(usize) -> Outgoing<'a>) {
        let too_large = failures.iter().filter(|(_, code)| is_of_size(*code));
        let topics: HashSet<String> =
            too_large.map(|(index, _)| self.route(message(*index)).topic.into_owned()).collect();
        for topic in topics {
            // Where nobody answers, what was known stays.
            let _ = self.look_up(&topic).await;
        }
    }

    async fn look_up(&self, topic: &str) -> Result<(), Unlearnt> {
        match inspect_topic(&self.settings, Some(topic), LOOK).await {
            Inspection { topic: Some(Ok(Topic { max_message_bytes, .. })), .. } => {
                let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
                let before = known.get(topic);
                if let Some(State::GivenUp { was_there: false, .. }) = before {
                    tracing::info!("topic {topic} is there now: its records go to it");
                }
                let doubtful = matches!(before, Some(State::GivenUp { was_there: true, .. }));
                known.insert(topic.to_owned(), State::There { limit: max_message_bytes.ok(), doubtful });
                Ok(())
            }
            Inspection { brokers: Err(fault), .. } => Err(Unlearnt::Away(fault)),
            Inspection { topic: Some(Err(fault)), .. } => Err(Unlearnt::Absent(fault)),
            Inspection { .. } => {
                Err(Unlearnt::Absent(sentence(&self.settings, topic, Code::UnknownTopicOrPartition, "")))
            }
        }
    }

    /// Whether the topic was there when last looked up.
    pub fn knows(&self, topic: &str) -> bool {
        matches!(self.known().get(topic), Some(State::There { .. }))
    }

    /// The largest batch that the topic takes, as compressed, in bytes (`max.message.bytes`); none where it isn't known.
    pub fn limit(&self, topic: &str) -> Option<u64> {
        self.known().get(topic).and_then(|state| state.limit())
    }

    /// The smallest limit that is known of any topic.
    pub fn smallest_limit(&self) -> Option<u64> {
        self.known().values().filter_map(|state| state.limit()).min()
    }

    /// The message, to its fallback where its topic was given up.
    pub(super) fn route<'a>(&self, outgoing: Outgoing<'a>) -> Outgoing<'a> {
        let Some(fallback) = outgoing.fallback else { return outgoing };
        match self.known().get(&*outgoing.topic) {
            Some(State::GivenUp { until, .. }) if clock::uptime() < *until => {
                Outgoing { topic: fallback.into(), ..outgoing }
            }
            _ => outgoing,
        }
    }

    /// Gives the message's topic up for a while, since it can't be had; false where there is no other. Said once.
    pub(super) fn give_up(&self, outgoing: &Outgoing<'_>, why: &str) -> bool {
        let Some(fallback) = outgoing.fallback.filter(|fallback| **fallback != outgoing.topic) else { return false };
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.get(&*outgoing.topic);
        if !matches!(before, Some(State::GivenUp { .. } | State::There { doubtful: true, .. })) {
            tracing::warn!("records of topic {} go to {fallback}: {why}", outgoing.topic);
        }
        let was_there = matches!(before, Some(State::There { .. } | State::GivenUp { was_there: true, .. }));
        let state = State::GivenUp { until: clock::uptime() + RETRY, was_there };
        known.insert(outgoing.topic.clone().into_owned(), state);
        true
    }

    /// Gives up the topics that `failures` show to be out of reach, where there is another; gives whose records go there.
    /// `denied` are topics of which the client said so in other words.
    pub(super) fn give_up_failed<'a>(
        &self,
        failures: &[Failure],
        denied: &[String],
        message: &impl Fn(usize) -> Outgoing<'a>,
    ) -> HashSet<usize> {
        let of_topic = |(index, code): &Failure| {
            let outgoing = self.route(message(*index));
            let denied = denied.iter().any(|denied| *denied == outgoing.topic);
            (is_of_topic(*code) || denied).then_some((*index, *code, outgoing))
        };
        // As they were sent, before the first of them changes where the others go.
        let sent: Vec<_> = failures.iter().filter_map(of_topic).collect();
        let elsewhere = sent.iter().filter(|(_, code, outgoing)| {
            let code = if is_of_topic(*code) { *code } else { Code::TopicAuthorizationFailed };
            self.give_up(outgoing, &sentence(&self.settings, &outgoing.topic, code, ""))
        });
        elsewhere.map(|(index, ..)| *index).collect()
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
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, state| matches!(state, State::GivenUp { .. }));
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
        let there = |state: &State| match state {
            State::There { limit, .. } => Some(limit.unwrap_or(assumed)),
            State::GivenUp { .. } => None,
        };
        let smallest = self.known().values().filter_map(there).min();
        smallest.unwrap_or(assumed).clamp(SMALLEST_BATCH, config::BATCH_BYTES)
    }

    fn known(&self) -> RwLockReadGuard<'_, HashMap<String, State>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn limit(self) -> Option<u64> {
        match self {
            State::There { limit, .. } => limit,
            State::GivenUp { .. } => None,
        }
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
