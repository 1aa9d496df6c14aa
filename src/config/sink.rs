//! Where events go: `sinks`, one file per type below.

pub mod file;
pub mod kafka;
mod property;
mod sasl;
pub mod syslog;
mod tls;

use std::collections::HashSet;

use super::key::{Choice, Key, Kind, Presence, Variant};
use super::read::{Item, Section};
use super::value::shown;
use crate::record::destination::Destination;

pub use file::File;
pub use kafka::Kafka;
pub use sasl::{Mechanism, Sasl};
pub use syslog::Syslog;
pub use tls::Tls;

pub(super) const VARIANTS: &[Variant] = &[
    Variant { name: "kafka", keys: kafka::KEYS },
    Variant { name: "file", keys: file::KEYS },
    Variant { name: "stdout", keys: STDOUT },
    Variant { name: "syslog", keys: syslog::KEYS },
];

const STDOUT: &[Key] = &[of_type("stdout"), FORMAT];

const TYPES: &[Choice] = &[Choice::new("kafka"), Choice::new("file"), Choice::new("stdout"), Choice::new("syslog")];

const fn of_type(example: &'static str) -> Key {
    Key::new(
        "type",
        Kind::Choice(TYPES),
        Presence::Required,
        "What the sink is; it decides which other keys there are.",
        example,
    )
}

const FORMAT: Key = Key::new(
    "format",
    Kind::Choice(&[
        Choice::new("raw"),
        Choice::not_yet("ecs", RAW),
        Choice::not_yet("ocsf", RAW),
        Choice::not_yet("cef", RAW),
        Choice::not_yet("leef", RAW),
    ]),
    Presence::Default("raw"),
    "What a record holds. `raw`: the event's bytes exactly as the API sent them.",
    "raw",
);

const RAW: &str = "use `format: raw` and let the consumer map the fields";

/// Where events go.
#[derive(Debug, Clone, PartialEq)]
pub enum Sink {
    /// Exactly or at least once.
    Kafka(Kafka),
    /// By RELP at least once, else handed over.
    Syslog(Syslog),
    /// At least once.
    File(File),
    /// Handed over to the pipe; JSON lines.
    Stdout,
}

impl Sink {
    /// All sinks, and what only two of them together can have wrong.
    pub(super) fn list(root: &Section) -> Option<Vec<Sink>> {
        let mut targets = HashSet::new();
        let mut transactional = false;
        let sinks: Vec<_> = root
            .list("sinks")
            .into_iter()
            .map(|(path, node)| {
                let (name, section) = Section::of_type(root.reader, &path, node, VARIANTS)?;
                let format = section.choice("format");
                let sink = match name {
                    "kafka" => Sink::Kafka(Kafka::section(&section)?),
                    "syslog" => Sink::Syslog(Syslog::section(&section)?),
                    "file" => Sink::File(File::section(&section)?),
                    _ => Sink::Stdout,
                };
                if !targets.insert(sink.target()) {
                    let problem = format!("another sink writes to {} too", sink.target());
                    section.fault("type", problem, "delete one of the two, or its events would come twice");
                    return None;
                }
                if sink.is_exactly_once() && std::mem::replace(&mut transactional, true) {
                    let problem = "a second sink of `delivery: exactly_once`: one transaction can't span two clusters or producers";
                    section.fault("delivery", problem, "write `delivery: at_least_once` at one of the two");
                    return None;
                }
                format.map(|_| sink)
            })
            .collect();
        sinks.into_iter().collect()
    }

    /// Whether it takes the ledger into its transactions.
    pub fn is_exactly_once(&self) -> bool {
        matches!(self, Sink::Kafka(Kafka { exactly_once: true, .. }))
    }

    /// Whether it is meant by `name`: its type, its topic, its address or its path.
    pub fn is_called(&self, name: &str) -> bool {
        match self {
            Sink::Kafka(kafka) => name == "kafka" || kafka.topic.to_string() == name,
            Sink::Syslog(syslog) => {
                name == "syslog" || syslog.addresses.first().is_some_and(|address| address.to_string() == name)
            }
            Sink::File(file) => name == "file" || file.path.as_os_str() == name,
            Sink::Stdout => name == "stdout",
        }
    }

    /// Where it writes to; no two sinks have the same.
    pub fn target(&self) -> String {
        match self {
            Sink::Kafka(kafka) => format!("topic {} on {}", kafka.topic, kafka.brokers.join(",")),
            Sink::Syslog(syslog) => syslog.addresses.first().map(ToString::to_string).unwrap_or_default(),
            Sink::File(file) => file.path.display().to_string(),
            Sink::Stdout => "standard output".into(),
        }
    }
}

/// A topic's name as brokers accept it: 1 to 249 of letters, digits, `.`, `_` and `-`.
pub(super) fn topic(section: &Section, name: &str) -> Option<String> {
    let item = section.item(name)?;
    if item.text.contains(['{', '}']) {
        section.fault(
            name,
            "a template, where one topic is expected",
            format!("write it as in `{name}: jumpcloud.events`"),
        );
        return None;
    }
    legal(section, name, item.text, item.text)
}

/// A topic, or a template for topics.
fn destination(section: &Section) -> Option<Destination> {
    let fallback = section.node("topic_fallback").map(|_| topic(section, "topic_fallback"));
    let Item { text, .. } = section.item("topic")?;
    let plain = text.replace("{service}", "s").replace("{organization}", "o");
    if plain.contains(['{', '}']) {
        let problem = format!("expected `{{service}}` or `{{organization}}` in braces, found {}", shown(text));
        section.fault("topic", problem, "write it as in `topic: \"jumpcloud.{service}\"`");
        return None;
    }
    let text = legal(section, "topic", &plain, text)?;
    let destination = Destination::new(text, fallback.map_or(Some(None), |fallback| fallback.map(Some))?);
    if section.node("topic_fallback").is_some() && !destination.is_template() {
        let problem = "`topic` is one topic for all, so nothing would ever go to `topic_fallback`";
        section.fault(
            "topic_fallback",
            problem,
            "delete it, or write a template, as in `topic: \"jumpcloud.{service}\"`",
        );
        return None;
    }
    Some(destination)
}

/// `text`, if `name_of_topic` is one that brokers accept.
fn legal(section: &Section, name: &str, name_of_topic: &str, text: &str) -> Option<String> {
    let legal = name_of_topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !legal || name_of_topic.len() > 249 || matches!(name_of_topic, "." | "..") {
        let problem =
            format!("expected a topic of letters, digits, `.`, `_` and `-`, at most 249, found {}", shown(text));
        section.fault(name, problem, format!("write it as in `{name}: jumpcloud.events`"));
        return None;
    }
    Some(text.into())
}
