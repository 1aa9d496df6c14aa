//! The rows of a Kafka sink: its brokers, its topic, and how large a record may be there.

use futures::future::join_all;

use crate::app::kafka_sink_settings;
use crate::config::{self, Config, Outlet};
use crate::sink::kafka::{Inspection, Settings, Topic, inspect};

use super::{Row, WITHIN, halves};

/// What a topic takes where nobody set anything (`message.max.bytes`), in bytes.
const DEFAULT_LIMIT: u64 = 1_048_588;

/// Asks for metadata and the topic's configuration; produces nothing and joins nothing.
pub(super) async fn rows(sink: &config::Kafka, config: &Config) -> Vec<Row> {
    let settings = match kafka_sink_settings(sink, config.poll.max_event_bytes) {
        Ok(settings) => settings,
        Err(error) => return vec![red("brokers", &error.to_string())],
    };
    let topics = [&config.dead_letter, &config.control].into_iter().flatten().filter_map(Outlet::as_topic);
    let beside: Vec<Settings> = topics.map(|topic| Settings { topic: topic.into(), ..settings.clone() }).collect();
    let asked = join_all(beside.iter().map(|settings| inspect(settings, WITHIN)));
    let (events, asked) = futures::join!(inspect(&settings, WITHIN), asked);
    let mut rows = vec![brokers(&events, &settings)];
    rows.extend(template(&settings));
    rows.extend(topic(&events, &settings));
    rows.extend(size(&events, config));
    rows.extend(asked.iter().zip(&beside).filter_map(|(inspection, settings)| topic(inspection, settings)));
    rows
}

fn brokers(inspection: &Inspection, settings: &Settings) -> Row {
    match &inspection.brokers {
        Ok(1) => Row::green("brokers", format!("1 at {}", settings.brokers.join(","))),
        Ok(count) => Row::green("brokers", format!("{count} at {}", settings.brokers.join(","))),
        Err(fault) => red("brokers", fault),
    }
}

/// What can't be known of a template before there are events.
fn template(settings: &Settings) -> Option<Row> {
    if !settings.topic.is_template() {
        return None;
    }
    let name = format!("topic {}", settings.topic);
    Some(match settings.topic.fallback() {
        Some(fallback) => Row::green(
            &name,
            format!("its topics are known only once there are events; {fallback} takes those whose topic can't be had"),
        ),
        None => Row::yellow(
            &name,
            "its topics are known only once there are events, which wait until their topic is there",
            "create a topic for every service or organization, or write `topic_fallback: …`",
        ),
    })
}

/// None where no broker could be asked.
fn topic(inspection: &Inspection, settings: &Settings) -> Option<Row> {
    let name = format!("topic {}", settings.topic.known().unwrap_or_default());
    let Topic { partitions, replicas, leaderless, under_replicated, .. } = match inspection.topic.as_ref()? {
        Ok(topic) => topic,
        Err(fault) => return Some(red(&name, fault)),
    };
    let (partitions, replicas) = (*partitions, *replicas);
    Some(match (leaderless, under_replicated, &inspection.brokers) {
        (1.., _, _) => Row::red(
            &name,
            format!("{leaderless} of {partitions} partitions have no leader: nothing can be written to them"),
            "start the brokers that hold them",
        ),
        (0, 1.., _) => Row::yellow(
            &name,
            format!("{under_replicated} of {partitions} partitions have replicas out of sync"),
            "start the other brokers, look at their disks",
        ),
        (0, 0, Ok(2..)) if replicas == 1 => Row::yellow(
            &name,
            format!("{partitions} partitions, each on one broker only: a lost disk loses events"),
            "give the topic a replication factor of 3 (kafka-reassign-partitions.sh)",
        ),
        _ => Row::green(&name, format!("{partitions} partitions, {replicas} replicas each")),
    })
}

/// Whether the topic takes the largest event; none where it could not be asked.
fn size(inspection: &Inspection, config: &Config) -> Option<Row> {
    let topic = inspection.topic.as_ref()?.as_ref().ok()?;
    let largest = config.poll.max_event_bytes;
    let (limit, known) = match &topic.max_message_bytes {
        Ok(limit) => (*limit, true),
        Err(_) => (DEFAULT_LIMIT, false),
    };
    if known && limit >= largest {
        return Some(Row::green(
            "record size",
            format!("the topic takes {limit} bytes, an event has at most {largest}"),
        ));
    }
    let takes = match known {
        true => format!("the topic takes {limit} bytes as compressed"),
        false => format!("the topic's max.message.bytes is not told; {limit} is usual"),
    };
    let raise = format!("raise the topic's max.message.bytes to {largest}");
    Some(match &config.dead_letter {
        Some(_) => Row::yellow(
            "record size",
            format!("{takes}; a larger event (at most {largest}) becomes a dead letter"),
            format!("{raise}, or leave it so: events are seldom over 100 KB"),
        ),
        None => Row::red(
            "record size",
            format!("{takes}; a larger event (at most {largest}) would stop its stream, for there is no dead_letter"),
            format!("write `dead_letter: {{file: dead.ndjson}}`, or {raise}"),
        ),
    })
}

fn red(name: &str, fault: &str) -> Row {
    let (finding, remedy) = halves(fault);
    Row::red(name, finding, remedy)
}
