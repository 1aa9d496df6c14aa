//! Publishes to one topic and doesn't let go: what fails without a verdict is sent again, by a new producer if need be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Headers as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, PurgeConfig, ThreadedProducer};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use super::flight::{Context, Failure, Flight};
use super::inspect::{Topic, inspect, look, open, sentence, tells};
use super::{Inspection, Settings, config};
use crate::clock;
use crate::record::Reason;
use crate::retry::Schedule;
use crate::sink::trouble::{Trouble, Wait};
use crate::sink::{Error, Refused};

/// How long nothing may be acknowledged before we ask why.
const STALL: Duration = Duration::from_secs(5);
/// How often a silent flight is looked after.
const GLANCE: Duration = Duration::from_secs(1);
/// How long a look at the brokers may take.
const LOOK: Duration = Duration::from_secs(10);
/// So many records are sent before other tasks have their turn.
const TURN: usize = 256;
/// No batch is made smaller than this; a topic that takes less takes no event either.
const SMALLEST_BATCH: u64 = 16 * 1024;

/// A record as the wire carries it.
pub(super) struct Message<'a> {
    pub value: &'a [u8],
    pub key: Option<&'a str>,
    pub headers: OwnedHeaders,
}

impl Message<'_> {
    /// At least what it takes in a batch of its own before compression (61 bytes of a batch's head, a few varints).
    fn wire_size(&self) -> u64 {
        let headers: usize =
            self.headers.iter().map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len) + 2).sum();
        (61 + 12 + self.value.len() + self.key.map_or(0, str::len) + headers) as u64
    }
}

/// One topic and its producer, which is made at the first record and again whenever it broke.
pub(super) struct Publisher {
    settings: Settings,
    line: Mutex<Option<Arc<Line>>>,
    /// The largest batch while the topic's own limit is not known, in bytes.
    assumed: AtomicU64,
    trouble: Trouble,
}

/// A producer and what was known when it was made.
struct Line {
    producer: Option<ThreadedProducer<Context>>,
    context: Context,
    /// The topic's limit on a batch, where it is known.
    limit: Option<u64>,
    batch_bytes: u64,
    credentials: u64,
}

/// What an answer means for its record.
enum Fate {
    Refused(Reason),
    /// One record of its batch was refused, maybe another: sent again, alone.
    Suspect,
    Again,
}

impl Publisher {
    /// Checks that a producer can be made of the settings.
    pub(super) fn new(settings: Settings) -> Result<Publisher, Error> {
        let config = config::client(&settings)?;
        let producer: Result<BaseProducer<Context>, _> =
            BaseProducer::from_config_and_context(&config, Context::default());
        producer.map_err(|fault| Error::Kafka(open(&fault)))?;
        Ok(Publisher {
            trouble: Trouble::new(format!("kafka topic {}", settings.topic)),
            assumed: AtomicU64::new(config::BATCH_BYTES),
            line: Mutex::new(None),
            settings,
        })
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.text()
    }

    /// Publishes `count` messages, in order, and gives those that the brokers refuse; all others are acknowledged.
    ///
    /// What is sent again after a failure comes behind what went through.
    pub(super) async fn publish<'a>(
        &self,
        count: usize,
        message: impl Fn(usize) -> Message<'a> + Sync,
    ) -> Vec<Refused> {
        let mut wait = self.trouble.wait();
        let mut pauses = Schedule::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut refused = Vec::new();
        let mut suspects: Vec<usize> = Vec::new();
        let mut oversized = false;
        let mut pending: Vec<usize> = (0..count).collect();
        while !pending.is_empty() || !suspects.is_empty() {
            let line = self.line(&mut wait).await;
            let alone = pending.is_empty();
            let round = std::mem::take(if alone { &mut suspects } else { &mut pending });
            let failures = match alone {
                false => line.fly(&self.settings, &round, &message, &mut wait).await,
                true => self.fly_alone(&line, &round, &message, &mut wait).await,
            };
            let mut broken = None;
            if alone && oversized && failures.len() < round.len() {
                self.lower(&line).await;
            }
            for (index, code) in failures {
                match fate(code, alone || message(index).wire_size() > line.batch_bytes) {
                    Fate::Refused(reason) => refused.push(self.refuse(index, reason, code, &line, &message(index))),
                    Fate::Suspect => {
                        oversized |= code != Code::InvalidRecord;
                        suspects.push(index);
                    }
                    Fate::Again => {
                        broken = Some(code);
                        pending.push(index);
                    }
                }
            }
            pending.sort_unstable();
            suspects.sort_unstable();
            match broken {
                None => wait.over(),
                Some(code) => {
                    if let Some(fault) = self.explain(&line, code) {
                        wait.until(fault);
                    }
                    self.renew(&line).await;
                    tokio::time::sleep(pauses.pause()).await;
                }
            }
        }
        refused.sort_unstable_by_key(|refused: &Refused| refused.index);
        refused
    }

    /// Sends each in a batch of its own, so that an answer is meant for that very record.
    async fn fly_alone<'a>(
        &self,
        line: &Line,
        indexes: &[usize],
        message: &(impl Fn(usize) -> Message<'a> + Sync),
        wait: &mut Wait<'_>,
    ) -> Vec<Failure> {
        match self.open(line.limit, true) {
            Ok(alone) => alone.fly(&self.settings, indexes, message, wait).await,
            Err(fault) => {
                wait.until(fault);
                indexes.iter().map(|index| (*index, Code::PurgeQueue)).collect()
            }
        }
    }

    /// The producer; made anew where there is none, which waits until the topic is there.
    async fn line(&self, wait: &mut Wait<'_>) -> Arc<Line> {
        let mut slot = self.line.lock().await;
        if let Some(line) = &*slot {
            return line.clone();
        }
        let mut pauses = Schedule::new(Duration::from_millis(200), Duration::from_secs(5));
        loop {
            let fault = match inspect(&self.settings, LOOK).await {
                Inspection { topic: Some(Ok(Topic { max_message_bytes, .. })), .. } => {
                    match self.open(max_message_bytes.ok(), false) {
                        Ok(line) => return slot.insert(Arc::new(line)).clone(),
                        Err(fault) => fault,
                    }
                }
                Inspection { brokers: Err(fault), .. } | Inspection { topic: Some(Err(fault)), .. } => fault,
                Inspection { .. } => sentence(&self.settings, Code::UnknownTopicOrPartition, ""),
            };
            wait.until(fault);
            tokio::time::sleep(pauses.pause()).await;
        }
    }

    fn open(&self, limit: Option<u64>, alone: bool) -> Result<Line, String> {
        let most = limit.unwrap_or_else(|| self.assumed.load(Ordering::Relaxed));
        let batch_bytes = most.clamp(SMALLEST_BATCH, config::BATCH_BYTES);
        let credentials = self.settings.credentials();
        let context = Context::default();
        let mut config = config::producer(&self.settings, batch_bytes).map_err(|fault| fault.to_string())?;
        if alone {
            // Else a refusal would be meant for a batch, and nobody could say for which record of it.
            config.set("batch.num.messages", "1");
        }
        let producer = ThreadedProducer::from_config_and_context(&config, context.clone());
        let producer = Some(producer.map_err(|fault| open(&fault))?);
        Ok(Line { producer, context, limit, batch_bytes, credentials })
    }

    /// Gives the producer up; whoever still waits for it has its records back at once.
    async fn renew(&self, line: &Arc<Line>) {
        let mut slot = self.line.lock().await;
        if slot.as_ref().is_some_and(|now| Arc::ptr_eq(now, line)) {
            *slot = None;
        }
        line.purge();
    }

    /// Batches are larger than the topic takes: the next producer asks for the limit, or makes smaller ones.
    async fn lower(&self, line: &Arc<Line>) {
        if line.limit.is_none() {
            self.assumed.store((line.batch_bytes / 2).max(SMALLEST_BATCH), Ordering::Relaxed);
        }
        self.renew(line).await;
    }

    fn refuse(&self, index: usize, reason: Reason, code: Code, line: &Line, message: &Message<'_>) -> Refused {
        let topic = &self.settings.topic;
        let (size, limit) = (message.wire_size(), line.limit.map_or(String::new(), |limit| format!(" of {limit}")));
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

    /// What broke; none where we gave the records back ourselves, whose cause has been said.
    fn explain(&self, line: &Line, code: Code) -> Option<String> {
        match line.producer().client().fatal_error() {
            Some((Code::ClusterAuthorizationFailed, _)) => {
                Some(sentence(&self.settings, Code::ClusterAuthorizationFailed, ""))
            }
            Some((code, _)) => Some(format!(
                "the producer for {} broke ({code}); a new one sends again what has no answer",
                self.settings.brokers()
            )),
            None if matches!(code, Code::PurgeQueue | Code::PurgeInflight) => None,
            None => Some(sentence(&self.settings, code, &code.to_string())),
        }
    }
}

/// `alone`: the answer is meant for this very record.
fn fate(code: Code, alone: bool) -> Fate {
    match code {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge if alone => Fate::Refused(Reason::TooLargeForSink),
        Code::InvalidRecord if alone => Fate::Refused(Reason::Refused),
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidRecord | Code::InvalidDifferentRecord => {
            Fate::Suspect
        }
        _ => Fate::Again,
    }
}

impl Line {
    /// Sends the records and waits for every answer; gives those that failed.
    async fn fly<'a>(
        &self,
        settings: &Settings,
        indexes: &[usize],
        message: &(impl Fn(usize) -> Message<'a> + Sync),
        wait: &mut Wait<'_>,
    ) -> Vec<Failure> {
        let (mut flight, mut answer) = self.context.flight(indexes.len());
        let mut watch = Watch { line: self, settings, acknowledged: 0, since: clock::uptime() };
        for (turn, &index) in indexes.iter().enumerate() {
            while !self.send(&settings.topic, &mut flight, index, message(index)) {
                tokio::time::sleep(Duration::from_millis(1)).await;
                watch.look(&flight, wait).await;
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
                failures = &mut answer => return failures.unwrap_or_default(),
                () = look => {}
            }
        }
    }

    /// False where the queue is full, which is how the brokers' pace reaches us.
    fn send(&self, topic: &str, flight: &mut Flight, index: usize, message: Message<'_>) -> bool {
        let Message { value, key, headers } = message;
        let mut record = BaseRecord::with_opaque_to(topic, flight.ticket(index)).payload(value).headers(headers);
        record.key = key;
        match self.producer().send(record) {
            Ok(()) => {
                flight.taken();
                true
            }
            Err((KafkaError::MessageProduction(Code::QueueFull), _)) => false,
            Err((fault, _)) => {
                flight.fail(index, fault.rdkafka_error_code().unwrap_or(Code::Unknown));
                true
            }
        }
    }

    /// Gives back every record that has no answer yet; those in flight may arrive all the same.
    fn purge(&self) {
        self.producer().purge(PurgeConfig::default().queue().inflight());
    }

    fn producer(&self) -> &ThreadedProducer<Context> {
        self.producer.as_ref().expect("it is taken only when the line is dropped")
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // librdkafka joins its threads when a producer ends, which may take seconds: not on a thread of ours.
        if let Some(producer) = self.producer.take() {
            std::thread::spawn(move || drop(producer));
        }
    }
}

/// Asks why nothing is acknowledged, and says it.
struct Watch<'a> {
    line: &'a Line,
    settings: &'a Settings,
    acknowledged: usize,
    /// When an answer last came, or we last asked why none did.
    since: Duration,
}

impl Watch<'_> {
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
                wait.until(sentence(self.settings, code, &reason));
                if silent > STALL {
                    self.since = clock::uptime();
                    self.reread().await;
                }
            }
            _ if silent > STALL => {
                let settings = self.settings.clone();
                if let Ok(inspection) = spawn_blocking(move || look(&settings, LOOK)).await {
                    wait.until(silence(self.settings, inspection));
                }
                self.since = clock::uptime();
            }
            _ => {}
        }
    }

    /// Credentials that were replaced since the producer was made want a new one: it keeps what it was given.
    async fn reread(&self) {
        let settings = self.settings.clone();
        if spawn_blocking(move || settings.credentials()).await.is_ok_and(|now| now != self.line.credentials) {
            self.line.purge();
        }
    }
}

/// Why nothing is acknowledged, as far as a look at the brokers shows.
fn silence(settings: &Settings, inspection: Inspection) -> String {
    let (brokers, topic) = (settings.brokers(), &settings.topic);
    match inspection {
        Inspection { brokers: Err(fault), .. } | Inspection { topic: Some(Err(fault)), .. } => fault,
        Inspection { topic: Some(Ok(Topic { leaderless: some @ 1.., partitions, .. })), .. } => format!(
            "{some} of {partitions} partitions of topic {topic} have no leader at {brokers}; start the brokers that \
             hold them"
        ),
        Inspection { topic: Some(Ok(Topic { under_replicated: some @ 1.., partitions, .. })), .. } => format!(
            "{some} of {partitions} partitions of topic {topic} have replicas out of sync and {brokers} acknowledge \
             nothing; start the other brokers (min.insync.replicas), look at their disks"
        ),
        _ => format!(
            "{brokers} acknowledge nothing for topic {topic}, though they answer; look at min.insync.replicas, their \
             disks and their log"
        ),
    }
}
