//! Folds what was read of a partition, in the order of its offsets, into each stream's ledger and book.
//!
//! Only the newest value of each key counts, so every state of compaction gives the same ledger. Of a stream the commit
//! with the highest number gives the head; what was delivered is the union of all entries; an hour's total is that of the
//! highest commit number, be it of a commit's own entry or of the one that a whole hour is as of.
//!
//! An entry that came back to life, because its tombstone was compacted away before it was read, does no harm: it holds
//! nothing that a later one does not, and the book tombstones it again.
//!
//! What others have written into the topic is left out, where its key can't ever have been one of ours.
//!
//! # Invariants
//! Pure: no I/O, no clock. Nothing is guessed: what can't be read, or can't be all, is an [`Error`].
//! A fingerprint is held once: what was read is decoded at once, and moved when it is folded.

use std::collections::BTreeMap;
use std::collections::btree_map;

use crate::clock::Time;
use crate::ledger::{Checkpoint, Hour, HourTotal, StreamKey};
use crate::store::kafka::book::{self, Book};
use crate::store::kafka::format::{self, Delivered, KNOWN, Key, Layout, Owner, Part, WRITTEN, decode_commit};

/// Why a partition can't be folded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "the ledger was written by a newer jumpstream (format {found}, this one knows {KNOWN}); run that release again, or a later one"
    )]
    Newer { found: u8 },
    #[error(
        "the ledger was begun with {} partitions and hash {}, and this would be {} and {}: streams would be looked for in the wrong place; set state.partitions to {}, or choose another state.topic",
        found.partitions, found.hash, wanted.partitions, wanted.hash, found.partitions
    )]
    OtherLayout { found: Layout, wanted: Layout },
    #[error(
        "the ledger's entry at partition {partition}, offset {offset} is damaged: {what}, at byte {at} of its {of}"
    )]
    Damaged { partition: u32, offset: i64, of: &'static str, what: &'static str, at: usize },
    #[error(
        "the ledger of {stream} stands in partition {partition} and belongs to {belongs}: this is not the topic that jumpstream wrote"
    )]
    Misplaced { partition: u32, stream: StreamKey, belongs: u32 },
    #[error(
        "partition {partition} holds ledgers and does not say in which format: its first entry is gone; give back the topic as it was, or stop every replica, delete it and make it again with `jumpstream state rebuild`"
    )]
    NoFormat { partition: u32 },
    #[error("the ledger of {stream} is not whole: commit {wanted} or a later one is gone from partition {partition}")]
    NoHead { partition: u32, stream: StreamKey, wanted: u64 },
    #[error("the ledger of {stream} is not whole: part {part} of hour {hour} is gone from partition {partition}")]
    NoPart { partition: u32, stream: StreamKey, hour: Hour, part: u32 },
}

/// A partition being read.
#[derive(Debug)]
pub struct Fold {
    partition: u32,
    wanted: Layout,
    format: Option<u8>,
    owner: Option<Owner>,
    foreign: Option<i64>,
    streams: BTreeMap<StreamKey, Kept>,
}

/// The newest value of each of a stream's keys, and its size with the key.
#[derive(Debug, Default)]
struct Kept {
    commits: BTreeMap<u64, (Checkpoint, usize)>,
    parts: BTreeMap<(Hour, u32), (Part, usize)>,
}

/// What a partition holds.
#[derive(Debug)]
pub struct Folded {
    /// The newest format in the partition; none where it is new.
    pub format: Option<u8>,
    /// The offset of the first record that isn't ours.
    pub foreign: Option<i64>,
    pub streams: BTreeMap<StreamKey, (Checkpoint, Book)>,
}

impl Folded {
    /// Whether [`Layout::entry`] has to be written before anything else: the partition is new, or of an older format.
    pub fn wants_format(&self) -> bool {
        self.format.is_none_or(|format| format < WRITTEN)
    }
}

impl Fold {
    /// Of a partition that should be laid out as `wanted`.
    pub fn new(partition: u32, wanted: Layout) -> Fold {
        Fold { partition, wanted, format: None, owner: None, foreign: None, streams: BTreeMap::new() }
    }

    /// Takes the next record in; one without a value is a tombstone.
    pub fn take(&mut self, offset: i64, key: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
        if Key::is_foreign(key) {
            self.foreign.get_or_insert(offset);
            return Ok(());
        }
        let key_read = Key::decode(key).map_err(|error| self.at(offset, "key", error))?;
        let size = key.len() + value.map_or(0, <[u8]>::len);
        let damaged = |error| self.at(offset, "value", error);
        match (key_read, value) {
            (Key::Format, Some(value)) => {
                let (format, found) = Layout::decode(value).map_err(damaged)?;
                if found != self.wanted {
                    return Err(Error::OtherLayout { found, wanted: self.wanted });
                }
                self.format = Some(format);
            }
            (Key::Format, None) => self.format = None,
            (Key::Owner, Some(value)) => self.owner = Some(Owner::decode(value).map_err(damaged)?),
            (Key::Owner, None) => self.owner = None,
            (Key::Commit { stream, number }, Some(value)) => {
                let commit = decode_commit(value).map_err(damaged)?;
                self.kept(stream)?.commits.insert(number, (commit, size));
            }
            (Key::Commit { stream, number }, None) => drop(self.kept(stream)?.commits.remove(&number)),
            (Key::Hour { stream, hour, part }, Some(value)) => {
                let decoded = Part::decode(hour, value).map_err(damaged)?;
                self.kept(stream)?.parts.insert((hour, part), (decoded, size));
            }
            (Key::Hour { stream, hour, part }, None) => drop(self.kept(stream)?.parts.remove(&(hour, part))),
        }
        Ok(())
    }

    /// The newest owner entry so far.
    pub fn owner(&self) -> Option<&Owner> {
        self.owner.as_ref()
    }

    /// All has been read.
    pub fn finish(self) -> Result<Folded, Error> {
        let Fold { partition, format, foreign, streams, .. } = self;
        let mut folded = BTreeMap::new();
        for (stream, kept) in streams {
            // All its keys are tombstoned.
            if kept.commits.is_empty() && kept.parts.is_empty() {
                continue;
            }
            format.ok_or(Error::NoFormat { partition })?;
            let ledger = kept.fold(partition, &stream)?;
            folded.insert(stream, ledger);
        }
        Ok(Folded { format, foreign, streams: folded })
    }

    fn kept(&mut self, stream: StreamKey) -> Result<&mut Kept, Error> {
        match self.streams.entry(stream) {
            btree_map::Entry::Occupied(known) => Ok(known.into_mut()),
            btree_map::Entry::Vacant(new) => {
                let belongs = self.wanted.partition(new.key());
                if belongs != self.partition {
                    return Err(Error::Misplaced { partition: self.partition, stream: new.into_key(), belongs });
                }
                Ok(new.insert(Kept::default()))
            }
        }
    }

    fn at(&self, offset: i64, of: &'static str, error: format::Error) -> Error {
        match error {
            format::Error::Newer { found } => Error::Newer { found },
            format::Error::Damaged { what, at } => Error::Damaged { partition: self.partition, offset, of, what, at },
        }
    }
}

/// The commit that each hour is whole as of.
type AsOf = BTreeMap<Hour, u64>;

impl Kept {
    fn fold(self, partition: u32, stream: &StreamKey) -> Result<(Checkpoint, Book), Error> {
        let as_of = self.as_of(partition, stream)?;
        let wanted = as_of.values().copied().max().unwrap_or(0);
        let newest = self.commits.last_key_value().filter(|(number, _)| **number >= wanted);
        let Some((_, (head, _))) = newest else {
            return Err(Error::NoHead { partition, stream: stream.clone(), wanted });
        };
        let mut ledger = Checkpoint {
            key: head.key,
            first_run: head.first_run,
            start: head.start,
            edge: head.edge,
            coverage: head.coverage.clone(),
            standing: head.standing.clone(),
            oldest_shown: head.oldest_shown,
            hindrances: head.hindrances.clone(),
            delivered: Delivered::new(),
            hours: BTreeMap::new(),
            forgotten: Vec::new(),
            dropped: Vec::new(),
            whole: BTreeMap::new(),
        };
        let mut book = Book::new(stream.clone());
        let mut totals = BTreeMap::new();
        fold_parts(self.parts, &mut ledger, &mut book, &mut totals);
        for (number, (commit, size)) in self.commits {
            let mut touches = book::touches(&commit);
            touches.retain(|hour, _| as_of.get(hour).is_none_or(|as_of| *as_of < number));
            book.committed(number, size, &touches, commit.edge.unwrap_or(Time::MIN));
            for (hour, total) in commit.hours {
                raise(&mut totals, hour, number, total);
            }
            add(&mut ledger.delivered, commit.delivered);
        }
        ledger.hours = totals.into_iter().map(|(hour, (_, total))| (hour, total)).collect();
        ledger.delivered.values_mut().for_each(|fingerprints| {
            fingerprints.sort_unstable();
            fingerprints.dedup();
            fingerprints.shrink_to_fit();
        });
        Ok((ledger, book))
    }

    /// Of the parts of an hour those of the highest commit count, and all that were written then must be there.
    fn as_of(&self, partition: u32, stream: &StreamKey) -> Result<AsOf, Error> {
        let mut as_of = AsOf::new();
        for ((hour, _), (part, _)) in &self.parts {
            let highest = as_of.entry(*hour).or_default();
            *highest = part.as_of.max(*highest);
        }
        for (hour, highest) in &as_of {
            let written = |part: &u32| self.parts.get(&(*hour, *part)).is_some_and(|(part, _)| part.as_of == *highest);
            let own = self.parts.range((*hour, 0)..=(*hour, u32::MAX));
            let count =
                own.map(|(_, (part, _))| part).filter(|part| part.as_of == *highest).map(|part| part.parts).max();
            if let Some(part) = (0..count.unwrap_or(0)).find(|part| !written(part)) {
                return Err(Error::NoPart { partition, stream: stream.clone(), hour: *hour, part });
            }
        }
        Ok(as_of)
    }
}

fn fold_parts(
    parts: BTreeMap<(Hour, u32), (Part, usize)>,
    ledger: &mut Checkpoint,
    book: &mut Book,
    totals: &mut Totals,
) {
    let mut parts = parts.into_iter().peekable();
    let (mut bytes, mut needed) = (0, 0);
    while let Some(((hour, number), (part, size))) = parts.next() {
        if let Some(total) = part.total {
            raise(totals, hour, part.as_of, total);
        }
        bytes += size;
        needed |= book::mask(&part.minutes);
        add(&mut ledger.delivered, part.minutes);
        if parts.peek().is_none_or(|((next, _), _)| *next != hour) {
            book.found_whole(hour, number + 1, std::mem::take(&mut bytes), std::mem::take(&mut needed));
        }
    }
}

/// An hour's total and the commit that it is as of.
type Totals = BTreeMap<Hour, (u64, HourTotal)>;

fn raise(totals: &mut Totals, hour: Hour, number: u64, total: HourTotal) {
    let known = totals.entry(hour).or_insert((number, total));
    if known.0 <= number {
        *known = (number, total);
    }
}

/// Moves a minute that is new, so that no fingerprint is held twice.
fn add(delivered: &mut Delivered, minutes: Delivered) {
    for (minute, fingerprints) in minutes {
        match delivered.entry(minute) {
            btree_map::Entry::Vacant(new) => drop(new.insert(fingerprints)),
            btree_map::Entry::Occupied(mut known) => {
                known.get_mut().reserve_exact(fingerprints.len());
                known.get_mut().extend(fingerprints);
            }
        }
    }
}
