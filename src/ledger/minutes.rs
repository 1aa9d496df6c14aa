//! Minutes: what was delivered, as fingerprints by the minute of the event's own timestamp, and each hour's total.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use sha2::{Digest as _, Sha256};
use siphasher::sip::SipHasher24;

use crate::event::{Event, Field, Identity};
use crate::ledger::checkpoint::Minute;

/// 64-bit SipHash of an event's identity under the ledger's key; compared within one minute only.
pub type Fingerprint = u64;

/// Random and kept in the ledger, so that nobody can craft a collision that hides an event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FingerprintKey(pub [u8; 16]);

impl std::fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FingerprintKey(…)")
    }
}

impl FingerprintKey {
    /// The bytes hashed are part of the ledger's format: they must never change within one.
    pub fn fingerprint(&self, identity: &Identity<'_>) -> Fingerprint {
        match identity {
            Identity::IdAt(id, time) => self.hash([b"id\0", id, &time.as_nanos().to_le_bytes()]),
            Identity::IdAndText(id, timestamp) => {
                self.hash([b"text\0", &(id.len() as u64).to_le_bytes(), id, timestamp])
            }
            Identity::Content(content) => self.hash([b"content\0", content]),
        }
    }

    /// The fingerprint of what is no event to us: of the digest of something oversized or malformed.
    pub fn fingerprint_of_head(&self, head: &[u8]) -> Fingerprint {
        self.hash([b"head\0", head])
    }

    fn hash<const PARTS: usize>(&self, parts: [&[u8]; PARTS]) -> Fingerprint {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        if let Some(joined) = Joined::of(parts) {
            return hasher.hash(joined.bytes());
        }
        parts.iter().for_each(|part| hasher.write(part));
        hasher.finish()
    }
}

/// The parts of something short, one behind the other: hashed at once they cost less than one by one.
struct Joined {
    bytes: [u8; JOINED],
    length: usize,
}

/// An id, a timestamp and what stands between them fit.
const JOINED: usize = 96;

impl Joined {
    /// None where they are too long.
    fn of<const PARTS: usize>(parts: [&[u8]; PARTS]) -> Option<Joined> {
        let mut joined = Joined { bytes: [0; JOINED], length: 0 };
        for part in parts {
            let end = joined.length + part.len();
            joined.bytes.get_mut(joined.length..end)?.copy_from_slice(part);
            joined.length = end;
        }
        Some(joined)
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// What stands for the further records of an event that one read showed several times: the `number`th, from 1 on.
///
/// So a set of fingerprints is what the API has *shown*, repeats included, and folding sets keeps, of each event, the
/// most records that one read showed.
pub fn further(fingerprint: Fingerprint, number: u64) -> Fingerprint {
    // The odd constant of splitmix64: no two numbers under 2^64 give the same.
    fingerprint.wrapping_add(number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// What an hour came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HourTotal {
    /// Events delivered, each once.
    pub events: u64,
    /// Records that the API showed: the events, and the further records of those that one read showed several times.
    pub shown: u64,
    /// Of the events, those that were delivered as [`Delivery::Late`](crate::record::Delivery::Late).
    pub late: u64,
    /// Of the events.
    pub digest: Digest,
}

impl HourTotal {
    pub fn add(&mut self, event: &Event) {
        self.events += 1;
        self.shown += 1;
        self.digest.add(event);
    }
}

/// The sum modulo 2^256 of SHA-256(`event-id` ‖ 0 ‖ `event-time`) over delivered events; of an event without an id,
/// of its value. 32 bytes, big-endian. A consumer can compute it from the records' headers, in any order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    pub fn add(&mut self, event: &Event) {
        let hash = match event.raw(Field::Id) {
            Some(id) => {
                let parts = [id, &[0], event.raw(Field::Timestamp).unwrap_or_default()];
                match Joined::of(parts) {
                    Some(joined) => Sha256::digest(joined.bytes()),
                    None => parts.iter().fold(Sha256::new(), |hasher, part| hasher.chain_update(part)).finalize(),
                }
            }
            None => Sha256::digest(event.bytes()),
        };
        let mut carry = 0;
        let (sums, _) = self.0.as_chunks_mut::<8>();
        let (addends, _) = hash.as_chunks::<8>();
        for (sum, addend) in sums.iter_mut().zip(addends).rev() {
            let total = u128::from(u64::from_be_bytes(*sum)) + u128::from(u64::from_be_bytes(*addend)) + carry;
            *sum = (total as u64).to_be_bytes();
            carry = total >> 64;
        }
    }
}

/// The delivered fingerprints.
#[derive(Debug, Clone, Default)]
pub struct Minutes {
    minutes: BTreeMap<Minute, Set>,
    events: usize,
}

/// One minute's fingerprints: sorted once it is quiet (8 bytes an event), hashed while it grows.
#[derive(Debug, Clone, Default)]
struct Set {
    quiet: Box<[Fingerprint]>,
    recent: HashSet<Fingerprint, BuildHasherDefault<AsIs>>,
}

impl Minutes {
    pub fn contains(&self, minute: Minute, fingerprint: Fingerprint) -> bool {
        self.minutes.get(&minute).is_some_and(|set| set.contains(fingerprint))
    }

    /// Whether it was new.
    pub fn insert(&mut self, minute: Minute, fingerprint: Fingerprint) -> bool {
        let set = self.minutes.entry(minute).or_default();
        let new = set.quiet.binary_search(&fingerprint).is_err() && set.recent.insert(fingerprint);
        self.events += usize::from(new);
        new
    }

    pub fn extend(&mut self, minute: Minute, fingerprints: impl IntoIterator<Item = Fingerprint>) {
        for fingerprint in fingerprints {
            self.insert(minute, fingerprint);
        }
    }

    /// Packs a minute that is not expected to grow.
    pub fn settle(&mut self, minute: Minute) {
        if let Some(set) = self.minutes.get_mut(&minute) {
            set.settle();
        }
    }

    pub fn forget(&mut self, minutes: std::ops::Range<Minute>) {
        let gone: Vec<Minute> = self.minutes.range(minutes).map(|(minute, _)| *minute).collect();
        for minute in gone {
            self.events -= self.minutes.remove(&minute).map_or(0, |set| set.len());
        }
    }

    /// What the minutes of a range hold, each ascending.
    pub fn of(&self, minutes: std::ops::Range<Minute>) -> BTreeMap<Minute, Vec<Fingerprint>> {
        self.minutes.range(minutes).map(|(minute, set)| (*minute, set.sorted())).collect()
    }

    /// The minutes below `end` that hold anything, ascending.
    pub fn below(&self, end: Minute) -> impl DoubleEndedIterator<Item = Minute> {
        self.minutes.range(..end).map(|(minute, _)| *minute)
    }

    /// What the fingerprints take, in bytes: 8 each in a settled minute, what their table holds in one that grows.
    pub fn bytes(&self) -> usize {
        let set = |set: &Set| size_of_val(&*set.quiet) + set.recent.capacity() * (size_of::<Fingerprint>() + 1);
        self.minutes.values().map(set).sum()
    }

    /// How many a range's minutes hold together.
    pub fn count(&self, minutes: std::ops::Range<Minute>) -> u64 {
        self.minutes.range(minutes).map(|(_, set)| set.len() as u64).sum()
    }

    /// The newest minute below `end` that holds anything.
    pub fn newest_below(&self, end: Minute) -> Option<Minute> {
        self.below(end).next_back()
    }

    /// How many fingerprints are held.
    pub fn len(&self) -> usize {
        self.events
    }

    pub fn is_empty(&self) -> bool {
        self.events == 0
    }
}

impl Set {
    fn contains(&self, fingerprint: Fingerprint) -> bool {
        self.recent.contains(&fingerprint) || self.quiet.binary_search(&fingerprint).is_ok()
    }

    fn len(&self) -> usize {
        self.quiet.len() + self.recent.len()
    }

    fn sorted(&self) -> Vec<Fingerprint> {
        let mut all = Vec::with_capacity(self.len());
        all.extend(self.quiet.iter().chain(&self.recent));
        all.sort_unstable();
        all
    }

    fn settle(&mut self) {
        if !self.recent.is_empty() {
            self.quiet = self.sorted().into();
            self.recent = HashSet::default();
        }
    }
}

/// A fingerprint is a hash already.
#[derive(Debug, Clone, Copy, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}
