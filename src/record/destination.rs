//! Where records go: one topic for all, or one by service and organization.
//!
//! # Invariants
//! Pure. Whatever an event holds, what comes out is a name that brokers accept.

use std::borrow::Cow;
use std::fmt;

use super::Record;
use crate::event::Field;

/// The longest name of a topic, in bytes.
const LONGEST: usize = 249;
/// What stands for a value that an event lacks.
const LACKING: &str = "unknown";

/// A topic, or a template for topics: `events.{service}.{organization}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    text: String,
    pieces: Vec<Piece>,
    /// Where records go whose topic can't be had.
    fallback: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Service,
    Organization,
}

impl Destination {
    /// `text` holds `{service}` or `{organization}`, or is one topic, which has no use for a fallback.
    pub fn new(text: impl Into<String>, fallback: Option<String>) -> Destination {
        let text = text.into();
        let mut pieces = Vec::new();
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let next = [("{service}", Piece::Service), ("{organization}", Piece::Organization)]
                .into_iter()
                .filter_map(|(name, piece)| Some((rest.find(name)?, name.len(), piece)))
                .min_by_key(|(at, ..)| *at);
            let Some((at, length, piece)) = next else { break };
            if at > 0 {
                pieces.push(Piece::Text(rest[..at].to_owned()));
            }
            pieces.push(piece);
            rest = &rest[at + length..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Destination { text, pieces, fallback }
    }

    /// The record's topic.
    pub fn of(&self, record: &Record) -> Cow<'_, str> {
        if !self.is_template() {
            return Cow::Borrowed(&self.text);
        }
        let mut name = String::with_capacity(self.text.len() + 32);
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => name.push_str(text),
                Piece::Service => {
                    let service = record.event.raw(Field::Service).and_then(|service| str::from_utf8(service).ok());
                    reduce(service.unwrap_or_default(), &mut name);
                }
                Piece::Organization => reduce(record.organization(), &mut name),
            }
        }
        name.truncate(LONGEST);
        // The two names that are legal in every other way.
        Cow::Owned(if matches!(name.as_str(), "." | "..") { "_".to_owned() } else { name })
    }

    pub fn is_template(&self) -> bool {
        self.pieces.iter().any(|piece| !matches!(piece, Piece::Text(_)))
    }

    /// Where records go whose topic can't be had.
    pub fn fallback(&self) -> Option<&str> {
        self.fallback.as_deref().filter(|_| self.is_template())
    }

    /// The one topic that is known before any event is: the topic itself, or the fallback.
    pub fn known(&self) -> Option<&str> {
        if self.is_template() { self.fallback() } else { Some(&self.text) }
    }

    /// Whether a record could go to this topic.
    pub fn may_be(&self, topic: &str) -> bool {
        self.fallback() == Some(topic) || fits(&self.pieces, topic)
    }
}

impl<T: Into<String>> From<T> for Destination {
    fn from(text: T) -> Destination {
        Destination::new(text, None)
    }
}

/// As it was written.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a name can't hold becomes `_`.
fn reduce(value: &str, name: &mut String) {
    let value = if value.is_empty() { LACKING } else { value };
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    name.extend(value.chars().map(|c| if legal(c) { c } else { '_' }));
}

fn fits(pieces: &[Piece], topic: &str) -> bool {
    match pieces {
        [] => topic.is_empty(),
        [Piece::Text(text), rest @ ..] => topic.strip_prefix(text.as_str()).is_some_and(|after| fits(rest, after)),
        // Any value of at least one character.
        [_, rest @ ..] => (1..=topic.len()).any(|end| topic.get(end..).is_some_and(|after| fits(rest, after))),
    }
}
