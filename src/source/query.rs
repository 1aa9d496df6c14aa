//! What is asked of the API: the request bodies (insights-api §1.4, §1.8).

use serde::Serialize;

use crate::clock::Time;

/// `POST /events` and `/events/count`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventQuery {
    pub service: String,
    /// Inclusive.
    pub start: Time,
    /// Whether the API includes it is not known; none means that nothing ends the query.
    pub end: Option<Time>,
    /// 1 to 10,000.
    pub limit: u32,
    /// The last page's cursor, JSON text exactly as it came in `X-Search_after`.
    pub search_after: Option<String>,
}

/// `POST /events/interval`, in UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntervalQuery {
    pub service: String,
    pub start: Time,
    pub end: Time,
    pub unit: IntervalUnit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum IntervalUnit {
    Minute,
    Hour,
    Day,
}

/// One answer of `/events/interval`: how many events begin in the unit that begins at `start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    pub start: Time,
    pub events: u64,
}

/// What every query says. Times are RFC 3339 with `Z`, the documented form.
#[derive(Serialize)]
struct Range<'a> {
    service: [&'a str; 1],
    start_time: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<Time>,
}

#[derive(Serialize)]
struct Events<'a> {
    #[serde(flatten)]
    range: Range<'a>,
    /// Always said: a cursor is worth nothing in another order, and other collectors fell over the default.
    sort: &'static str,
    limit: u32,
}

#[derive(Serialize)]
struct Interval<'a> {
    #[serde(flatten)]
    range: Range<'a>,
    interval_unit: &'static str,
    /// A string in the API's specification.
    interval_value: &'static str,
    timezone: &'static str,
}

impl EventQuery {
    /// The body for `/events`.
    pub fn body(&self) -> Vec<u8> {
        let mut body = json(&Events { range: self.range(), sort: "ASC", limit: self.limit });
        // The cursor goes back as the very text that came: its number must not become a string or lose digits.
        if let Some(cursor) = &self.search_after {
            body.pop();
            body.extend_from_slice(b",\"search_after\":");
            body.extend_from_slice(cursor.as_bytes());
            body.push(b'}');
        }
        body
    }

    /// The body for `/events/count`: neither page nor order.
    pub fn count_body(&self) -> Vec<u8> {
        json(&self.range())
    }

    fn range(&self) -> Range<'_> {
        Range { service: [&self.service], start_time: self.start, end_time: self.end }
    }
}

impl IntervalQuery {
    /// The body for `/events/interval`.
    pub fn body(&self) -> Vec<u8> {
        let interval_unit = match self.unit {
            IntervalUnit::Minute => "m",
            IntervalUnit::Hour => "h",
            IntervalUnit::Day => "d",
        };
        let range = Range { service: [&self.service], start_time: self.start, end_time: Some(self.end) };
        json(&Interval { range, interval_unit, interval_value: "1", timezone: "+0000" })
    }
}

fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("strings, numbers and times can always be written as JSON")
}
