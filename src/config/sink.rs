//! Where events go: `sinks`, one file per type below.

pub mod file;
pub mod kafka;
mod property;
mod sasl;
mod syslog;

use std::collections::HashSet;

use super::key::{Choice, Key, Kind, Presence, Variant};
use super::read::{Item, Section};
use super::value::shown;

pub use file::File;
pub use kafka::{Kafka, Tls};
pub use sasl::{Mechanism, Sasl};

pub(super) const VARIANTS: &[Variant] = &[
    Variant { name: "kafka", keys: kafka::KEYS },
    Variant { name: "file", keys: file::KEYS },
    Variant { name: "stdout", keys: STDOUT },
    Variant { name: "syslog", keys: syslog::KEYS },
];

const STDOUT: &[Key] = &[of_type("stdout"), FORMAT];

const TYPES: &[Choice] = &[
    Choice::new("kafka"),
    Choice::new("file"),
    Choice::new("stdout"),
    Choice::not_yet("syslog", "meanwhile use `type: file` and let the SIEM's agent read the file, or `type: kafka`"),
];

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

    fn target(&self) -> String {
        match self {
            Sink::Kafka(kafka) => format!("topic {} on {}", kafka.topic, kafka.brokers.join(",")),
            Sink::File(file) => file.path.display().to_string(),
            Sink::Stdout => "standard output".into(),
        }
    }
}

/// A topic's name as brokers accept it: 1 to 249 of letters, digits, `.`, `_` and `-`.
pub(super) fn topic(section: &Section, name: &str) -> Option<String> {
    let Item { text, .. } = section.item(name)?;
    if text.contains(['{', '}']) {
        let problem = "topics with `{service}` or `{organization}` aren't built yet in this release";
        section.fault(
            name,
            problem,
            "write one topic for all; the `service` and `organization` headers tell them apart",
        );
        return None;
    }
    let legal = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !legal || text.len() > 249 || matches!(text, "." | "..") {
        let problem =
            format!("expected a topic of letters, digits, `.`, `_` and `-`, at most 249, found {}", shown(text));
        section.fault(name, problem, format!("write it as in `{name}: jumpcloud.events`"));
        return None;
    }
    Some(text.into())
}
