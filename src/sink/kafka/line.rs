//! A producer and what was known when it was made; sends rounds of records and says why one takes long.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Headers as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, PurgeConfig};
use tokio::task::spawn_blocking;

use super::flight::{Context, Failure, Flight};
use super::inspect::{Topic, look, open, sentence, tells};
use super::polled::Polled;
use super::topics::{Topics, Unlearnt};
use super::{Inspection, Settings};
use crate::clock;
use crate::sink::trouble::Wait;

/// How long nothing may be acknowledged before we ask why.
const STALL: Duration = Duration::from_secs(5);
/// How often a silent flight is looked after.
const GLANCE: Duration = Duration::from_secs(1);
/// How long a look at the brokers may take.
pub(super) const LOOK: Duration = Duration::from_secs(10);
/// How often the files of the credentials are looked at.
const WATCH: Duration = Duration::from_secs(10);
/// So many records are sent before other tasks have their turn.
const TURN: usize = 256;

/// Our own answer for records that we did not send.
pub(super) const HELD: Code = Code::Application;
/// The same for the first of them where that is because its topic is not there.
pub(super) const ABSENT: Code = Code::NotConfigured;

/// A record as the wire carries it.
#[derive(Debug)]
pub struct Outgoing<'a> {
    pub topic: Cow<'a, str>,
    /// Where it goes if that topic can't be had; none where it waits for it.
    pub fallback: Option<&'a str>,
    /// None lets the key decide.
    pub partition: Option<i32>,
    pub key: Option<&'a [u8]>,
    /// None is a tombstone.
    pub value: Option<&'a [u8]>,
    pub headers: OwnedHeaders,
}

impl<'a> Outgoing<'a> {
    /// Without headers, to one topic alone, to the partition that the key decides.
    pub fn to(topic: impl Into<Cow<'a, str>>, key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Outgoing<'a> {
        Outgoing { topic: topic.into(), fallback: None, partition: None, key, value, headers: OwnedHeaders::new() }
    }

    /// At least what it takes in a batch of its own before compression (61 bytes of a batch's head, a few varints).
    pub(super) fn wire_size(&self) -> u64 {
        let headers: usize =
            self.headers.iter().map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len) + 2).sum();
        (61 + 12 + self.value.map_or(0, <[u8]>::len) + self.key.map_or(0, <[u8]>::len) + headers) as u64
    }
}

/// A producer, its answers, and the credentials that it was given.
pub(super) struct Line {
    producer: Polled,
    pub context: Context,
    pub topics: Arc<Topics>,
    /// The largest batch before its compression, in bytes.
    pub batch_bytes: u64,
    credentials: u64,
    /// When its credentials were last looked at, in milliseconds of uptime.
    looked: AtomicU64,
}

impl Line {
    /// Makes the producer; asks no broker.
    pub fn open(topics: &Arc<Topics>, config: &ClientConfig, batch_bytes: u64) -> Result<Line, String> {
        let credentials = topics.settings().credentials();
        let context = Context::of(topics.settings());
        let producer = Polled::open(config, context.clone()).map_err(|fault| open(&fault))?;
        Ok(Line {
            producer,
            context,
            topics: topics.clone(),
            batch_bytes,
            credentials,
            looked: AtomicU64::new(uptime()),
        })
    }

    /// Sends the records and waits for every answer; gives those that failed.
    pub async fn fly<'a>(
        &self,
        indexes: &[usize],
        message: &(impl Fn(usize) -> Outgoing<'a> + Sync),
        wait: &mut Wait<'_>,
    ) -> Vec<Failure> {
        let (mut flight, mut answer) = self.context.flight(indexes.len());
        let mut watch = Watch::new(self);
        for (turn, &index) in indexes.iter().enumerate() {
            let mut outgoing = match self.admit(index, message, &mut watch, wait).await {
                Ok(outgoing) => Some(outgoing),
                Err(why) => {
                    flight.fail(index, why);
                    indexes[turn + 1..].iter().for_each(|held| flight.fail(*held, HELD));
                    break;
                }
            };
            while let Some(next) = outgoing.take() {
                outgoing = self.send(&mut flight, index, next);
                if outgoing.is_some() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    watch.look(&flight, wait).await;
                }
            }
            if turn % TURN == TURN - 1 {
                tokio::task::yield_now().await;
            }
        }
        flight.sent();
        loop {
            let look = async {
                tokio::time::sleep(GLANCE).await;
                watch.look(&flight, wait).await;
            };
            tokio::select! {
                biased;
                // The context leaves no flight unanswered.
                failures = &mut answer => {
                    self.tell_of_new_topics();
                    return failures.unwrap_or_default();
                }
                () = look => {}
            }
        }
    }

    /// The record, once its topic, or the one that it falls back to, is known to be there: the client would hold it back
    /// for long before it said that there is none. An error where it must wait, or where the topic takes smaller batches:
    /// our own answer.
    async fn admit<'a>(
        &self,
        index: usize,
        message: &(impl Fn(usize) -> Outgoing<'a> + Sync),
        watch: &mut Watch<'_>,
        wait: &mut Wait<'_>,
    ) -> Result<Outgoing<'a>, Code> {
        loop {
            let outgoing = self.topics.route(message(index));
            if watch.knows(&outgoing.topic) {
                return Ok(outgoing);
            }
            match self.topics.learn(&outgoing.topic).await {
                Ok(()) if self.is_too_coarse() => return Err(HELD),
                Ok(()) => {
                    watch.topics.push(outgoing.topic.clone().into_owned());
                    return Ok(outgoing);
                }
                Err(Unlearnt::Absent(why)) if self.topics.give_up(&outgoing, &why) => {}
                Err(Unlearnt::Absent(why)) => {
                    wait.until(why);
                    return Err(ABSENT);
                }
                Err(Unlearnt::Away(why)) => {
                    wait.until(why);
                    return Err(HELD);
                }
            }
        }
    }

    fn tell_of_new_topics(&self) {
        for topic in self.context.begun_anew() {
            tracing::warn!(
                "topic {topic} was made again, or its leader lost records: what was acknowledged before is gone with it \
                 and is not sent again; what comes from now on is in it"
            );
        }
    }

    /// Whether a topic takes less than a batch of ours.
    pub fn is_too_coarse(&self) -> bool {
        self.topics.batch_bytes() < self.batch_bytes
    }

    /// Gives the record back where the queue is full, which is how the brokers' pace reaches us.
    fn send<'a>(&self, flight: &mut Flight, index: usize, outgoing: Outgoing<'a>) -> Option<Outgoing<'a>> {
        let Outgoing { topic, fallback, partition, key, value, headers } = outgoing;
        let mut record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(&topic, flight.ticket(index)).headers(headers);
        (record.key, record.payload, record.partition) = (key, value, partition);
        match self.producer().send(record) {
            Ok(()) => flight.taken(),
            Err((KafkaError::MessageProduction(Code::QueueFull), BaseRecord { headers, .. })) => {
                let headers = headers.unwrap_or_default();
                return Some(Outgoing { topic, fallback, partition, key, value, headers });
            }
            Err((fault, _)) => flight.fail(index, fault.rdkafka_error_code().unwrap_or(Code::Unknown)),
        }
        None
    }

    /// Gives back every record that has no answer yet; those in flight may arrive all the same.
    pub fn purge(&self) {
        self.producer().purge(PurgeConfig::default().queue().inflight());
    }

    pub fn producer(&self) -> &BaseProducer<Context> {
        &self.producer
    }

    /// Whether the files that it was opened with have changed; looks now and then.
    pub async fn is_outdated(self: &Arc<Line>) -> bool {
        let (now, looked) = (uptime(), self.looked.load(Ordering::Relaxed));
        if now.saturating_sub(looked) < WATCH.as_millis() as u64 {
            return false;
        }
        self.looked.store(now, Ordering::Relaxed);
        let line = self.clone();
        spawn_blocking(move || line.is_stale()).await.unwrap_or(false)
    }

    /// Whether the files that it was opened with hold something else by now. Reads them: not for a task's thread.
    pub fn is_stale(&self) -> bool {
        self.topics.settings().credentials() != self.credentials
    }
}

fn uptime() -> u64 {
    clock::uptime().as_millis() as u64
}

/// Asks why nothing is acknowledged, and says it.
struct Watch<'a> {
    line: &'a Line,
    /// Those that the flight's records go to, by now.
    topics: Vec<String>,
    acknowledged: usize,
    /// When an answer last came, or we last asked why none did.
    since: Duration,
}

impl Watch<'_> {
    fn new(line: &Line) -> Watch<'_> {
        Watch { line, topics: Vec::new(), acknowledged: 0, since: clock::uptime() }
    }

    /// Whether records of the flight went to the topic before.
    fn knows(&mut self, topic: &str) -> bool {
        // Nearly always the last one's.
        if self.topics.last().is_some_and(|last| last == topic) {
            return true;
        }
        let Some(place) = self.topics.iter().position(|each| each == topic) else { return false };
        let last = self.topics.len() - 1;
        self.topics.swap(place, last);
        true
    }

    async fn look(&mut self, flight: &Flight, wait: &mut Wait<'_>) {
        let acknowledged = flight.acknowledged();
        if acknowledged > self.acknowledged {
            (self.acknowledged, self.since) = (acknowledged, clock::uptime());
            return wait.over();
        }
        let silent = clock::uptime().saturating_sub(self.since);
        if silent < GLANCE {
            return;
        }
        match self.line.context.heard() {
            Some((code, reason)) if tells(code) => {
                wait.until(sentence(self.settings(), self.topic(), code, &reason));
                if silent > STALL {
                    self.since = clock::uptime();
                    self.reread().await;
                }
            }
            _ if silent > STALL => {
                wait.until(self.silence().await);
                self.since = clock::uptime();
            }
            _ => {}
        }
    }

    fn settings(&self) -> &Arc<Settings> {
        self.line.topics.settings()
    }

    fn topic(&self) -> &str {
        self.topics.last().map_or("", String::as_str)
    }

    /// Why nothing is acknowledged: what is wrong with the first topic with which anything is.
    async fn silence(&self) -> String {
        let mut found = None;
        for topic in &self.topics {
            let (settings, name) = (self.settings().clone(), topic.clone());
            let Ok(inspection) = spawn_blocking(move || look(&settings, Some(&name), LOOK)).await else { continue };
            if let Some(cause) = cause(self.settings(), topic, inspection) {
                found = Some(cause);
                break;
            }
        }
        found.unwrap_or_else(|| {
            format!(
                "{} acknowledge nothing for topic {}, though they answer; look at min.insync.replicas, their disks and \
                 their log",
                self.settings().brokers(),
                self.topics.join(", ")
            )
        })
    }

    /// Credentials that were replaced since the producer was made want a new one: it keeps what it was given.
    async fn reread(&self) {
        let (settings, known) = (self.settings().clone(), self.line.credentials);
        if spawn_blocking(move || settings.credentials() != known).await.unwrap_or(false) {
            self.line.purge();
        }
    }
}

/// Why nothing is acknowledged, as far as a look at the brokers shows.
pub(super) fn cause(settings: &Settings, topic: &str, inspection: Inspection) -> Option<String> {
    let brokers = settings.brokers();
    match inspection {
        Inspection { brokers: Err(fault), .. } | Inspection { topic: Some(Err(fault)), .. } => Some(fault),
        Inspection { topic: Some(Ok(Topic { leaderless: some @ 1.., partitions, .. })), .. } => Some(format!(
            "{some} of {partitions} partitions of topic {topic} have no leader at {brokers}; start the brokers that \
             hold them"
        )),
        Inspection { topic: Some(Ok(Topic { under_replicated: some @ 1.., partitions, .. })), .. } => Some(format!(
            "{some} of {partitions} partitions of topic {topic} have replicas out of sync and {brokers} acknowledge \
             nothing; start the other brokers (min.insync.replicas), look at their disks"
        )),
        Inspection { .. } => None,
    }
}
