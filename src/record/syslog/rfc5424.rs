//! The head of a message by RFC 5424: version, time, sender, MSGID and structured data.

use std::io::Write as _;
use std::time::Duration;

use super::Record;
use crate::event::Field;

/// The longest MSGID (§6.2.7).
const MSGID: usize = 32;
/// The finest time that a message may hold (§6.2.3.1).
const FINEST: Duration = Duration::from_micros(1);

/// `sender` holds host, application and process, between spaces; `element` the structured data's beginning.
pub(super) fn head(record: &Record, sender: &[u8], element: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"1 ");
    match record.event.time() {
        Some(time) if !time.is_saturated() => write!(out, "{}", time.floor(FINEST)).expect("a vector takes all"),
        _ => out.push(b'-'),
    }
    out.extend_from_slice(sender);
    message_id(record.event.raw(Field::EventType).unwrap_or_default(), out);
    out.extend_from_slice(element);
    let organization = record.event.raw(Field::Organization).unwrap_or(record.organization.as_bytes());
    let parameters = [
        ("event-id", record.event.raw(Field::Id)),
        ("event-type", record.event.raw(Field::EventType)),
        ("service", record.event.raw(Field::Service)),
        ("organization", Some(organization)),
        ("delivery", Some(record.delivery.as_str().as_bytes())),
    ];
    for (name, value) in parameters {
        let Some(value) = value else { continue };
        out.push(b' ');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"=\"");
        escape(value, out);
        out.push(b'"');
    }
    out.extend_from_slice(b"] ");
}

/// The type's first characters; what a MSGID can't hold becomes `_`.
fn message_id(event_type: &[u8], out: &mut Vec<u8>) {
    if event_type.is_empty() {
        return out.push(b'-');
    }
    let legal = |c: char| if c.is_ascii_graphic() { c as u8 } else { b'_' };
    let characters = std::str::from_utf8(event_type).unwrap_or_default().chars();
    out.extend(characters.take(MSGID).map(legal));
}

/// §6.3.3: `"`, `\` and `]` behind a backslash. A control character becomes a space: a receiver that reads lines
/// would end the message at it, and the text has it as the event had it.
fn escape(value: &[u8], out: &mut Vec<u8>) {
    let mut rest = value;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | b']' | 0x7f) || *byte < b' ') {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            special @ (b'"' | b'\\' | b']') => out.extend([b'\\', special]),
            _ => out.push(b' '),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}
