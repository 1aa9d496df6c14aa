//! What can be known of a topic without sending anything: for `check`, before a producer begins, and when one waits.
//!
//! # Invariants
//! No record is produced and nothing is created. Every fault is a sentence with its remedy.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::types::RDKafkaRespErr;

use super::flight::Context;
use super::{Settings, config};
use crate::clock;
use crate::sink::trouble::quote;

/// How long the limit is asked for once the brokers have answered: one that knows no such request stays silent.
const LIMIT: Duration = Duration::from_secs(2);

/// Asked for where the brokers alone are of interest: any other question would be about all topics.
const NONE: &str = "__consumer_offsets";

/// How long a client waits for brokers before it listens to what was said meanwhile.
const TURN: Duration = Duration::from_secs(1);

/// What a look at the brokers and the topic showed; an error is a sentence for the operator, with the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// How many brokers the cluster has.
    pub brokers: Result<usize, String>,
    /// None where no broker could be asked, or no topic is known before there are events.
    pub topic: Option<Result<Topic, String>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    pub partitions: usize,
    /// Of the partition that has the fewest.
    pub replicas: usize,
    /// Partitions that nobody can write to at this moment.
    pub leaderless: usize,
    /// Partitions with a replica that is not in sync.
    pub under_replicated: usize,
    /// The topic's `max.message.bytes`, which bounds a batch as compressed; the error says why it could not be read.
    pub max_message_bytes: Result<u64, String>,
}

/// Looks at the brokers and the topic of the settings (of a template, at its fallback), each step at most `within`.
///
/// Dropping it lets the look end by itself; it changes nothing.
pub async fn inspect(settings: &Settings, within: Duration) -> Inspection {
    inspect_topic(settings, settings.topic.known(), within).await
}

/// As [`inspect`], for any topic.
pub(super) async fn inspect_topic(settings: &Settings, topic: Option<&str>, within: Duration) -> Inspection {
    let (settings, name) = (settings.clone(), topic.map(str::to_owned));
    let runtime = tokio::runtime::Handle::current();
    let look = tokio::task::spawn_blocking(move || {
        let mut inspection = look(&settings, name.as_deref(), within);
        if let (Some(Ok(topic)), Some(name)) = (&mut inspection.topic, &name) {
            topic.max_message_bytes = runtime.block_on(limit(&settings, name, within.min(LIMIT)));
        }
        inspection
    });
    look.await.unwrap_or_else(|fault| Inspection { brokers: Err(format!("kafka: {fault}")), topic: None })
}

/// Brokers and topic without the limit, which needs rights of its own. Blocks for at most `within`.
///
/// Without a topic the brokers alone are asked.
pub(super) fn look(settings: &Settings, topic: Option<&str>, within: Duration) -> Inspection {
    let unreachable = |fault| Inspection { brokers: Err(fault), topic: None };
    let context = Context::of(settings);
    let client = config::client(settings).map_err(|fault| fault.to_string()).and_then(|config| {
        BaseProducer::from_config_and_context(&config, context.clone()).map_err(|fault| open(&fault))
    });
    let client: BaseProducer<Context> = match client {
        Ok(client) => client,
        Err(fault) => return unreachable(fault),
    };
    match ask(&client, topic.unwrap_or(NONE), within) {
        Ok(metadata) => Inspection {
            brokers: Ok(metadata.brokers().len()),
            topic: topic.and_then(|topic| Some(describe(settings, topic, metadata.topics().first()?))),
        },
        Err(fault) => {
            let code = fault.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
            let (code, reason) = context.heard().unwrap_or_else(|| (code, quote(&fault.to_string())));
            unreachable(sentence(settings, topic.unwrap_or(NONE), code, &reason))
        }
    }
}

/// Asks in short turns, for why no broker answers is heard only in between; once that is known, one more is enough.
fn ask(client: &BaseProducer<Context>, topic: &str, within: Duration) -> Result<Metadata, KafkaError> {
    let deadline = clock::uptime() + within;
    // It may want a token first.
    client.poll(Duration::from_millis(10));
    loop {
        let known = client.context().heard().is_some_and(|(code, _)| tells(code));
        let left = deadline.saturating_sub(clock::uptime());
        match client.client().fetch_metadata(Some(topic), left.min(TURN)) {
            Err(_) if !known && left > TURN => client.poll(Duration::from_millis(10)),
            answer => {
                client.poll(Duration::from_millis(10));
                return answer;
            }
        }
    }
}

/// Whether this alone says why no broker answers.
pub(super) fn tells(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(code, Code::AllBrokersDown | Code::Authentication | Code::SSL | Code::Resolve)
}

fn describe(settings: &Settings, topic: &str, found: &MetadataTopic) -> Result<Topic, String> {
    if let Some(error) = found.error() {
        return Err(sentence(settings, topic, error.into(), ""));
    }
    let partitions = found.partitions();
    if partitions.is_empty() {
        return Err(sentence(settings, topic, RDKafkaErrorCode::UnknownTopicOrPartition, ""));
    }
    let leaderless = |error: Option<RDKafkaRespErr>, leader| error.is_some() || leader < 0;
    Ok(Topic {
        partitions: partitions.len(),
        replicas: partitions.iter().map(|partition| partition.replicas().len()).min().unwrap_or(0),
        leaderless: partitions.iter().filter(|partition| leaderless(partition.error(), partition.leader())).count(),
        under_replicated: partitions.iter().filter(|one| one.isr().len() < one.replicas().len()).count(),
        max_message_bytes: Err("not asked".into()),
    })
}

/// The topic's `max.message.bytes`, the broker's default included: a topic's description holds both.
async fn limit(settings: &Settings, topic: &str, within: Duration) -> Result<u64, String> {
    let unknown = |fault: String| {
        format!("max.message.bytes of topic {topic} is not known ({fault}); allow DescribeConfigs on it")
    };
    // librdkafka's client for such questions is given no token by rust-rdkafka.
    if settings.has_tokens() {
        return Err(unknown("it can't be asked for with OAUTHBEARER".into()));
    }
    let config = config::client(settings).map_err(|fault| fault.to_string())?;
    let admin: AdminClient<DefaultClientContext> =
        AdminClient::from_config_and_context(&config, DefaultClientContext).map_err(|fault| open(&fault))?;
    let options = AdminOptions::new().request_timeout(Some(within));
    let answer = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await;
    let resource = answer
        .map_err(|fault| unknown(quote(&fault.to_string())))?
        .pop()
        .ok_or_else(|| unknown("an empty answer".into()))?
        .map_err(|code| unknown(quote(&code.to_string())))?;
    let value = resource.get("max.message.bytes").and_then(|entry| entry.value.as_deref()?.parse().ok());
    value.ok_or_else(|| unknown("the answer doesn't hold it".into()))
}

/// Why a client could not be made: a property or a file is wrong.
pub(super) fn open(fault: &KafkaError) -> String {
    format!("{}; correct the sink's tls, sasl or properties", quote(&fault.to_string()))
}

/// What went wrong, in words, and what to do; `reason` is what the client said of it, quoted.
pub(super) fn sentence(settings: &Settings, topic: &str, code: RDKafkaErrorCode, reason: &str) -> String {
    use RDKafkaErrorCode as Code;
    let brokers = settings.brokers();
    match code {
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicId => format!(
            "topic {topic} doesn't exist at {brokers}; create it: kafka-topics.sh --bootstrap-server {brokers} \
             --create --topic {topic} --partitions 6 --replication-factor 3"
        ),
        Code::InvalidTopic => format!("{topic} is no name for a topic; correct the sink's topic"),
        Code::LeaderNotAvailable | Code::NotLeaderForPartition => {
            format!("topic {topic} has no leader at {brokers}; wait for its brokers, or start them")
        }
        Code::TopicAuthorizationFailed => {
            format!("{brokers} refuse topic {topic} to us; allow Write and Describe on it to this user")
        }
        Code::ClusterAuthorizationFailed => {
            format!("{brokers} refuse an idempotent producer; allow IdempotentWrite on the cluster to this user")
        }
        // librdkafka's own words for a token that we could not get.
        Code::Authentication if reason.contains("OAUTHBEARER token") => {
            format!("no token for {brokers} ({reason}); correct sasl, or see to its endpoint: it is asked again")
        }
        Code::Authentication | Code::SaslAuthenticationFailed => {
            format!("{brokers} refuse our credentials ({reason}); correct sasl or tls, its files are read again")
        }
        Code::SSL => format!("no TLS with {brokers} ({reason}); correct tls.ca or the brokers' certificates"),
        Code::Resolve => format!("no address is known for {brokers} ({reason}); correct brokers, or the DNS"),
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => {
            format!("topic {topic} has fewer replicas in sync than min.insync.replicas; start its other brokers")
        }
        Code::InvalidTimestamp => {
            format!("{brokers} refuse our records' time; set this machine's clock or message.timestamp.after.max.ms")
        }
        // Its reason counts connections, which changes from try to try: not news.
        Code::AllBrokersDown => {
            format!("no broker of {brokers} answers; start them, or correct brokers, tls and sasl")
        }
        Code::BrokerTransportFailure | Code::OperationTimedOut | Code::BrokerNotAvailable => {
            format!("no broker of {brokers} answers ({reason}); start them, or correct brokers, tls and sasl")
        }
        _ => format!("{brokers} answer {code} for topic {topic}; look at the brokers' log"),
    }
}
