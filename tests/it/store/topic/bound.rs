//! However odd a stream is, the commit entries that live stay few, and an hour is not written again for every event.

use std::time::Duration;

use fastrand::Rng;
use jumpstream::clock::Time;
use jumpstream::ledger::{Minute, UNTIMED};

use super::feed::{Feed, minute};
use crate::random;

const POLL: Duration = Duration::from_secs(15);

/// Polls `count` times; gives the most commit entries that lived at once, and the bytes written a poll.
fn poll(feed: &mut Feed, count: usize, mut delivered: impl FnMut(Time) -> Vec<(Minute, usize)>) -> (usize, usize) {
    let mut now = Time::parse("2026-03-02T08:00:00Z").unwrap();
    let (mut most, mut written) = (0, 0);
    for _ in 0..count {
        now = now + POLL;
        let entries = feed.commit(now, &delivered(now));
        written += entries.iter().map(|entry| entry.size()).sum::<usize>();
        most = most.max(feed.live_commits());
    }
    feed.rest(now);
    assert!(feed.live_commits() < 30, "left alone, {} commits live on", feed.live_commits());
    (most, written / count)
}

#[test]
fn an_hour_that_is_never_quiet_keeps_few_commits_alive() {
    let (most, written) = poll(&mut Feed::new(), 20_000, |_| vec![(UNTIMED, 1)]);
    assert!(most <= 520, "{most} commits live");
    // 20,000 fingerprints are 160 KB, and a poll's own entry 200 bytes.
    assert!(written < 1_000, "{written} bytes a poll");
}

#[test]
fn late_events_in_all_hours_keep_few_commits_alive() {
    let mut rng = Rng::with_seed(random::seeds(1, 1).next().unwrap());
    let mut feed = Feed::new();
    let mut now = Time::parse("2026-03-02T08:00:00Z").unwrap();
    // Eight full days, 20,000 an hour.
    for hour in 0..192 {
        let first = minute(now - Duration::from_secs((192 - hour) * 3_600));
        feed.commit(now, &(first..first + 60).map(|minute| (minute, 333)).collect::<Vec<_>>());
    }
    now = feed.rest(now);
    let whole: usize = feed.live.values().sum();
    let bound = 512 + whole / (16 << 10) + whole / (1 << 20) + 8;
    let late = |now: Time| minute(now) - rng.i64(60..8 * 1_440);
    let mut late = late;
    let (most, written) = poll(&mut feed, 6_000, |now| vec![(late(now), 1)]);
    assert!(most <= bound, "{most} commits live, {bound} should be the most");
    assert!(written < 60_000, "{written} bytes written for a late event");
}

#[test]
fn commits_that_touch_hundreds_of_hours_are_let_go() {
    let mut feed = Feed::new();
    let mut first = 0;
    let (most, _) = poll(&mut feed, 3_000, |now| {
        first = (first + 7) % 60;
        (0..190).map(|hour| (minute(now) - 60 * hour - first, 2)).collect()
    });
    assert!(most <= 520, "{most} commits live");
}

#[test]
fn a_backfill_older_than_the_last_age_leaves_totals() {
    let mut feed = Feed::new();
    let mut back = 30 * 1_440;
    // Minutes are forgotten in the checkpoint that delivers them.
    let (most, _) = poll(&mut feed, 1_000, |now| {
        back += 40;
        (0..40).map(|at| (minute(now) - back + at, 250)).collect()
    });
    assert!(most <= 8, "{most} commits live");
    assert_eq!(feed.fingerprints(), 0);
}
