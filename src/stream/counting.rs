//! What came in numbers: how many events a range holds, or each unit of it.

use std::time::Duration;

use crate::clock::{self, Time};
use crate::plan::{Asked, CheckFailure};
use crate::source::{Bucket, Class, Error as SourceError};

use super::{CURSOR_TRIES, Error, Reading, Turn};

impl Reading<'_> {
    pub(super) async fn interval(
        &mut self,
        buckets: Result<Vec<Bucket>, SourceError>,
        sent_at: Duration,
    ) -> Result<Turn, Error> {
        match buckets {
            Ok(buckets) => {
                let buckets: Vec<(Time, u64)> = buckets.iter().map(|bucket| (bucket.start, bucket.events)).collect();
                let asked = self.now() - clock::uptime().saturating_sub(sent_at);
                self.plan.interval_read(&mut self.ledger, &buckets, asked);
                self.counted();
            }
            Err(error)
                if error.class() == Class::Refused || !self.plan.is_checking() && self.failures() >= CURSOR_TRIES =>
            {
                tracing::warn!(stream = %self.stream.key, %error, "counting by interval is refused; what it would have divided is read without");
                self.plan.interval_refused();
                self.counted();
            }
            Err(error) => return self.failed(error, sent_at).await,
        }
        Ok(Turn::Next)
    }

    /// A count came: the API answers.
    fn counted(&mut self) {
        self.failing.remove(&self.plan.asked());
        self.healed();
    }

    pub(super) async fn count(&mut self, events: Result<u64, SourceError>, sent_at: Duration) -> Result<Turn, Error> {
        match events {
            Ok(events) => {
                let now = self.now();
                self.plan.count_read(&mut self.ledger, events, now);
                Ok(Turn::Next)
            }
            Err(error) => self.failed(error, sent_at).await,
        }
    }

    /// A comparison with the API failed: it rests and comes again, and the live edge goes on meanwhile.
    pub(super) fn check_failed(&mut self, error: &SourceError) -> Turn {
        tracing::debug!(stream = %self.stream.key, "comparing again later: {error}");
        let polls_succeed = !self.failing.contains_key(&Asked::Live);
        let failure = match error.class() {
            // Of what concerns the key, only 403 is met here.
            Class::Refused | Class::Credential if polls_succeed => CheckFailure::Refused,
            Class::FutureStart => CheckFailure::Refused,
            _ if error.is_of_the_answer() => CheckFailure::Garbled,
            _ => CheckFailure::Passing,
        };
        let now = self.now();
        self.plan.check_failed(&mut self.ledger, now, failure);
        Turn::Next
    }
}
