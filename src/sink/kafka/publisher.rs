//! Publishes and doesn't let go: what fails without a verdict is sent again, by a new producer if need be.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::producer::{BaseProducer, Producer as _};
use tokio::sync::Mutex;

use super::fate::{RecordFate, record_fate};
use super::flight::{Context, Failure};
use super::inspect::{open, sentence};
use super::line::{Line, Outgoing};
use super::topics::{Topics, Unlearnt};
use super::{Settings, config};
use crate::retry::Schedule;
use crate::sink::trouble::{Trouble, Wait};
use crate::sink::{Error, Refused};

/// A producer, which is made at the first record and again whenever it broke.
pub(super) struct Publisher {
    topics: Arc<Topics>,
    line: Mutex<Option<Arc<Line>>>,
    trouble: Trouble,
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
            topics: Topics::new(settings),
            line: Mutex::new(None),
        })
    }

    pub(super) fn settings(&self) -> &Settings {
        self.topics.settings()
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
        message: impl Fn(usize) -> Outgoing<'a> + Sync,
    ) -> Vec<Refused> {
        let routed = |index| self.topics.route(message(index));
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
                false => line.fly(&round, &message, &mut wait).await,
                true => self.fly_alone(&line, &round, &message, &mut wait).await,
            };
            // Some went through alone: it was their batch that was too large.
            let innocent = (alone && oversized && failures.len() < round.len()).then(|| routed(round[0]).topic);
            self.topics.learn_limits(&failures, &message).await;
            let (mut broken, mut held) = (None, false);
            let elsewhere = self.topics.give_up_failed(&failures, &[], &message);
            for (index, code) in failures {
                match record_fate(code, alone || routed(index).wire_size() > line.batch_bytes) {
                    RecordFate::Refused(reason) => {
                        refused.push(self.topics.refused(index, reason, code, &routed(index)));
                    }
                    RecordFate::Suspect => {
                        oversized |= code != Code::InvalidRecord;
                        suspects.push(index);
                    }
                    fate => {
                        held |= fate == RecordFate::Held;
                        if fate != RecordFate::Held && !elsewhere.contains(&index) {
                            broken = Some((code, index));
                        }
                        pending.push(index);
                    }
                }
            }
            if let Some(topic) = innocent {
                self.topics.lower(&topic, line.batch_bytes);
                self.renew(&line).await;
            }
            pending.sort_unstable();
            suspects.sort_unstable();
            if let Some((code, index)) = broken {
                if let Some(fault) = self.explain(&line, code, &routed(index).topic) {
                    wait.until(fault);
                }
                self.renew(&line).await;
            } else if line.is_too_coarse() {
                self.renew(&line).await;
            }
            match broken.is_some() || held {
                true => tokio::time::sleep(pauses.pause()).await,
                false => wait.over(),
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
        message: &(impl Fn(usize) -> Outgoing<'a> + Sync),
        wait: &mut Wait<'_>,
    ) -> Vec<Failure> {
        match self.open(line.batch_bytes, true) {
            Ok(alone) => alone.fly(indexes, message, wait).await,
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
            if !line.is_outdated().await {
                return line.clone();
            }
            // Who still waits for the old one has its answers from it.
            match self.open(line.batch_bytes, false) {
                Ok(new) => {
                    tracing::info!("kafka: a new producer, with the new credentials");
                    return slot.insert(Arc::new(new)).clone();
                }
                Err(fault) => {
                    tracing::warn!("kafka: the new credentials are not used: {fault}");
                    return line.clone();
                }
            }
        }
        let mut pauses = Schedule::new(Duration::from_millis(200), Duration::from_secs(5));
        loop {
            let learnt = match self.settings().topic.known() {
                Some(topic) => self.topics.learn(topic).await.map_err(|fault: Unlearnt| fault.to_string()),
                None => Ok(()),
            };
            match learnt.and_then(|()| self.open(self.topics.batch_bytes(), false)) {
                Ok(line) => return slot.insert(Arc::new(line)).clone(),
                Err(fault) => wait.until(fault),
            }
            tokio::time::sleep(pauses.pause()).await;
        }
    }

    fn open(&self, batch_bytes: u64, alone: bool) -> Result<Line, String> {
        let mut config = config::producer(self.settings(), batch_bytes).map_err(|fault| fault.to_string())?;
        if alone {
            // Else a refusal would be meant for a batch, and nobody could say for which record of it.
            config.set("batch.num.messages", "1");
        }
        Line::open(&self.topics, &config, batch_bytes)
    }

    /// Gives the producer up, and what is known of the topics; whoever still waits for it has its records back at once.
    async fn renew(&self, line: &Arc<Line>) {
        let mut slot = self.line.lock().await;
        if slot.as_ref().is_some_and(|now| Arc::ptr_eq(now, line)) {
            *slot = None;
            self.topics.forget();
        }
        line.purge();
    }

    /// What broke; none where we gave the records back ourselves, whose cause has been said.
    fn explain(&self, line: &Line, code: Code, topic: &str) -> Option<String> {
        match line.producer().client().fatal_error() {
            Some((Code::ClusterAuthorizationFailed, _)) => {
                Some(sentence(self.settings(), topic, Code::ClusterAuthorizationFailed, ""))
            }
            Some((code, _)) => Some(format!(
                "the producer for {} broke ({code}); a new one sends again what has no answer",
                self.settings().brokers()
            )),
            None if record_fate(code, true) == RecordFate::Fell => None,
            None => Some(sentence(self.settings(), topic, code, &code.to_string())),
        }
    }
}
