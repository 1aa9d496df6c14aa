//! One stream's range: ask, admit, format, commit, until all of it is delivered.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use crate::clock::{self, Time};
use crate::commit::{Batch, Route, commit};
use crate::ledger::{Coverage, FingerprintKey, length};
use crate::plan::again::Again;
use crate::plan::cut::Unit;
use crate::plan::read::PageEnd;
use crate::plan::{Ask, PageAsk, Taken};
use crate::record::{DeadLetter, Reason, Record, raw};
use crate::replay::tally::Part;
use crate::replay::{Ended, Error, PAUSE, Progress, Replay, Stream, TRIES};
use crate::retry::Schedule;
use crate::source::{Class, Element, Error as SourceError, Malformed, Oversized};
use crate::stream::{or_end, query};

/// A batch ends behind so many records or bytes, where the next millisecond begins.
const RECORDS: usize = 10_000;
const BYTES: usize = 4 << 20;
/// At so many times that it ends within a millisecond; what it holds of it comes again after a crash.
const AT_MOST: usize = 2;
/// So many times an answer with something malformed is asked for again.
const MALFORMED_TRIES: u32 = 3;
/// From so many failures in a row on they are told.
const NEWS: u32 = 3;
const ANOTHERS: &str = "the key belongs to another organization; give back a key of this one, or set organizations";

pub(super) struct Reading<'a> {
    stream: &'a Stream,
    route: &'a Route,
    progress: &'a Progress,
    shutdown: watch::Receiver<bool>,
    organization: Arc<str>,
    range: Range<Time>,
    again: Again,
    /// [`crate::source::Client::key_changes`] when the key was last known to be this organization's.
    key_changes: u64,
    gathered: Gathered,
    /// The last batch ended within a millisecond, so that what it delivered is not known to be done.
    torn: bool,
    /// Of the time that is left at the beginning.
    left: Duration,
    part: Part,
    failures: u32,
    pauses: Schedule,
    said: Option<String>,
}

#[derive(Default)]
struct Gathered {
    records: Vec<Record>,
    dead: Vec<DeadLetter>,
    bytes: usize,
}

/// Whether to go on.
enum Turn {
    Next,
    End,
}

impl<'a> Reading<'a> {
    pub fn new(
        replay: &Replay,
        stream: &'a Stream,
        route: &'a Route,
        progress: &'a Progress,
        done: Coverage,
    ) -> Reading<'a> {
        let mut key = [0; 16];
        getrandom::fill(&mut key).expect("the operating system has random numbers");
        Reading {
            stream,
            route,
            progress,
            shutdown: replay.shutdown.clone(),
            organization: stream.key.organization.as_str().into(),
            range: replay.range.clone(),
            left: left(&done, &replay.range),
            again: Again::new(replay.page_size, FingerprintKey(key), replay.range.clone(), done),
            key_changes: 0,
            gathered: Gathered::default(),
            torn: false,
            part: Part::default(),
            failures: 0,
            pauses: Schedule::new(PAUSE.start, PAUSE.end),
            said: None,
        }
    }

    /// Reads and delivers; `tell` hears how far it has come.
    pub async fn read(&mut self, tell: impl Fn(Part)) -> Result<Ended, Error> {
        while !*self.shutdown.borrow() {
            if self.may_be_anothers()
                && let Turn::End = self.check_owner().await
            {
                break;
            }
            let turn = match self.again.ask() {
                Some(Ask::Page(ask)) => self.page(ask).await?,
                Some(Ask::Interval { range, unit }) => self.interval(range, unit).await?,
                // Only a plan beside the present ever waits, or compares.
                Some(Ask::Wait { .. } | Ask::Count { .. }) | None => {
                    self.commit(None).await?;
                    self.tell(&tell);
                    let unread = self.again.unread().iter();
                    let unread = unread.map(|(range, why)| (self.stream.key.clone(), range.clone(), *why)).collect();
                    return Ok(Ended { early: false, unread });
                }
            };
            self.tell(&tell);
            if let Turn::End = turn {
                break;
            }
        }
        Ok(Ended { early: true, unread: Vec::new() })
    }

    fn tell(&mut self, tell: impl Fn(Part)) {
        self.part.expected = self.again.expected();
        let left = left(self.again.done(), &self.range).as_secs_f64();
        self.part.share_of_time = 1.0 - left / self.left.as_secs_f64().max(f64::MIN_POSITIVE);
        tell(self.part);
    }

    async fn interval(&mut self, range: Range<Time>, unit: Unit) -> Result<Turn, Error> {
        let query = query::interval(&self.stream.key.service, range.clone(), unit);
        let asked = self.stream.client.interval(self.stream.organization(), &query);
        match or_end(&mut self.shutdown, asked).await {
            None => return Ok(Turn::End),
            Some(_) if self.may_be_anothers() => return Ok(Turn::Next),
            Some(Ok(buckets)) => {
                let buckets: Vec<(Time, u64)> = buckets.iter().map(|bucket| (bucket.start, bucket.events)).collect();
                self.again.interval_read(&buckets);
            }
            Some(Err(error)) if error.class() == Class::Refused || self.failures >= TRIES => {
                tracing::warn!(stream = %self.stream.key, %error, "counting by interval is refused; it is read without");
                self.again.interval_refused();
            }
            Some(Err(error)) => return self.failed(error, range).await,
        }
        self.succeeded();
        Ok(Turn::Next)
    }

    async fn page(&mut self, ask: PageAsk) -> Result<Turn, Error> {
        let range = ask.from..ask.to.unwrap_or(self.range.end);
        let query = query::events(&self.stream.key.service, ask);
        let asked = self.stream.client.events(self.stream.organization(), &query);
        let mut page = match or_end(&mut self.shutdown, asked).await {
            None => return Ok(Turn::End),
            Some(_) if self.may_be_anothers() => {
                self.again.begin_again();
                return Ok(Turn::Next);
            }
            Some(Err(error)) => return self.failed(error, range).await,
            Some(Ok(page)) => page,
        };
        let now = page.head.sent_at.unwrap_or_else(clock::wall);
        let mut elements = 0;
        loop {
            match or_end(&mut self.shutdown, page.next()).await {
                None => return Ok(Turn::End),
                Some(Err(error)) => return self.failed(error, range).await,
                Some(Ok(None)) => break,
                Some(Ok(Some(Element::Event(event)))) => {
                    let taken = self.again.admit(&event);
                    let passed = self.again.passed();
                    let is_due = self.gathered.is_full(1) || self.torn;
                    if is_due && passed.is_some() || self.gathered.is_full(AT_MOST) {
                        self.commit(passed).await?;
                    }
                    if let Taken::New(delivery) = taken {
                        self.gathered.push(raw::format(event, delivery, now, &self.organization));
                    }
                }
                Some(Ok(Some(Element::Oversized(oversized)))) => self.take_oversized(oversized),
                Some(Ok(Some(Element::Malformed(malformed)))) => {
                    if let Err(error) = self.take_malformed(malformed, page.is_the_apis()) {
                        return self.failed(error, range).await;
                    }
                }
            }
            elements += 1;
        }
        self.succeeded();
        let end = PageEnd { limit: page.head.limit, elements, cursor: page.head.cursor, sent_at: now };
        if let Some(shown) = self.again.page_read(end) {
            self.commit(Some(shown)).await?;
        }
        Ok(Turn::Next)
    }

    /// Delivers what was gathered, then saves that `shown` is done.
    async fn commit(&mut self, shown: Option<Range<Time>>) -> Result<(), Error> {
        let Gathered { records, dead, .. } = std::mem::take(&mut self.gathered);
        if records.is_empty() && dead.is_empty() && shown.is_none() {
            return Ok(());
        }
        self.torn = shown.is_none();
        if let Some(shown) = shown {
            self.again.delivered(shown);
        }
        let events = records.len() as u64;
        let checkpoint = self.progress.checkpoint(self.again.done());
        let dead = commit(self.route, &self.stream.key, Batch { records, dead, checkpoint }).await?;
        self.part.delivered += events;
        self.part.dead_letters += dead.len() as u64;
        Ok(())
    }

    fn succeeded(&mut self) {
        self.failures = 0;
        self.pauses.reset();
        if self.said.take().is_some() {
            tracing::info!(stream = %self.stream.key, "the API answers again");
        }
    }

    /// A request for events or counts of `range` failed: waits for what may heal.
    async fn failed(&mut self, error: SourceError, range: Range<Time>) -> Result<Turn, Error> {
        self.failures += 1;
        let pause = match error.class() {
            // A proxy's redirect passes; what is said again and again is meant.
            Class::Refused | Class::FutureStart if self.failures >= TRIES => {
                return Err(Error::Source { stream: self.stream.key.clone(), range, error });
            }
            Class::Refused | Class::FutureStart => self.pauses.pause(),
            Class::Retry { after: Some(after) } if self.failures == 1 => after,
            Class::Retry { after } => self.pauses.pause().max(after.unwrap_or_default()),
            Class::Credential => PAUSE.end.min(self.pauses.pause() * 4),
        };
        if self.failures >= NEWS || error.class() == Class::Credential {
            self.say(error.to_string());
        }
        self.give_way(&error).await?;
        let (client, is_credential) = (&self.stream.client, error.class() == Class::Credential);
        let waited = or_end(&mut self.shutdown, async {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = client.credential_changed(), if is_credential => {}
            }
        });
        Ok(if waited.await.is_some() { Turn::Next } else { Turn::End })
    }

    /// Whether the key was replaced since it was last known to be this organization's.
    fn may_be_anothers(&self) -> bool {
        self.stream.client.key_changes() != self.key_changes
    }

    /// Waits until the key is known to be this organization's.
    async fn check_owner(&mut self) -> Turn {
        loop {
            let Stream { client, key, .. } = self.stream;
            let changes = client.key_changes();
            let asked = client.is_anothers(&key.organization, self.stream.organization());
            match or_end(&mut self.shutdown, asked).await {
                None => return Turn::End,
                Some(Ok(false)) => {
                    self.key_changes = changes;
                    self.succeeded();
                    return Turn::Next;
                }
                Some(Ok(true)) => self.say(ANOTHERS.to_owned()),
                Some(Err(error)) => self.say(error.to_string()),
            }
            if or_end(&mut self.shutdown, tokio::time::sleep(self.pauses.pause())).await.is_none() {
                return Turn::End;
            }
        }
    }

    /// Once for each cause.
    fn say(&mut self, text: String) {
        if self.said.as_ref() != Some(&text) {
            tracing::warn!(stream = %self.stream.key, "waiting: {text}");
            self.said = Some(text);
        }
    }

    /// What fails again and again begins anew, or is narrowed down where it is the answers that fail.
    async fn give_way(&mut self, error: &SourceError) -> Result<(), Error> {
        let tries = if self.again.is_narrowing() { 1 } else { TRIES };
        let is_in_window = self.again.reading_range().is_some();
        if is_in_window && error.is_of_the_answer() && self.failures >= tries {
            self.failures = 0;
            if let Some(shown) = self.again.read_unreadable() {
                self.commit(Some(shown)).await?;
            }
        } else if self.failures.is_multiple_of(TRIES) {
            self.again.begin_again();
        }
        Ok(())
    }

    fn take_oversized(&mut self, oversized: Oversized) {
        let Oversized { head, size, digest } = oversized;
        if self.again.admit_head(&digest) {
            let kept = head.len();
            let explanation =
                format!("the event has {size} bytes, more than poll.max_event_bytes; its first {kept} are kept");
            self.bury(Reason::TooLarge, explanation, head, size);
        }
    }

    fn take_malformed(&mut self, malformed: Malformed, is_the_apis: bool) -> Result<(), SourceError> {
        let Malformed { bytes, why, digest } = malformed;
        if self.again.knows_head(&digest) {
            return Ok(());
        }
        if !is_the_apis || self.failures < MALFORMED_TRIES {
            return Err(SourceError::Malformed { why: format!("one of its events is none ({why})") });
        }
        self.again.admit_head(&digest);
        let size = bytes.len() as u64;
        let explanation = format!("the API shows something that is no event ({why}); report it to JumpCloud");
        self.bury(Reason::Malformed, explanation, bytes, size);
        Ok(())
    }

    fn bury(&mut self, reason: Reason, explanation: String, value: Bytes, size: u64) {
        let key = &self.stream.key;
        let mut headers = vec![("organization", key.organization.clone()), ("service", key.service.clone())];
        if let Some(range) = self.again.reading_range() {
            headers.push(("window-from", range.start.to_string()));
            headers.push(("window-to", range.end.to_string()));
        }
        let organization = self.organization.clone();
        self.gathered.bury(DeadLetter { reason, explanation, value, size, headers, organization });
    }
}

impl Gathered {
    fn push(&mut self, record: Record) {
        self.bytes += record.value.len();
        self.records.push(record);
    }

    fn bury(&mut self, letter: DeadLetter) {
        self.bytes += letter.value.len();
        self.dead.push(letter);
    }

    fn is_full(&self, times: usize) -> bool {
        self.records.len() >= RECORDS * times || self.bytes >= BYTES * times
    }
}

/// How much of the range is not done.
fn left(done: &Coverage, range: &Range<Time>) -> Duration {
    length(&done.gaps(range.clone()))
}
