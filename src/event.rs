//! One Directory Insights object: the bytes the API sent, and the few fields we read of it.
//!
//! # Invariants
//! The bytes are never changed. No field has to exist or to have a certain type: an event is never refused
//! for its shape. Knows nothing of pages, ledgers or sinks.

mod json;
mod outcome;

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use crate::clock::Time;
pub use json::Error;
use json::{Step, Value, Walk};
pub use outcome::Outcome;

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

/// A value of the event: where it lies in the bytes, or its own copy where it was an escaped string.
#[derive(Debug, Clone, Default)]
enum Text {
    #[default]
    Absent,
    Span(u32, u32),
    Owned(Box<str>),
}

/// A field that is text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Id,
    EventType,
    Service,
    Timestamp,
    Organization,
}

impl Fields {
    /// Reads one JSON object at the beginning of `input`.
    ///
    /// Gives the fields and the number of bytes the object takes. An error whose `is_eof()` is true means that
    /// the object goes on behind `input`; any other that it is no JSON object.
    pub fn read(input: &[u8]) -> Result<(Fields, usize), Error> {
        let mut texts: [Text; 6] = Default::default();
        let end = Walk::new(input).object(|walk, key| {
            let place = key.place(&["id", "event_type", "service", "timestamp", "organization", "initiated_by"]);
            if place == Some(INITIATED_BY) && walk.token() == b'{' {
                texts[INITIATED_BY] = actor_of(walk, input)?;
                return Ok(());
            }
            let value = walk.value()?;
            if let Some(place) = place {
                texts[place] = if place == INITIATED_BY { Text::Absent } else { Text::of(value, input) };
            }
            Ok(())
        })?;
        let [id, event_type, service, timestamp, organization, actor] = texts;
        let time = timestamp.raw(input).and_then(Time::parse_bytes);
        Ok((Fields { id, event_type, service, timestamp, organization, actor, time }, end))
    }
}

/// The place of the one key whose value is no text.
const INITIATED_BY: usize = 5;

/// `id` of the object at this place, else its `username`.
#[inline(always)]
fn actor_of<'a>(walk: &mut Walk<'a>, input: &'a [u8]) -> Step<Text> {
    let mut texts: [Text; 2] = Default::default();
    walk.entries(|walk, key| {
        let value = walk.value()?;
        if let Some(place) = key.place(&["id", "username"]) {
            texts[place] = Text::of(value, input);
        }
        Ok(())
    })?;
    let [id, username] = texts;
    Ok(if matches!(id, Text::Absent) { username } else { id })
}

impl Text {
    /// What a value is: absent where it is no string, or a string that is no UTF-8.
    #[inline(never)]
    fn of(value: Value, input: &[u8]) -> Text {
        let Range { start, end } = value.place;
        let (Ok(from), Ok(to)) = (u32::try_from(start), u32::try_from(end)) else { return Text::Absent };
        match &input[start..end] {
            text @ [b'"', .., b'"'] if value.escaped => {
                serde_json::from_slice::<Box<str>>(text).map_or(Text::Absent, Text::Owned)
            }
            [b'"', .., b'"'] if json::is_utf8(input, start + 1..end - 1) => Text::Span(from + 1, to - 1),
            _ => Text::Absent,
        }
    }

    fn read<'a>(&'a self, bytes: &'a [u8]) -> Option<&'a str> {
        self.raw(bytes).and_then(|text| std::str::from_utf8(text).ok())
    }

    /// The text's bytes, which were found to be UTF-8 when it was read: whoever only copies or hashes them need not
    /// find it out again, which costs more than what they do.
    fn raw<'a>(&'a self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        match self {
            Text::Absent => None,
            Text::Span(from, to) => Some(&bytes[*from as usize..*to as usize]),
            Text::Owned(text) => Some(text.as_bytes()),
        }
    }
}

impl Event {
    /// An event of `bytes`, whose fields were read from the same bytes.
    pub fn new(bytes: Bytes, fields: Fields) -> Event {
        Event { bytes, fields }
    }

    /// Reads `bytes`, which must hold one JSON object and nothing behind it.
    pub fn parse(bytes: Bytes) -> Result<Event, Error> {
        let (fields, end) = Fields::read(&bytes)?;
        Ok(Event { bytes: bytes.slice(..end), fields })
    }

    /// The JSON object exactly as it came.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn id(&self) -> Option<&str> {
        self.fields.id.read(&self.bytes)
    }

    pub fn event_type(&self) -> Option<&str> {
        self.fields.event_type.read(&self.bytes)
    }

    pub fn service(&self) -> Option<&str> {
        self.fields.service.read(&self.bytes)
    }

    /// The organization's id; none where it is no id: it becomes a key, a label and a part of log lines.
    pub fn organization(&self) -> Option<&str> {
        self.fields.organization.read(&self.bytes).filter(|id| is_organization(id))
    }

    /// The timestamp's own text.
    pub fn timestamp(&self) -> Option<&str> {
        self.fields.timestamp.read(&self.bytes)
    }

    /// [`Self::actor`] as bytes, which are UTF-8.
    pub fn raw_actor(&self) -> Option<&[u8]> {
        self.fields.actor.raw(&self.bytes)
    }

    /// Who did it: `initiated_by.id`, else `initiated_by.username`.
    pub fn actor(&self) -> Option<&str> {
        self.fields.actor.read(&self.bytes)
    }

    /// The timestamp as an instant; none where it is missing or no RFC 3339.
    pub fn time(&self) -> Option<Time> {
        self.fields.time
    }

    /// A field's text as bytes, which are UTF-8: for those who copy or hash it.
    pub fn raw(&self, field: Field) -> Option<&[u8]> {
        let text = match field {
            Field::Id => &self.fields.id,
            Field::EventType => &self.fields.event_type,
            Field::Service => &self.fields.service,
            Field::Timestamp => &self.fields.timestamp,
            Field::Organization => &self.fields.organization,
        };
        text.raw(&self.bytes)
    }

    /// What makes two records the same event.
    ///
    /// `id` and time; where the id is missing or name-based (RADIUS: UUID version 3 or 5), the record itself
    /// without `geoip`, `asn` and `useragent`, which the API adds later, and with its keys sorted.
    pub fn identity(&self) -> Identity<'_> {
        match self.raw(Field::Id) {
            Some(id) if !id.is_empty() && !is_name_based(id) => match self.time() {
                Some(time) if !time.is_saturated() => Identity::IdAt(id, time),
                _ => Identity::IdAndText(id, self.raw(Field::Timestamp).unwrap_or_default()),
            },
            _ => Identity::Content(canonical(&self.bytes)),
        }
    }
}

/// The members of a JSON object in their order: keys without their quotes and values, both as they are written.
/// None where it is no object.
pub fn members(object: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut members = Vec::with_capacity(32);
    let walked = Walk::new(object).object(|walk, key| {
        members.push((key.written(), &object[walk.value()?.place]));
        Ok(())
    });
    walked.ok().map(|_| members)
}

/// What makes two records the same event; see [`Event::identity`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity<'a> {
    IdAt(&'a [u8], Time),
    /// The timestamp is no instant that we can hold: its text counts.
    IdAndText(&'a [u8], &'a [u8]),
    Content(Vec<u8>),
}

/// Whether `text` is an organization's id: 24 hexadecimal digits.
pub fn is_organization(text: &str) -> bool {
    text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A UUID of version 3 or 5 (RFC 9562 §5.3, §5.5) is made from a name, so two events may share it.
fn is_name_based(id: &[u8]) -> bool {
    id.len() == 36 && id[8] == b'-' && id[13] == b'-' && matches!(id[14], b'3' | b'5')
}

/// How deep keys are sorted; deeper values count as they are written.
const CANONICAL_DEPTH: usize = 64;
/// Added by the API after the fact, so no part of what happened.
const ENRICHMENTS: [&[u8]; 3] = [b"geoip", b"asn", b"useragent"];

fn canonical(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    match sorted_entries(bytes) {
        Some(mut entries) => {
            entries.retain(|entry| !ENRICHMENTS.contains(&entry.key.as_ref()));
            write_entries(bytes, &entries, CANONICAL_DEPTH, &mut out);
        }
        None => out.extend_from_slice(bytes),
    }
    out
}

/// A key and its value's place.
struct Entry<'a> {
    /// The key's first eight bytes as a number: two keys are told apart by them nearly always.
    rank: u64,
    key: Cow<'a, [u8]>,
    value: Range<usize>,
}

/// An object's entries by their keys; of a key that stands several times, the last. None where it is no object.
fn sorted_entries(object: &[u8]) -> Option<Vec<Entry<'_>>> {
    let mut entries: Vec<Entry<'_>> = Vec::with_capacity(32);
    let walked = Walk::new(object).object(|walk, key| {
        let (key, value) = (key.text(), walk.value()?.place);
        let start = key.first_chunk().copied();
        let start = start.unwrap_or_else(|| std::array::from_fn(|at| key.get(at).copied().unwrap_or(0)));
        entries.push(Entry { rank: u64::from_be_bytes(start), key, value });
        Ok(())
    });
    walked.ok()?;
    entries.sort_unstable_by(|one, other| {
        let by_key = || one.key.cmp(&other.key).then(one.value.start.cmp(&other.value.start));
        one.rank.cmp(&other.rank).then_with(by_key)
    });
    entries.dedup_by(|entry, kept| {
        let again = entry.rank == kept.rank && entry.key == kept.key;
        if again {
            kept.value.clone_from(&entry.value);
        }
        again
    });
    Some(entries)
}

fn write_entries(object: &[u8], entries: &[Entry<'_>], depth: usize, out: &mut Vec<u8>) {
    out.push(b'{');
    for Entry { key, value, .. } in entries {
        // Quoted again: a key that holds a colon and a comma must not read as two entries.
        match key {
            Cow::Borrowed(written) => {
                out.push(b'"');
                out.extend_from_slice(written);
                out.push(b'"');
            }
            Cow::Owned(decoded) => write_string(&String::from_utf8_lossy(decoded), out),
        }
        out.push(b':');
        write_value(&object[value.clone()], depth, out);
        out.push(b',');
    }
    out.push(b'}');
}

fn write_value(text: &[u8], depth: usize, out: &mut Vec<u8>) {
    match text {
        [b'{', ..] if depth > 0 => {
            if let Some(entries) = sorted_entries(text) {
                return write_entries(text, &entries, depth - 1, out);
            }
        }
        [b'[', ..] if depth > 0 => {
            out.push(b'[');
            let element = |value: Value| {
                write_value(&text[value.place], depth - 1, out);
                out.push(b',');
            };
            // It was walked as a part of its object, so it is an array.
            let _ = Walk::new(text).array(element);
            return out.push(b']');
        }
        // Whether a character was written as an escape is not what happened either.
        [b'"', ..] if memchr::memchr(b'\\', text).is_some() => {
            if let Ok(decoded) = serde_json::from_slice::<String>(text) {
                return write_string(&decoded, out);
            }
        }
        _ => {}
    }
    out.extend_from_slice(text);
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a string can always be written to memory");
}
