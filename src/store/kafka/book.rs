//! One stream's book-keeping: which entries a checkpoint becomes, which hours are written whole, what is tombstoned.
//!
//! A commit entry *lives* until every hour that it touches is in a later whole entry; the newest one lives always, since
//! it carries the head. A restart reads what lives, so this is what the book keeps small:
//!
//! - An hour is asked for whole when it was untouched for 10 min, and again only when the commit entries since hold
//!   more than half as much as its whole entry: entries of quiet hours hold at most 1.5 times what one would.
//! - An hour whose minutes are all forgotten is asked for at once: only its total stays.
//! - Where hours are never quiet, or each commit touches many, more than 512 commit entries live (and one for each
//!   16 KiB of whole hours), or more than 8 MiB and the size of all whole hours. Then hours are asked for without
//!   waiting, those first that hold the oldest commit entry. An hour asked for holds none of the entries before it, so
//!   no commit entry outlives one turn through all hours: at most one checkpoint for each MiB of whole hours, and one
//!   for each 256 hours. So many entries may live beyond the 512, and no more.
//! - A checkpoint asks for at most 1 MiB or one hour, so that its transaction stays small.
//!
//! # Invariants
//! Pure: no I/O and no clock. What it was asked to write counts as written: a transaction that is aborted is sent again
//! with the same entries, and after any other failure book and ledger are folded anew from the topic.
//! A number that carried a total never carries another: whatever says more of an hour has a higher one.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use crate::clock::Time;
use crate::ledger::{Checkpoint, Hour, Minute, StreamKey, hour_of, minutes_of};
use crate::store::kafka::format::{Delivered, Entry, Key, encode_commit, encode_hour};

/// An hour is quiet when nothing was added to it for so long.
const QUIET: Duration = Duration::from_secs(600);
/// So many commit entries may live, and one more for each [`WHOLE_BYTES_A_COMMIT`] of whole hours: where hours are
/// large, to write one again costs more than to read a few entries more.
const LIVE: usize = 512;
const WHOLE_BYTES_A_COMMIT: usize = 16 << 10;
/// What living commit entries may hold beyond the size of all whole hours.
const LIVE_BYTES: usize = 8 << 20;
/// How much one checkpoint asks for.
const ASK_BYTES: usize = 1 << 20;
const ASK_HOURS: usize = 256;

/// What one stream has in the topic, as far as the next entries depend on it.
#[derive(Debug, Clone)]
pub struct Book {
    stream: StreamKey,
    newest: Option<Newest>,
    live: BTreeMap<u64, Live>,
    live_bytes: usize,
    /// The commit entries that no hour holds any more; the newest lives on all the same.
    free: Vec<u64>,
    /// The hours that hold fingerprints or a living commit entry; of any other the topic has a total at most.
    hours: BTreeMap<Hour, Track>,
    whole_bytes: usize,
}

#[derive(Debug, Clone, Copy)]
struct Newest {
    number: u64,
    /// It delivers nothing, so another that delivers nothing may take its place.
    bare: bool,
}

/// A commit entry that lives.
#[derive(Debug, Clone, Copy)]
struct Live {
    /// The hours that hold it.
    hours: u32,
    bytes: usize,
}

/// An hour's state in the topic.
#[derive(Debug, Clone, Default)]
struct Track {
    /// Of its whole entry; 0 where there is none.
    parts: u32,
    whole_bytes: usize,
    /// The commit entries that it holds: those which touched it since it was written whole, ascending.
    since: Vec<u64>,
    /// Their bytes, as far as they are about this hour.
    since_bytes: usize,
    touched: Time,
    /// A bit for each minute whose fingerprints are still needed.
    needed: u64,
}

/// What a checkpoint does to an hour.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Touch {
    fingerprints: usize,
    minutes: u64,
}

impl Book {
    /// Of a stream that has nothing in the topic yet.
    pub fn new(stream: StreamKey) -> Book {
        Book {
            stream,
            newest: None,
            live: BTreeMap::new(),
            live_bytes: 0,
            free: Vec::new(),
            hours: BTreeMap::new(),
            whole_bytes: 0,
        }
    }

    /// The numbers of the commit entries that live, ascending.
    pub fn live(&self) -> impl Iterator<Item = u64> {
        self.live.keys().copied()
    }

    /// The hours that the next checkpoint should bring whole: see [`Ledger::checkpoint_with`].
    ///
    /// [`Ledger::checkpoint_with`]: crate::ledger::Ledger::checkpoint_with
    pub fn due(&self, now: Time) -> Vec<Hour> {
        let strained = self.live.len() > LIVE + self.whole_bytes / WHOLE_BYTES_A_COMMIT
            || self.live_bytes > LIVE_BYTES + self.whole_bytes;
        let is_due = |track: &Track| {
            track.is_obsolete() || !track.since.is_empty() && (strained || track.is_quiet(now) && track.has_grown())
        };
        let mut due: Vec<(&Hour, &Track)> = self.hours.iter().filter(|(_, track)| is_due(track)).collect();
        due.sort_by_key(|(hour, track)| (track.since.first().copied().unwrap_or(u64::MAX), **hour));
        let mut room = ASK_BYTES;
        let fitting = due.iter().take(ASK_HOURS).enumerate().take_while(|(place, (_, track))| {
            let fits = *place == 0 || track.bytes() <= room;
            room = room.saturating_sub(track.bytes());
            fits
        });
        fitting.map(|(_, (hour, _))| **hour).collect()
    }

    /// What is to be written for a checkpoint, in one transaction.
    pub fn entries(&mut self, checkpoint: &Checkpoint, now: Time) -> Vec<Entry> {
        self.forget(&checkpoint.forgotten);
        let mut touches = touches(checkpoint);
        touches.retain(|hour, _| !checkpoint.whole.contains_key(hour));
        let number = self.next_number(touches.is_empty() && checkpoint.whole.is_empty());
        let key = Key::Commit { stream: self.stream.clone(), number };
        let value = encode_commit(checkpoint, |hour| checkpoint.whole.contains_key(&hour));
        let commit = Entry { key: key.encode(), value: Some(value) };
        self.committed(number, commit.size(), &touches, now);
        let mut entries = vec![commit];
        for (hour, minutes) in &checkpoint.whole {
            let values = encode_hour(minutes, checkpoint.hours.get(hour), number);
            self.write_whole(*hour, values, mask(minutes), &mut entries);
        }
        self.drop_totals(&checkpoint.dropped, &mut entries);
        self.bury(&mut entries);
        entries
    }

    fn next_number(&self, bare: bool) -> u64 {
        match self.newest {
            Some(newest) if bare && newest.bare => newest.number,
            Some(newest) => newest.number + 1,
            None => 1,
        }
    }

    /// The minutes' fingerprints are not needed any more.
    fn forget(&mut self, forgotten: &[Range<Minute>]) {
        for range in forgotten.iter().filter(|range| !range.is_empty()) {
            for (hour, track) in self.hours.range_mut(hour_of(range.start)..=hour_of(range.end - 1)) {
                let own = minutes_of(*hour);
                for minute in own.start.max(range.start)..own.end.min(range.end) {
                    track.needed &= !(1 << (minute - own.start));
                }
            }
        }
    }

    /// There is a commit entry of so many bytes that touches these hours, each of which holds it from now on.
    pub(super) fn committed(&mut self, number: u64, bytes: usize, touches: &Touches, at: Time) {
        let fingerprints: usize = touches.values().map(|touch| touch.fingerprints * 8).sum();
        let share = bytes.saturating_sub(fingerprints) / touches.len().max(1);
        for (hour, touch) in touches {
            let track = self.hours.entry(*hour).or_default();
            track.since.push(number);
            track.since_bytes += share + touch.fingerprints * 8;
            track.touched = track.touched.max(at);
            track.needed |= touch.minutes;
        }
        let live = Live { hours: touches.len() as u32, bytes };
        self.live_bytes += bytes;
        if let Some(before) = self.live.insert(number, live) {
            self.live_bytes -= before.bytes;
        }
        let before = self.newest.replace(Newest { number, bare: touches.is_empty() });
        let is_free = |before: &u64| *before != number && self.live.get(before).is_some_and(|live| live.hours == 0);
        self.free.extend(before.map(|before| before.number).filter(is_free));
    }

    /// An hour's whole entry takes the place of the one before and of the commit entries since.
    fn write_whole(&mut self, hour: Hour, values: Vec<Vec<u8>>, needed: u64, entries: &mut Vec<Entry>) {
        let key = |part| Key::Hour { stream: self.stream.clone(), hour, part };
        let track = self.hours.remove(&hour).unwrap_or_default();
        let (parts, bytes) = (values.len() as u32, values.iter().map(Vec::len).sum());
        entries.extend((parts..track.parts).map(|part| Entry::tombstone(&key(part))));
        entries.extend((0..).zip(values).map(|(part, value)| Entry { key: key(part).encode(), value: Some(value) }));
        for number in track.since {
            if let Some(live) = self.live.get_mut(&number) {
                live.hours -= 1;
                if live.hours == 0 {
                    self.free.push(number);
                }
            }
        }
        self.whole_bytes -= track.whole_bytes;
        self.found_whole(hour, parts, bytes, needed);
    }

    /// There is a whole entry of the hour.
    pub(super) fn found_whole(&mut self, hour: Hour, parts: u32, bytes: usize, needed: u64) {
        // Of a total alone nothing has to be known: another takes its place under the same key.
        if needed != 0 || parts > 1 {
            self.whole_bytes += bytes;
            self.hours.insert(hour, Track { parts, whole_bytes: bytes, needed, ..Track::default() });
        }
    }

    /// Tombstones what holds nothing but a total that is no longer kept. One that a living commit entry still names
    /// comes back with a restart, and is dropped again.
    fn drop_totals(&self, dropped: &[Hour], entries: &mut Vec<Entry>) {
        let untracked = dropped.iter().filter(|hour| !self.hours.contains_key(hour));
        let key = |hour: &Hour| Key::Hour { stream: self.stream.clone(), hour: *hour, part: 0 };
        entries.extend(untracked.map(|hour| Entry::tombstone(&key(hour))));
    }

    /// Tombstones the commit entries that no hour holds.
    fn bury(&mut self, entries: &mut Vec<Entry>) {
        for number in std::mem::take(&mut self.free) {
            if self.newest.is_some_and(|newest| newest.number == number) {
                continue;
            }
            if let Some(live) = self.live.remove(&number) {
                self.live_bytes -= live.bytes;
                entries.push(Entry::tombstone(&Key::Commit { stream: self.stream.clone(), number }));
            }
        }
    }
}

impl Track {
    fn is_quiet(&self, now: Time) -> bool {
        now.since(self.touched) >= QUIET
    }

    fn has_grown(&self) -> bool {
        self.since_bytes * 2 > self.whole_bytes
    }

    /// It holds fingerprints, and none of them is needed.
    fn is_obsolete(&self) -> bool {
        self.needed == 0
    }

    /// About what it would take whole.
    fn bytes(&self) -> usize {
        if self.is_obsolete() { 0 } else { self.whole_bytes + self.since_bytes }
    }
}

/// What a checkpoint does, hour by hour.
pub(super) type Touches = BTreeMap<Hour, Touch>;

pub(super) fn touches(checkpoint: &Checkpoint) -> Touches {
    let mut touches: Touches = checkpoint.hours.keys().map(|hour| (*hour, Touch::default())).collect();
    for (minute, fingerprints) in checkpoint.delivered.iter().filter(|(_, all)| !all.is_empty()) {
        let touch = touches.entry(hour_of(*minute)).or_default();
        touch.fingerprints += fingerprints.len();
        touch.minutes |= bit(*minute);
    }
    touches
}

/// A bit for each minute of an hour.
pub(super) fn mask(minutes: &Delivered) -> u64 {
    minutes.keys().map(|minute| bit(*minute)).sum()
}

fn bit(minute: Minute) -> u64 {
    1 << (minute - minutes_of(hour_of(minute)).start)
}
