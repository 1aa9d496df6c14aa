//! Entries as every release wrote them, kept as bytes: each later release reads them, and this one writes the newest
//! byte for byte.
//!
//! A fixture is never changed. A release that raises `KNOWN` adds the next one, which the release that raises `WRITTEN`
//! then writes.

use std::collections::BTreeMap;
use std::time::Duration;

use jumpstream::clock::Time;
use jumpstream::ledger::{
    Cause, Checkpoint, Coverage, Digest, FingerprintKey, Hindrances, Hour, HourTotal, Mark, Standing, StreamKey,
    UNTIMED,
};
use jumpstream::store::kafka::fold::{Error, Fold, Folded};
use jumpstream::store::kafka::format::{
    Delivered, Entry, KNOWN, Key, Layout, Owner, WRITTEN, encode_commit, encode_hour,
};

use super::stream;

/// By format, from 1 on: a line an entry, key and value in hexadecimal, `-` for a tombstone.
const FORMATS: &[&str] = &[include_str!("format-1.txt"), include_str!("format-2.txt"), include_str!("format-3.txt")];

const SINCE: Time = Time::from_secs(1_790_000_000);
const HOUR: Hour = 497_222;

fn layout() -> Layout {
    Layout::of(1)
}

fn digest(byte: u8) -> HourTotal {
    let events = u64::from(byte) << 7;
    HourTotal { events, shown: events + 5, late: 3, digest: Digest([byte; 32]) }
}

/// What format 1 could say of it.
fn in_format_1(ledger: Checkpoint) -> Checkpoint {
    let total = |total: HourTotal| HourTotal { shown: total.events, late: 0, ..total };
    let ledger = in_format_2(ledger);
    let hours = ledger.hours.into_iter().map(|(hour, own)| (hour, total(own))).collect();
    Checkpoint { standing: Standing::default(), oldest_shown: Duration::ZERO, hours, ..ledger }
}

/// What format 2 could say of it.
fn in_format_2(ledger: Checkpoint) -> Checkpoint {
    Checkpoint { hindrances: Hindrances::default(), ..ledger }
}

fn in_format(format: u8, ledger: Checkpoint) -> Checkpoint {
    match format {
        1 => in_format_1(ledger),
        2 => in_format_2(ledger),
        _ => ledger,
    }
}

/// A stretch with each kind of mark.
fn standing() -> Standing {
    let age = Duration::from_secs(900);
    let marks = [
        Mark::Unprovable,
        Mark::Verified,
        Mark::Gone { events: 300 },
        Mark::Doubted { tries: 2, unseen: 7, again: SINCE + Duration::from_nanos(1) },
        Mark::Unsettled { age, missing: 129 },
        Mark::Counted { age },
    ];
    let hour = Duration::from_secs(3_600);
    Standing::of((0..).zip(marks).map(|(place, mark)| (SINCE + hour * place..SINCE + hour * (place + 1), mark)))
}

/// A spell of each cause, as they may overlap.
fn hindrances() -> Hindrances {
    let causes = [Cause::KeyRefused, Cause::Throttled, Cause::RequestsRefused, Cause::ApiFailing, Cause::SinkBlocked];
    let minute = Duration::from_secs(60);
    Hindrances::of((1..).zip(causes).map(|(place, cause)| (SINCE + minute * place..SINCE + minute * place * 2, cause)))
}

fn head(edge: Option<Time>) -> Checkpoint {
    let hours = |from: u64, to: u64| SINCE + Duration::from_secs(from * 3_600)..SINCE + Duration::from_secs(to * 3_600);
    Checkpoint {
        key: FingerprintKey(*b"0123456789abcdef"),
        first_run: SINCE,
        start: SINCE - Duration::from_secs(86_400),
        edge,
        coverage: Coverage::of([hours(0, 2), hours(3, 5)]),
        standing: standing(),
        oldest_shown: Duration::from_secs(86_400 * 20),
        hindrances: hindrances(),
        delivered: BTreeMap::new(),
        hours: BTreeMap::new(),
        forgotten: Vec::new(),
        dropped: Vec::new(),
        whole: BTreeMap::new(),
    }
}

/// Of every kind one, and of every choice within a kind.
fn entries() -> Vec<Entry> {
    let commit = |stream: StreamKey, number, checkpoint: &Checkpoint| Entry {
        key: Key::Commit { stream, number }.encode(),
        value: Some(encode_commit(checkpoint, |_| false)),
    };
    let hour = |hour, minutes: &Delivered, total: Option<&HourTotal>| {
        let value = encode_hour(minutes, total, 299).pop();
        Entry { key: Key::Hour { stream: stream(0), hour, part: 0 }.encode(), value }
    };
    let minute = HOUR * 60;
    let delivering = Checkpoint {
        delivered: Delivered::from([(UNTIMED, vec![5]), (minute + 61, vec![1, u64::MAX]), (minute + 119, vec![2])]),
        hours: BTreeMap::from([(Hour::MIN, digest(1)), (HOUR + 1, digest(3))]),
        ..head(Some(SINCE + Duration::from_nanos(18_000_123_456_789)))
    };
    vec![
        layout().entry(),
        Owner { token: *b"fedcba9876543210", name: "pod-é pid 7 jumpstream 0.1.0".to_owned() }.entry(),
        hour(HOUR, &Delivered::from([(minute, vec![7, 8]), (minute + 59, vec![9])]), Some(&digest(2))),
        hour(Hour::MIN, &Delivered::from([(UNTIMED, vec![6])]), None),
        Entry::tombstone(&Key::Commit { stream: stream(0), number: 299 }),
        commit(stream(0), 300, &delivering),
        commit(stream(1), 1, &Checkpoint { coverage: Coverage::default(), ..head(None) }),
    ]
}

fn lines(entries: &[Entry]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let value = |entry: &Entry| entry.value.as_deref().map_or("-".to_owned(), hex);
    entries.iter().map(|entry| format!("{} {}\n", hex(&entry.key), value(entry))).collect()
}

/// As a reader of the partition takes them in.
fn fold(fixture: &str) -> Result<Folded, Error> {
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    let mut fold = Fold::new(0, layout());
    for (offset, line) in (0..).zip(fixture.lines()) {
        let (key, value) = line.split_once(' ').unwrap();
        let value = (value != "-").then(|| bytes(value));
        fold.take(offset, &bytes(key), value.as_deref())?;
    }
    fold.finish()
}

#[test]
fn what_every_release_wrote_is_read() {
    assert_eq!(FORMATS.len(), usize::from(KNOWN), "a format that is known has its fixture");
    let minute = HOUR * 60;
    for (format, fixture) in (1..).zip(FORMATS) {
        let mut folded = fold(fixture).unwrap();
        assert_eq!(folded.format, Some(format));
        let (ledger, _) = folded.streams.remove(&stream(0)).unwrap();
        let delivered = [
            (UNTIMED, vec![5, 6]),
            (minute, vec![7, 8]),
            (minute + 59, vec![9]),
            (minute + 61, vec![1, u64::MAX]),
            (minute + 119, vec![2]),
        ];
        let expected = Checkpoint {
            delivered: Delivered::from(delivered),
            hours: BTreeMap::from([(Hour::MIN, digest(1)), (HOUR, digest(2)), (HOUR + 1, digest(3))]),
            ..head(Some(SINCE + Duration::from_nanos(18_000_123_456_789)))
        };
        assert_eq!(ledger, in_format(format, expected), "format {format}");
        let (quiet, _) = folded.streams.remove(&stream(1)).unwrap();
        let expected = Checkpoint { coverage: Coverage::default(), ..head(None) };
        assert_eq!(quiet, in_format(format, expected), "format {format}");
        assert!(folded.streams.is_empty());
    }
}

#[test]
fn what_this_release_writes_is_what_its_format_was_fixed_as() {
    assert!((1..=KNOWN).contains(&WRITTEN), "what is written can't be read");
    let written = lines(&entries());
    assert_eq!(written, FORMATS[usize::from(WRITTEN) - 1], "written:\n{written}");
}

#[test]
fn a_ledger_of_an_older_format_wants_the_new_one_and_keeps_its_entries() {
    for (format, fixture) in (1..).zip(FORMATS) {
        assert_eq!(fold(fixture).unwrap().wants_format(), format < WRITTEN, "format {format}");
        // Entries of two formats stand side by side.
        let both = format!("{fixture}{}", lines(&entries()));
        assert_eq!(fold(&both).unwrap().streams.len(), 2, "format {format}");
    }
}

#[test]
fn any_entry_of_a_format_that_is_not_known_is_refused() {
    for (place, entry) in entries().iter().enumerate().filter(|(_, entry)| entry.value.is_some()) {
        let mut newer = entries();
        newer[place].value.as_mut().unwrap()[0] = KNOWN + 1;
        assert_eq!(fold(&lines(&newer)).unwrap_err(), Error::Newer { found: KNOWN + 1 }, "{entry:?}");
    }
}
