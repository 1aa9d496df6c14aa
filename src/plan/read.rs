//! A paged read: one query, page after page, until the API has no more.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Range;
use std::time::Duration;

use crate::clock::Time;
use crate::event::Event;
use crate::ledger::{Ledger, Place};
use crate::plan::boundary::Boundary;
use crate::plan::sightings::{Shown, Sightings};
use crate::plan::{PageAsk, WINDOW_PAGES};

/// So many pages in a row that show nothing but what this read has shown already, with ever new cursors, lead nowhere, ...
const IDLE_PAGES: u32 = 3;
/// ... where they have so many elements together: an event that is stored several times fills small pages by itself.
const IDLE_ELEMENTS: u32 = 50;

const MILLISECOND: Duration = Duration::from_millis(1);

/// What a read is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// The newest time; takes whatever comes.
    Live,
    /// A part of a gap; takes only what lies in it.
    Window,
    /// What was read before and counted otherwise; takes what is new of it.
    Settle,
    /// The same, since its last age has come: what was delivered must be shown.
    Compare,
    /// An hour of which events were delivered: does it show any? Its first event is all of it, and is not taken.
    Witness,
}

/// What is known at a page's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageEnd {
    /// `X-Limit`: what the API took as the limit; none without that header.
    pub limit: Option<u32>,
    /// Elements of the array.
    pub elements: u32,
    /// `X-Search_after`.
    pub cursor: Option<String>,
    /// The server's time when the request was sent.
    pub sent_at: Time,
}

/// Where a read stands after a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Goes,
    Ended,
    /// A full page without a cursor, with one that had been used before, or one after others with nothing new.
    Unpageable,
}

/// A read in progress.
#[derive(Debug)]
pub struct Read {
    pub reading: Reading,
    /// What it still reads: moves on when a long window is cut off behind it, while the query stays.
    pub from: Time,
    pub to: Option<Time>,
    asked_from: Time,
    cursor: Option<String>,
    used_cursors: HashSet<String>,
    sent_at: Option<Time>,
    pages: u32,
    /// The last event's time.
    last: Option<Time>,
    /// No event came after one with a later millisecond.
    ascending: bool,
    /// The earliest time shown of what it is for.
    earliest: Option<Time>,
    pub sightings: Sightings,
    /// Records shown in the millisecond that it was to end at.
    at_end: u64,
    known_recent: u64,
    known_future: u64,
    /// The latest time shown so far.
    latest: Option<Time>,
    /// Hashes of the events not taken that were shown since the latest time last moved.
    again: HashSet<u64>,
    /// Whether the page under way has shown anything that this read had not.
    moved: bool,
    idle: Idle,
}

/// Pages in a row that showed nothing that the read had not shown.
#[derive(Debug, Default)]
struct Idle {
    pages: u32,
    elements: u32,
}

impl Idle {
    fn saw(&mut self, elements: u32) {
        self.pages += 1;
        self.elements = self.elements.saturating_add(elements);
    }

    fn leads_nowhere(&self) -> bool {
        self.pages >= IDLE_PAGES && self.elements >= IDLE_ELEMENTS
    }
}

impl Read {
    pub fn new(reading: Reading, from: Time, to: Option<Time>) -> Read {
        Read {
            reading,
            from,
            to,
            asked_from: from,
            cursor: None,
            used_cursors: HashSet::new(),
            sent_at: None,
            pages: 0,
            last: None,
            ascending: true,
            earliest: None,
            sightings: Sightings::default(),
            at_end: 0,
            known_recent: 0,
            known_future: 0,
            latest: None,
            again: HashSet::new(),
            moved: false,
            idle: Idle::default(),
        }
    }

    /// The next page. The query stays the same from page to page, as the API asks (insights-api §1.7), and speaks of
    /// whole milliseconds: an API that knows no finer time would end the read before the millisecond it was to end in.
    pub fn ask(&mut self, limit: u32) -> PageAsk {
        self.sightings.begin_page();
        self.earliest = None;
        PageAsk {
            from: self.asked_from.floor(MILLISECOND),
            to: self.to.map(|to| to.ceil(MILLISECOND)),
            limit: if self.reading == Reading::Witness { 1 } else { limit },
            cursor: self.cursor.clone(),
        }
    }

    /// Whether an event of that time is what the read is for. Whether the API includes its end is not known, so a
    /// window compares for itself; a live poll takes all.
    pub fn admits(&self, time: Time) -> bool {
        match self.reading {
            Reading::Live => true,
            _ => self.from <= time && self.to.is_none_or(|to| time < to),
        }
    }

    /// Notes the order that events come in, and what it tells of where the API ends a query.
    pub fn saw(&mut self, time: Time, boundary: &mut Boundary) {
        self.ascending &= self.last.is_none_or(|last| last.as_millis() <= time.as_millis());
        if let Some(last) = self.last.filter(|_| self.ascending) {
            boundary.saw(last, time);
        }
        self.last = Some(time);
        let whole = |to: &Time| to.floor(MILLISECOND) == *to;
        if self.to.filter(whole).is_some_and(|to| to <= time && time.as_millis() == to.as_millis()) {
            self.at_end += 1;
            boundary.saw_end();
        }
    }

    /// Notes a record of what the read is for.
    pub fn saw_record(&mut self, place: Place, time: Option<Time>) {
        match time {
            Some(time) => {
                self.sightings.saw(place.minute, place.fingerprint);
                self.earliest = Some(self.earliest.map_or(time, |earliest| earliest.min(time)));
            }
            None => self.sightings.saw_untimed(),
        }
    }

    /// What it has shown of `range`; of a read that was to settle a count, with what lies on its end, which may have been
    /// counted too.
    pub fn shown(&mut self, range: &Range<Time>, ledger: &Ledger) -> Shown {
        let mut shown = self.sightings.take(range, ledger);
        if self.reading == Reading::Settle {
            shown.records += self.at_end;
        }
        shown
    }

    /// Notes an event that was not taken: whether this read has shown it before.
    pub fn saw_again(&mut self, event: &Event, time: Option<Time>) {
        if time > self.latest {
            self.latest = time;
            self.again.clear();
            self.moved = true;
            return;
        }
        let mut hasher = DefaultHasher::new();
        event.bytes().hash(&mut hasher);
        self.moved |= self.again.insert(hasher.finish());
    }

    /// Notes an event that the ledger did not have.
    pub fn saw_new(&mut self) {
        self.moved = true;
    }

    pub fn known(&mut self, future: bool) {
        if future { self.known_future += 1 } else { self.known_recent += 1 }
    }

    /// The page, asked for at `sent_at`, came to its end: what the ledger is to know of what it showed, beside its new
    /// events.
    pub fn tell(&mut self, ledger: &mut Ledger, sent_at: Time) {
        self.sightings.end_page(ledger);
        self.earliest.inspect(|earliest| ledger.saw_age(sent_at.since(*earliest)));
    }

    pub fn page_read(&mut self, end: PageEnd) -> Standing {
        self.sent_at.get_or_insert(end.sent_at);
        self.pages += 1;
        let ended = match end.limit {
            Some(limit) if limit > 0 => end.elements < limit,
            _ => end.elements == 0,
        };
        if ended || self.reading == Reading::Witness {
            return Standing::Ended;
        }
        if std::mem::take(&mut self.moved) {
            self.idle = Idle::default();
        } else {
            self.idle.saw(end.elements);
        }
        match end.cursor {
            _ if self.idle.leads_nowhere() => Standing::Unpageable,
            Some(cursor) if self.used_cursors.insert(cursor.clone()) => {
                self.cursor = Some(cursor);
                Standing::Goes
            }
            _ => Standing::Unpageable,
        }
    }

    /// The server's time when the first request was sent.
    pub fn sent_at(&self, now: Time) -> Time {
        self.sent_at.unwrap_or(now)
    }

    /// The time it reads; a live poll's ends at `now` or where it was bounded.
    pub fn range(&self, now: Time) -> Range<Time> {
        self.from..self.to.unwrap_or(now)
    }

    /// The whole minute that the last event shown lies in: all before it has been shown. None where they did not come
    /// in order.
    fn passed_minute(&self) -> Option<Time> {
        self.last.filter(|_| self.ascending).map(|last| last.floor(Duration::from_secs(60)))
    }

    pub fn pages(&self) -> u32 {
        self.pages
    }

    /// Where a read with more pages than foreseen can be concluded before its end: pages come by ascending timestamp, so all
    /// before the last whole minute that it has passed has been shown.
    pub fn long_behind(&self) -> Option<Time> {
        let inside = |minute: &Time| self.from < *minute && self.to.is_none_or(|to| *minute < to);
        self.passed_minute().filter(|minute| self.pages >= WINDOW_PAGES && inside(minute))
    }

    /// What lies before `minute` is done with.
    pub fn begin_at(&mut self, minute: Time) {
        self.from = minute;
        self.pages = 0;
    }

    pub fn known_recent(&self) -> u64 {
        self.known_recent
    }

    pub fn known_future(&self) -> u64 {
        self.known_future
    }
}
