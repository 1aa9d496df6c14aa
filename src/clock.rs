//! Time: instants in nanoseconds, the server's clock as an offset to our monotonic one, and the only functions that read a clock.
//!
//! # Invariants
//! Nothing outside this file asks the operating system for the time.
//! [`ServerClock`] is pure: its callers bring both the `Date` and our own clock.

use std::collections::VecDeque;
use std::fmt;
use std::ops::{Add, Sub};
use std::sync::LazyLock;
use std::time::Duration;

/// An instant: nanoseconds since 1970-01-01T00:00:00Z. Instants past the years 1677 to 2262 saturate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(i64);

impl Time {
    pub const MIN: Time = Time(i64::MIN);
    pub const MAX: Time = Time(i64::MAX);

    pub const fn from_nanos(nanos: i64) -> Time {
        Time(nanos)
    }

    pub const fn from_millis(millis: i64) -> Time {
        Time(millis.saturating_mul(1_000_000))
    }

    pub const fn from_secs(secs: i64) -> Time {
        Time(secs.saturating_mul(1_000_000_000))
    }

    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Whole milliseconds since 1970, rounded down.
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Whole seconds since 1970, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// Reads RFC 3339 with 0 to 9 fractional digits and any offset; a leap second is its minute's last.
    pub fn parse(text: &str) -> Option<Time> {
        Time::parse_bytes(text.as_bytes())
    }

    /// As [`Self::parse`]; text that is written as nearly all is need not be shown to be UTF-8.
    pub fn parse_bytes(text: &[u8]) -> Option<Time> {
        parse_utc(text).or_else(|| {
            let instant: jiff::Timestamp = std::str::from_utf8(text).ok()?.parse().ok()?;
            let nanos = instant.as_nanosecond();
            Some(Time(nanos.clamp(i64::MIN.into(), i64::MAX.into()) as i64))
        })
    }

    /// Whether it may stand for any instant before or after what this type can hold.
    pub fn is_saturated(self) -> bool {
        matches!(self, Time::MIN | Time::MAX)
    }

    /// Reads an HTTP date in any of its three forms (RFC 9110 §5.6.7).
    pub fn parse_http(text: &str) -> Option<Time> {
        let since_1970 = httpdate::parse_http_date(text.trim()).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(Time(nanos(since_1970)))
    }

    /// The time from `earlier` to this one; zero where `earlier` is later.
    pub fn since(self, earlier: Time) -> Duration {
        let nanos = i128::from(self.0) - i128::from(earlier.0);
        u64::try_from(nanos.max(0)).map_or(Duration::MAX, Duration::from_nanos)
    }

    /// Rounded down to a multiple of `unit` since 1970.
    pub fn floor(self, unit: Duration) -> Time {
        let unit = nanos(unit).max(1);
        Time(self.0.saturating_sub(self.0.rem_euclid(unit)))
    }

    /// Rounded up to a multiple of `unit` since 1970.
    pub fn ceil(self, unit: Duration) -> Time {
        let floor = self.floor(unit);
        if floor == self { self } else { floor + unit }
    }
}

/// `YYYY-MM-DDThh:mm:ss[.f]Z`, the form the API documents; all else goes the slow way.
fn parse_utc(text: &[u8]) -> Option<Time> {
    let (head, tail) = text.split_at_checked(19)?;
    let number = |from: usize, to: usize| {
        head[from..to]
            .iter()
            .try_fold(0i64, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
    };
    let separated = head[4] == b'-' && head[7] == b'-' && head[10] == b'T' && head[13] == b':' && head[16] == b':';
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    // Days past the 28th and leap seconds are left to the library, which knows the calendar.
    let plain = (1700..2200).contains(&year) && (1..=12).contains(&month) && (1..=28).contains(&day);
    if !separated || !plain || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let fraction = match tail {
        b"Z" => 0,
        [b'.', digits @ .., b'Z'] if (1..=9).contains(&digits.len()) => {
            let value = digits
                .iter()
                .try_fold(0i64, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))?;
            value * 10i64.pow(9 - digits.len() as u32)
        }
        _ => return None,
    };
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(Time(seconds * 1_000_000_000 + fraction))
}

/// Days of the proleptic Gregorian calendar; the year begins in March so that the leap day is its last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(nanos(duration)))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;
    fn sub(self, duration: Duration) -> Time {
        Time(self.0.saturating_sub(nanos(duration)))
    }
}

/// RFC 3339 in UTC, with as many fractional digits as are asked for (`{:.3}`), else as are needed.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instant = jiff::Timestamp::from_nanosecond(self.0.into()).map_err(|_| fmt::Error)?;
        fmt::Display::fmt(&instant, f)
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Time {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        Time::parse(&text).ok_or_else(|| serde::de::Error::custom("no instant by RFC 3339"))
    }
}

/// This machine's wall clock.
#[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
pub fn wall() -> Time {
    let nanos = jiff::Timestamp::now().as_nanosecond();
    Time(nanos.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
}

/// Time since the process first asked, on the monotonic clock (tokio's, so that tests may pause it).
pub fn uptime() -> Duration {
    static START: LazyLock<tokio::time::Instant> = LazyLock::new(tokio::time::Instant::now);
    START.elapsed()
}

/// How many samples the median is taken of.
const SAMPLES: usize = 9;
/// A `Date` further than this from the median is ignored until as many in a row agree.
const OUTLIER: i64 = 120_000_000_000;

/// How long an offset that the API itself has refuted is not believed again, however many `Date`s agree on it.
const REFUTED: Duration = Duration::from_secs(3_600);

/// How far behind our wall clock may be and still be heard.
const SECOND_OPINION: Duration = Duration::from_secs(600);

/// A `Date` further ahead of our wall clock is none: with a clock so far behind, no certificate would be valid yet.
const IMPLAUSIBLE: Duration = Duration::from_secs(366 * 86_400);
/// A `Date` from before the API existed is none: 2013-01-01.
const EARLIEST: Time = Time::from_secs(1_356_998_400);
/// How far behind our wall clock we stay where no `Date` comes at all, since it may be ahead of the API's.
const UNDATED_MARGIN: Duration = Duration::from_secs(60);

/// The API's clock as an offset to our monotonic one: the median of the last nine `Date`s.
///
/// An outlier (a cache, a broken proxy) is counted and ignored; nine in a row that agree replace the median, unless
/// our wall clock sides with the median: then two witnesses stand against one.
#[derive(Debug, Clone, Default)]
pub struct ServerClock {
    /// `Date` − uptime, in nanoseconds, newest last.
    offsets: VecDeque<i64>,
    outliers: VecDeque<i64>,
    /// After a reset: the latest offset that the next sample may give.
    ceiling: Option<i64>,
    /// What was believed before a reset, and the uptime until which it isn't again.
    refuted: Option<(i64, Duration)>,
    /// The uptime at which what we believed was last thrown over.
    upset: Option<Duration>,
    /// Whether our wall clock counts while there is no sample.
    undated: bool,
}

/// What a sample did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    Taken,
    /// More than 2 min off the median: counted, not believed.
    Ignored,
    /// The ninth in a row that disagrees with the median and agrees with the others: the clock was set.
    Replaced,
}

impl ServerClock {
    /// Takes a `Date` header that was received at `uptime`, when our own clock showed `wall`.
    pub fn sample(&mut self, date: Time, uptime: Duration, wall: Time) -> Sample {
        if date < EARLIEST || date.since(wall) > IMPLAUSIBLE {
            return Sample::Ignored;
        }
        let ours = wall.0.saturating_sub(nanos(uptime));
        let mut offset = date.0.saturating_sub(nanos(uptime));
        if let Some(ceiling) = self.ceiling.take() {
            offset = offset.min(ceiling);
        }
        let Some(median) = median(&self.offsets) else {
            self.offsets.push_back(offset);
            return Sample::Taken;
        };
        if offset.abs_diff(median) <= OUTLIER as u64 {
            self.outliers.clear();
            self.offsets.push_back(offset);
            if self.offsets.len() > SAMPLES {
                self.offsets.pop_front();
            }
            return Sample::Taken;
        }
        let refuted = |(refuted, until): (i64, Duration)| uptime < until && offset.abs_diff(refuted) <= OUTLIER as u64;
        if self.refuted.is_some_and(refuted) {
            self.outliers.clear();
            return Sample::Ignored;
        }
        if self.outliers.iter().any(|other| other.abs_diff(offset) > OUTLIER as u64) {
            self.outliers.clear();
        }
        self.outliers.push_back(offset);
        if self.outliers.len() < SAMPLES {
            return Sample::Ignored;
        }
        let agrees = |other: i64| ours.abs_diff(other) <= nanos(SECOND_OPINION) as u64;
        // After a reset the median may be our wall clock's own, which is no second witness.
        if self.refuted.is_none() && agrees(median) && !agrees(offset) {
            self.outliers.clear();
            return Sample::Ignored;
        }
        self.offsets = std::mem::take(&mut self.outliers);
        self.upset = Some(uptime);
        Sample::Replaced
    }

    /// The server's time at `uptime`; none before the first sample.
    ///
    /// Where our wall clock is up to ten minutes behind it, the wall clock's: to believe a `Date` that is ahead would
    /// be to claim time as read that has not passed yet, while being behind costs only a longer overlap.
    pub fn now(&self, uptime: Duration, wall: Time) -> Option<Time> {
        let Some(offset) = median(&self.offsets) else {
            return self.undated.then(|| wall - UNDATED_MARGIN);
        };
        let server = Time(offset.saturating_add(nanos(uptime)));
        Some(if server.since(wall) <= SECOND_OPINION { server.min(wall) } else { server })
    }

    /// A time that has surely passed, if one of the two clocks is right: the earlier. None for an hour after what we
    /// believed was thrown over.
    pub fn surely_passed(&self, uptime: Duration, wall: Time) -> Option<Time> {
        let settled = self.upset.is_none_or(|upset| uptime.saturating_sub(upset) >= REFUTED);
        self.now(uptime, wall).filter(|_| settled).map(|now| now.min(wall))
    }

    /// No answer carries a usable `Date`: until one does, our wall clock counts, less a minute.
    pub fn do_without_dates(&mut self) {
        self.undated = true;
    }

    /// Whether our wall clock has to stand in for the API's.
    pub fn is_undated(&self) -> bool {
        self.undated && self.offsets.is_empty()
    }

    /// Forgets every sample, after the API said that our start lies in its future.
    /// The next one is believed only as far as our wall clock: the earlier of the two counts.
    /// What was believed so far is not believed again for an hour, so that a server whose `Date` stays wrong does not
    /// lead us from one refusal to the next.
    pub fn reset(&mut self, wall: Time, uptime: Duration) {
        let refuted = median(&self.offsets).map(|offset| (offset, uptime + REFUTED));
        *self = ServerClock {
            ceiling: Some(wall.0.saturating_sub(nanos(uptime))),
            refuted: refuted.or(self.refuted),
            upset: Some(uptime),
            undated: self.undated,
            ..ServerClock::default()
        };
    }
}

fn median(offsets: &VecDeque<i64>) -> Option<i64> {
    let mut sorted: Vec<i64> = offsets.iter().copied().collect();
    sorted.sort_unstable();
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}
