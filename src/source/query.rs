//! What is asked of the API: the request bodies (insights-api §1.4, §1.8).

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
