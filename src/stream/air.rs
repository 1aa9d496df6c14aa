//! Requests in the air, so that an API that answers late is not waited for between one and the next.
//!
//! # Invariants
//! Requests only: whatever an answer brings is admitted by the stream's own task, one answer after the other. An answer
//! that is not taken in stays with its connection, of which no more is read than the system's buffers hold.

use std::time::Duration;

use tokio::task::{JoinError, JoinSet};

use crate::clock;
use crate::plan::{Ask, Ticket};
use crate::source::{Bucket, Error as SourceError, Page};

use super::{Error, Reading, Turn, query};

/// Those of one stream.
#[derive(Default)]
pub(super) struct Air(JoinSet<Landed>);

/// A request that has been answered, or has failed.
pub(super) struct Landed {
    ticket: Ticket,
    /// In [`clock::uptime`].
    sent_at: Duration,
    answer: Answer,
}

enum Answer {
    Page(Box<Result<Page, SourceError>>),
    Interval(Result<Vec<Bucket>, SourceError>),
    Count(Result<u64, SourceError>),
}

impl Air {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// None where nothing is awaited.
    pub async fn landed(&mut self) -> Option<Result<Landed, JoinError>> {
        self.0.join_next().await
    }
}

impl Reading<'_> {
    /// Sends off what the plan asked last.
    pub(super) fn send(&mut self, ask: Ask) {
        let (stream, client) = (self.stream.clone(), self.client());
        let (ticket, sent_at) = (self.plan.send_off(), clock::uptime());
        self.air.0.spawn(async move {
            let (service, organization) = (&stream.key.service, stream.organization());
            let answer = match ask {
                Ask::Page(ask) => {
                    Answer::Page(Box::new(client.events(organization, &query::events(service, ask)).await))
                }
                Ask::Interval { range, unit } => {
                    Answer::Interval(client.interval(organization, &query::interval(service, range, unit)).await)
                }
                Ask::Count { range } => {
                    let limit = stream.settings.page_size;
                    Answer::Count(client.count(organization, &query::count(service, range, limit)).await)
                }
                Ask::Wait { .. } => std::future::pending().await,
            };
            Landed { ticket, sent_at, answer }
        });
    }

    /// Takes an answer in that has come already.
    pub(super) async fn land_if_any(&mut self) -> Result<Turn, Error> {
        match self.air.0.try_join_next() {
            Some(landed) => self.land(landed).await,
            None => Ok(Turn::Next),
        }
    }

    pub(super) async fn land(&mut self, landed: Result<Landed, JoinError>) -> Result<Turn, Error> {
        let Landed { ticket, sent_at, answer } = landed.map_err(|error| Error::Task(error.to_string()))?;
        if !self.plan.answered(ticket) {
            // What it was for has been given up.
            return Ok(Turn::Next);
        }
        if self.may_be_anothers() {
            return Ok(self.leave_out());
        }
        match answer {
            Answer::Page(page) => self.page(*page, sent_at).await,
            Answer::Interval(buckets) => self.interval(buckets, sent_at).await,
            Answer::Count(events) => self.count(events, sent_at).await,
        }
    }
}
