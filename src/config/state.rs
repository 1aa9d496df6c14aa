//! Where the ledger is kept: `state`.

use std::path::PathBuf;

use super::key::{Choice, Key, Kind, Presence, Variant};
use super::read::{Input, Section};
use super::sink::{self, Sink};

pub(super) const VARIANTS: &[Variant] =
    &[Variant { name: "sqlite", keys: SQLITE }, Variant { name: "kafka", keys: KAFKA }];

/// Beside a sink of `delivery: exactly_once`, where `kafka` is what a missing `type` stands for.
const BESIDE_EXACTLY_ONCE: &[Variant] =
    &[Variant { name: "kafka", keys: KAFKA }, Variant { name: "sqlite", keys: SQLITE }];

const fn of_type(default: &'static str) -> Key {
    const TYPES: &[Choice] = &[Choice::new("sqlite"), Choice::new("kafka")];
    Key::new(
        "type",
        Kind::Choice(TYPES),
        Presence::Default(default),
        "What keeps the ledger. `kafka`, in one transaction with the events: beside a sink of `delivery: exactly_once`, \
         where it is the default. `sqlite`, on a local disk: for every other sink.",
        default,
    )
}

const SQLITE: &[Key] = &[
    of_type("sqlite"),
    Key::new(
        "path",
        Kind::Output,
        Presence::Default("jumpstream.db"),
        "The database, on a local disk (a network file system is refused). One process at a time; keep it, it says what \
         has been delivered.",
        "/var/lib/jumpstream/jumpstream.db",
    ),
];

const KAFKA: &[Key] = &[
    of_type("kafka"),
    Key::new("topic", Kind::Text, Presence::Default("jumpstream.ledger"), "The ledger's topic.", "jumpstream.ledger"),
    Key::new(
        "partitions",
        Kind::Integer { least: 1, most: 1_000 },
        Presence::Default("8"),
        "How many replicas can share the work.",
        "8",
    ),
    Key::new("group", Kind::Text, Presence::Default("jumpstream"), "The replicas' consumer group.", "jumpstream"),
];

/// Where the ledger is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// A path relative to the working directory.
    Sqlite { path: PathBuf },
    /// On the brokers of the sink of `delivery: exactly_once`.
    Kafka { topic: String, partitions: u32, group: String },
}

impl State {
    /// `sinks` is none where they are faulty themselves.
    pub(super) fn section(root: &Section, sinks: Option<&[Sink]>) -> Option<State> {
        let transactional = sinks.is_some_and(|sinks| sinks.iter().any(Sink::is_exactly_once));
        let variants = if transactional { BESIDE_EXACTLY_ONCE } else { VARIANTS };
        let (name, section) = match root.node("state") {
            Some(node) => Section::of_type(root.reader, "state", node, variants)?,
            None => (variants[0].name, Section::unwritten(root.reader, "state", variants[0].keys)),
        };
        match (name, transactional) {
            ("kafka", true) => Self::kafka(&section, sinks?),
            ("kafka", false) => {
                // Else the sinks' own faults are told first.
                sinks?;
                let problem =
                    "the ledger lies in Kafka only beside a sink of `delivery: exactly_once`, and there is none";
                section.fault(
                    "type",
                    problem,
                    "write `delivery: exactly_once` there, or `state: {type: sqlite, path: …}`",
                );
                None
            }
            (_, true) => {
                let problem = "`delivery: exactly_once` keeps the ledger in Kafka, in one transaction with the events";
                section.fault(
                    "type",
                    problem,
                    "write `state: {type: kafka}`, or `delivery: at_least_once` at the sink",
                );
                None
            }
            (_, false) => Self::sqlite(&section),
        }
    }

    fn kafka(section: &Section, sinks: &[Sink]) -> Option<State> {
        let topic = sink::topic(section, "topic");
        // With a template an event's service could otherwise name the ledger.
        if let Some(topic) = &topic
            && sinks.iter().any(|sink| matches!(sink, Sink::Kafka(kafka) if kafka.topic.may_be(topic)))
        {
            section.fault("topic", "events may go to this topic too", "choose another, such as `jumpstream.ledger`");
            return None;
        }
        let partitions = section.integer("partitions");
        let group = section.text("group");
        Some(State::Kafka { topic: topic?, partitions: u32::try_from(partitions?).ok()?, group: group? })
    }

    fn sqlite(section: &Section) -> Option<State> {
        let item = section.item("path")?;
        // SQLite's and ours, which are written like the file itself.
        for suffix in ["-wal", "-shm", ".lock"] {
            let (place, key) = (item.place.clone(), format!("{}{suffix}", item.key));
            let path = PathBuf::from(format!("{}{suffix}", item.text));
            section.reader.outputs.borrow_mut().push(Input { place, key, path, secret: false });
        }
        Some(State::Sqlite { path: section.output("path")? })
    }
}
