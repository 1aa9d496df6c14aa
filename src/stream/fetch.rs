//! A page, from the request to its last event: admitted one by one, batched as they come.

use crate::clock::{self, Time};
use crate::event::Event;
use crate::plan::read::PageEnd;
use crate::plan::{PageAsk, Taken};
use crate::record::{DeadLetter, Reason, raw};
use crate::source::{Element, Error as SourceError, EventQuery, Oversized, Page};

use super::{Error, Reading, Turn, or_end};

/// How a page came to its end.
enum Ended {
    Whole { elements: u32 },
    Failed(SourceError),
    Shutdown,
}

impl Reading<'_> {
    pub(super) async fn page(&mut self, ask: PageAsk) -> Result<Turn, Error> {
        let query = EventQuery {
            service: self.stream.key.service.clone(),
            start: ask.from,
            end: ask.to,
            limit: ask.limit,
            search_after: ask.cursor,
        };
        let stream = self.stream.clone();
        let mut page = match stream.until_shutdown(stream.client.events(stream.organization(), &query)).await {
            None => return Ok(Turn::End),
            Some(Err(error)) => return self.failed(error).await,
            Some(Ok(page)) => page,
        };
        let now = page.head.sent_at.or_else(|| stream.client.now()).unwrap_or_default();
        match self.elements(&mut page, now).await? {
            Ended::Shutdown => Ok(Turn::End),
            Ended::Failed(error) => self.failed(error).await,
            Ended::Whole { elements } => {
                self.succeeded();
                self.page_read(page, elements, now).await
            }
        }
    }

    async fn page_read(&mut self, page: Page, elements: u32, sent_at: Time) -> Result<Turn, Error> {
        let end = PageEnd { limit: page.head.limit, elements, cursor: page.head.cursor, sent_at };
        let polling = self.plan.is_polling();
        let covered = self.ledger.coverage().clone();
        let now = self.stream.client.now().unwrap_or(sent_at);
        self.plan.page_read(&mut self.ledger, end, now);
        let idle = polling && !self.ledger.has_admitted();
        let due = clock::uptime().saturating_sub(self.saved_at) >= self.stream.idle_save;
        if *self.ledger.coverage() != covered && (!idle || due) {
            self.submit().await?;
        }
        self.tell();
        Ok(Turn::Next)
    }

    /// Takes every element in, committing whenever the batch is full.
    async fn elements(&mut self, page: &mut Page, now: Time) -> Result<Ended, Error> {
        let mut shutdown = self.stream.shutdown.clone();
        let mut elements = 0;
        loop {
            match or_end(&mut shutdown, page.next()).await {
                None => return Ok(Ended::Shutdown),
                Some(Err(error)) => return Ok(Ended::Failed(error)),
                Some(Ok(None)) => return Ok(Ended::Whole { elements }),
                Some(Ok(Some(Element::Event(event)))) => self.admit(event, now),
                Some(Ok(Some(Element::Oversized(oversized)))) => self.admit_oversized(oversized, now),
            }
            elements += 1;
            if self.gathered.is_full() {
                self.submit().await?;
            }
        }
    }

    fn admit(&mut self, event: Event, now: Time) {
        self.report.read_one();
        match self.plan.admit(&mut self.ledger, &event, now) {
            Taken::Outside => {}
            Taken::Known => self.report.known(),
            Taken::New(delivery) => {
                self.gathered.bytes += event.bytes().len();
                self.report.admitted(&event, delivery, now, !self.plan.is_polling());
                self.gathered.records.push(raw::format(event, delivery, now, &self.organization));
            }
        }
    }

    fn admit_oversized(&mut self, oversized: Oversized, now: Time) {
        let Oversized { head, size } = oversized;
        if !self.ledger.admit_head(&head) {
            return;
        }
        let key = &self.stream.key;
        let mut headers = vec![("organization", key.organization.clone()), ("service", key.service.clone())];
        if let Some(range) = self.plan.reading_range(now) {
            headers.push(("window-from", range.start.to_string()));
            headers.push(("window-to", range.end.to_string()));
        }
        self.gathered.bytes += head.len();
        self.gathered.dead.push(DeadLetter {
            reason: Reason::TooLarge,
            explanation: format!(
                "the event has {size} bytes, more than poll.max_event_bytes; its first {} are kept",
                head.len()
            ),
            value: head,
            size,
            headers,
            organization: self.organization.clone(),
        });
    }
}
