//! Entries as bytes: what is written is read, what is damaged is named, and no bytes make reading panic.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use jumpstream::clock::Time;
use jumpstream::ledger::{
    Cause, Checkpoint, Coverage, Digest, FingerprintKey, Hindrances, Hour, HourTotal, Mark, Standing, StreamKey,
    UNTIMED, hour_of,
};
use jumpstream::store::kafka::format::{
    Delivered, Error, KNOWN, Key, Layout, Owner, PART_BYTES, Part, WRITTEN, decode_commit, encode_commit, encode_hour,
};

use crate::random;

/// Mostly what occurs, sometimes the outermost.
fn any_number(rng: &mut Rng) -> i64 {
    match rng.u8(..8) {
        0 => *rng.choice(&[i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX]).unwrap(),
        1 => rng.i64(..),
        _ => rng.i64(0..2_000_000_000_000_000_000),
    }
}

fn any_minutes(rng: &mut Rng, base: i64) -> Delivered {
    let minutes: Vec<i64> = (0..rng.u8(..8)).map(|_| base + rng.i64(0..60)).collect();
    minutes.into_iter().map(|minute| (minute, (0..rng.u8(1..9)).map(|_| rng.u64(..)).collect())).collect()
}

fn any_total(rng: &mut Rng) -> HourTotal {
    let [events, shown, late] = std::array::from_fn(|_| rng.u64(..));
    HourTotal { events, shown, late, digest: Digest(std::array::from_fn(|_| rng.u8(..))) }
}

fn any_standing(rng: &mut Rng) -> Standing {
    let range = |rng: &mut Rng| {
        let from = any_number(rng).min(i64::MAX - 1);
        Time::from_nanos(from)..Time::from_nanos(from.saturating_add(rng.i64(1..1_000_000_000_000)))
    };
    let mark = |rng: &mut Rng| match rng.u8(..6) {
        0 => Mark::Counted { age: Duration::from_secs(rng.u64(..)) },
        1 => Mark::Unsettled { age: Duration::from_secs(rng.u64(..)), missing: rng.u64(..) },
        2 => Mark::Doubted { tries: rng.u8(..), unseen: rng.u64(..), again: Time::from_nanos(any_number(rng)) },
        3 => Mark::Verified,
        4 => Mark::Gone { events: rng.u64(..) },
        _ => Mark::Unprovable,
    };
    Standing::of((0..rng.u8(..6)).map(|_| (range(rng), mark(rng))))
}

fn any_hindrances(rng: &mut Rng) -> Hindrances {
    const CAUSES: [Cause; 7] = [
        Cause::NotRunningOrUnknown,
        Cause::Backfill,
        Cause::KeyRefused,
        Cause::Throttled,
        Cause::RequestsRefused,
        Cause::ApiFailing,
        Cause::SinkBlocked,
    ];
    let spell = |rng: &mut Rng| {
        let from = any_number(rng);
        let to = from.saturating_add(rng.i64(0..1_000_000_000_000));
        (Time::from_nanos(from)..Time::from_nanos(to), *rng.choice(&CAUSES).unwrap())
    };
    Hindrances::of((0..rng.u8(..6)).map(|_| spell(rng)))
}

fn any_commit(rng: &mut Rng) -> Checkpoint {
    let mut delivered = any_minutes(rng, 29_000_000);
    if rng.bool() {
        delivered.insert(UNTIMED, vec![1]);
    }
    let ranges: Vec<_> = (0..rng.u8(..5)).map(|_| any_number(rng).min(i64::MAX - 1)).collect();
    Checkpoint {
        key: FingerprintKey(std::array::from_fn(|_| rng.u8(..))),
        first_run: Time::from_nanos(any_number(rng)),
        start: Time::from_nanos(any_number(rng)),
        edge: rng.bool().then(|| Time::from_nanos(any_number(rng))),
        coverage: Coverage::of(
            ranges.iter().map(|from| {
                Time::from_nanos(*from)..Time::from_nanos(from.saturating_add(rng.i64(1..1_000_000_000_000)))
            }),
        ),
        standing: any_standing(rng),
        oldest_shown: Duration::from_secs(rng.u64(..)),
        hindrances: any_hindrances(rng),
        hours: delivered.keys().map(|minute| (hour_of(*minute), any_total(rng))).collect(),
        delivered,
        forgotten: Vec::new(),
        dropped: Vec::new(),
        whole: BTreeMap::new(),
    }
}

fn any_key(rng: &mut Rng) -> Key {
    let stream = StreamKey { organization: format!("{:x}", rng.u128(..)), service: "directory".into() };
    match rng.u8(..4) {
        0 => Key::Format,
        1 => Key::Owner,
        2 => Key::Commit { stream, number: rng.u64(..) },
        _ => Key::Hour { stream, hour: if rng.bool() { Hour::MIN } else { rng.i64(0..1_000_000) }, part: rng.u32(..) },
    }
}

#[test]
fn what_is_written_is_read() {
    for seed in random::seeds(2_000, 100_000) {
        let rng = &mut Rng::with_seed(seed);
        let key = any_key(rng);
        assert_eq!(Key::decode(&key.encode()), Ok(key), "seed {seed}");
        let commit = any_commit(rng);
        assert_eq!(decode_commit(&encode_commit(&commit, |_| false)), Ok(commit.clone()), "seed {seed}");
        let whole = any_minutes(rng, 60 * 500_000);
        let total = rng.bool().then(|| any_total(rng));
        let parts = encode_hour(&whole, total.as_ref(), seed);
        let expected = Part { as_of: seed, parts: 1, total, minutes: whole };
        assert_eq!(parts.iter().map(|part| Part::decode(500_000, part)).collect::<Vec<_>>(), [Ok(expected)]);
        let layout = Layout { partitions: rng.u32(..), hash: rng.u8(..) };
        assert_eq!(Layout::decode(&layout.entry().value.unwrap()), Ok((WRITTEN, layout)));
        let owner = Owner { token: [seed as u8; 16], name: "pod-é".into() };
        assert_eq!(Owner::decode(&owner.entry().value.unwrap()), Ok(owner));
    }
}

#[test]
fn a_large_hour_is_cut_into_parts() {
    let minutes: Delivered = (0..60).map(|minute| (60 * 7 + minute, vec![minute as u64; 3_000])).collect();
    let total = HourTotal { events: 180_000, digest: Digest([9; 32]), ..HourTotal::default() };
    let parts = encode_hour(&minutes, Some(&total), 5);
    assert_eq!(parts.len(), 6);
    let mut found = Delivered::new();
    for bytes in &parts {
        assert!(bytes.len() <= PART_BYTES);
        let part = Part::decode(7, bytes).unwrap();
        assert_eq!((part.as_of, part.parts, part.total), (5, 6, Some(total)));
        part.minutes.into_iter().for_each(|(minute, all)| found.entry(minute).or_default().extend(all));
    }
    assert_eq!(found, minutes);
    let bytes: usize = parts.iter().map(Vec::len).sum();
    assert!(bytes < 180_000 * 8 + 6 * 300, "{bytes} bytes for 180,000 fingerprints");
}

#[test]
fn hours_written_whole_are_left_out_of_the_commit() {
    let mut commit = any_commit(&mut Rng::with_seed(3));
    commit.delivered = Delivered::from([(59, vec![1]), (60, vec![2]), (UNTIMED, vec![3])]);
    commit.hours = BTreeMap::from([(0, HourTotal::default()), (1, HourTotal::default())]);
    let read = decode_commit(&encode_commit(&commit, |hour| hour == 0)).unwrap();
    assert_eq!(read.delivered, Delivered::from([(60, vec![2]), (UNTIMED, vec![3])]));
    assert_eq!(read.hours.into_keys().collect::<Vec<_>>(), [1]);
}

/// Reads bytes as everything that they might be; what can be read must be written the same way again.
fn read_all(bytes: &[u8]) -> usize {
    let mut read = 0;
    if let Ok(key) = Key::decode(bytes) {
        assert_eq!(key.encode(), bytes);
        read += 1;
    }
    // What an older release wrote is written anew.
    if bytes.first() != Some(&WRITTEN) {
        return read;
    }
    if let Ok(commit) = decode_commit(bytes) {
        assert_eq!(encode_commit(&commit, |_| false), bytes);
        read += 1;
    }
    for hour in [Hour::MIN, 0, 500_000] {
        if let Ok(part) = Part::decode(hour, bytes)
            && part.parts == 1
        {
            assert_eq!(encode_hour(&part.minutes, part.total.as_ref(), part.as_of), [bytes]);
            read += 1;
        }
    }
    if let Ok((_, layout)) = Layout::decode(bytes) {
        assert_eq!(layout.entry().value.as_deref(), Some(bytes));
        read += 1;
    }
    if let Ok(owner) = Owner::decode(bytes) {
        assert_eq!(owner.entry().value.as_deref(), Some(bytes));
        read += 1;
    }
    read
}

fn mutate(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..rng.u8(1..4) {
        let at = rng.usize(..=bytes.len());
        match rng.u8(..4) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(..8),
            1 => bytes.insert(at, rng.u8(..)),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 => bytes.truncate(at),
            _ if at < bytes.len() => bytes[at] = *rng.choice(&[0, 1, 0x7f, 0x80, 0xff]).unwrap(),
            _ => {}
        }
    }
}

#[test]
fn no_bytes_make_reading_panic() {
    let mut read = 0;
    for seed in random::seeds(20_000, 1_000_000) {
        let rng = &mut Rng::with_seed(seed);
        let random: Vec<u8> = (0..rng.u8(..40)).map(|_| if rng.bool() { rng.u8(..4) } else { rng.u8(..) }).collect();
        read += read_all(&random);
        let mut written = match rng.u8(..3) {
            0 => any_key(rng).encode(),
            1 => encode_commit(&any_commit(rng), |_| false),
            _ => encode_hour(&any_minutes(rng, 0), Some(&any_total(rng)), 3).swap_remove(0),
        };
        mutate(&mut written, rng);
        read += read_all(&written);
    }
    assert!(random::chosen_seed().is_some() || read > 100, "hardly any bytes could be read: {read}");
}

#[test]
fn damage_names_its_place() {
    let mut rng = Rng::with_seed(5);
    let commit = encode_commit(&any_commit(&mut rng), |_| false);
    let error = decode_commit(&commit[..commit.len() - 1]).unwrap_err();
    assert!(matches!(error, Error::Damaged { at, .. } if at == commit.len() - 1), "{error}");
    assert_eq!(Key::decode(&[9]).unwrap_err().to_string(), "the kind of key is not known, at byte 1");
    let (mut longer, mut later) = (commit.clone(), commit);
    longer.push(0);
    assert!(decode_commit(&longer).unwrap_err().to_string().starts_with("bytes behind the end"));
    later[0] = KNOWN + 1;
    assert_eq!(decode_commit(&later).unwrap_err().to_string(), "format 4 is newer than this release, which knows 3");
}

#[test]
fn a_stream_stays_in_its_partition() {
    // Written down, since a hash that changes would look for every ledger in the wrong place.
    let partition = |number| Layout::of(8).partition(&super::stream(number));
    assert_eq!((0..8).map(partition).collect::<Vec<_>>(), [1, 6, 6, 1, 3, 2, 5, 7]);
}
