//! Time: every RFC 3339 form is the instant it means, and the API's clock is believed with reserve.

use std::time::Duration;

use jumpstream::clock::{Sample, ServerClock, Time};
use proptest::prelude::*;

fn at(text: &str) -> Time {
    Time::parse(text).unwrap_or_else(|| panic!("{text} is an instant"))
}

#[test]
fn zero_to_nine_digits_are_read() {
    let whole = at("2026-03-02T08:35:36Z");
    for digits in 0..=9 {
        let fraction = &"123456789"[..digits];
        let text = format!("2026-03-02T08:35:36{}{fraction}Z", if digits > 0 { "." } else { "" });
        let nanos: i64 = format!("{fraction:0<9}").parse().unwrap();
        assert_eq!(at(&text).as_nanos(), whole.as_nanos() + nanos, "{text}");
    }
}

#[test]
fn instants_are_compared_not_texts() {
    assert!(at("2026-03-02T08:35:36Z") < at("2026-03-02T08:35:36.1Z"), "as text, Z comes after the point");
    assert_eq!(at("2026-03-02T08:35:36.100Z"), at("2026-03-02T10:35:36.1+02:00"));
    assert_eq!(at("2026-01-01T00:30:00+01:00"), at("2025-12-31T23:30:00Z"));
    assert_eq!(at("2026-12-31T23:59:59.999999999Z") + Duration::from_nanos(1), at("2027-01-01T00:00:00Z"));
    assert_eq!(at("2024-02-28T23:59:59Z") + Duration::from_secs(1), at("2024-02-29T00:00:00Z"));
}

#[test]
fn a_leap_second_is_its_minutes_last() {
    assert_eq!(at("2016-12-31T23:59:60Z"), at("2016-12-31T23:59:59Z"));
    assert!(at("2016-12-31T23:59:60.5Z") < at("2017-01-01T00:00:00Z"));
}

#[test]
fn what_is_no_instant_is_none() {
    for text in [
        "",
        "x",
        "2026-03-02",
        "2026-03-02T08:35:36",
        "2026-13-02T08:35:36Z",
        "2026-02-30T08:35:36Z",
        "2025-02-29T00:00:00Z",
        "2026-03-02T24:35:36Z",
        "2026-03-02T08:60:36Z",
        "2026-03-02T08:35:36.Z",
        "2026-03-02T08:35:36.12345678901Z",
        "2026-03-02T08:35:36Z\n",
        "2026-03-02T08:35:36+00:00Z",
        "1772438400",
    ] {
        assert_eq!(Time::parse(text), None, "{text}");
    }
}

#[test]
fn http_dates_are_read_in_all_three_forms() {
    for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
        assert_eq!(Time::parse_http(text), Some(at("1994-11-06T08:49:37Z")));
    }
    assert_eq!(Time::parse_http("2026-03-02T08:35:36Z"), None);
}

#[test]
fn times_saturate_and_round_towards_the_past() {
    assert_eq!(Time::MAX + Duration::MAX, Time::MAX);
    assert_eq!(Time::MIN - Duration::MAX, Time::MIN);
    assert_eq!(at("2500-01-01T00:00:00Z"), Time::MAX);
    assert_eq!(at("0001-01-01T00:00:00Z"), Time::MIN);
    let minute = Duration::from_secs(60);
    let time = Time::from_secs(-61);
    assert_eq!((time.floor(minute), time.ceil(minute)), (Time::from_secs(-120), Time::from_secs(-60)));
    assert_eq!(Time::from_secs(-120).ceil(minute), Time::from_secs(-120));
    assert_eq!(Time::from_secs(1).since(Time::from_secs(2)), Duration::ZERO);
    for time in [Time::MIN, Time::MAX, Time::from_nanos(0)] {
        assert_eq!(at(&time.to_string()), time, "{time}");
    }
}

proptest! {
    #[test]
    fn any_instant_in_any_offset_and_precision_is_read_as_jiff_reads_it(
        // 1700 to 2240, so that an offset leads out of no range.
        seconds in -8_520_336_000i64..8_520_336_000,
        nanos in 0..1_000_000_000i64,
        digits in 0..=9usize,
        offset in prop::option::of(-18 * 60..=18 * 60i32),
    ) {
        let cut = 10i64.pow(9 - digits as u32);
        let instant = jiff::Timestamp::new(seconds, (nanos / cut * cut) as i32).unwrap();
        let local = instant.as_second() + i64::from(offset.unwrap_or(0)) * 60;
        // A negative instant's second and fraction point into the past: the civil fields don't.
        let civil = jiff::tz::TimeZone::UTC.to_datetime(
            jiff::Timestamp::new(local, instant.subsec_nanosecond()).unwrap(),
        );
        let fraction = format!("{:09}", civil.subsec_nanosecond());
        let fraction = if digits == 0 { String::new() } else { format!(".{}", &fraction[..digits]) };
        let zone = offset.map_or("Z".to_owned(), |minutes| {
            format!("{}{:02}:{:02}", if minutes < 0 { '-' } else { '+' }, minutes.abs() / 60, minutes.abs() % 60)
        });
        let text = format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{fraction}{zone}",
            civil.year(), civil.month(), civil.day(), civil.hour(), civil.minute(), civil.second()
        );
        let theirs: jiff::Timestamp = text.parse().unwrap();
        prop_assert_eq!(i128::from(at(&text).as_nanos()), theirs.as_nanosecond(), "{}", text);
        prop_assert_eq!(theirs, instant, "{}", text);
        prop_assert_eq!(at(&at(&text).to_string()), at(&text));
    }

    #[test]
    fn any_text_is_read_as_jiff_reads_it_or_not_at_all(text in "[0-9]{4}-[0-3][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,10})?(Z|[+-][0-9]{2}:[0-9]{2})") {
        let theirs = text.parse::<jiff::Timestamp>().ok().map(|theirs| theirs.as_nanosecond());
        let theirs = theirs.map(|nanos| nanos.clamp(i64::MIN.into(), i64::MAX.into()) as i64);
        prop_assert_eq!(Time::parse(&text).map(Time::as_nanos), theirs);
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// A clock with nine samples of `date`, all taken at uptime 0.
fn settled(date: Time) -> ServerClock {
    let mut clock = ServerClock::default();
    for _ in 0..9 {
        assert_eq!(clock.sample(date, Duration::ZERO, Time::MAX), Sample::Taken);
    }
    clock
}

#[test]
fn the_servers_time_runs_with_our_monotonic_clock() {
    let (mut clock, noon) = (ServerClock::default(), at("2026-03-02T12:00:00Z"));
    assert_eq!(clock.now(SECOND, Time::MAX), None);
    clock.sample(noon, 10 * SECOND, Time::MAX);
    assert_eq!(clock.now(10 * SECOND, Time::MAX), Some(noon));
    assert_eq!(clock.now(70 * SECOND, Time::MAX), Some(noon + 60 * SECOND));
    assert_eq!(clock.now(4 * SECOND, Time::MAX), Some(noon - 6 * SECOND), "when a request was sent, before its answer");
}

#[test]
fn the_median_of_the_last_nine_counts() {
    let noon = at("2026-03-02T12:00:00Z");
    let mut clock = settled(noon);
    for _ in 0..4 {
        clock.sample(noon + 100 * SECOND, Duration::ZERO, Time::MAX);
    }
    assert_eq!(clock.now(Duration::ZERO, Time::MAX), Some(noon), "four of nine don't move it");
    clock.sample(noon + 100 * SECOND, Duration::ZERO, Time::MAX);
    assert_eq!(clock.now(Duration::ZERO, Time::MAX), Some(noon + 100 * SECOND), "five do");
}

#[test]
fn an_outlier_is_ignored_and_nine_that_agree_are_believed() {
    let (noon, far) = (at("2026-03-02T12:00:00Z"), at("2026-03-03T12:00:00Z"));
    let mut clock = settled(noon);
    assert_eq!(clock.sample(noon + 120 * SECOND, Duration::ZERO, Time::MAX), Sample::Taken, "two minutes are within");
    for _ in 0..8 {
        assert_eq!(clock.sample(far, Duration::ZERO, Time::MAX), Sample::Ignored);
        assert_eq!(clock.now(Duration::ZERO, Time::MAX), Some(noon));
    }
    assert_eq!(clock.sample(far, Duration::ZERO, Time::MAX), Sample::Replaced);
    assert_eq!(clock.now(Duration::ZERO, Time::MAX), Some(far));
}

#[test]
fn outliers_that_disagree_or_are_interrupted_are_never_believed() {
    let noon = at("2026-03-02T12:00:00Z");
    let mut clock = settled(noon);
    for day in 1..40u32 {
        assert_eq!(clock.sample(noon + 86_400 * SECOND * day, Duration::ZERO, Time::MAX), Sample::Ignored);
    }
    let far = noon + 3600 * SECOND;
    for n in 0..40 {
        let expected = if n % 8 == 7 { (noon, Sample::Taken) } else { (far, Sample::Ignored) };
        assert_eq!(clock.sample(expected.0, Duration::ZERO, Time::MAX), expected.1);
    }
    assert_eq!(clock.now(Duration::ZERO, Time::MAX), Some(noon));
}

#[test]
fn outliers_that_drift_apart_do_not_agree() {
    let noon = at("2026-03-02T12:00:00Z");
    let mut clock = settled(noon);
    // Each is near the one before it, but the ninth is 16 minutes from the first.
    for step in 0..9u32 {
        let sample = clock.sample(noon + 3600 * SECOND + 119 * SECOND * step, Duration::ZERO, Time::MAX);
        assert_ne!(sample, Sample::Replaced, "step {step}");
    }
}

#[test]
fn what_the_api_has_refuted_is_not_believed_again_for_an_hour() {
    let (noon, ahead) = (at("2026-03-02T12:00:00Z"), at("2026-03-02T13:00:00Z"));
    let mut clock = settled(ahead);
    clock.reset(noon, Duration::ZERO);
    assert_eq!(clock.sample(ahead, Duration::ZERO, Time::MAX), Sample::Taken, "as far as the wall clock");
    for second in 1..3_600u32 {
        assert_eq!(clock.sample(ahead + SECOND * second, SECOND * second, Time::MAX), Sample::Ignored);
    }
    assert_eq!(clock.now(SECOND * 3_600, Time::MAX), Some(noon + SECOND * 3_600));
    let samples: Vec<Sample> =
        (3_600..3_609u32).map(|n| clock.sample(ahead + SECOND * n, SECOND * n, Time::MAX)).collect();
    assert_eq!(samples.last(), Some(&Sample::Replaced), "an hour later nine that agree count again");
}

#[test]
fn after_a_reset_the_earlier_of_date_and_wall_clock_counts() {
    let noon = at("2026-03-02T12:00:00Z");
    for (date, expected) in [(noon + 3600 * SECOND, noon), (noon - 3600 * SECOND, noon - 3600 * SECOND)] {
        let mut clock = settled(at("2031-01-01T00:00:00Z"));
        clock.reset(noon, 5 * SECOND);
        assert_eq!(clock.now(5 * SECOND, Time::MAX), None);
        assert_eq!(clock.sample(date, 5 * SECOND, Time::MAX), Sample::Taken);
        assert_eq!(clock.now(5 * SECOND, Time::MAX), Some(expected));
    }
}

#[test]
fn nine_that_agree_are_not_believed_against_both_the_median_and_our_own_clock() {
    let noon = at("2026-03-02T12:00:00Z");
    for far in [noon + 9 * 86_400 * SECOND, noon - 9 * 86_400 * SECOND, noon + 700 * SECOND] {
        let mut clock = settled(noon);
        for n in 0..100u32 {
            assert_eq!(clock.sample(far + SECOND * n, SECOND * n, noon + SECOND * n), Sample::Ignored, "{far}");
        }
        assert_eq!(clock.now(SECOND * 100, noon + SECOND * 100), Some(noon + SECOND * 100));
        // Where our own clock was set too, it was the other two that were wrong.
        assert!((0..9).any(|_| clock.sample(far, Duration::ZERO, far) == Sample::Replaced), "{far}");
    }
}

#[test]
fn a_date_that_cannot_be_is_none() {
    let noon = at("2026-03-02T12:00:00Z");
    let mut clock = ServerClock::default();
    for date in [at("2027-03-04T00:00:00Z"), Time::MAX, at("1970-01-01T00:00:00Z"), at("2012-12-31T00:00:00Z")] {
        assert_eq!(clock.sample(date, SECOND, noon), Sample::Ignored, "{date}");
        assert_eq!(clock.now(SECOND, noon), None);
    }
    assert_eq!(clock.sample(noon, SECOND, noon), Sample::Taken);
}

#[test]
fn without_any_date_our_own_clock_counts_less_a_minute() {
    let noon = at("2026-03-02T12:00:00Z");
    let mut clock = ServerClock::default();
    clock.do_without_dates();
    assert_eq!((clock.now(SECOND, noon), clock.is_undated()), (Some(noon - 60 * SECOND), true));
    clock.reset(noon, SECOND);
    assert_eq!(clock.now(SECOND, noon), Some(noon - 60 * SECOND), "there is still nothing better");
    clock.sample(noon - 5 * SECOND, SECOND, noon);
    assert_eq!((clock.now(SECOND, noon), clock.is_undated()), (Some(noon - 5 * SECOND), false));
}

#[test]
fn what_has_surely_passed_is_the_earlier_and_nothing_within_an_hour_of_an_upset() {
    let (noon, hour) = (at("2026-03-02T12:00:00Z"), 3_600 * SECOND);
    let clock = settled(noon);
    assert_eq!(clock.surely_passed(SECOND, noon + hour), Some(noon + SECOND));
    assert_eq!(clock.surely_passed(SECOND, noon - hour), Some(noon - hour));
    let mut reset = clock.clone();
    reset.reset(noon, SECOND);
    reset.sample(noon, SECOND, noon);
    let mut replaced = clock;
    assert!((0..9).any(|_| replaced.sample(noon + hour, SECOND, noon + hour) == Sample::Replaced));
    for upset in [reset, replaced] {
        assert!(upset.now(hour, Time::MAX).is_some());
        assert_eq!(upset.surely_passed(hour, Time::MAX), None);
        assert!(upset.surely_passed(hour + SECOND, Time::MAX).is_some());
    }
}
