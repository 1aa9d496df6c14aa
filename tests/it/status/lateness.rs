//! How late events are: what is counted, and when the ages at which they are looked for are called unfit.

use std::time::Duration;

use jumpstream::clock::Time;
use jumpstream::plan::Ages;
use jumpstream::stream::lateness::Tally;
use jumpstream::telemetry::status::{Lateness, Verdict};

const MINUTE: u64 = 60;
const HOUR: u64 = 3_600;
const DAY: u64 = 86_400;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A thousand events that came in time, and these that comparing found, so many seconds late; watched for nine days of an
/// API that keeps thirty.
fn lateness(ages: &Ages, late: impl IntoIterator<Item = u64>) -> Lateness {
    tally(ages, late).lateness(seconds(9 * DAY), seconds(30 * DAY))
}

fn tally(ages: &Ages, late: impl IntoIterator<Item = u64>) -> Tally {
    let mut tally = Tally::begin(ages, Time::from_secs(5));
    (0..990).for_each(|_| tally.live());
    (0..10).for_each(|_| tally.within_overlap());
    late.into_iter().for_each(|late| tally.beyond_overlap(seconds(late)));
    tally
}

#[track_caller]
fn check(ages: &[u64], late: impl IntoIterator<Item = u64>, verdict: Verdict, suggested: Option<&[u64]>) {
    let lateness = lateness(&Ages::of(ages.iter().map(|age| seconds(*age))), late);
    assert_eq!((lateness.verdict, lateness.suggested_ages_seconds.as_deref()), (verdict, suggested), "{ages:?}");
}

#[test]
fn late_events_are_counted_and_half_of_them_are_within_a_bound() {
    let late = (0..20).map(|number| 130 + number).chain([4 * HOUR; 5]);
    let lateness = lateness(&Ages::default(), late);
    assert_eq!((lateness.events, lateness.within_overlap, lateness.beyond_overlap), (1_025, 10, 25));
    assert_eq!((lateness.half_within_seconds, lateness.latest_seconds), (Some(5 * MINUTE), Some(4 * HOUR)));
    assert_eq!((lateness.verdict, lateness.last_age_seconds), (Verdict::Fits, 8 * DAY));
}

#[test]
fn few_late_events_say_nothing_of_half_of_them_and_none_nothing_at_all() {
    let lateness_of = |count: u64| lateness(&Ages::default(), (0..count).map(|_| HOUR));
    assert_eq!(lateness_of(9).half_within_seconds, None);
    assert_eq!(lateness_of(10).half_within_seconds, Some(HOUR));
    assert_eq!((lateness_of(0).latest_seconds, lateness_of(0).verdict), (None, Verdict::Fits));
    assert_eq!(lateness(&Ages::default(), [40 * DAY; 10]).half_within_seconds, Some(32 * DAY));
}

#[test]
fn under_a_hundred_events_are_too_little_whatever_they_are() {
    let mut tally = Tally::begin(&Ages::default(), Time::from_secs(5));
    (0..49).for_each(|_| tally.live());
    (0..50).for_each(|_| tally.beyond_overlap(seconds(9 * DAY)));
    let judged = |tally: &Tally| tally.lateness(seconds(9 * DAY), seconds(30 * DAY)).verdict;
    assert_eq!(judged(&tally), Verdict::TooLittle);
    tally.live();
    assert_ne!(judged(&tally), Verdict::TooLittle);
}

#[test]
fn what_was_not_watched_as_long_as_the_last_age_fits_only_so_far() {
    let tally = tally(&Ages::default(), [HOUR; 3]);
    let judged = |days: u64| tally.lateness(seconds(days * DAY), seconds(30 * DAY)).verdict;
    assert_eq!((judged(7), judged(8)), (Verdict::FitsSoFar, Verdict::Fits));
}

#[test]
fn an_event_found_only_at_the_last_age_asks_for_a_longer_one_as_far_as_there_is_room() {
    let ages = [HOUR, 6 * HOUR, 2 * DAY];
    check(&ages, [2 * DAY - 1], Verdict::Fits, None);
    check(&ages, [2 * DAY], Verdict::LastAgeTooShort, Some(&[HOUR, 6 * HOUR, 2 * DAY, 4 * DAY]));
    // A day less than the API keeps.
    check(
        &[HOUR, 6 * HOUR, 20 * DAY],
        [20 * DAY],
        Verdict::LastAgeTooShort,
        Some(&[HOUR, 6 * HOUR, 20 * DAY, 29 * DAY]),
    );
    check(&[HOUR, 6 * HOUR, 29 * DAY], [29 * DAY], Verdict::LastAgeTooShort, None);
    let learned = tally(&Ages::default(), [8 * DAY]).lateness(seconds(DAY), seconds(15 * DAY));
    assert_eq!(learned.suggested_ages_seconds.unwrap().last(), Some(&(14 * DAY)));
    // Twelve are as many as may be.
    let twelve: Vec<u64> = (1..=12).map(|days| days * DAY).collect();
    let suggested = [&twelve[..11], &[24 * DAY]].concat();
    check(&twelve, [12 * DAY], Verdict::LastAgeTooShort, Some(&suggested));
}

#[test]
fn where_most_are_found_long_after_the_look_before_the_usual_ages_between_are_suggested() {
    let suggested = [2 * MINUTE, 15 * MINUTE, HOUR, 6 * HOUR];
    check(&[6 * HOUR], [7 * HOUR; 10], Verdict::AgeMissing, Some(&suggested));
    check(&[6 * HOUR], [7 * HOUR; 9], Verdict::LastAgeTooShort, Some(&[6 * HOUR, 12 * HOUR]));
    let ages = [2 * MINUTE, DAY, 8 * DAY];
    let suggested = [2 * MINUTE, 15 * MINUTE, HOUR, 6 * HOUR, DAY, 8 * DAY];
    check(&ages, [DAY; 10], Verdict::AgeMissing, Some(&suggested));
    // Most were found at another.
    check(&ages, [3 * MINUTE; 11].into_iter().chain([DAY; 10]), Verdict::Fits, None);
    check(&[2 * MINUTE, 16 * MINUTE, 8 * DAY], [17 * MINUTE; 10], Verdict::Fits, None);
}

#[test]
fn the_default_ages_lie_near_enough_to_each_other() {
    for late in [150, 20 * MINUTE, 2 * HOUR, 7 * HOUR, 30 * HOUR, 3 * DAY] {
        assert_eq!(lateness(&Ages::default(), [late; 50]).verdict, Verdict::Fits, "{late} s");
    }
}
