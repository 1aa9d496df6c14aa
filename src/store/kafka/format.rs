//! The entries of the ledger topic as bytes: what stands in a key, what stands in its value.
//!
//! | key | value |
//! |---|---|
//! | `Format` | the newest format in the partition, the number of partitions, the hash that chose this one |
//! | `Owner` | who took the partition over last |
//! | `Commit {stream, number}` | the checkpoint's absolute head, what it delivered, the totals that it changed |
//! | `Hour {stream, hour, part}` | all fingerprints of the hour, its total, and the commit that both are as of |
//!
//! A value's first byte is the format it was written in, so values of two formats may stand side by side. Numbers are
//! LEB128; a fingerprint is 8 bytes. Every entry has one spelling: what can be read is written the same way again.
//!
//! # Invariants
//! No bytes make reading panic or take more memory than their own length needs. Damage is an [`Error`] that names
//! the place, never a guess.

mod bytes;
mod hindrances;
mod standing;

use std::collections::BTreeMap;
use std::hash::Hasher as _;
use std::time::Duration;

use siphasher::sip::SipHasher24;

use crate::clock::Time;
use crate::ledger::{
    Checkpoint, Coverage, Digest, Fingerprint, FingerprintKey, Hindrances, Hour, HourTotal, Minute, Standing,
    StreamKey, hour_of, minutes_of,
};
use bytes::{Reader, Writer};

/// The newest format that this release reads. It is raised one release before [`WRITTEN`], so that replicas of two
/// releases work side by side and a release can be taken back.
pub const KNOWN: u8 = 3;
/// The format that this release writes.
pub const WRITTEN: u8 = 3;

/// From this format on a commit says what is known of the time read, and a total what was shown and what was late.
const WITH_STANDING: u8 = 2;
/// From this format on a commit says what hindered the reading.
const WITH_HINDRANCES: u8 = 3;

/// A part of an hour is at most so long.
pub const PART_BYTES: usize = 256 << 10;
/// More than what a part holds besides fingerprints: format, number, count, total, 60 minutes.
const PART_FRAME: usize = 512;

/// Fingerprints by minute.
pub type Delivered = BTreeMap<Minute, Vec<Fingerprint>>;

/// What is sent to the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: Vec<u8>,
    /// None: a tombstone.
    pub value: Option<Vec<u8>>,
}

impl Entry {
    /// Bytes, without Kafka's own 7 to 20 a record.
    pub fn size(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Vec::len)
    }

    pub fn tombstone(key: &Key) -> Entry {
        Entry { key: key.encode(), value: None }
    }
}

/// Why an entry can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("format {found} is newer than this release, which knows {KNOWN}")]
    Newer { found: u8 },
    #[error("{what}, at byte {at}")]
    Damaged { what: &'static str, at: usize },
}

/// What an entry is about: its newest value counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    Format,
    Owner,
    Commit { stream: StreamKey, number: u64 },
    Hour { stream: StreamKey, hour: Hour, part: u32 },
}

impl Key {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        let mut stream = |tag, stream: &StreamKey| {
            out.byte(tag);
            out.text(&stream.organization);
            out.text(&stream.service);
        };
        match self {
            Key::Format => out.byte(0),
            Key::Owner => out.byte(1),
            Key::Commit { stream: of, number } => {
                stream(2, of);
                out.number(*number);
            }
            Key::Hour { stream: of, hour, part } => {
                stream(3, of);
                out.signed(*hour);
                out.number(u64::from(*part));
            }
        }
        out.0
    }

    /// Whether it was never a key of ours: our kinds are small numbers, and this is empty or begins like a text.
    pub fn is_foreign(bytes: &[u8]) -> bool {
        bytes.first().is_none_or(|kind| *kind >= b' ')
    }

    pub fn decode(bytes: &[u8]) -> Result<Key, Error> {
        let mut read = Reader::new(bytes);
        let stream = |read: &mut Reader<'_>| -> Result<StreamKey, Error> {
            Ok(StreamKey { organization: read.text("the organization")?, service: read.text("the service")? })
        };
        let key = match read.byte("the kind of key")? {
            0 => Key::Format,
            1 => Key::Owner,
            2 => Key::Commit { stream: stream(&mut read)?, number: read.number("the commit's number")? },
            3 => Key::Hour { stream: stream(&mut read)?, hour: hour(&mut read)?, part: read.small("the hour's part")? },
            _ => return Err(read.damage("the kind of key is not known")),
        };
        read.end()?;
        Ok(key)
    }
}

/// An hour that has sixty minutes.
fn hour(read: &mut Reader<'_>) -> Result<Hour, Error> {
    let hour = read.signed("the hour")?;
    let has_minutes = hour == Hour::MIN || hour.checked_mul(60).and_then(|minute| minute.checked_add(60)).is_some();
    read.check(has_minutes, "the hour is out of range")?;
    Ok(hour)
}

/// How streams are spread over partitions: fixed once, in each partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    pub partitions: u32,
    /// 1: SipHash-2-4 under a key of zeros over `organization` ‖ 0 ‖ `service`.
    pub hash: u8,
}

impl Layout {
    /// So many partitions under this release's hash.
    pub fn of(partitions: u32) -> Layout {
        Layout { partitions, hash: 1 }
    }

    /// The partition that a stream belongs to: SipHash-2-4 (Aumasson and Bernstein 2012) under a key of 16 zero bytes over
    /// `organization ‖ 0 ‖ service` (UTF-8), modulo the number of partitions. Every release must agree on it.
    ///
    /// | organization | service | SipHash-2-4 | of 8 |
    /// |---|---|---|---|
    /// | `5f0000000000000000000001` | `all` | `cc99e6c70553550e` | 6 |
    /// | `5f0000000000000000000001` | `sso` | `8bc3d42fedcf9092` | 2 |
    /// | (empty) | (empty) | `8b5a0baa49fbc58d` | 5 |
    pub fn partition(&self, stream: &StreamKey) -> u32 {
        let mut hasher = SipHasher24::new_with_key(&[0; 16]);
        hasher.write(stream.organization.as_bytes());
        hasher.write(&[0]);
        hasher.write(stream.service.as_bytes());
        (hasher.finish() % u64::from(self.partitions.max(1))) as u32
    }

    /// The entry that fixes it.
    pub fn entry(&self) -> Entry {
        let mut out = value();
        out.number(u64::from(self.partitions));
        out.byte(self.hash);
        Entry { key: Key::Format.encode(), value: Some(out.0) }
    }

    /// The newest format in the partition, and the layout.
    pub fn decode(value: &[u8]) -> Result<(u8, Layout), Error> {
        let (format, mut read) = begin(value)?;
        let layout = Layout { partitions: read.small("the number of partitions")?, hash: read.byte("the hash")? };
        read.end()?;
        Ok((format, layout))
    }
}

/// Who took a partition over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Random, another at each take-over: how an owner knows its own entry.
    pub token: [u8; 16],
    /// For people.
    pub name: String,
}

impl Owner {
    pub fn entry(&self) -> Entry {
        let mut out = value();
        out.fixed(&self.token);
        out.text(&self.name);
        Entry { key: Key::Owner.encode(), value: Some(out.0) }
    }

    pub fn decode(value: &[u8]) -> Result<Owner, Error> {
        let (_, mut read) = begin(value)?;
        let owner = Owner { token: read.fixed("the token")?, name: read.text("the owner's name")? };
        read.end()?;
        Ok(owner)
    }
}

/// A commit's value: the checkpoint, less what is forgotten, and less the hours that are `left_out` because they are
/// written whole beside it.
pub fn encode_commit(checkpoint: &Checkpoint, left_out: impl Fn(Hour) -> bool) -> Vec<u8> {
    let mut out = value();
    out.fixed(&checkpoint.key.0);
    out.signed(checkpoint.first_run.as_nanos());
    out.signed(checkpoint.start.as_nanos());
    out.byte(u8::from(checkpoint.edge.is_some()));
    if let Some(edge) = checkpoint.edge {
        out.signed(edge.as_nanos());
    }
    write_coverage(&mut out, &checkpoint.coverage);
    out.number(checkpoint.oldest_shown.as_secs());
    standing::write(&mut out, &checkpoint.standing);
    hindrances::write(&mut out, &checkpoint.hindrances);
    let delivered = checkpoint.delivered.iter().filter(|(minute, all)| !all.is_empty() && !left_out(hour_of(**minute)));
    let delivered: Vec<_> = delivered.map(|(minute, all)| (*minute, &all[..])).collect();
    out.number(delivered.len() as u64);
    let mut last = 0;
    for (minute, fingerprints) in delivered {
        out.number(minute.wrapping_sub(last) as u64);
        out.number(fingerprints.len() as u64);
        out.words(fingerprints);
        last = minute;
    }
    let totals: Vec<_> = checkpoint.hours.iter().filter(|(hour, _)| !left_out(**hour)).collect();
    out.number(totals.len() as u64);
    for (hour, total) in totals {
        out.signed(*hour);
        write_total(&mut out, total);
    }
    out.0
}

/// A commit's value as the checkpoint that it came from.
pub fn decode_commit(value: &[u8]) -> Result<Checkpoint, Error> {
    let (format, mut read) = begin(value)?;
    let mut commit = Checkpoint {
        key: FingerprintKey(read.fixed("the fingerprints' key")?),
        first_run: Time::from_nanos(read.signed("the first run")?),
        start: Time::from_nanos(read.signed("the start")?),
        edge: if read.flag("whether there is an edge")? {
            Some(Time::from_nanos(read.signed("the edge")?))
        } else {
            None
        },
        coverage: read_coverage(&mut read)?,
        standing: Standing::default(),
        oldest_shown: Duration::ZERO,
        hindrances: Hindrances::default(),
        delivered: Delivered::new(),
        hours: BTreeMap::new(),
        forgotten: Vec::new(),
        dropped: Vec::new(),
        whole: BTreeMap::new(),
    };
    if format >= WITH_STANDING {
        commit.oldest_shown = Duration::from_secs(read.number("the age of the oldest event shown")?);
        commit.standing = standing::read(&mut read)?;
    }
    if format >= WITH_HINDRANCES {
        commit.hindrances = hindrances::read(&mut read)?;
    }
    commit.delivered = read_delivered(&mut read)?;
    commit.hours = read_totals(&mut read, format)?;
    read.end()?;
    Ok(commit)
}

/// What is known of the time read, by itself, as other stores keep it too.
pub fn encode_standing(standing: &Standing) -> Vec<u8> {
    let mut out = Writer::default();
    standing::write(&mut out, standing);
    out.0
}

/// What [`encode_standing`] gave.
pub fn decode_standing(bytes: &[u8]) -> Result<Standing, Error> {
    let mut read = Reader::new(bytes);
    let standing = standing::read(&mut read)?;
    read.end()?;
    Ok(standing)
}

/// What hindered the reading, by itself, as other stores keep it too.
pub fn encode_hindrances(hindrances: &Hindrances) -> Vec<u8> {
    let mut out = Writer::default();
    hindrances::write(&mut out, hindrances);
    out.0
}

/// What [`encode_hindrances`] gave.
pub fn decode_hindrances(bytes: &[u8]) -> Result<Hindrances, Error> {
    let mut read = Reader::new(bytes);
    let hindrances = hindrances::read(&mut read)?;
    read.end()?;
    Ok(hindrances)
}

fn read_delivered(read: &mut Reader<'_>) -> Result<Delivered, Error> {
    let mut delivered = Delivered::new();
    let mut last = None;
    for _ in 0..read.number("the number of minutes")? {
        let minute = last.unwrap_or(0i64).wrapping_add(read.number("a minute")? as i64);
        read.check(last.is_none_or(|last| last < minute), "the minutes do not ascend")?;
        let count = read.small("the number of fingerprints")?;
        read.check(count > 0, "a minute without fingerprints")?;
        delivered.insert(minute, read.words(count, "the fingerprints")?);
        last = Some(minute);
    }
    Ok(delivered)
}

fn read_totals(read: &mut Reader<'_>, format: u8) -> Result<BTreeMap<Hour, HourTotal>, Error> {
    let mut totals = BTreeMap::new();
    for _ in 0..read.number("the number of totals")? {
        let hour = hour(read)?;
        read.check(totals.last_key_value().is_none_or(|(last, _)| *last < hour), "the hours do not ascend")?;
        totals.insert(hour, read_total(read, format)?);
    }
    Ok(totals)
}

fn write_total(out: &mut Writer, total: &HourTotal) {
    out.number(total.events);
    out.number(total.shown);
    out.number(total.late);
    out.fixed(&total.digest.0);
}

/// Format 1 did not say what was shown beside what was delivered, nor what of it was late.
fn read_total(read: &mut Reader<'_>, format: u8) -> Result<HourTotal, Error> {
    let events = read.number("an hour's events")?;
    let (shown, late) = match format >= WITH_STANDING {
        true => (read.number("an hour's records shown")?, read.number("an hour's late events")?),
        false => (events, 0),
    };
    Ok(HourTotal { events, shown, late, digest: Digest(read.fixed("an hour's digest")?) })
}

fn write_coverage(out: &mut Writer, coverage: &Coverage) {
    out.number(coverage.ranges().len() as u64);
    let mut last = 0;
    for end in coverage.ranges().iter().flat_map(|range| [range.start.as_nanos(), range.end.as_nanos()]) {
        out.number(end.wrapping_sub(last) as u64);
        last = end;
    }
}

/// Coverage that claims more than was read would lose events without a word: only the exact form is believed.
fn read_coverage(read: &mut Reader<'_>) -> Result<Coverage, Error> {
    let mut ranges = Vec::new();
    let mut last = None;
    for _ in 0..read.number("the number of ranges")? {
        let mut next = || -> Result<i64, Error> {
            let end = last.unwrap_or(0i64).wrapping_add(read.number("the coverage")? as i64);
            read.check(last.is_none_or(|last| last < end), "the coverage does not ascend")?;
            last = Some(end);
            Ok(end)
        };
        ranges.push(Time::from_nanos(next()?)..Time::from_nanos(next()?));
    }
    Ok(Coverage::of(ranges))
}

/// One part of a whole hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The commit that fingerprints and total are as of.
    pub as_of: u64,
    /// How many parts were written together.
    pub parts: u32,
    /// None where only oversized heads were filed under the hour.
    pub total: Option<HourTotal>,
    pub minutes: Delivered,
}

/// A whole hour's values, part by part; at least one.
pub fn encode_hour(whole: &Delivered, total: Option<&HourTotal>, as_of: u64) -> Vec<Vec<u8>> {
    const WORDS: usize = (PART_BYTES - PART_FRAME) / 8;
    let mut parts: Vec<Vec<(Minute, &[Fingerprint])>> = vec![Vec::new()];
    let mut room = WORDS;
    for (minute, mut fingerprints) in whole.iter().map(|(minute, all)| (*minute, &all[..])) {
        while !fingerprints.is_empty() {
            if room == 0 {
                parts.push(Vec::new());
                room = WORDS;
            }
            let (fitting, rest) = fingerprints.split_at(fingerprints.len().min(room));
            if let Some(part) = parts.last_mut() {
                part.push((minute, fitting));
            }
            room -= fitting.len();
            fingerprints = rest;
        }
    }
    let count = parts.len() as u64;
    parts.iter().map(|part| encode_part(part, count, total, as_of)).collect()
}

fn encode_part(minutes: &[(Minute, &[Fingerprint])], parts: u64, total: Option<&HourTotal>, as_of: u64) -> Vec<u8> {
    let mut out = value();
    out.number(as_of);
    out.number(parts);
    out.byte(u8::from(total.is_some()));
    if let Some(total) = total {
        write_total(&mut out, total);
    }
    out.byte(minutes.len() as u8);
    for (minute, fingerprints) in minutes {
        out.byte((minute - minutes_of(hour_of(*minute)).start) as u8);
        out.number(fingerprints.len() as u64);
        out.words(fingerprints);
    }
    out.0
}

impl Part {
    /// The value that stands under a key of that hour.
    pub fn decode(hour: Hour, value: &[u8]) -> Result<Part, Error> {
        let (format, mut read) = begin(value)?;
        let mut part = Part {
            as_of: read.number("the commit that the hour is as of")?,
            parts: read.small("the number of parts")?,
            total: None,
            minutes: Delivered::new(),
        };
        if read.flag("whether there is a total")? {
            part.total = Some(read_total(&mut read, format)?);
        }
        let mut next = minutes_of(hour).start;
        for _ in 0..read.byte("the number of minutes")? {
            let minute = minutes_of(hour).start.saturating_add(i64::from(read.byte("a minute")?));
            read.check(minute >= next && minutes_of(hour).contains(&minute), "a minute of another hour")?;
            let count = read.small("the number of fingerprints")?;
            read.check(count > 0, "a minute without fingerprints")?;
            part.minutes.insert(minute, read.words(count, "the fingerprints")?);
            next = minute + 1;
        }
        read.end()?;
        Ok(part)
    }
}

fn value() -> Writer {
    Writer(vec![WRITTEN])
}

/// A value's format, if this release knows it. Where a later format differs, its reader branches off here.
fn begin(value: &[u8]) -> Result<(u8, Reader<'_>), Error> {
    let mut read = Reader::new(value);
    match read.byte("the format")? {
        0 => Err(read.damage("format 0")),
        found if found > KNOWN => Err(Error::Newer { found }),
        found => Ok((found, read)),
    }
}
