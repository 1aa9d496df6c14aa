//! Events, dead letters and control records in Kafka, at least once ([`KafkaSink`]) or in transactions
//! ([`Transactions`]): nothing is done before the brokers have it.
//!
//! # Invariants
//! A record is acknowledged by all in-sync replicas, refused by name, or still waited for: no age, no number of
//! tries and no failure of the client drops one. Never creates a topic. Not a byte of a value is changed.
//!
//! # Cancellation
//! Dropping `deliver` or `bury` leaves the records in the producer's queue: any of them may still arrive.

pub mod config;
pub mod fate;
mod flight;
mod inspect;
mod line;
mod polled;
mod publisher;
mod token;
mod topics;
mod transaction;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaResult;
use rdkafka::message::{Header, OwnedHeaders};
use secrecy::{ExposeSecret as _, SecretString};

use crate::record::destination::Destination;
use crate::record::{DeadLetter, Instants, Key, Record};
use crate::sink::{ControlRecord, ControlRecords, DeadLetters, Error, Refused, Sink};
pub use config::TRANSACTION_TIMEOUT;
pub use inspect::{Inspection, Topic, inspect};
pub use line::Outgoing;
use publisher::Publisher;
pub use token::{Asking, Grant, OAuth, Tokens};
pub use topics::Topics;
pub use transaction::{Attempt, Lost, Outcome, Transactions};

/// A topic and the way to it. Its `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `host:port` each; the first that answers names the others.
    pub brokers: Vec<String>,
    pub topic: Destination,
    pub key: Key,
    pub tls: Option<Tls>,
    pub sasl: Option<Sasl>,
    /// librdkafka's own, less those that [`config::refusal`] names.
    pub properties: BTreeMap<String, String>,
    /// The `ledger` header, by which our own records are recognised; none where the ledger is no topic.
    pub ledger: Option<String>,
    /// The largest value that is ever delivered, in bytes; bounds the producer's queue.
    pub max_record_bytes: u64,
}

/// TLS to the brokers, always verified. The files are read again when a connection is refused.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// PEM; none stands for the system's roots.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key, PEM.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

#[derive(Debug, Clone)]
pub enum Sasl {
    Password {
        mechanism: Mechanism,
        username: String,
        password: Password,
    },
    /// OAUTHBEARER.
    Token(OAuth),
}

impl Sasl {
    /// The mechanism's name with IANA.
    pub fn mechanism(&self) -> &'static str {
        match self {
            Sasl::Password { mechanism, .. } => mechanism.as_str(),
            Sasl::Token(_) => "OAUTHBEARER",
        }
    }
}

/// How a password is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

impl Mechanism {
    /// The name that RFC 4616 and RFC 5802 give it.
    pub fn as_str(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// A file is read again when it changes.
#[derive(Debug, Clone)]
pub enum Password {
    Text(SecretString),
    File(PathBuf),
}

impl Settings {
    /// Stands for what the secret files hold now; changes when one of them does.
    fn credentials(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let files = self.tls.iter().flat_map(|tls| [&tls.ca, &tls.certificate, &tls.key]).flatten();
        for path in files {
            std::fs::read(path).ok().hash(&mut hasher);
        }
        // What a token is bought with is read for every token.
        if let Some(Sasl::Password { password, .. }) = &self.sasl
            && let Ok(password) = password.read()
        {
            password.expose_secret().hash(&mut hasher);
        }
        hasher.finish()
    }

    /// A client that only asks: no record can leave it.
    pub fn client(&self) -> Result<rdkafka::ClientConfig, Error> {
        config::client(self)
    }

    /// The message that a record becomes; `ingested_at` is the text of its own.
    pub fn record<'a>(&'a self, record: &'a Record, ingested_at: &'a str) -> Outgoing<'a> {
        let mut headers = OwnedHeaders::new_with_capacity(8);
        for (key, value) in record.headers_with(ingested_at) {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        if let Some(ledger) = &self.ledger {
            headers = headers.insert(Header { key: "ledger", value: Some(ledger) });
        }
        let key = record.key(self.key);
        let (topic, fallback) = (self.topic.of(record), self.topic.fallback());
        Outgoing { topic, fallback, partition: None, key, value: Some(&record.value), headers }
    }

    /// The message that a dead letter becomes; it has no key.
    pub fn dead_letter<'a>(&self, topic: &'a str, letter: &'a DeadLetter) -> Outgoing<'a> {
        let headers = letter.all_headers().fold(OwnedHeaders::new_with_capacity(10), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value.as_ref()) })
        });
        Outgoing { headers, ..Outgoing::to(topic, None, Some(&letter.value)) }
    }

    /// Whether clients want tokens. One that administers is given none by rust-rdkafka, so that topics can neither be
    /// made nor their settings be read.
    pub fn has_tokens(&self) -> bool {
        matches!(self.sasl, Some(Sasl::Token(_)))
    }

    /// What gives a client its tokens, where it wants any; bought on the runtime that this is called on.
    pub fn tokens(&self) -> Option<Tokens> {
        match &self.sasl {
            Some(Sasl::Token(oauth)) => Tokens::of(oauth),
            _ => None,
        }
    }

    /// A consumer of this configuration. Where it wants a token it waits for one: for threads that may wait.
    pub fn consumer(&self, config: &rdkafka::ClientConfig) -> KafkaResult<BaseConsumer<Asking>> {
        let consumer = BaseConsumer::from_config_and_context(config, Asking(self.tokens()))?;
        if self.has_tokens() {
            // Its callbacks run while it is polled, and it connects to nobody without a token.
            consumer.poll(Duration::from_millis(10));
        }
        Ok(consumer)
    }

    /// The brokers as one reads them in a sentence.
    fn brokers(&self) -> String {
        self.brokers.join(",")
    }
}

/// Publishes records to a topic.
pub struct KafkaSink(Publisher);

/// Publishes dead letters to a topic.
pub struct KafkaDeadLetters(Publisher);

/// Publishes control records to a topic.
pub struct KafkaControlRecords(Publisher);

impl KafkaSink {
    /// Checks the settings; no broker is asked before the first delivery.
    pub fn new(settings: Settings) -> Result<KafkaSink, Error> {
        Publisher::new(settings).map(KafkaSink)
    }
}

impl KafkaDeadLetters {
    /// As [`KafkaSink::new`]; the letters have no key.
    pub fn new(settings: Settings) -> Result<KafkaDeadLetters, Error> {
        Publisher::new(settings).map(KafkaDeadLetters)
    }
}

impl KafkaControlRecords {
    /// As [`KafkaSink::new`]; the records have keys of their own.
    pub fn new(settings: Settings) -> Result<KafkaControlRecords, Error> {
        Publisher::new(settings).map(KafkaControlRecords)
    }
}

#[async_trait]
impl Sink for KafkaSink {
    fn name(&self) -> &'static str {
        "kafka"
    }

    async fn deliver(&self, records: &[Record]) -> Result<Vec<Refused>, Error> {
        let settings = self.0.settings();
        let instants = Instants::of(records);
        let message = |index: usize| settings.record(&records[index], instants.text(records[index].ingested_at));
        Ok(self.0.publish(records.len(), message).await)
    }

    fn trouble(&self) -> Option<String> {
        self.0.trouble()
    }
}

#[async_trait]
impl DeadLetters for KafkaDeadLetters {
    async fn bury(&self, letters: &[DeadLetter]) -> Result<(), Error> {
        let settings = self.0.settings();
        // Always one topic.
        let topic = settings.topic.known().unwrap_or_default();
        let message = |index: usize| settings.dead_letter(topic, &letters[index]);
        let refused = self.0.publish(letters.len(), message).await;
        match refused.into_iter().next() {
            None => Ok(()),
            Some(Refused { index, explanation, .. }) => Err(Error::DeadLetterRefused {
                target: format!("topic {}", self.0.settings().topic),
                size: letters[index].value.len() as u64,
                explanation,
            }),
        }
    }

    fn trouble(&self) -> Option<String> {
        self.0.trouble()
    }
}

#[async_trait]
impl ControlRecords for KafkaControlRecords {
    async fn write(&self, records: &[ControlRecord]) -> Vec<Refused> {
        // Always one topic.
        let topic = self.0.settings().topic.known().unwrap_or_default();
        let message = |index: usize| {
            let ControlRecord { key, value } = &records[index];
            Outgoing::to(topic, Some(key.as_bytes()), Some(value))
        };
        self.0.publish(records.len(), message).await
    }

    fn trouble(&self) -> Option<String> {
        self.0.trouble()
    }
}
