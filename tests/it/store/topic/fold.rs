//! Real ledgers, their books and a log that is compacted at any time: what is read back is what was committed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use jumpstream::clock::Time;
use jumpstream::event::Event;
use jumpstream::ledger::{Checkpoint, Fingerprint, FingerprintKey, Hour, Ledger, Minute, StreamKey, hour_of};
use jumpstream::record::Delivery;
use jumpstream::store::kafka::book::Book;
use jumpstream::store::kafka::fold::Error;
use jumpstream::store::kafka::format::{Entry, Key, Layout};

use super::log::Log;
use super::stream;
use crate::ledger::settle;
use crate::random;

/// Everything in one partition.
fn layout() -> Layout {
    Layout::of(1)
}

/// A stream at work, and all that it ever committed.
struct Work {
    key: StreamKey,
    ledger: Ledger,
    book: Book,
    committed: Option<Checkpoint>,
    forgotten: Vec<Range<Minute>>,
    dropped: BTreeSet<Hour>,
    delivered: BTreeSet<(Minute, Fingerprint)>,
}

impl Work {
    fn new(number: usize, now: Time) -> Work {
        let key = stream(number);
        Work {
            ledger: Ledger::begin(FingerprintKey([7; 16]), now, now - days(20)),
            book: Book::new(key.clone()),
            key,
            committed: None,
            forgotten: Vec::new(),
            dropped: BTreeSet::new(),
            delivered: BTreeSet::new(),
        }
    }

    fn checkpoint(&mut self, now: Time, rng: &mut Rng) -> (Checkpoint, Vec<Entry>) {
        let mut whole = self.book.due(now);
        match rng.u8(..8) {
            // More than was asked for, or less, must not matter.
            0 => whole.clear(),
            1 => whole.extend([hour_of(now.as_secs() / 60), Hour::MIN]),
            _ => {}
        }
        let checkpoint = self.ledger.checkpoint_with(&whole);
        let entries = self.book.entries(&checkpoint, now);
        (checkpoint, entries)
    }

    fn commit(&mut self, checkpoint: Checkpoint) {
        let all = checkpoint.delivered.iter().flat_map(|(minute, all)| all.iter().map(|one| (*minute, *one)));
        self.delivered.extend(all);
        self.forgotten.extend(checkpoint.forgotten.iter().cloned());
        self.dropped.extend(checkpoint.dropped.iter().copied());
        match &mut self.committed {
            Some(committed) => committed.fold(checkpoint),
            None => self.committed = Some(Checkpoint { whole: BTreeMap::new(), ..checkpoint }),
        }
    }

    /// The folded ledger is the committed one; of forgotten minutes and of dropped totals it may know more.
    fn judge(&self, folded: &Checkpoint, note: &str) {
        let committed = self.committed.as_ref().unwrap();
        let head =
            |ledger: &Checkpoint| (ledger.key, ledger.first_run, ledger.start, ledger.edge, ledger.coverage.clone());
        assert_eq!(head(folded), head(committed), "{note}");
        let mut hours = folded.hours.clone();
        hours.retain(|hour, _| committed.hours.contains_key(hour) || !self.dropped.contains(hour));
        assert_eq!(hours, committed.hours, "{note}");
        assert!(folded.forgotten.is_empty() && folded.whole.is_empty(), "{note}");
        let pairs = |ledger: &Checkpoint| -> BTreeSet<(Minute, Fingerprint)> {
            ledger.delivered.iter().flat_map(|(minute, all)| all.iter().map(|one| (*minute, *one))).collect()
        };
        let (found, wanted) = (pairs(folded), pairs(committed));
        let lost: Vec<_> = wanted.difference(&found).collect();
        assert!(lost.is_empty(), "{note}: not in the topic: {lost:?}");
        for (minute, fingerprint) in found.difference(&wanted) {
            let forgotten = self.forgotten.iter().any(|range| range.contains(minute));
            assert!(forgotten, "{note}: minute {minute} was not forgotten and has too much");
            assert!(self.delivered.contains(&(*minute, *fingerprint)), "{note}: never delivered: {fingerprint}");
        }
    }
}

fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}

struct Run {
    rng: Rng,
    note: String,
    now: Time,
    works: Vec<Work>,
    log: Log,
    /// The same, never compacted.
    all: Log,
    restarts: u64,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut rng = Rng::with_seed(seed);
        let now = Time::parse("2026-03-02T08:00:00Z").unwrap();
        let works = (0..rng.usize(1..4)).map(|number| Work::new(number, now)).collect();
        let log = Log::new(layout());
        Run { rng, note: format!("seed {seed}"), now, works, all: log.clone(), log, restarts: 0 }
    }

    fn step(&mut self) {
        let number = self.rng.usize(..self.works.len());
        let Run { rng, now, works, .. } = self;
        let work = &mut works[number];
        match rng.u8(..24) {
            0..8 => admit(&mut work.ledger, *now, rng),
            8 => {
                let from = *now - Duration::from_secs(rng.u64(..10 * 86_400));
                let to = *now - Duration::from_secs(rng.u64(..86_400));
                work.ledger.cover(from..to);
                work.ledger.advance_edge(to);
            }
            9 if rng.bool() => work.ledger.reopen(*now - Duration::from_secs(rng.u64(..9 * 86_400))),
            10 => settle(&mut work.ledger, *now),
            11 if rng.u8(..8) == 0 => *now = *now + days(rng.u64(..110)),
            11 => *now = *now + days(rng.u64(..4)),
            12 | 13 => *now = *now + Duration::from_secs(rng.u64(..1_500)),
            14..20 => self.commit(number),
            20 | 21 => self.log.compact(&mut self.rng),
            22 => self.restart(false),
            _ => self.restart(true),
        }
    }

    fn commit(&mut self, number: usize) {
        let work = &mut self.works[number];
        let (checkpoint, entries) = work.checkpoint(self.now, &mut self.rng);
        self.log.append(entries.clone());
        self.all.append(entries);
        work.commit(checkpoint);
    }

    /// What was not committed is gone, with `given_up` a checkpoint too of which the book believes that it was written.
    fn restart(&mut self, given_up: bool) {
        self.restarts += 1;
        for work in self.works.iter_mut().filter(|_| given_up) {
            work.checkpoint(self.now, &mut self.rng);
        }
        let mut folded = self.log.fold(layout()).unwrap();
        let uncompacted = self.all.fold(layout()).unwrap();
        for work in &mut self.works {
            let Some((ledger, book)) = folded.streams.remove(&work.key) else {
                assert!(work.committed.is_none(), "{}: a ledger is lost", self.note);
                *work = Work { committed: None, ..Work::new(0, self.now).named(work.key.clone()) };
                continue;
            };
            work.judge(&ledger, &self.note);
            assert_eq!(ledger, uncompacted.streams[&work.key].0, "{}: compaction changed the ledger", self.note);
            assert_eq!(book.live().collect::<Vec<_>>(), self.log.live(&work.key), "{}: what lives", self.note);
            if !given_up {
                assert!(work.book.live().eq(book.live()), "{}: the book had lost sight of what lives", self.note);
            }
            work.ledger = Ledger::open(ledger);
            work.book = book;
        }
        assert!(folded.streams.is_empty());
    }
}

impl Work {
    fn named(self, key: StreamKey) -> Work {
        Work { book: Book::new(key.clone()), key, ..self }
    }
}

fn admit(ledger: &mut Ledger, now: Time, rng: &mut Rng) {
    let age = match rng.u8(..10) {
        0..5 => 1_200,
        5..7 => 9 * 86_400,
        _ => 86_400,
    };
    let around = now - Duration::from_secs(rng.u64(..age));
    for _ in 0..rng.u8(1..8) {
        let (id, time) = (rng.u8(..20), around + Duration::from_secs(rng.u64(..200)));
        match rng.u8(..20) {
            0 => drop(ledger.admit_head(&[id])),
            1 => drop(ledger.admit(&parse(format!(r#"{{"id":"{id}"}}"#)), Delivery::Live)),
            _ => drop(ledger.admit(&parse(format!(r#"{{"id":"{id}","timestamp":"{time}"}}"#)), Delivery::Live)),
        }
    }
}

fn parse(json: String) -> Event {
    Event::parse(Bytes::from(json)).unwrap()
}

#[test]
fn any_state_of_compaction_folds_into_what_was_committed() {
    let (mut restarts, mut dropped) = (0, 0);
    for seed in random::seeds(1_000, 50_000) {
        let mut run = Run::new(seed);
        for _ in 0..run.rng.usize(10..250) {
            run.step();
        }
        run.restart(false);
        restarts += run.restarts;
        dropped += run.works.iter().map(|work| work.dropped.len()).sum::<usize>();
    }
    let enough = restarts > 1_000 && dropped > 100;
    assert!(random::chosen_seed().is_some() || enough, "only {restarts} restarts, {dropped} totals dropped");
}

/// One stream with three commits, the third an hour later.
fn small() -> (Log, Work) {
    let mut rng = Rng::with_seed(1);
    let mut now = Time::parse("2026-03-02T08:00:00Z").unwrap();
    let mut work = Work::new(0, now);
    let mut log = Log::new(layout());
    for id in 0..3 {
        let json = format!(r#"{{"id":"{id}","timestamp":"{now}"}}"#);
        work.ledger.admit(&parse(json), Delivery::Live);
        let checkpoint = work.ledger.checkpoint_with(&work.book.due(now));
        log.append(work.book.entries(&checkpoint, now));
        work.commit(checkpoint);
        now = now + Duration::from_secs(if id == 1 { 3_600 } else { 15 });
    }
    rng.bool();
    (log, work)
}

#[test]
fn an_hour_left_alone_takes_the_place_of_its_commits() {
    let (log, work) = small();
    assert_eq!(log.live(&work.key), [3], "the first two are in their hour's whole entry, and the third is the head");
    work.judge(&log.fold(layout()).unwrap().streams[&work.key].0, "whole");
}

#[test]
fn an_idle_stream_writes_one_entry_again_and_again() {
    let (mut log, mut work) = small();
    let mut now = Time::parse("2026-03-02T12:00:00Z").unwrap();
    let mut written = Vec::new();
    for _ in 0..6 {
        now = now + Duration::from_secs(300);
        work.ledger.advance_edge(now);
        let checkpoint = work.ledger.checkpoint_with(&work.book.due(now));
        let entries = work.book.entries(&checkpoint, now);
        written.push(entries.len());
        log.append(entries);
    }
    // The first two settle what the events left: a whole hour, and the tombstones.
    assert_eq!(written[2..], [1, 1, 1, 1], "{written:?}");
    assert_eq!(log.live(&work.key).len(), 1);
}

#[test]
fn another_layout_is_refused() {
    let (log, _) = small();
    let error = log.fold(Layout::of(8)).unwrap_err().to_string();
    assert!(error.contains("begun with 1 partitions") && error.contains("set state.partitions to 1"), "{error}");
    let error = log.fold(Layout { hash: 2, ..layout() }).unwrap_err();
    assert!(matches!(error, Error::OtherLayout { .. }), "{error}");
}

#[test]
fn a_ledger_that_is_not_whole_is_refused() {
    let (log, work) = small();
    let mut headless = log.clone();
    headless.append(vec![Entry::tombstone(&Key::Commit { stream: work.key.clone(), number: 3 })]);
    assert!(matches!(headless.fold(layout()).unwrap_err(), Error::NoHead { wanted: 3, .. }));
    let mut unknown = log.clone();
    unknown.append(vec![Entry::tombstone(&Key::Format)]);
    assert!(matches!(unknown.fold(layout()).unwrap_err(), Error::NoFormat { partition: 0 }));
    let mut newer = log;
    newer.append(vec![Entry { key: Key::Owner.encode(), value: Some(vec![200]) }]);
    let error = newer.fold(layout()).unwrap_err().to_string();
    assert!(error.contains("newer jumpstream (format 200, this one knows 3)"), "{error}");
}

#[test]
fn what_others_wrote_is_left_out_and_damage_is_not() {
    let (log, work) = small();
    let judged = |log: &Log| work.judge(&log.fold(layout()).unwrap().streams[&work.key].0, "beside what others wrote");
    assert_eq!(log.fold(layout()).unwrap().foreign, None);
    let mut shared = log.clone();
    let first = shared.end();
    for (key, value) in [("user-17", Some("text")), ("", None), (" ", None), ("\u{e9}t\u{e9}", Some(""))] {
        shared.append(vec![Entry { key: key.into(), value: value.map(Into::into) }]);
    }
    judged(&shared);
    assert_eq!(shared.fold(layout()).unwrap().foreign, Some(first));
    for key in [vec![2], vec![7], vec![0, 0, 0, 1], [Key::Owner.encode(), vec![1]].concat()] {
        let mut damaged = log.clone();
        damaged.append(vec![Entry { key, value: Some(vec![]) }]);
        let error = damaged.fold(layout()).unwrap_err();
        assert!(matches!(error, Error::Damaged { of: "key", .. }), "{error}");
    }
}

#[test]
fn a_stream_in_another_partition_is_refused() {
    let two = Layout::of(2);
    let far = (0..).map(stream).find(|stream| two.partition(stream) == 1).unwrap();
    let mut log = Log::new(two);
    log.append(Book::new(far).entries(&super::quiet(Time::from_secs(0)), Time::from_secs(0)));
    assert!(matches!(log.fold(two).unwrap_err(), Error::Misplaced { partition: 0, belongs: 1, .. }));
}
