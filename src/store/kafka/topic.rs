//! The topic itself: made where it is absent, looked at where it is there, begun where it is empty.
//!
//! # Invariants
//! A topic that is there is never changed. Begun means that every partition holds its format entry, written at once: a
//! partition without one was emptied.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigEntry, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::sink::kafka::{Outcome, Outgoing};
use crate::store::Error;
use crate::store::kafka::trace::{self, Seen};
use crate::store::kafka::{Ledgers, OPEN, Untaken, reading};

/// Its settings, each with what goes wrong otherwise.
const SETTINGS: &[(&str, &str)] = &[
    // Deleting by age or size would forget what was delivered, and deliver it again.
    ("cleanup.policy", "compact"),
    // The segment that is written to is never compacted: a restart reads all of it.
    ("segment.ms", "3600000"),
    ("segment.bytes", "33554432"),
    // Else a quiet topic may stay uncompacted for ever, below its dirty ratio.
    ("max.compaction.lag.ms", "21600000"),
];

const ASK: Duration = Duration::from_secs(10);

/// How the topic was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Absent,
    /// It is there; `warnings` are settings that cost something, each a sentence.
    There {
        begun: bool,
        warnings: Vec<String>,
    },
}

/// Changes nothing.
pub(super) async fn look(ledgers: &Ledgers) -> Result<Found, Untaken> {
    if !is_there(ledgers).await? {
        return Ok(Found::Absent);
    }
    let warnings = settings(ledgers).await?;
    let begun = !is_empty(ledgers).await?;
    // Another replica may have begun meanwhile, and its records be what we found.
    if !begun && trace::is_left(ledgers).await? && is_empty(ledgers).await? {
        return Err(emptied(ledgers));
    }
    Ok(Found::There { begun, warnings })
}

/// Whether the topic is there, and of the right layout.
async fn is_there(ledgers: &Ledgers) -> Result<bool, Untaken> {
    match partitions(ledgers).await? {
        Some(found) if found != ledgers.options.partitions as usize => {
            let topic = ledgers.options.topic.clone();
            Err(Error::OtherPartitions { topic, found, wanted: ledgers.options.partitions }.into())
        }
        found => Ok(found.is_some()),
    }
}

/// Whether the topic is there; an error where it holds anything. Changes nothing.
pub(super) async fn vacant(ledgers: &Ledgers) -> Result<bool, Untaken> {
    let there = is_there(ledgers).await?;
    if there {
        settings(ledgers).await?;
        if !is_empty(ledgers).await? {
            let (topic, brokers) = (ledgers.options.topic.clone(), ledgers.options.settings.brokers.join(","));
            return Err(Error::Occupied { topic, brokers }.into());
        }
    }
    Ok(there)
}

/// Gives what is worth a warning.
pub(super) async fn prepare(ledgers: &Ledgers) -> Result<Vec<String>, Untaken> {
    match look(ledgers).await? {
        Found::There { begun: true, warnings } => Ok(warnings),
        Found::There { begun: false, warnings } => begin(ledgers).await.map(|()| warnings),
        Found::Absent if trace::is_left(ledgers).await? && partitions(ledgers).await?.is_none() => {
            Err(emptied(ledgers))
        }
        Found::Absent => {
            create(ledgers).await?;
            begin(ledgers).await.map(|()| Vec::new())
        }
    }
}

fn emptied(ledgers: &Ledgers) -> Untaken {
    Error::Emptied { topic: ledgers.options.topic.clone(), events: ledgers.events() }.into()
}

/// How many partitions the topic has; none where it is absent.
async fn partitions(ledgers: &Ledgers) -> Result<Option<usize>, Untaken> {
    let (config, topic) = (reading::reader(ledgers)?, ledgers.options.topic.clone());
    let (settings, brokers) = (ledgers.options.settings.clone(), ledgers.options.settings.brokers.join(","));
    blocking(move || {
        let consumer = settings.consumer(&config).map_err(|error| words(&topic, &error))?;
        // What was heard of the connection says more than that time ran out.
        let metadata =
            consumer.fetch_metadata(Some(&topic), ASK).map_err(|_| format!("no broker of {brokers} answers"))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        match found.map(|found| (found.error().map(Code::from), found.partitions().len())) {
            None | Some((Some(Code::UnknownTopicOrPartition | Code::UnknownTopic), _)) => Ok(None),
            Some((None, partitions)) => Ok((partitions > 0).then_some(partitions)),
            Some((Some(code), _)) => Err(refusal(&topic, code)),
        }
    })
    .await
}

pub(super) async fn create(ledgers: &Ledgers) -> Result<(), Untaken> {
    let (topic, partitions) = (&ledgers.options.topic, ledgers.options.partitions);
    if ledgers.options.settings.has_tokens() {
        return Err(unmade(ledgers, "with OAUTHBEARER it can't be made from here"));
    }
    let mut wanted = NewTopic::new(topic, partitions as i32, TopicReplication::Fixed(-1));
    for (name, value) in SETTINGS {
        wanted = wanted.set(name, value);
    }
    let admin = admin(ledgers)?;
    let answer = admin.create_topics([&wanted], &AdminOptions::new().request_timeout(Some(ASK))).await;
    let answer = answer.map_err(|error| words(topic, &error)).map_err(Untaken::NotNow)?.pop();
    match answer {
        Some(Ok(_) | Err((_, Code::TopicAlreadyExists))) => {
            tracing::info!(topic, partitions, "ledger topic made");
            Ok(())
        }
        Some(Err((_, code))) => Err(unmade(ledgers, &format!("we may not make it: {code}"))),
        None => Err(Untaken::NotNow(format!("the brokers don't say whether they made ledger topic {topic}"))),
    }
}

/// It doesn't exist, and others must make it.
fn unmade(ledgers: &Ledgers, why: &str) -> Untaken {
    let (topic, partitions) = (&ledgers.options.topic, ledgers.options.partitions);
    let settings: Vec<_> = SETTINGS.iter().map(|(name, value)| format!("--config {name}={value}")).collect();
    Untaken::NotNow(format!(
        "ledger topic {topic} doesn't exist ({why}); make it: kafka-topics.sh --bootstrap-server {} --create --topic \
         {topic} --partitions {partitions} {}",
        ledgers.options.settings.brokers.join(","),
        settings.join(" ")
    ))
}

/// Refuses a topic that forgets, and warns of one that grows.
async fn settings(ledgers: &Ledgers) -> Result<Vec<String>, Untaken> {
    let topic = &ledgers.options.topic;
    if ledgers.options.settings.has_tokens() {
        let unasked = format!(
            "the settings of ledger topic {topic} can't be asked for with OAUTHBEARER; make sure that its cleanup.policy \
             is compact"
        );
        return Ok(vec![unasked]);
    }
    let asked = admin(ledgers)?;
    let options = AdminOptions::new().request_timeout(Some(ASK));
    let unknown = format!("the settings of ledger topic {topic} are not known; allow DescribeConfigs on it");
    let found = asked.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await;
    let Some(Ok(found)) = found.ok().and_then(|mut found| found.pop()) else {
        return Ok(vec![unknown]);
    };
    let value = |name: &str| found.get(name).and_then(|entry: &ConfigEntry| entry.value.clone());
    // Brokers that don't allow the question answer it with nothing.
    let Some(policy) = value("cleanup.policy") else { return Ok(vec![unknown]) };
    if policy != "compact" {
        return Err(Untaken::NotNow(format!(
            "ledger topic {topic} has cleanup.policy {policy}, which would forget what was delivered; set it: \
             kafka-configs.sh --alter --topic {topic} --add-config cleanup.policy=compact"
        )));
    }
    let value = |name: &str| value(name).unwrap_or_default();
    let larger = |(name, wanted): &&(&str, &str)| {
        let number = |text: &str| text.parse::<u64>().unwrap_or(0);
        *name != "cleanup.policy" && number(&value(name)) > number(wanted)
    };
    let warning = |(name, wanted): &(&str, &str)| {
        format!(
            "ledger topic {topic} has {name} {}, so restarts read more than they need; {wanted} is better",
            value(name)
        )
    };
    Ok(SETTINGS.iter().filter(larger).map(warning).collect())
}

/// Writes the format entries.
async fn begin(ledgers: &Ledgers) -> Result<(), Untaken> {
    let producer = ledgers.producer(&format!("{}-begin", ledgers.options.topic))?;
    producer.open(OPEN).await.map_err(|lost| Untaken::NotNow(lost.to_string()))?;
    let (topic, entry) = (&ledgers.options.topic, ledgers.layout.entry());
    let message = |partition: usize| {
        let outgoing = Outgoing::to(topic.as_str(), Some(&entry.key), entry.value.as_deref());
        Outgoing { partition: Some(partition as i32), ..outgoing }
    };
    match producer.commit(ledgers.options.partitions as usize, message).await {
        Ok(Outcome::Committed) => Ok(()),
        Ok(Outcome::Refused(refused)) => {
            Err(Untaken::NotNow(refused.into_iter().map(|refused| refused.explanation).collect()))
        }
        // Another replica begins as well.
        Err(lost) => Err(Untaken::NotNow(lost.to_string())),
    }
}

/// Whether no partition holds anything that was committed.
async fn is_empty(ledgers: &Ledgers) -> Result<bool, Untaken> {
    let (config, topic) = (reading::reader(ledgers)?, ledgers.options.topic.clone());
    let (settings, partitions) = (ledgers.options.settings.clone(), ledgers.options.partitions as i32);
    blocking(move || {
        let consumer = settings.consumer(&config).map_err(|error| words(&topic, &error))?;
        for partition in 0..partitions {
            let seen = trace::look_at(&consumer, (&topic, partition), 0..i64::MAX, |_| true);
            if seen.map_err(|error| words(&topic, &error))? == Seen::Wanted {
                return Ok(false);
            }
        }
        Ok(true)
    })
    .await
}

fn admin(ledgers: &Ledgers) -> Result<AdminClient<DefaultClientContext>, Error> {
    let fault = |fault: String| Error::Client { topic: ledgers.options.topic.clone(), fault };
    let config = ledgers.options.settings.client().map_err(|error| fault(error.to_string()))?;
    config.create().map_err(|error| fault(error.to_string()))
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, Untaken> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(error.to_string())).map_err(Untaken::NotNow)
}

pub(super) fn words(topic: &str, error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(Code::GroupAuthorizationFailed) => {
            format!("the brokers refuse to let us read topic {topic}; allow Describe on our groups to this user")
        }
        Some(Code::TopicAuthorizationFailed) => {
            format!("the brokers refuse topic {topic} to us; allow Read and Describe on it to this user")
        }
        _ => format!("topic {topic}: {error}"),
    }
}

fn refusal(topic: &str, code: Code) -> String {
    match code {
        Code::TopicAuthorizationFailed => {
            format!("the brokers refuse ledger topic {topic} to us; allow Read, Write and Describe on it to this user")
        }
        code => format!("the brokers answer {code} for ledger topic {topic}; look at their log"),
    }
}
