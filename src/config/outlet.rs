//! A place beside the sinks, a topic or a file: of `dead_letter` and of `control`.

use std::path::PathBuf;

use super::read::Section;
use super::sink::{self, Sink};

/// A place beside the sinks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outlet {
    /// On the brokers of the first Kafka sink, of which there is one.
    Topic(String),
    File(PathBuf),
}

/// What a place is for.
pub(super) struct Purpose {
    /// The section's key.
    pub key: &'static str,
    /// As in `a dead-letter topic`.
    pub topic: &'static str,
    /// Another name for it.
    pub example: &'static str,
}

impl Outlet {
    /// `sinks` is none where they are faulty themselves.
    pub(super) fn section(purpose: &Purpose, section: &Section, sinks: Option<&[Sink]>) -> Option<Outlet> {
        match (section.node("topic").is_some(), section.node("file").is_some()) {
            (true, false) => Self::topic(purpose, section, sinks),
            (false, true) => Self::file(section, sinks.unwrap_or_default()),
            _ => {
                let key = purpose.key;
                let remedy = format!("write `{key}: {{topic: …}}` or `{key}: {{file: …}}`");
                let problem = "expected either `topic` or `file`";
                section.reader.fault(section.place.clone(), &section.path, problem, remedy);
                None
            }
        }
    }

    fn topic(purpose: &Purpose, section: &Section, sinks: Option<&[Sink]>) -> Option<Outlet> {
        let topic = sink::topic(section, "topic")?;
        let mut kafkas = sinks?.iter().filter_map(|sink| match sink {
            Sink::Kafka(kafka) => Some(kafka),
            _ => None,
        });
        match kafkas.next() {
            None => {
                let problem = format!("{} needs a Kafka sink, and there is none", purpose.topic);
                section.fault("topic", problem, format!("use `{}: {{file: …}}`", purpose.key));
                None
            }
            Some(kafka) if kafka.topic.may_be(&topic) => {
                let remedy = format!("choose another, such as `{}`", purpose.example);
                section.fault("topic", "the sink's own topic", remedy);
                None
            }
            Some(_) => Some(Outlet::Topic(topic)),
        }
    }

    fn file(section: &Section, sinks: &[Sink]) -> Option<Outlet> {
        let path = section.output("file")?;
        if sinks.iter().any(|sink| matches!(sink, Sink::File(file) if file.path == path)) {
            section.fault("file", "a sink writes to this file too", "choose another file");
            return None;
        }
        Some(Outlet::File(path))
    }

    /// Its topic, if it is one.
    pub fn as_topic(&self) -> Option<&str> {
        match self {
            Outlet::Topic(topic) => Some(topic),
            Outlet::File(_) => None,
        }
    }
}
