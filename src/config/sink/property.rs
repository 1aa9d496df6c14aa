//! `properties` of a Kafka sink: librdkafka's own, less what jumpstream decides.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;

use super::super::read::{Item, Section, nearest};
use super::super::value::shown;

const BROKERS: &str = "use `brokers`";
const TLS: &str = "use `tls`: librdkafka would verify less than `tls` promises";
const SASL: &str = "use `sasl`, whose password is read from a file or a variable";
const CODE: &str = "delete it: nothing is loaded into this process by configuration";
const GUARANTEE: &str = "delete it: `delivery` decides it";
const PATIENCE: &str = "delete it: how long a record is waited for is jumpstream's part of `delivery`";
const CALLBACK: &str = "delete it: it can't be written as text";
const PRODUCER: &str = "delete it: it is for consumers, and a sink only produces";

/// What we own, by name or by how the name begins (`…*`), and what to use instead. The first that fits counts.
const OWNED: &[(&str, &str)] = &[
    ("bootstrap.servers", BROKERS),
    ("metadata.broker.list", BROKERS),
    ("security.protocol", "use `tls: {}` for TLS and `sasl` for authentication"),
    ("ssl.key.password", "decrypt the key file and protect it by its mode; use `tls: {certificate: …, key: …}`"),
    ("ssl.ca.location", "use `tls: {ca: …}`"),
    ("ssl.ca.pem", "use `tls: {ca: …}`"),
    ("ssl.certificate.location", "use `tls: {certificate: …, key: …}`"),
    ("ssl.certificate.pem", "use `tls: {certificate: …, key: …}`"),
    ("ssl.key.location", "use `tls: {certificate: …, key: …}`"),
    ("ssl.key.pem", "use `tls: {certificate: …, key: …}`"),
    ("ssl.endpoint.identification.algorithm", "delete it: the broker's name is always verified; use `tls: {ca: …}`"),
    (
        "enable.ssl.certificate.verification",
        "delete it: the broker's certificate is always verified; use `tls: {ca: …}`",
    ),
    ("ssl.engine*", CODE),
    ("ssl.providers", CODE),
    ("plugin.library.paths", CODE),
    ("interceptors", CODE),
    ("ssl.*", TLS),
    ("ssl_*", CODE),
    ("https.*", TLS),
    ("sasl.*", SASL),
    ("enable.sasl.oauthbearer.unsecure.jwt", SASL),
    ("oauthbearer_*", SASL),
    ("acks", GUARANTEE),
    ("request.required.acks", GUARANTEE),
    ("enable.idempotence", GUARANTEE),
    ("enable.gapless.guarantee", GUARANTEE),
    ("max.in.flight*", GUARANTEE),
    ("retries", GUARANTEE),
    ("message.send.max.retries", GUARANTEE),
    ("transactional.id", GUARANTEE),
    ("transaction.timeout.ms", PATIENCE),
    ("message.timeout.ms", PATIENCE),
    ("delivery.timeout.ms", PATIENCE),
    ("delivery.report.only.error", GUARANTEE),
    ("queuing.strategy", GUARANTEE),
    ("partitioner", "use `key`; records are spread by `murmur2_random`, as Java's clients do"),
    ("opaque", CALLBACK),
    ("default_topic_conf", CALLBACK),
    ("group.*", PRODUCER),
    ("isolation.level", PRODUCER),
    ("enable.auto.commit", PRODUCER),
    ("auto.offset.reset", PRODUCER),
];

/// These begin like owned ones but only choose among what TLS allows.
const FREE: &[&str] = &["ssl.cipher.suites", "ssl.curves.list", "ssl.sigalgs.list", "ssl.crl.location"];

/// Reads them; values are never shown, since some of librdkafka's are secrets.
pub(super) fn section(section: &Section) -> Option<BTreeMap<String, String>> {
    let mut properties = BTreeMap::new();
    let mut sound = true;
    for (entry, item) in section.pairs("properties")? {
        let (name, item) = (&*entry.name, Item { place: entry.place.clone(), ..item });
        let fault = if let Some(remedy) = owned(name) {
            Some((format!("{} is decided by jumpstream", shown(name)), remedy.to_owned()))
        } else if properties.contains_key(name) {
            Some(("written twice".to_owned(), "keep one of the two".to_owned()))
        } else {
            unfit(name, item.text)
        };
        match fault {
            None => {
                properties.insert(name.to_owned(), item.text.to_owned());
            }
            Some((problem, remedy)) => {
                section.reader.refuse(&item, problem, remedy);
                sound = false;
            }
        }
    }
    sound.then_some(properties)
}

fn owned(name: &str) -> Option<&'static str> {
    if FREE.contains(&name) {
        return None;
    }
    if name.ends_with("_cb") {
        return Some(CALLBACK);
    }
    let fits = |owned: &str| owned.strip_suffix('*').map_or(owned == name, |prefix| name.starts_with(prefix));
    OWNED.iter().find(|(owned, _)| fits(owned)).map(|(_, remedy)| *remedy)
}

/// Asks librdkafka itself, so that what it would refuse at the start is told with the other faults.
fn unfit(name: &str, value: &str) -> Option<(String, String)> {
    let accepts = |value| ClientConfig::new().set(name, value).create_native_config().err();
    let error = accepts(value)?;
    let unknown = matches!(
        error,
        rdkafka::error::KafkaError::ClientConfig(rdkafka::types::RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)
    );
    if !unknown {
        let remedy = "see librdkafka's CONFIGURATION.md for the values it takes";
        return Some((format!("librdkafka refuses the value of {} (not shown)", shown(name)), remedy.into()));
    }
    let remedy = match nearest(name, COMMON.iter()) {
        Some(known) => format!("did you mean `{known}`?"),
        None => "see librdkafka's CONFIGURATION.md for the properties it has".into(),
    };
    Some((format!("{} isn't a property of librdkafka", shown(name)), remedy))
}

/// Those that operators set, for suggestions.
const COMMON: &[&str] = &[
    "batch.num.messages",
    "batch.size",
    "broker.address.family",
    "client.dns.lookup",
    "client.id",
    "client.rack",
    "compression.codec",
    "compression.level",
    "compression.type",
    "debug",
    "linger.ms",
    "message.max.bytes",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "request.timeout.ms",
    "socket.keepalive.enable",
    "socket.timeout.ms",
    "statistics.interval.ms",
    "topic.metadata.refresh.interval.ms",
];
