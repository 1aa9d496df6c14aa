//! The plan's requests in the API's words.

use std::ops::Range;

use crate::clock::Time;
use crate::plan::PageAsk;
use crate::plan::cut::Unit;
use crate::source::{EventQuery, IntervalQuery, IntervalUnit};

pub(crate) fn events(service: &str, ask: PageAsk) -> EventQuery {
    EventQuery { service: service.to_owned(), start: ask.from, end: ask.to, limit: ask.limit, search_after: ask.cursor }
}

/// `limit` goes with a count as it does with the pages that are counted.
pub(crate) fn count(service: &str, range: Range<Time>, limit: u32) -> EventQuery {
    events(service, PageAsk { from: range.start, to: Some(range.end), limit, cursor: None })
}

pub(crate) fn interval(service: &str, range: Range<Time>, unit: Unit) -> IntervalQuery {
    let unit = match unit {
        Unit::Minute => IntervalUnit::Minute,
        Unit::Hour => IntervalUnit::Hour,
        Unit::Day => IntervalUnit::Day,
    };
    IntervalQuery { service: service.to_owned(), start: range.start, end: range.end, unit }
}
