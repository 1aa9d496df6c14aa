//! What a restart reads after weeks: bytes and records, when all is compacted and at the worst moment.
//!
//! `make prove` goes on for 90 days; the sizes differ by the hours' totals alone.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use jumpstream::clock::Time;
use jumpstream::ledger::Minute;
use jumpstream::store::kafka::format::Entry;

use super::feed::{Feed, minute};
use crate::random;

const POLL: Duration = Duration::from_secs(15);
const IDLE: Duration = Duration::from_secs(300);
/// What Kafka adds to a record that stands alone in its batch.
const FRAME: usize = 70;

/// A partition as the broker keeps it: hourly segments, cleaned when half of it is new or after 6 h, tombstones a day.
#[derive(Default)]
struct Partition {
    records: Vec<(Time, Vec<u8>, usize, bool)>,
    bytes: usize,
    cleaned: usize,
    cleaned_at: Time,
    /// The most that it ever held, in bytes and records.
    most: (usize, usize),
}

impl Partition {
    fn append(&mut self, now: Time, entries: Vec<Entry>) {
        for entry in entries {
            let size = entry.size() + FRAME;
            self.bytes += size;
            self.records.push((now, entry.key, size, entry.value.is_none()));
        }
        self.most = (self.most.0.max(self.bytes), self.most.1.max(self.records.len()));
        let dirty = self.bytes - self.cleaned;
        let waited = now.since(self.cleaned_at);
        let hour = Duration::from_secs(3_600);
        if waited > 6 * hour || (waited > hour && dirty > self.cleaned) {
            self.clean(now);
        }
    }

    fn clean(&mut self, now: Time) {
        let newest: BTreeMap<&[u8], usize> =
            self.records.iter().enumerate().map(|(place, (_, key, ..))| (&key[..], place)).collect();
        let mut keep: Vec<bool> = (0..self.records.len()).map(|_| false).collect();
        newest.into_values().for_each(|place| keep[place] = true);
        let day = Duration::from_secs(86_400);
        let mut keep = keep.into_iter();
        self.records.retain(|(at, _, _, tombstone)| keep.next().unwrap() && !(*tombstone && now.since(*at) > day));
        self.bytes = self.records.iter().map(|(_, _, size, _)| size).sum();
        self.cleaned = self.bytes;
        self.cleaned_at = now;
    }
}

struct Figures {
    compacted: (usize, usize),
    worst: (usize, usize),
    fingerprints: usize,
    events: usize,
    commits: usize,
    written: usize,
}

/// Days of so many events each, of which one in 500 is up to a day late.
fn fill(days: u64, events_a_day: u64, rng: &mut Rng) -> Figures {
    let (mut feed, mut partition) = (Feed::new(), Partition::default());
    let begin = Time::parse("2026-03-02T08:00:00Z").unwrap();
    let (mut now, mut saved) = (begin, begin);
    let (mut events, mut commits, mut written) = (0, 0, 0);
    while now.since(begin) < Duration::from_secs(days * 86_400) {
        now = now + POLL;
        let due = events_a_day * POLL.as_secs();
        let count = (due + rng.u64(..86_400)) / 86_400;
        let mut delivered: BTreeMap<Minute, usize> = BTreeMap::new();
        if count > 0 {
            delivered.insert(minute(now), count as usize);
        }
        if rng.u64(..500) < count {
            *delivered.entry(minute(now) - rng.i64(0..1_440)).or_default() += 1;
        }
        if delivered.is_empty() && now.since(saved) < IDLE {
            continue;
        }
        saved = now;
        commits += 1;
        events += delivered.values().sum::<usize>();
        let entries = feed.commit(now, &delivered.into_iter().collect::<Vec<_>>());
        written += entries.iter().map(Entry::size).sum::<usize>();
        partition.append(now, entries);
    }
    let bytes = feed.live.values().map(|size| size + FRAME).sum();
    let fingerprints = feed.fingerprints();
    Figures { compacted: (bytes, feed.live.len()), worst: partition.most, fingerprints, events, commits, written }
}

fn tell(what: &str, streams: usize, figures: &Figures) {
    let mib = |bytes: usize| (bytes * streams) as f64 / (1 << 20) as f64;
    let Figures { compacted, worst, fingerprints, events, commits, written } = figures;
    println!(
        "{what}: {:.1} MiB in {} records compacted, at the worst moment {:.1} MiB in {}; {} fingerprints are {:.1} MiB; \
         written {:.1} bytes an event, {:.0} a commit",
        mib(compacted.0),
        compacted.1 * streams,
        mib(worst.0),
        worst.1 * streams,
        fingerprints * streams,
        mib(fingerprints * 8),
        *written as f64 / *events as f64,
        *written as f64 / *commits as f64,
    );
}

#[test]
fn a_restart_reads_little_more_than_the_fingerprints() {
    let mut rng = Rng::with_seed(1);
    let days = if random::is_prove() { 90 } else { 12 };
    let totals = days as usize * 24;
    println!("after {days} days:");
    let large = fill(days, 1_000_000, &mut rng);
    tell("one stream of 1,000,000 events a day", 1, &large);
    assert!(large.compacted.0 < large.fingerprints * 8 * 115 / 100, "{} bytes compacted", large.compacted.0);
    // An hour takes two parts, and one commit for each 16 KiB may live.
    assert!(large.compacted.1 < totals + 400 + 512 + 4_096, "{} records", large.compacted.1);
    assert!(large.worst.0 < large.fingerprints * 8 * 130 / 100, "{} bytes at the worst moment", large.worst.0);
    let small = fill(days, 1_000, &mut rng);
    tell("1,000 streams of 1,000 events a day", 1_000, &small);
    assert!(small.compacted.1 < totals + 300, "{} records", small.compacted.1);
    assert!(small.worst.1 < totals + 2_500, "{} records at the worst moment", small.worst.1);
}
