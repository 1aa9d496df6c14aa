//! A page, from the request to its last event: admitted one by one, batched as they come.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::clock::{self, Time};
use crate::event::Event;
use crate::plan::read::PageEnd;
use crate::plan::{PageAsk, Taken};
use crate::record::{DeadLetter, Reason, raw};
use crate::source::{Element, Error as SourceError, Malformed, Oversized, Page};

use super::{Error, Reading, Turn, or_end, query};

/// What was gathered of a slow page is sent off after this long.
const SLOW: Duration = Duration::from_secs(5);
/// So many times [`SLOW`] without a whole event are said.
const SILENCE: u32 = 6;
/// An answer with something malformed is asked for again so often before the malformed goes to the dead letters.
const MALFORMED_TRIES: u32 = 3;

/// How a page came to its end.
enum Ended {
    Whole { elements: u32 },
    Failed(SourceError),
    Shutdown,
}

impl Reading<'_> {
    /// A page of the live edge, which nothing else is done beside.
    pub(super) async fn poll(&mut self, ask: PageAsk) -> Result<Turn, Error> {
        if ask.cursor.is_none() && !self.may_poll().await {
            return Ok(Turn::End);
        }
        let (stream, client, sent_at) = (self.stream.clone(), self.client(), clock::uptime());
        let query = query::events(&stream.key.service, ask);
        match stream.until_shutdown(client.events(stream.organization(), &query)).await {
            None => Ok(Turn::End),
            Some(_) if self.may_be_anothers() => Ok(self.leave_out()),
            Some(page) => self.page(page, sent_at).await,
        }
    }

    /// The answer to what was asked last, which was sent at `sent_at` in [`clock::uptime`].
    pub(super) async fn page(&mut self, page: Result<Page, SourceError>, sent_at: Duration) -> Result<Turn, Error> {
        let mut page = match page {
            Err(error) => return self.failed(error, sent_at).await,
            Ok(page) => page,
        };
        let stream = self.stream.clone();
        let now = page.head.sent_at.or_else(|| stream.client.now()).unwrap_or_default();
        match self.elements(&mut page, now).await? {
            Ended::Shutdown => Ok(Turn::End),
            Ended::Failed(error) => self.failed(error, sent_at).await,
            Ended::Whole { elements } => {
                if self.plan.is_checking() {
                    self.schedule.reset();
                } else {
                    self.succeeded();
                }
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
        if *self.ledger.coverage() != covered && (!idle || self.is_save_due()) {
            self.submit().await?;
        }
        self.tell();
        Ok(Turn::Next)
    }

    /// Takes every element in, committing whenever the batch is full.
    async fn elements(&mut self, page: &mut Page, now: Time) -> Result<Ended, Error> {
        let mut shutdown = self.stream.shutdown.clone();
        let (mut elements, mut heard, mut silent) = (0, 0, 0);
        let mut slow = pin!(sleep(SLOW));
        loop {
            let next = async {
                tokio::select! {
                    biased;
                    next = page.next() => Some(next),
                    () = &mut slow => None,
                }
            };
            let Some(next) = or_end(&mut shutdown, next).await else { return Ok(Ended::Shutdown) };
            let Some(next) = next else {
                silent = if elements == heard { silent + 1 } else { 0 };
                heard = elements;
                self.slow_page(silent).await?;
                slow.as_mut().reset(Instant::now() + SLOW);
                continue;
            };
            match next {
                Err(error) => return Ok(Ended::Failed(error)),
                Ok(None) => return Ok(Ended::Whole { elements }),
                Ok(Some(Element::Event(event))) => self.admit(event, now),
                Ok(Some(Element::Oversized(oversized))) => self.admit_oversized(oversized, now),
                Ok(Some(Element::Malformed(malformed))) => {
                    if let Err(error) = self.admit_malformed(malformed, page.is_the_apis(), now) {
                        return Ok(Ended::Failed(error));
                    }
                }
            }
            elements += 1;
            if self.gathered.is_full(self.stream.route.batch_bytes(), &self.stream.room) {
                self.submit().await?;
            }
        }
    }

    /// A page that comes slowly holds back neither what it brought nor the news of it.
    async fn slow_page(&mut self, silent: u32) -> Result<(), Error> {
        if silent >= SILENCE {
            self.report.stalled(SLOW * SILENCE);
        }
        if self.ledger.has_admitted() { self.submit().await } else { Ok(()) }
    }

    fn admit(&mut self, event: Event, now: Time) {
        self.report.read_one();
        match self.plan.admit(&mut self.ledger, &event, now) {
            Taken::Outside => {}
            Taken::Known => self.report.known(),
            Taken::New(delivery) => {
                self.report.admitted(&event, delivery, now, self.purpose());
                self.gathered.push(raw::format(event, delivery, now, &self.organization));
            }
        }
    }

    fn admit_oversized(&mut self, oversized: Oversized, now: Time) {
        let Oversized { head, size, digest } = oversized;
        self.plan.saw_no_event();
        if self.ledger.admit_head(&digest) {
            let kept = head.len();
            let explanation =
                format!("the event has {size} bytes, more than poll.max_event_bytes; its first {kept} are kept");
            self.bury(Reason::TooLarge, explanation, head, size, now);
        }
    }

    /// An answer that is garbled now and whole a moment later loses nothing; one that stays so must not hold up what
    /// comes after it.
    fn admit_malformed(&mut self, malformed: Malformed, is_the_apis: bool, now: Time) -> Result<(), SourceError> {
        let Malformed { bytes, why, digest } = malformed;
        self.plan.saw_no_event();
        if self.ledger.knows_head(&digest) {
            return Ok(());
        }
        if !is_the_apis || self.failures() < MALFORMED_TRIES {
            return Err(SourceError::Malformed { why: format!("one of its events is none ({why})") });
        }
        self.ledger.admit_head(&digest);
        let size = bytes.len() as u64;
        let explanation = format!("the API shows something that is no event ({why}); report it to JumpCloud");
        self.bury(Reason::Malformed, explanation, bytes, size, now);
        Ok(())
    }

    fn bury(&mut self, reason: Reason, explanation: String, value: Bytes, size: u64, now: Time) {
        let key = &self.stream.key;
        let mut headers = vec![("organization", key.organization.clone()), ("service", key.service.clone())];
        if let Some(range) = self.plan.reading_range(now) {
            headers.push(("window-from", range.start.to_string()));
            headers.push(("window-to", range.end.to_string()));
        }
        let organization = self.organization.clone();
        self.gathered.bury(DeadLetter { reason, explanation, value, size, headers, organization });
    }
}
