//! A control record as its readers get it: one JSON object on one line.

use std::ops::Range;

use serde::Serialize;

use super::blindness::{Change, Reason};
use crate::clock::Time;
use crate::ledger::StreamKey;
use crate::sink::ControlRecord;

/// The version of the JSON; a change that breaks a reader raises it.
pub const VERSION: u32 = 1;

/// What a record tells: a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Opened,
    Closed,
    Loss,
    Heartbeat,
}

impl Kind {
    /// Its `type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Opened => "gap.opened",
            Kind::Closed => "gap.closed",
            Kind::Loss => "loss",
            Kind::Heartbeat => "heartbeat",
        }
    }
}

/// What a process says of its streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Streams {
    /// Those that run here.
    pub streams: usize,
    /// Of these, those with an open gap.
    pub blind: usize,
    /// Of these, those whose ledger has not been looked at yet.
    pub starting: usize,
}

#[derive(Serialize)]
struct Text<'a, T> {
    v: u32,
    id: &'a str,
    r#type: &'static str,
    at: Time,
    #[serde(flatten)]
    rest: T,
}

#[derive(Serialize)]
struct Gap<'a> {
    organization: &'a str,
    service: &'a str,
    from: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Time>,
    reason: &'static str,
}

#[derive(Serialize)]
struct Heartbeat<'a> {
    replica: &'a str,
    #[serde(flatten)]
    streams: Streams,
}

/// A gap of `stream` was opened or closed.
pub fn change(stream: &StreamKey, change: &Change, at: Time) -> (Kind, ControlRecord) {
    match change {
        Change::Opened { from, reason } => (Kind::Opened, gap(Kind::Opened, stream, *from, None, *reason, at)),
        Change::Closed { range, reason } => {
            (Kind::Closed, gap(Kind::Closed, stream, range.start, Some(range.end), *reason, at))
        }
    }
}

/// The API no longer kept `range` when it was read.
pub fn loss(stream: &StreamKey, range: &Range<Time>, at: Time) -> (Kind, ControlRecord) {
    (Kind::Loss, gap(Kind::Loss, stream, range.start, Some(range.end), Reason::Retention, at))
}

pub fn heartbeat(replica: &str, streams: Streams, at: Time) -> (Kind, ControlRecord) {
    let id = format!("{}/{replica}/{at}", Kind::Heartbeat.as_str());
    (Kind::Heartbeat, record(Kind::Heartbeat, replica, &id, at, Heartbeat { replica, streams }))
}

/// Its id follows from what it is about, so that one that is told again is recognised.
fn gap(kind: Kind, stream: &StreamKey, from: Time, to: Option<Time>, reason: Reason, at: Time) -> ControlRecord {
    let StreamKey { organization, service } = stream;
    let id = format!("{}/{organization}/{service}/{from}", kind.as_str());
    let gap = Gap { organization, service, from, to, reason: reason.as_str() };
    record(kind, organization, &id, at, gap)
}

fn record(kind: Kind, key: &str, id: &str, at: Time, rest: impl Serialize) -> ControlRecord {
    let text = Text { v: VERSION, id, r#type: kind.as_str(), at, rest };
    let value = serde_json::to_vec(&text).expect("strings and numbers are JSON");
    ControlRecord { key: key.to_owned(), value: value.into() }
}
