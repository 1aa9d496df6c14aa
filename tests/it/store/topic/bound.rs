//! However odd a stream is, the commit entries that live stay few, and an hour is not written again for every event.

use std::collections::BTreeSet;
use std::time::Duration;

use fastrand::Rng;
use jumpstream::clock::Time;
use jumpstream::ledger::{Minute, UNTIMED};
use jumpstream::store::kafka::format::Entry;
use jumpstream::store::kafka::group::in_transactions;

use super::feed::{Feed, minute};
use crate::random;

const POLL: Duration = Duration::from_secs(15);

fn begin() -> Time {
    Time::parse("2026-03-02T08:00:00Z").unwrap()
}

/// Polls `count` times from `now` on; gives the most commit entries that lived at once, and the bytes written a poll.
fn poll(
    feed: &mut Feed,
    mut now: Time,
    count: usize,
    mut delivered: impl FnMut(Time) -> Vec<(Minute, usize)>,
) -> (usize, usize) {
    let (mut most, mut written) = (0, 0);
    let bytes = |feed: &Feed| feed.live.values().sum::<usize>();
    let at_first = bytes(feed);
    for _ in 0..count {
        now = now + POLL;
        let entries = feed.commit(now, &delivered(now));
        written += entries.iter().map(|entry| entry.size()).sum::<usize>();
        most = most.max(feed.live_commits());
    }
    let bytes = bytes(feed).max(at_first);
    let bound = 512 + bytes / (16 << 10) + bytes / (1 << 20) + feed.live.len() / 256 + 2;
    assert!(most <= bound, "{most} commits live, {bound} may");
    (most, written / count)
}

#[test]
fn an_hour_that_is_never_quiet_keeps_few_commits_alive() {
    let mut feed = Feed::new();
    let (_, written) = poll(&mut feed, begin(), 20_000, |_| vec![(UNTIMED, 1)]);
    // 20,000 fingerprints are 160 KB, and a poll's own entry 200 bytes.
    assert!(written < 1_000, "{written} bytes a poll");
}

#[test]
fn late_events_in_all_hours_keep_few_commits_alive() {
    let mut rng = Rng::with_seed(random::seeds(1, 1).next().unwrap());
    let mut feed = Feed::new();
    let now = begin();
    // Eight full days, 20,000 an hour.
    for hour in 0..192 {
        let first = minute(now - Duration::from_secs((192 - hour) * 3_600));
        feed.commit(now, &(first..first + 60).map(|minute| (minute, 333)).collect::<Vec<_>>());
    }
    let now = feed.rest(now);
    let mut late = |now: Time| minute(now) - rng.i64(60..8 * 1_440);
    let (_, written) = poll(&mut feed, now, 6_000, |now| vec![(late(now), 1)]);
    assert!(written < 60_000, "{written} bytes written for a late event");
}

#[test]
fn commits_that_touch_hundreds_of_hours_are_let_go() {
    let mut feed = Feed::new();
    let mut first = 0;
    poll(&mut feed, begin(), 3_000, |now| {
        first = (first + 7) % 60;
        (0..190).map(|hour| (minute(now) - 60 * hour - first, 2)).collect()
    });
}

#[test]
fn a_backfill_older_than_the_last_age_leaves_totals() {
    let mut feed = Feed::new();
    let mut back = 30 * 1_440;
    // Minutes are forgotten in the checkpoint that delivers them.
    let (most, _) = poll(&mut feed, begin(), 1_000, |now| {
        back += 40;
        (0..40).map(|at| (minute(now) - back + at, 250)).collect()
    });
    assert!(most <= 8, "{most} commits live");
    assert_eq!(feed.fingerprints(), 0);
}

#[test]
fn a_fast_backfill_is_held_twice_at_most() {
    let mut feed = Feed::new();
    let mut now = begin();
    let newest = minute(now);
    for batch in 1..500 {
        now = now + Duration::from_millis(200);
        // 10,000 events of a quarter of an hour, the newest first.
        feed.commit(now, &(0..15).map(|at| (newest - batch * 15 + at, 667)).collect::<Vec<_>>());
        let (bytes, events) = (feed.live.values().sum::<usize>(), feed.fingerprints() * 8);
        assert!(bytes < 2 * events + (9 << 20), "{bytes} bytes for {events} of fingerprints");
    }
    feed.rest(now);
    let (bytes, events) = (feed.live.values().sum::<usize>(), feed.fingerprints() * 8);
    assert!(bytes < events * 105 / 100, "{bytes} bytes for {events} of fingerprints, at rest");
}

#[test]
fn what_quiet_streams_have_to_write_is_cut_between_streams_and_never_within_one() {
    let mut rng = Rng::with_seed(random::seeds(1, 1).next().unwrap());
    for _ in 0..200 {
        let entry = |stream: usize, number: usize| Entry { key: vec![stream as u8, number as u8], value: None };
        let streams: Vec<Vec<Entry>> = (0..rng.usize(..40))
            .map(|stream| (0..rng.usize(..12)).map(|number| entry(stream, number)).collect())
            .collect();
        let transactions = in_transactions(streams.clone(), 16);
        assert_eq!(transactions.concat(), streams.concat());
        let firsts = |entries: &Vec<Entry>| entries.iter().map(|entry| entry.key[0]).collect::<BTreeSet<u8>>();
        let seen: Vec<u8> = transactions.iter().flat_map(firsts).collect();
        assert_eq!(seen.len(), seen.iter().collect::<BTreeSet<_>>().len(), "a stream is in two transactions");
        let (last, full) = transactions.split_last().map_or((0, &[][..]), |(last, full)| (last.len(), full));
        assert!(full.iter().all(|entries| (16..16 + 12).contains(&entries.len())) && last < 16 + 12);
    }
}
