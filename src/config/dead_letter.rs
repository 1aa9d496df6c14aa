//! Where events go that no sink takes: `dead_letter`.

use std::path::PathBuf;

use super::key::{Key, Kind, Presence};
use super::read::Section;
use super::sink::{self, Sink};

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "topic",
        Kind::Text,
        Presence::Optional("either this or `file`"),
        "A topic on the brokers of the first Kafka sink.",
        "jumpcloud.dead",
    ),
    Key::new(
        "file",
        Kind::Output,
        Presence::Optional("either this or `topic`"),
        "A file they are appended to, one JSON object a line; mode 0600.",
        "/var/lib/jumpstream/dead.ndjson",
    ),
];

/// Where events go that no sink takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLetter {
    /// On the brokers of the first Kafka sink, of which there is one.
    Topic(String),
    File(PathBuf),
}

impl DeadLetter {
    /// `sinks` is none where they are faulty themselves.
    pub(super) fn section(section: &Section, sinks: Option<&[Sink]>) -> Option<DeadLetter> {
        match (section.node("topic").is_some(), section.node("file").is_some()) {
            (true, false) => Self::topic(section, sinks),
            (false, true) => Self::file(section, sinks.unwrap_or_default()),
            _ => {
                let problem = "expected either `topic` or `file`";
                let remedy = "write `dead_letter: {topic: …}` or `dead_letter: {file: …}`";
                section.reader.fault(section.place.clone(), &section.path, problem, remedy);
                None
            }
        }
    }

    fn topic(section: &Section, sinks: Option<&[Sink]>) -> Option<DeadLetter> {
        let topic = sink::topic(section, "topic")?;
        let mut kafkas = sinks?.iter().filter_map(|sink| match sink {
            Sink::Kafka(kafka) => Some(kafka),
            _ => None,
        });
        match kafkas.next() {
            None => {
                let problem = "a dead-letter topic needs a Kafka sink, and there is none";
                section.fault("topic", problem, "use `dead_letter: {file: …}`");
                None
            }
            Some(kafka) if kafka.topic.may_be(&topic) => {
                section.fault("topic", "the sink's own topic", "choose another, such as `jumpcloud.dead`");
                None
            }
            Some(_) => Some(DeadLetter::Topic(topic)),
        }
    }

    fn file(section: &Section, sinks: &[Sink]) -> Option<DeadLetter> {
        let path = section.output("file")?;
        if sinks.iter().any(|sink| matches!(sink, Sink::File(file) if file.path == path)) {
            section.fault("file", "a sink writes to this file too", "choose another file");
            return None;
        }
        Some(DeadLetter::File(path))
    }
}
