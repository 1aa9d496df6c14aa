//! A sink of `type: kafka`.

use std::collections::BTreeMap;

use super::super::key::{Choice, Key, Kind, Presence};
use super::super::read::{Item, Section};
use super::super::value::shown;
use super::sasl::Sasl;
use super::tls::{self, Tls};
use super::{FORMAT, destination, of_type, property, sasl};
use crate::record;
use crate::record::destination::Destination;

pub(super) const KEYS: &[Key] = &[
    of_type("kafka"),
    Key::new(
        "brokers",
        Kind::Texts,
        Presence::Required,
        "Where the cluster is first asked: `host:port` each.",
        "[\"kafka-0:9092\", \"kafka-1:9092\"]",
    ),
    Key::new(
        "topic",
        Kind::Text,
        Presence::Required,
        "The topic that events are published to. It may hold `{service}` and `{organization}`, the event's own; what a \
         topic's name can't hold becomes `_`, and a value that the event lacks `unknown`.",
        "jumpcloud.events",
    ),
    Key::new(
        "topic_fallback",
        Kind::Text,
        Presence::Optional("none"),
        "Where events go whose topic doesn't exist or is refused to us, where `topic` is a template. Without it they wait.",
        "jumpcloud.other",
    ),
    Key::new(
        "key",
        Kind::Choice(KEY),
        Presence::Default("actor"),
        "What records are keyed by, and so which of them keep their order: `actor` (`initiated_by.id`, else \
         `initiated_by.username`, else none), `organization`, `id` or `none`.",
        "organization",
    ),
    Key::new(
        "delivery",
        Kind::Choice(&[Choice::new("exactly_once"), Choice::new("at_least_once")]),
        Presence::Default("exactly_once"),
        "What is guaranteed. `exactly_once`: events and ledger in one transaction, so that a consumer of committed records \
         sees each event once. `at_least_once`: only the batch in flight at a crash may come twice, with the same \
         `event-id`; for brokers without transactions, and with `state: {type: sqlite}`.",
        "at_least_once",
    ),
    FORMAT,
    Key::new(
        "tls",
        Kind::Section(tls::KEYS),
        Presence::Optional("no TLS"),
        "How TLS is spoken; `{}` is TLS with the system's roots. The broker's name is always verified.",
        "{ca: /etc/ca.pem}",
    ),
    Key::new(
        "sasl",
        Kind::Section(sasl::KEYS),
        Presence::Optional("no authentication by password or token"),
        "How we authenticate.",
        "{mechanism: SCRAM-SHA-512, username: jumpstream, password: {file: /run/secrets/kafka/password}}",
    ),
    Key::new(
        "properties",
        Kind::Properties,
        Presence::Optional("none"),
        "librdkafka's own properties, less those that carry secrets, load code, or decide verification and guarantees.",
        "{compression.type: lz4, client.id: jumpstream-emea}",
    ),
];

const KEY: &[Choice] = &[Choice::new("actor"), Choice::new("organization"), Choice::new("id"), Choice::new("none")];

/// Publishes each event as a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Kafka {
    /// `host:port` each, at least one.
    pub brokers: Vec<String>,
    pub topic: Destination,
    pub key: record::Key,
    /// Events and ledger in one transaction; else at least once.
    pub exactly_once: bool,
    /// None is plaintext.
    pub tls: Option<Tls>,
    pub sasl: Option<Sasl>,
    /// librdkafka's own, none of which we own; the library accepts each.
    pub properties: BTreeMap<String, String>,
}

impl Kafka {
    pub(super) fn section(section: &Section) -> Option<Kafka> {
        let brokers = brokers(section);
        let topic = destination(section);
        let key = section.choice("key");
        let delivery = section.choice("delivery");
        let tls = section.node("tls").map(|_| Tls::section(&section.section("tls")?));
        let sasl = section.node("sasl").map(|_| Sasl::section(&section.section("sasl")?));
        if let (Some(_), None) = (&sasl, &tls) {
            sasl::warn_of_plaintext(section, brokers.as_deref().unwrap_or_default());
        }
        let properties = property::section(section);
        Some(Kafka {
            exactly_once: delivery? == "exactly_once",
            brokers: brokers?,
            topic: topic?,
            key: match key? {
                "organization" => record::Key::Organization,
                "id" => record::Key::Id,
                "none" => record::Key::None,
                _ => record::Key::Actor,
            },
            // Written but faulty is not the same as not written: the inner one ends the reading.
            tls: tls.map_or(Some(None), |tls| tls.map(Some))?,
            sasl: sasl.map_or(Some(None), |sasl| sasl.map(Some))?,
            properties: properties?,
        })
    }
}

fn brokers(section: &Section) -> Option<Vec<String>> {
    let items = section.items("brokers")?;
    if items.is_empty() {
        section.fault(
            "brokers",
            "expected at least one broker, found an empty list",
            "write `brokers: [\"kafka:9092\"]`",
        );
        return None;
    }
    let brokers: Vec<_> = items.iter().map(|item| broker(section, item)).collect();
    brokers.into_iter().collect()
}

fn broker(section: &Section, item: &Item) -> Option<String> {
    let remedy = "write it as in `brokers: [\"kafka:9092\"]`";
    if item.text.contains("://") || item.text.contains('@') {
        let problem = "expected `host:port`, found a URL or a password (not shown)";
        section.reader.refuse(item, problem, "write host and port; TLS is `tls: {}`, a password belongs to `sasl`");
        return None;
    }
    let sound = item.text.rsplit_once(':').is_some_and(|(host, port)| {
        let legal = |c: char| c.is_ascii_alphanumeric() || "._-:[]%".contains(c);
        !host.is_empty() && host.chars().all(legal) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if !sound {
        section.reader.refuse(item, format!("expected `host:port`, found {}", shown(item.text)), remedy);
        return None;
    }
    Some(item.text.into())
}
