//! What is asked in numbers: how many events a range holds, or each unit of it.

use std::ops::Range;

use crate::clock::Time;
use crate::plan::cut::Unit;
use crate::source::{Class, Error as SourceError, EventQuery, IntervalQuery, IntervalUnit};

use super::{CURSOR_TRIES, Error, Reading, Turn};

impl Reading<'_> {
    pub(super) async fn interval(&mut self, range: Range<Time>, unit: Unit) -> Result<Turn, Error> {
        let query = IntervalQuery {
            service: self.stream.key.service.clone(),
            start: range.start,
            end: range.end,
            unit: match unit {
                Unit::Minute => IntervalUnit::Minute,
                Unit::Hour => IntervalUnit::Hour,
                Unit::Day => IntervalUnit::Day,
            },
        };
        let (stream, client) = (self.stream.clone(), self.client());
        let asked = stream.until_shutdown(client.interval(stream.organization(), &query)).await;
        let failures = if self.plan.is_checking() { 0 } else { *self.failures() };
        match asked {
            None => return Ok(Turn::End),
            Some(Ok(buckets)) => {
                let buckets: Vec<(Time, u64)> = buckets.iter().map(|bucket| (bucket.start, bucket.events)).collect();
                self.plan.interval_read(&mut self.ledger, &buckets);
                self.counted();
            }
            Some(Err(SourceError::NoTurn { .. })) => {}
            Some(Err(error)) if error.class() == Class::Refused || failures >= CURSOR_TRIES => {
                tracing::warn!(stream = %self.stream.key, %error, "counting by interval is refused; what it would have divided is read without");
                self.plan.interval_refused();
                self.counted();
            }
            Some(Err(error)) => return self.failed(error).await,
        }
        Ok(Turn::Next)
    }

    pub(super) async fn count(&mut self, range: Range<Time>) -> Result<Turn, Error> {
        let query = EventQuery {
            service: self.stream.key.service.clone(),
            start: range.start,
            end: Some(range.end),
            limit: self.stream.settings.page_size,
            search_after: None,
        };
        let (stream, client) = (self.stream.clone(), self.client());
        match stream.until_shutdown(client.count(stream.organization(), &query)).await {
            None => Ok(Turn::End),
            Some(Ok(events)) => {
                let now = self.now();
                self.plan.count_read(&mut self.ledger, events, now);
                Ok(Turn::Next)
            }
            Some(Err(error)) => self.failed(error).await,
        }
    }

    /// A comparison with the API failed: it rests and comes again, and the live edge goes on meanwhile.
    pub(super) fn check_failed(&mut self, error: &SourceError) -> Turn {
        tracing::debug!(stream = %self.stream.key, "comparing again later: {error}");
        let for_good = error.class() == Class::Refused || error.class() == Class::FutureStart;
        let now = self.now();
        self.plan.check_failed(&mut self.ledger, now, for_good);
        Turn::Next
    }
}
