//! `/events/interval`: a histogram whose buckets begin on whole units of a time zone (insights-api §1.8).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::query::{Query, Refusal};
use super::time::{self, DAY, MILLISECOND, SECOND};

/// More are an error, as in the search engine behind the API.
const MAX_BUCKETS: i64 = 10_000;

/// How the buckets lie, in nanoseconds.
pub(super) struct Interval {
    width: i64,
    /// Where the first bucket after 1970 begins.
    phase: i64,
}

impl Interval {
    pub fn parse(query: &Query) -> Result<Interval, Refusal> {
        let unit = match query.required("interval_unit")? {
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3_600 * SECOND,
            "d" => DAY,
            "w" => 7 * DAY,
            other => return Err(Refusal::bad(format!("invalid interval_unit {other:?}; one of s, m, h, d, w"))),
        };
        let value = match query.body.get("interval_value") {
            None | Some(Value::Null) => Some(1),
            Some(value) => value.as_str().map_or_else(|| value.as_i64(), |text| text.parse().ok()),
        };
        let value = value.filter(|value| (1..=100_000).contains(value));
        let value = value.ok_or_else(|| Refusal::bad("invalid interval_value"))?;
        let zone = query.body.get("timezone").filter(|zone| !zone.is_null());
        let offset = zone.map_or(Some(0), |zone| offset(zone.as_str()?));
        let offset = offset.ok_or_else(|| Refusal::bad("invalid timezone; write it like -0500"))?;
        // 1970 began on a Thursday; weeks begin on Mondays.
        let monday = if unit == 7 * DAY { 4 * DAY } else { 0 };
        Ok(Interval { width: unit * value, phase: monday - offset })
    }

    /// Refuses a time that has too many buckets.
    pub fn admit(&self, start: i64, end: i64) -> Result<(), Refusal> {
        let buckets = (i128::from(end) - i128::from(start)) / i128::from(self.width);
        if buckets > MAX_BUCKETS.into() {
            return Err(Refusal::bad(format!("too many buckets: {buckets} exceed {MAX_BUCKETS}")));
        }
        Ok(())
    }

    /// Where the bucket of an instant begins.
    pub fn bucket(&self, nanos: i64) -> i64 {
        (nanos - self.phase).div_euclid(self.width) * self.width + self.phase
    }

    /// From the first bucket that holds something to the last, the empty ones between them included.
    pub fn buckets(&self, counts: &BTreeMap<i64, u64>) -> Result<Vec<Value>, Refusal> {
        let (Some((first, _)), Some((last, _))) = (counts.first_key_value(), counts.last_key_value()) else {
            return Ok(Vec::new());
        };
        self.admit(*first, *last)?;
        let places = (0..=(last - first) / self.width).map(|place| first + place * self.width);
        Ok(places.map(|begin| self.entry(begin, counts.get(&begin).copied().unwrap_or(0))).collect())
    }

    fn entry(&self, begin: i64, count: u64) -> Value {
        let second = time::format(begin);
        let text = second.strip_suffix('Z').unwrap_or(&second);
        json!({ "key": begin / MILLISECOND, "key_as_string": format!("{text}.000Z"), "doc_count": count })
    }
}

/// `-0500`, `+01:00`, `Z` or `UTC`, in nanoseconds.
fn offset(zone: &str) -> Option<i64> {
    if matches!(zone, "" | "Z" | "UTC") {
        return Some(0);
    }
    let (sign, digits) = match zone.split_at_checked(1)? {
        ("+", digits) => (1, digits.replace(':', "")),
        ("-", digits) => (-1, digits.replace(':', "")),
        _ => return None,
    };
    let number: i64 = digits.parse().ok().filter(|_| digits.len() == 4)?;
    Some(sign * (number / 100 * 3_600 + number % 100 * 60) * SECOND)
}
