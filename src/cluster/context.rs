//! The client's callbacks, which only send, and its configuration.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use super::TokenSource;

/// What the client says from within a poll.
#[derive(Debug)]
pub(super) enum Event {
    Assign(Vec<u32>),
    Revoke {
        partitions: Vec<u32>,
        /// The session is over, or the coordinator doesn't know us: others may own them already.
        lost: bool,
    },
    Error(RDKafkaErrorCode, String),
}

/// Sends what the client says to the thread that polls it.
pub(super) struct Context {
    events: Sender<Event>,
    alone: AtomicBool,
    tokens: Option<TokenSource>,
}

impl Context {
    pub(super) fn new(events: Sender<Event>, tokens: Option<TokenSource>) -> Context {
        Context { events, alone: AtomicBool::new(false), tokens }
    }

    /// From now on nobody hears events: rebalances are answered at once. Without it a client could not be dropped,
    /// which polls until it is closed.
    pub(super) fn answer_alone(&self) {
        self.alone.store(true, Ordering::Relaxed);
    }
}

/// Set for the group's client, over whatever it came with.
const SETTINGS: &[(&str, &str)] = &[
    // The newer protocol has its timeouts on the broker, out of our hands, and brokers before 4.0 lack it.
    ("group.protocol", "classic"),
    // The others take every partition from every member at each change of members.
    ("partition.assignment.strategy", "cooperative-sticky"),
    // How long a dead replica keeps its partitions; the least that brokers allow by default.
    ("session.timeout.ms", "6000"),
    // How late a member learns of a rebalance, and so how long a partition has no owner. librdkafka's 3 s is for others.
    ("heartbeat.interval.ms", "200"),
    // How long the coordinator waits for a member that beats but does not come to a rebalance: above the drain.
    ("max.poll.interval.ms", "15000"),
    // A request that hangs would be heard of only after librdkafka's 60 s, ten sessions later.
    ("socket.timeout.ms", "6000"),
    // librdkafka's 10 s is longer than a session.
    ("reconnect.backoff.max.ms", "1000"),
    // A topic that is created after us would be found only after librdkafka's 5 min.
    ("topic.metadata.refresh.interval.ms", "10000"),
    // Offsets are committed only to ask the coordinator something.
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // A topic that is gone must not come back with the broker's partitions.
    ("allow.auto.create.topics", "false"),
];

/// Properties that would change what a member is.
const UNSET: &[&str] =
    // Static members never leave: a scaled-down replica would keep its partitions until its session ends.
    &["group.instance.id", "group.remote.assignor"];

pub(super) fn settle(mut config: ClientConfig, group: &str) -> ClientConfig {
    for (property, value) in SETTINGS {
        config.set(*property, *value);
    }
    for property in UNSET {
        config.remove(property);
    }
    config.set("group.id", group);
    config.set_log_level(RDKafkaLogLevel::Info);
    config
}

/// Text from outside (a library's): escaped and cut to 200 characters.
pub(super) fn quote(text: &str) -> String {
    text.trim().chars().flat_map(char::escape_debug).take(200).collect()
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        Ok(self.tokens.as_ref().ok_or("nothing gives tokens")?()?)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::debug!(target: "librdkafka", ?level, facility, "{}", quote(text));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        tracing::debug!(target: "librdkafka", ?code, "{}", quote(reason));
        let _ = self.events.send(Event::Error(code, quote(reason)));
    }
}

impl ConsumerContext for Context {
    /// The client goes on beating while it waits for `incremental_assign` or `incremental_unassign`, which therefore
    /// need not be called in here.
    fn rebalance(&self, consumer: &BaseConsumer<Context>, kind: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let assigns = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.alone.load(Ordering::Relaxed) {
            let answer = if assigns { consumer.incremental_assign(list) } else { consumer.incremental_unassign(list) };
            // librdkafka has logged it.
            return answer.unwrap_or_default();
        }
        let partitions = list.elements().iter().filter_map(|each| u32::try_from(each.partition()).ok()).collect();
        let event = match assigns {
            true => Event::Assign(partitions),
            false => Event::Revoke { partitions, lost: consumer.assignment_lost() },
        };
        // Its receiver lives as long as the session.
        let _ = self.events.send(event);
    }
}
