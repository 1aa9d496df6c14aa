//! An event as a sink carries it: its value, headers and key.
//!
//! One file per format below `record/`: `raw`, the event's bytes as they came, and [`syslog`], the same behind a head.
//! Beside them [`destination`]: the topic that it goes to.
//!
//! # Invariants
//! Pure: no I/O, no clock. Nothing here drops an event; only [`syslog`] shortens one, where that is configured, and says so in it.

pub mod destination;
pub mod line;
pub mod raw;
pub mod syslog;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Time;
use crate::event::{Event, Field};

/// How an event came to be delivered; the `delivery` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Delivery {
    /// Its time had not been read before, and was read as it passed.
    Live,
    /// Its time had been read before, or passed during an outage.
    Late,
    /// Its time lies before the stream's first run.
    Backfill,
    /// Delivered again on request.
    Replay,
}

impl Delivery {
    pub const ALL: [Delivery; 4] = [Delivery::Live, Delivery::Late, Delivery::Backfill, Delivery::Replay];

    /// The header's value, also a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Delivery::Live => "live",
            Delivery::Late => "late",
            Delivery::Backfill => "backfill",
            Delivery::Replay => "replay",
        }
    }
}

/// What a Kafka record is keyed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Key {
    /// `initiated_by.id`, else `initiated_by.username`, else none.
    #[default]
    Actor,
    Organization,
    /// The event's `id`.
    Id,
    None,
}

/// An event as a sink carries it.
#[derive(Debug, Clone)]
pub struct Record {
    pub event: Event,
    /// What is published: for the raw format the event's own bytes.
    pub value: Bytes,
    pub delivery: Delivery,
    /// When it was admitted, by the server's clock.
    pub ingested_at: Time,
    /// The stream's organization, for events that name none.
    pub organization: Arc<str>,
}

impl Record {
    /// The organization the event names, else the stream's.
    pub fn organization(&self) -> &str {
        self.event.organization().unwrap_or(&self.organization)
    }

    /// Bytes, which are UTF-8.
    pub fn key(&self, key: Key) -> Option<&[u8]> {
        match key {
            Key::Actor => self.event.raw_actor(),
            Key::Organization => Some(self.organization().as_bytes()),
            Key::Id => self.event.raw(Field::Id),
            Key::None => None,
        }
    }

    /// The headers in their order; a field that the event lacks has none.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, Cow<'_, str>)> {
        let ingested_at = self.ingested_at.to_string();
        let headers: Vec<_> = self
            .headers_with(&ingested_at)
            .map(|(name, value)| (name, String::from_utf8_lossy(value).into_owned().into()))
            .collect();
        headers.into_iter()
    }

    /// As [`Self::headers`], in UTF-8, for those who copy a whole batch: they bring the text of
    /// [`Self::ingested_at`], which a page's records share.
    pub fn headers_with<'a>(&'a self, ingested_at: &'a str) -> impl Iterator<Item = (&'static str, &'a [u8])> {
        let event = &self.event;
        let organization = event.raw(Field::Organization).unwrap_or(self.organization.as_bytes());
        [
            ("event-id", event.raw(Field::Id)),
            ("event-type", event.raw(Field::EventType)),
            ("event-time", event.raw(Field::Timestamp)),
            ("service", event.raw(Field::Service)),
            ("organization", Some(organization)),
            ("delivery", Some(self.delivery.as_str().as_bytes())),
            ("ingested-at", Some(ingested_at.as_bytes())),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }
}

/// The `ingested-at` texts of a batch, each made once: a batch has few instants, since a page's records share one.
#[derive(Debug, Default)]
pub struct Instants(Vec<(Time, String)>);

impl Instants {
    pub fn of(records: &[Record]) -> Instants {
        let mut texts: Vec<(Time, String)> = Vec::new();
        for record in records {
            if texts.last().is_none_or(|(time, _)| *time != record.ingested_at) {
                texts.push((record.ingested_at, record.ingested_at.to_string()));
            }
        }
        texts.sort_unstable();
        texts.dedup();
        Instants(texts)
    }

    /// RFC 3339; empty for an instant that is not of the batch.
    pub fn text(&self, time: Time) -> &str {
        let found = self.0.binary_search_by_key(&time, |(time, _)| *time);
        found.map_or("", |place| &self.0[place].1)
    }
}

/// Why a record went to the dead letters; a bounded metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Larger than the sink or its topic takes.
    TooLargeForSink,
    /// Larger than `max_event_bytes`: only its head was kept.
    TooLarge,
    /// Not a JSON object, though the API shows it as an event.
    Malformed,
    /// The sink refused it for another cause.
    Refused,
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::TooLargeForSink => "too_large_for_sink",
            Reason::TooLarge => "too_large",
            Reason::Malformed => "malformed",
            Reason::Refused => "refused",
        }
    }
}

/// What could not be delivered, with everything that says why.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    pub reason: Reason,
    /// A sentence for the operator: the limit that was passed, or what the sink answered.
    pub explanation: String,
    /// The whole event; for [`Reason::TooLarge`] its first 64 KiB.
    pub value: Bytes,
    /// The event's whole size in bytes.
    pub size: u64,
    /// A record's headers; for [`Reason::TooLarge`] and [`Reason::Malformed`] the organization and the window it was read in.
    pub headers: Vec<(&'static str, String)>,
    pub organization: Arc<str>,
}

impl DeadLetter {
    /// A record that a sink refused, whole.
    pub fn of(record: &Record, reason: Reason, explanation: String) -> DeadLetter {
        DeadLetter {
            reason,
            explanation,
            value: record.value.clone(),
            size: record.value.len() as u64,
            headers: record.headers().map(|(name, value)| (name, value.into_owned())).collect(),
            organization: record.organization.clone(),
        }
    }

    /// [`Self::headers`] and, behind them, `dead-letter-reason`, `dead-letter-explanation` and `event-size`.
    pub fn all_headers(&self) -> impl Iterator<Item = (&'static str, Cow<'_, str>)> {
        let why = [
            ("dead-letter-reason", Cow::from(self.reason.as_str())),
            ("dead-letter-explanation", Cow::from(self.explanation.as_str())),
            ("event-size", Cow::from(self.size.to_string())),
        ];
        self.headers.iter().map(|(name, value)| (*name, Cow::from(value.as_str()))).chain(why)
    }
}
