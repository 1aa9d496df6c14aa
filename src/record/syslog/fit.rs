//! An event that is longer than a message may be: with less in it, or in parts.
//!
//! # Invariants
//! What comes out is valid JSON of at most the room given, and says what it lacks or which part it is. The parts'
//! data, joined, are the event byte for byte.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::ops::Range;

use sha2::{Digest as _, Sha256};

use super::Record;
use crate::event::{Field, members};

/// Never left out: by these an event is found again.
const KEPT: [&[u8]; 5] = [b"id", b"service", b"event_type", b"timestamp", b"organization"];
/// A string that is longer is shortened, before it is left out.
const LONG: usize = 512;
/// To so many bytes, as they are written.
const SHORT: usize = 256;
/// The room for names of what was left out; the rest of them is counted.
const NAMES: usize = 1024;
/// Room for the note besides the names: its keys, two numbers and the digest.
const NOTE: usize = 192;
/// The largest number of a part, in digits.
const DIGITS: usize = 8;
/// A part that holds less is not worth its head.
const LEAST: usize = 32;

/// A value that may be left out: a member of the event, or a member of one that is an object.
struct Unit<'a> {
    top: usize,
    inner: Option<usize>,
    key: &'a [u8],
    value: &'a [u8],
}

/// A member and, where it is an object, its own members.
struct Member<'a> {
    key: &'a [u8],
    value: &'a [u8],
    inner: Vec<(&'a [u8], &'a [u8])>,
}

/// Writes the event with its largest values left out, long strings shortened first, and a member `jumpstream` that says
/// which, with the event's size and SHA-256. None where that doesn't fit either.
pub(super) fn shrink(event: &[u8], room: usize, out: &mut Vec<u8>) -> Option<()> {
    let members: Vec<Member> = members(event)?.into_iter().map(Member::of).collect();
    let mut units: Vec<Unit> = Vec::new();
    for (top, member) in members.iter().enumerate().filter(|(_, member)| !KEPT.contains(&member.key)) {
        if member.inner.is_empty() {
            units.push(Unit { top, inner: None, key: member.key, value: member.value });
        }
        let inner = member.inner.iter().enumerate();
        units.extend(inner.map(|(place, (key, value))| Unit { top, inner: Some(place), key, value }));
    }
    units.sort_by_key(|unit| std::cmp::Reverse(unit.value.len()));

    let names = NAMES.min(room / 4);
    // Each member is counted with a comma, of which an object has one less.
    let commas = 1 + members.iter().filter(|member| !member.inner.is_empty()).count();
    let mut size = event.len() + commas + NOTE + names;
    let mut shortened = BTreeSet::new();
    let mut dropped = BTreeSet::new();
    // In two rounds: what was shortened in the first may be left out in the second.
    for unit in units.iter().chain(&units) {
        if size <= room {
            break;
        }
        let place = (unit.top, unit.inner);
        if unit.value.starts_with(b"\"") && unit.value.len() > LONG && shortened.insert(place) {
            size -= unit.value.len() - shorten(unit.value).len() - ELLIPSIS.len();
        } else if dropped.insert(place) {
            let left = if shortened.remove(&place) { shorten(unit.value).len() } else { unit.value.len() };
            size -= left + "\"\":,".len() + unit.key.len();
        }
    }
    if size > room {
        return None;
    }
    write_shrunk(event, &members, &shortened, &dropped, names, out);
    (out.len() <= room).then_some(())
}

impl<'a> Member<'a> {
    fn of((key, value): (&'a [u8], &'a [u8])) -> Member<'a> {
        let is_large = value.starts_with(b"{") && value.len() > LONG;
        Member { key, value, inner: is_large.then(|| members(value)).flatten().unwrap_or_default() }
    }
}

type Places = BTreeSet<(usize, Option<usize>)>;

fn write_shrunk(
    event: &[u8],
    members: &[Member],
    shortened: &Places,
    dropped: &Places,
    names: usize,
    out: &mut Vec<u8>,
) {
    out.clear();
    out.push(b'{');
    let write = |place, key: &[u8], value: &[u8], out: &mut Vec<u8>| {
        if dropped.contains(&place) {
            return;
        }
        write_key(key, out);
        if shortened.contains(&place) {
            out.extend_from_slice(shorten(value));
            out.extend_from_slice(ELLIPSIS);
        } else {
            out.extend_from_slice(value);
        }
        out.push(b',');
    };
    for (top, member) in members.iter().enumerate() {
        if member.inner.is_empty() {
            write((top, None), member.key, member.value, out);
            continue;
        }
        write_key(member.key, out);
        out.push(b'{');
        for (inner, (key, value)) in member.inner.iter().enumerate() {
            write((top, Some(inner)), key, value, out);
        }
        if out.last() == Some(&b',') {
            out.pop();
        }
        out.extend_from_slice(b"},");
    }
    let digest = Sha256::digest(event);
    out.extend_from_slice(b"\"jumpstream\":{\"left_out\":");
    write_names(members, dropped, names / 2, out);
    out.extend_from_slice(b",\"shortened\":");
    write_names(members, shortened, names / 2, out);
    write!(out, ",\"bytes\":{},\"sha256\":\"", event.len()).expect("a vector takes all");
    write_hex(&digest, out);
    out.extend_from_slice(b"\"}}");
}

fn write_key(key: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(key);
    out.extend_from_slice(b"\":");
}

/// A list of names, `command.payload` for an inner one; past the room, a last one says how many more there are.
fn write_names(members: &[Member], places: &Places, room: usize, out: &mut Vec<u8>) {
    out.push(b'[');
    let start = out.len();
    for (written, (top, inner)) in places.iter().enumerate() {
        let member = &members[*top];
        let inner = inner.map(|place| member.inner[place].0);
        // The count behind it, and what stands around both.
        if out.len() - start + member.key.len() + inner.map_or(0, <[u8]>::len) + 48 > room {
            write!(out, "\"and {} more\",", places.len() - written).expect("a vector takes all");
            break;
        }
        out.push(b'"');
        out.extend_from_slice(member.key);
        if let Some(key) = inner {
            out.push(b'.');
            out.extend_from_slice(key);
        }
        out.extend_from_slice(b"\",");
    }
    if out.len() > start {
        out.pop();
    }
    out.push(b']');
}

fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        write!(out, "{byte:02x}").expect("a vector takes all");
    }
}

/// What a shortened string ends with.
const ELLIPSIS: &[u8] = "…\"".as_bytes();

/// The beginning of a string as it is written, from its quote on; whole characters and escapes.
fn shorten(string: &[u8]) -> &[u8] {
    let mut at = 1;
    loop {
        let step = match (string.get(at), string.get(at + 1)) {
            // The two halves of a character beyond the first plane (RFC 8259 §7) stay together.
            (Some(b'\\'), Some(b'u')) if is_high_half(string, at) => 12,
            (Some(b'\\'), Some(b'u')) => 6,
            (Some(b'\\'), _) => 2,
            (Some(byte), _) => match byte.leading_ones() {
                0 | 1 => 1,
                ones => ones as usize,
            },
            (None, _) => return string,
        };
        if at + step > SHORT {
            return &string[..at];
        }
        at += step;
    }
}

fn is_high_half(string: &[u8], at: usize) -> bool {
    let half = |at: usize, from: &[u8]| {
        string.get(at + 2..at + 4).is_some_and(|digits| {
            digits[0].eq_ignore_ascii_case(&b'd') && from.contains(&digits[1].to_ascii_lowercase())
        })
    };
    half(at, b"89ab") && string.get(at + 6..at + 8) == Some(b"\\u") && half(at + 6, b"cdef")
}

/// An event in parts: `{"part":1,"of":3,"id":"…","data":"…"}`.
pub(super) struct Parts<'a> {
    event: &'a str,
    /// JSON text.
    id: Vec<u8>,
    pieces: Vec<Range<usize>>,
}

impl Parts<'_> {
    /// None where an event that is no UTF-8 can't be a string's part, or there is no room.
    pub fn of(record: &Record, room: usize) -> Option<Parts<'_>> {
        let event = std::str::from_utf8(&record.value).ok()?;
        let id = match record.event.raw(Field::Id).filter(|id| !id.is_empty()) {
            Some(id) => std::str::from_utf8(id).ok()?.to_owned(),
            // Parts belong together by something: where there is no id, by the whole's digest.
            None => {
                let mut hex = Vec::new();
                write_hex(&Sha256::digest(&record.value), &mut hex);
                String::from_utf8(hex).ok()?
            }
        };
        let id = serde_json::to_vec(&id).ok()?;
        let around = r#"{"part":,"of":,"id":,"data":""}"#.len() + 2 * DIGITS + id.len();
        let room = room.checked_sub(around).filter(|room| *room >= LEAST)?;
        let mut pieces = Vec::new();
        let (mut start, mut used) = (0, 0);
        for (at, character) in event.char_indices() {
            let length = length_in_string(character);
            if used + length > room {
                pieces.push(start..at);
                (start, used) = (at, 0);
            }
            used += length;
        }
        pieces.push(start..event.len());
        (pieces.len() < 10usize.pow(DIGITS as u32)).then_some(Parts { event, id, pieces })
    }

    pub fn count(&self) -> usize {
        self.pieces.len()
    }

    pub fn write(&self, part: usize, out: &mut Vec<u8>) {
        out.clear();
        write!(out, "{{\"part\":{},\"of\":{},\"id\":", part + 1, self.pieces.len()).expect("a vector takes all");
        out.extend_from_slice(&self.id);
        out.extend_from_slice(b",\"data\":");
        serde_json::to_writer(&mut *out, &self.event[self.pieces[part].clone()]).expect("a vector takes all");
        out.push(b'}');
    }
}

/// In bytes, as `serde_json` writes it.
fn length_in_string(character: char) -> usize {
    match character {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        character if character < ' ' => 6,
        character => character.len_utf8(),
    }
}
