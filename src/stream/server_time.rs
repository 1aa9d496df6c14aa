//! The API's time, before anything else is asked for.

use std::time::Duration;

use crate::clock::{self, Time};
use crate::source::{Error as SourceError, EventQuery};

use super::report::Report;
use super::{PAUSE, Stream};

/// So many answers without a usable `Date`, and our wall clock counts.
const UNDATED_TRIES: u32 = 5;

impl Stream {
    /// The server's time; asks for any answer until one carries a usable `Date`. None when told to end meanwhile.
    /// After some answers without one our wall clock counts.
    pub(super) async fn server_time(&self, report: &mut Report) -> Option<Time> {
        let mut schedule = crate::retry::Schedule::new(PAUSE.start, PAUSE.end);
        let mut undated = 0;
        loop {
            if let Some(now) = self.client.now() {
                return Some(now);
            }
            let first = self.until_shutdown(self.client.first()).await?;
            if let Some(now) = self.client.now() {
                return Some(now);
            }
            let asked = self.until_shutdown(self.client.organizations()).await?;
            // The organizations may live on a host that can't be reached from here, or fail without a `Date`.
            let asked = match (self.client.now(), asked) {
                (None, Err(_)) => self.until_shutdown(self.ask_anything()).await?.map(|_| ()),
                (_, asked) => asked.map(|_| ()),
            };
            match (self.client.now(), asked) {
                (Some(now), _) => return Some(now),
                (None, Err(error)) => report.trouble(&error),
                (None, Ok(())) => {
                    undated += 1;
                    report.undated(true, false);
                    if undated >= UNDATED_TRIES {
                        self.client.do_without_dates();
                        continue;
                    }
                }
            }
            drop(first);
            self.until_shutdown(tokio::time::sleep(schedule.pause())).await?;
        }
    }

    async fn ask_anything(&self) -> Result<u64, SourceError> {
        let query = EventQuery {
            service: self.key.service.clone(),
            start: clock::wall() - Duration::from_secs(3_600),
            end: None,
            limit: 1,
            search_after: None,
        };
        self.client.count(self.organization(), &query).await
    }
}
