//! The emulator's own time: a clock that can be set, RFC 3339 as a Go server reads and writes it, humane durations.
//!
//! Instants are nanoseconds since 1970 in an `i64`, on purpose not the type the client uses.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

pub(super) const MILLISECOND: i64 = 1_000_000;
pub(super) const SECOND: i64 = 1_000_000_000;
pub(super) const DAY: i64 = 86_400 * SECOND;

/// A clock that starts at an instant, runs on by itself and can be set.
pub(super) struct Clock {
    started: Instant,
    base: AtomicI64,
}

impl Clock {
    pub fn starting_at(now: i64) -> Clock {
        Clock { started: Instant::now(), base: AtomicI64::new(now) }
    }

    pub fn now(&self) -> i64 {
        self.base.load(Ordering::SeqCst).saturating_add(self.elapsed())
    }

    pub fn set(&self, now: i64) {
        self.base.store(now.saturating_sub(self.elapsed()), Ordering::SeqCst);
    }

    pub fn advance(&self, by: i64) {
        self.base.fetch_add(by, Ordering::SeqCst);
    }

    fn elapsed(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_nanos()).unwrap_or(i64::MAX)
    }
}

pub(super) fn nanos_of(instant: jiff::Timestamp) -> i64 {
    instant.as_nanosecond().clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

pub(super) fn timestamp_of(nanos: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_nanosecond(nanos.into()).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

/// Reads RFC 3339 as strictly as Go's `time.Parse(time.RFC3339, …)`: nothing before or behind it, `T` and `Z` upper
/// case, a fraction of any length up to nine digits, `Z` or a numeric offset but not both (insights-api §1.9).
pub(super) fn parse(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let (head, tail) = bytes.split_at_checked(19)?;
    let shaped = head.iter().enumerate().all(|(place, byte)| match place {
        4 | 7 => *byte == b'-',
        10 => *byte == b'T',
        13 | 16 => *byte == b':',
        _ => byte.is_ascii_digit(),
    });
    let zone = match tail.strip_prefix(b".") {
        Some(rest) => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            (1..=9).contains(&digits).then(|| &rest[digits..])?
        }
        None => tail,
    };
    let zoned = match zone {
        b"Z" => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => [h1, h2, m1, m2].iter().all(|byte| byte.is_ascii_digit()),
        _ => false,
    };
    if !shaped || !zoned {
        return None;
    }
    Some(nanos_of(text.parse().ok()?))
}

/// RFC 3339 in UTC, the fraction's trailing zeros trimmed, as Go's `RFC3339Nano` does (insights-api §2.1).
pub(super) fn format(nanos: i64) -> String {
    let mut text = Vec::with_capacity(30);
    Writer::default().write(nanos, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// `Tue, 02 Mar 2026 08:33:36 GMT`, for `Date` and `Retry-After` (RFC 9110 §5.6.7).
pub(super) fn http_date(nanos: i64) -> String {
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&timestamp_of(nanos)).unwrap_or_default()
}

/// Writes instants; neighbours mostly share their second, whose text is kept.
#[derive(Default)]
pub(super) struct Writer {
    second: i64,
    text: Option<[u8; 19]>,
}

impl Writer {
    pub fn write(&mut self, nanos: i64, into: &mut Vec<u8>) {
        let (second, fraction) = (nanos.div_euclid(SECOND), nanos.rem_euclid(SECOND));
        if self.text.is_none() || self.second != second {
            let text = timestamp_of(second * SECOND).to_string();
            self.text = text.as_bytes().get(..19).and_then(|text| text.try_into().ok());
            self.second = second;
        }
        into.extend_from_slice(self.text.as_ref().map_or(b"1970-01-01T00:00:00", |text| text));
        if fraction != 0 {
            let mut digits = [b'0'; 10];
            digits[0] = b'.';
            let mut rest = fraction;
            for digit in digits[1..].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
            let end = digits.iter().rposition(|digit| *digit != b'0').unwrap_or(0);
            into.extend_from_slice(&digits[..=end]);
        }
        into.push(b'Z');
    }
}

/// A length of time as people write it: `500ms`, `90s`, `15m`, `24h`, `90d`, `-1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span(i64);

impl Span {
    pub const fn seconds(seconds: i64) -> Span {
        Span(seconds * SECOND)
    }

    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// As a duration; zero where it is negative.
    pub fn duration(self) -> Duration {
        Duration::from_nanos(self.0.max(0) as u64)
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Span {
        Span(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }
}

const UNITS: [(&str, i64); 5] =
    [("ms", MILLISECOND), ("d", DAY), ("h", 3_600 * SECOND), ("m", 60 * SECOND), ("s", SECOND)];

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let refused = || format!("`{text}` is no duration; write it like 500ms, 90s, 15m, 24h, 90d or -1h");
        let (sign, rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
        let (number, unit) =
            UNITS.iter().find_map(|(name, unit)| Some((rest.strip_suffix(name)?, *unit))).ok_or_else(refused)?;
        let number: u32 = number.parse().map_err(|_| refused())?;
        Ok(Span(sign * i64::from(number).checked_mul(unit).ok_or_else(refused)?))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = [UNITS[1], UNITS[2], UNITS[3], UNITS[4]];
        match sizes.iter().find(|(_, unit)| self.0 != 0 && self.0 % unit == 0) {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None if self.0 == 0 => f.write_str("0s"),
            None => write!(f, "{}ms", self.0 / MILLISECOND),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
