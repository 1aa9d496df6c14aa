//! One Directory Insights object: the bytes the API sent, and the few fields we read of it.
//!
//! # Invariants
//! The bytes are never changed. No field has to exist or to have a certain type: an event is never refused
//! for its shape. Knows nothing of pages, ledgers or sinks.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::Deserializer as _;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::clock::Time;

/// An event as the API sent it.
#[derive(Debug, Clone)]
pub struct Event {
    bytes: Bytes,
    fields: Fields,
}

/// Where the fields lie in an event's bytes.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    id: Text,
    event_type: Text,
    service: Text,
    timestamp: Text,
    organization: Text,
    actor: Text,
    time: Option<Time>,
}

/// A string of the event: where it lies in the bytes, or its own copy where it was escaped.
#[derive(Debug, Clone, Default)]
enum Text {
    #[default]
    Absent,
    Span(u32, u32),
    Owned(Box<str>),
}

impl Fields {
    /// Reads one JSON object at the beginning of `input`.
    ///
    /// Gives the fields and the number of bytes the object takes. An error whose `is_eof()` is true means that
    /// the object goes on behind `input`; any other that it is no JSON object.
    pub fn read(input: &[u8]) -> Result<(Fields, usize), serde_json::Error> {
        let mut json = serde_json::Deserializer::from_slice(input);
        let wanted = ["id", "event_type", "service", "timestamp", "organization", "initiated_by"];
        let [id, event_type, service, timestamp, organization, initiated_by] =
            json.deserialize_map(Entries { wanted: &wanted })?;
        let end = json.into_iter::<IgnoredAny>().byte_offset();

        let text = |value: Option<&RawValue>| Text::of(value, input);
        let (timestamp, time) = match string(timestamp) {
            Some(instant) => (text(timestamp), Time::parse(&instant)),
            None => (Text::Absent, None),
        };
        let [actor_id, actor_username] = initiated_by.map_or([None; 2], |actor| {
            serde_json::Deserializer::from_str(actor.get())
                .deserialize_map(Entries { wanted: &["id", "username"] })
                .unwrap_or_default()
        });
        let fields = Fields {
            id: text(id),
            event_type: text(event_type),
            service: text(service),
            organization: text(organization),
            actor: match text(actor_id) {
                Text::Absent => text(actor_username),
                id => id,
            },
            timestamp,
            time,
        };
        Ok((fields, end))
    }
}

impl Text {
    /// The string that `value` is, which lies in `input`; absent for every other type.
    fn of(value: Option<&RawValue>, input: &[u8]) -> Text {
        let Some(value) = value else { return Text::Absent };
        match string(Some(value)) {
            None => Text::Absent,
            Some(Cow::Owned(text)) => Text::Owned(text.into()),
            Some(Cow::Borrowed(text)) => {
                let from = text.as_ptr() as usize - input.as_ptr() as usize;
                match (u32::try_from(from), u32::try_from(from + text.len())) {
                    (Ok(from), Ok(to)) => Text::Span(from, to),
                    _ => Text::Owned(text.into()),
                }
            }
        }
    }
}

/// A JSON string without its quotes: borrowed where nothing in it is escaped.
fn string(value: Option<&RawValue>) -> Option<Cow<'_, str>> {
    let text = value?.get();
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(text).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

impl Event {
    /// An event of `bytes`, whose fields were read from the same bytes.
    pub fn new(bytes: Bytes, fields: Fields) -> Event {
        Event { bytes, fields }
    }

    /// Reads `bytes`, which must hold one JSON object and nothing behind it.
    pub fn parse(bytes: Bytes) -> Result<Event, serde_json::Error> {
        let (fields, end) = Fields::read(&bytes)?;
        Ok(Event { bytes: bytes.slice(..end), fields })
    }

    /// The JSON object exactly as it came.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn id(&self) -> Option<&str> {
        self.text(&self.fields.id)
    }

    pub fn event_type(&self) -> Option<&str> {
        self.text(&self.fields.event_type)
    }

    pub fn service(&self) -> Option<&str> {
        self.text(&self.fields.service)
    }

    pub fn organization(&self) -> Option<&str> {
        self.text(&self.fields.organization)
    }

    /// The timestamp's own text.
    pub fn timestamp(&self) -> Option<&str> {
        self.text(&self.fields.timestamp)
    }

    /// Who did it: `initiated_by.id`, else `initiated_by.username`.
    pub fn actor(&self) -> Option<&str> {
        self.text(&self.fields.actor)
    }

    /// The timestamp as an instant; none where it is missing or no RFC 3339.
    pub fn time(&self) -> Option<Time> {
        self.fields.time
    }

    fn text<'a>(&'a self, text: &'a Text) -> Option<&'a str> {
        match text {
            Text::Absent => None,
            Text::Span(from, to) => std::str::from_utf8(&self.bytes[*from as usize..*to as usize]).ok(),
            Text::Owned(text) => Some(text),
        }
    }

    /// What makes two records the same event.
    ///
    /// `id` and time; where the id is missing or name-based (RADIUS: UUID version 3 or 5), the record itself
    /// without `geoip`, `asn` and `useragent`, which the API adds later, and with its keys sorted.
    pub fn identity(&self) -> Identity<'_> {
        match self.id() {
            Some(id) if !id.is_empty() && !is_name_based(id) => match self.time() {
                Some(time) => Identity::IdAt(id, time),
                None => Identity::IdAndText(id, self.timestamp().unwrap_or_default()),
            },
            _ => Identity::Content(canonical(&self.bytes)),
        }
    }
}

/// What makes two records the same event; see [`Event::identity`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity<'a> {
    IdAt(&'a str, Time),
    /// The timestamp is no instant: its text counts.
    IdAndText(&'a str, &'a str),
    Content(Vec<u8>),
}

/// A UUID of version 3 or 5 (RFC 9562 §5.3, §5.5) is made from a name, so two events may share it.
fn is_name_based(id: &str) -> bool {
    let id = id.as_bytes();
    id.len() == 36 && id[8] == b'-' && id[13] == b'-' && matches!(id[14], b'3' | b'5')
}

/// How deep keys are sorted; deeper values count as they are written.
const CANONICAL_DEPTH: usize = 64;
/// Added by the API after the fact, so no part of what happened.
const ENRICHMENTS: [&str; 3] = ["geoip", "asn", "useragent"];

fn canonical(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    match serde_json::from_slice::<BTreeMap<Cow<'_, str>, &RawValue>>(bytes) {
        Ok(mut object) => {
            object.retain(|key, _| !ENRICHMENTS.contains(&key.as_ref()));
            write_object(&object, CANONICAL_DEPTH, &mut out);
        }
        Err(_) => out.extend_from_slice(bytes),
    }
    out
}

fn write_object(object: &BTreeMap<Cow<'_, str>, &RawValue>, depth: usize, out: &mut Vec<u8>) {
    out.push(b'{');
    for (key, value) in object {
        // With its length before it no key can pass for two.
        out.extend_from_slice(&(key.len() as u64).to_le_bytes());
        out.extend_from_slice(key.as_bytes());
        write_value(value, depth, out);
        out.push(b',');
    }
    out.push(b'}');
}

fn write_value(value: &RawValue, depth: usize, out: &mut Vec<u8>) {
    let text = value.get();
    if depth > 0
        && text.starts_with('{')
        && let Ok(object) = serde_json::from_str(text)
    {
        return write_object(&object, depth - 1, out);
    }
    if depth > 0
        && text.starts_with('[')
        && let Ok(array) = serde_json::from_str::<Vec<&RawValue>>(text)
    {
        out.push(b'[');
        for value in array {
            write_value(value, depth - 1, out);
            out.push(b',');
        }
        return out.push(b']');
    }
    out.extend_from_slice(text.as_bytes());
}

/// Walks one object's entries: `wanted` picks the keys whose values are kept, all others are passed over unread.
/// Of a key that stands twice the last counts.
struct Entries<'k, const N: usize> {
    wanted: &'k [&'static str; N],
}

impl<'de, const N: usize> Visitor<'de> for Entries<'_, N> {
    type Value = [Option<&'de RawValue>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = [None; N];
        while let Some(index) = map.next_key_seed(KeyIn(self.wanted))? {
            match index {
                Some(index) => values[index] = Some(map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(values)
    }
}

/// A key's place among the wanted ones.
struct KeyIn<'k, const N: usize>(&'k [&'static str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for KeyIn<'_, N> {
    type Value = Option<usize>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<const N: usize> Visitor<'_> for KeyIn<'_, N> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Option<usize>, E> {
        Ok(self.0.iter().position(|wanted| *wanted == key))
    }
}
