//! What to ask next: the live edge, the gaps, and the reads that serve them.
//!
//! The plan answers one question: given the ledger and the time, what should be asked next? Its caller asks it of the
//! API, hands every event to [`Plan::admit`] and the page's end to [`Plan::page_read`], and begins again. Live polls
//! go first; between them gaps are read, the newest first, in windows of about five pages, several at a time
//! ([`windows`]), and what was read is compared with the API again as it ages ([`verify`]).
//!
//! # Invariants
//! Pure: no I/O, no clock, no `await`; it cannot fail. Coverage is extended only by a read that came to its end.
//! No cursor outlives its paged read. Nothing here is stored: after a crash the ledger alone says what to ask.

pub mod again;
mod aside;
pub mod boundary;
mod check;
pub mod cut;
pub mod due;
pub mod read;
mod reads;
mod settings;
pub mod sightings;
mod task;
pub mod verify;
mod windows;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use crate::clock::Time;
use crate::event::Event;
use crate::ledger::Ledger;
use crate::record::Delivery;
pub use aside::Aside;
pub use check::CheckFailure;
use cut::{Cuts, Unit};
pub use due::Ages;
use read::{PageEnd, Read, Reading, Standing};
pub use reads::Asked;
use reads::{Reads, Window};
pub use settings::Settings;
use verify::Verify;
pub use windows::Ticket;

/// Time between a request's sending and what it can be trusted to have seen.
const SETTLING: Duration = Duration::from_secs(2);
/// How far a live poll reaches back behind the edge, at most and at least.
pub const OVERLAP: Range<Duration> = Duration::from_secs(10)..Duration::from_secs(60);
/// Events later than this after the server's time are future-dated.
const FUTURE: Duration = Duration::from_secs(120);
/// How often the time behind [`FUTURE`] is read where it is crowded.
const CROWDED_EVERY: Duration = Duration::from_secs(300);
/// A window that holds more pages ends at the last whole minute it has passed.
pub const WINDOW_PAGES: u32 = 5;
/// Of so many requests that no live poll wants, gaps have the first and verification the others, where both want some.
const TURNS: (u32, u32) = (5, 8);
/// How often a plan with nothing to ask looks for what has become due.
const LOOK: Duration = Duration::from_secs(60);
/// An event after a longer silence says that silence proved nothing.
const SILENCE: Duration = Duration::from_secs(3_600);
/// An edge this far in the future was never read up to.
const IMPOSSIBLE: Duration = Duration::from_secs(900);

/// What became of an event that a page showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// To be delivered.
    New(Delivery),
    /// The ledger has it.
    Known,
    /// Before the start, or outside what the read was for: another read's business.
    Outside,
}

/// What to ask next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// A page of `/events`, by timestamp ascending.
    Page(PageAsk),
    /// How many events each unit of `range` holds.
    Interval { range: Range<Time>, unit: Unit },
    /// How many events `range` holds.
    Count { range: Range<Time> },
    /// Nothing, until then.
    Wait { until: Time },
}

/// A page of `/events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageAsk {
    pub from: Time,
    /// None: whatever there is.
    pub to: Option<Time>,
    pub limit: u32,
    /// The last page's cursor, exactly as it came.
    pub cursor: Option<String>,
}

/// One stream's plan.
#[derive(Debug)]
pub struct Plan {
    settings: Settings,
    overlap: Duration,
    poll_due: Time,
    reads: Reads,
    verify: Verify,
    /// What was asked last, or answered since.
    asked: Asked,
    in_the_air: BTreeMap<Ticket, Asked>,
    /// Given to windows and tickets so far.
    numbers: u64,
    /// Requests that no live poll wanted, modulo [`TURNS`].
    turns: u32,
    cuts: Cuts,
    /// What can't be read for now, and when to try again.
    aside: Vec<(Range<Time>, Time, Aside)>,
    /// The windows under way are parts of what couldn't be read.
    narrowing: bool,
    /// How many parts of this gap were set aside.
    given_up: usize,
    /// The next poll begins anew, a minute ago.
    skips: bool,
    /// The API refuses ranges that end in its future.
    unbounded: bool,
    /// Set where known future-dated events fill pages: when the time behind [`FUTURE`] is read next.
    crowded: Option<Time>,
    /// The last poll could not be paged: the edge lies a whole overlap behind, and windows read what is before it.
    edge_is_old: bool,
}

impl Plan {
    pub fn new(settings: Settings) -> Plan {
        Plan {
            reads: Reads::default(),
            verify: Verify::new(settings.ages.clone(), settings.retention, settings.page_size),
            asked: Asked::Live,
            in_the_air: BTreeMap::new(),
            numbers: 0,
            turns: 0,
            settings,
            overlap: OVERLAP.end,
            poll_due: Time::MIN,
            cuts: Cuts::default(),
            aside: Vec::new(),
            narrowing: false,
            given_up: 0,
            skips: false,
            unbounded: false,
            crowded: None,
            edge_is_old: false,
        }
    }

    /// What to ask at the server's time `now`.
    pub fn next(&mut self, ledger: &mut Ledger, now: Time) -> Ask {
        // Where the clock was set back, what is due lies further ahead than we ever put it.
        let due = now >= self.poll_due || self.poll_due > now + self.settings.interval;
        if self.reads.live.is_none() && due {
            self.reads.live = Some(self.poll(ledger, now));
            self.poll_due = now + self.settings.interval;
        }
        if let Some(read) = &mut self.reads.live {
            self.asked = Asked::Live;
            return Ask::Page(read.ask(self.settings.page_size));
        }
        let ask = if self.turns < TURNS.0 {
            self.next_of_gap(ledger, now).or_else(|| self.next_check(ledger, now))
        } else {
            self.next_check(ledger, now).or_else(|| self.next_of_gap(ledger, now))
        };
        self.turns = (self.turns + u32::from(ask.is_some())) % TURNS.1;
        ask.unwrap_or(Ask::Wait { until: self.poll_due.min(now + LOOK) })
    }

    /// A live poll: from the overlap on, or from a minute ago where the edge is too far behind (the time between
    /// becomes a gap).
    fn poll(&mut self, ledger: &mut Ledger, now: Time) -> Read {
        let lagging = self.settings.lagging();
        let skips = std::mem::take(&mut self.skips);
        let from = match ledger.edge() {
            Some(edge) if now.since(edge) <= lagging && !skips => edge - self.overlap,
            Some(edge) => {
                // No poll will look back over the time before the edge, so the gap begins an overlap earlier.
                ledger.reopen(edge - OVERLAP.end);
                now - OVERLAP.end
            }
            None => now - OVERLAP.end,
        };
        // Where the clock fell behind the edge, a bound would end the poll before it begins.
        let crowded = !self.unbounded && self.crowded.is_some_and(|due| now < due);
        let bound = Some(now + FUTURE).filter(|to| from < *to && crowded);
        Read::new(Reading::Live, from.floor(Duration::from_millis(1)), bound)
    }

    /// Takes in one event of the page that was asked last.
    pub fn admit(&mut self, ledger: &mut Ledger, event: &Event, now: Time) -> Taken {
        let Some(read) = self.reads.of_mut(self.asked) else { return Taken::Outside };
        let time = event.time();
        time.inspect(|time| read.saw(*time, self.verify.boundary()));
        if time.is_some_and(|time| time < ledger.start() || !read.admits(time)) {
            read.saw_again(event, time);
            return Taken::Outside;
        }
        if read.reading == Reading::Witness {
            // Where its time is settled no fingerprint is left, so it would be taken for new.
            read.sightings.saw_untimed();
            return Taken::Outside;
        }
        let fresh = match read.reading {
            Reading::Live => Delivery::Live,
            _ => Delivery::Late,
        };
        let place = ledger.place(event);
        read.saw_record(place, time);
        let Some(delivery) = ledger.admit_at(place, event, fresh) else {
            read.saw_again(event, time);
            read.known(time.is_some_and(|time| time > now + FUTURE));
            return Taken::Known;
        };
        read.saw_new();
        if read.reading == Reading::Live
            && let Some(time) = time.filter(|time| *time <= now)
        {
            // Of a gap within it nothing has been read.
            ledger.reopen_silence(time, SILENCE).into_iter().for_each(|read| self.verify.reopened(read));
        }
        Taken::New(delivery)
    }

    /// The page that was asked last showed something that is no event to us.
    pub fn saw_no_event(&mut self) {
        if let Some(read) = self.reads.of_mut(self.asked) {
            read.sightings.saw_untimed();
        }
    }

    /// The page that was asked last came to its end, and all its events were admitted.
    pub fn page_read(&mut self, ledger: &mut Ledger, mut end: PageEnd, now: Time) {
        // As many as we asked for may be all that we asked for, whatever limit the API claims.
        end.limit = end.limit.map(|limit| limit.min(self.settings.page_size));
        match self.asked {
            Asked::Live => {
                let Some(mut read) = self.reads.live.take() else { return };
                read.tell(ledger, now);
                match read.page_read(end) {
                    Standing::Goes => self.reads.live = Some(read),
                    Standing::Ended => self.poll_ended(ledger, &read, now),
                    Standing::Unpageable => self.poll_unpageable(ledger, read.sent_at(now)),
                }
            }
            Asked::Window(_) => self.window_page_read(ledger, end, now),
            Asked::Cut => {}
            Asked::Check => self.check_read(ledger, end, now),
        }
    }

    /// What the poll could not page becomes a gap, whose windows are halved; the edge goes on, but a whole overlap
    /// behind, since no poll can look back over what the windows have read. The last poll that ended promised a look
    /// back too: what it would have looked at is part of the gap.
    fn poll_unpageable(&mut self, ledger: &mut Ledger, sent_at: Time) {
        if let Some(edge) = ledger.edge().filter(|_| !self.edge_is_old) {
            ledger.cut_back(edge - OVERLAP.end);
        }
        ledger.advance_edge(sent_at - OVERLAP.end);
        self.edge_is_old = true;
    }

    fn poll_ended(&mut self, ledger: &mut Ledger, read: &Read, now: Time) {
        let edge = (read.sent_at(now) - SETTLING).min(read.to.unwrap_or(Time::MAX));
        ledger.cover(read.from.max(ledger.start())..edge);
        ledger.advance_edge(edge);
        self.edge_is_old = false;
        // A slow API leaves time for the gaps.
        self.poll_due = self.poll_due.max(now + self.settings.interval / 4);
        let half = u64::from(self.settings.page_size) / 2;
        self.overlap = fit_overlap(self.overlap, read.known_recent(), half);
        if read.to.is_none() {
            self.crowded = (read.known_future() > half).then(|| now + CROWDED_EVERY);
        }
    }

    /// The answers to the read in progress are never whole while others are: a window is halved, down to what can't
    /// be read, and older time goes on; a poll begins anew a minute ago, and windows read what it leaves out.
    pub fn read_unreadable(&mut self, now: Time) {
        if self.reads.live.take().is_some() {
            self.poll_due = now;
            self.skips = true;
        } else if let Some(Window { read, .. }) = self.reads.take_window(self.asked) {
            self.narrowing = true;
            self.halve(read.range(now), now, Aside::Unreadable);
        }
    }

    /// The API refuses the read in progress while it answers others: a window is set aside, and older time goes on; a
    /// poll that ended in the future has no end from now on.
    pub fn read_refused(&mut self, now: Time) {
        if let Some(read) = self.reads.live.take() {
            self.poll_due = now;
            self.unbounded |= read.to.is_some();
        } else if let Some(Window { read, .. }) = self.reads.take_window(self.asked) {
            self.set_aside(read.range(now), now, Aside::Refused);
        }
    }

    /// Whether the window under way is a part of one that could not be read: what it needs is known to be narrower.
    pub fn is_narrowing(&self) -> bool {
        self.narrowing
    }

    /// The answer to [`Ask::Interval`], sent at `sent_at`: how many events each unit holds, by the unit's beginning.
    pub fn interval_read(&mut self, ledger: &mut Ledger, buckets: &[(Time, u64)], sent_at: Time) {
        if self.asked == Asked::Check {
            return self.verify.minutes_counted(ledger, buckets);
        }
        if let Some(oldest) = self.cuts.split(buckets, self.few()) {
            self.verify.api_holds(sent_at.since(oldest));
        }
    }

    /// What a window may hold.
    fn few(&self) -> u64 {
        u64::from(self.settings.page_size) * u64::from(WINDOW_PAGES)
    }

    /// `/events/interval` is refused here: the gap is read as one window, which ends where its pages do.
    pub fn interval_refused(&mut self) {
        if self.asked == Asked::Check {
            return self.verify.minutes_refused();
        }
        self.cuts.take_whole();
    }

    /// The read in progress can't go on with its cursor: it begins again from the ledger.
    pub fn abandon_read(&mut self, now: Time) {
        match self.asked {
            Asked::Live => {
                self.reads.live = None;
                self.poll_due = now;
            }
            Asked::Cut => self.cuts.clear(),
            Asked::Window(_) => self.begin_window_again(now),
            Asked::Check => {}
        }
    }

    /// The server's clock was found to be ahead and is set back from `believed` to `now`. The poll in progress is void;
    /// where the edge lies in the future, what was read while the clock was wrong is read again.
    pub fn cut_back(&mut self, ledger: &mut Ledger, believed: Time, now: Time) {
        self.reads.live = None;
        self.give_up_check();
        self.poll_due = now;
        if let Some(edge) = ledger.edge().filter(|edge| *edge > now) {
            let explained = edge - believed.since(now);
            if explained > now + IMPOSSIBLE {
                // An earlier life believed something else again.
                return self.take_back(ledger, now);
            }
            ledger.cut_back(now.min(explained) - OVERLAP.end);
            self.give_up_windows();
        }
    }

    /// Where the edge lies in the future of every clock, as `latest` shows it, an earlier life believed a wrong one:
    /// what it read by it is read again. Gives the edge that was not believed.
    pub fn check_edge(&mut self, ledger: &mut Ledger, latest: Time) -> Option<Time> {
        let edge = ledger.edge().filter(|edge| *edge > latest + IMPOSSIBLE)?;
        self.reads.live = None;
        self.give_up_check();
        self.poll_due = Time::MIN;
        self.take_back(ledger, latest);
        Some(edge)
    }

    /// Nobody knows when the wrong clock was first believed: only what left a trace was surely read.
    fn take_back(&mut self, ledger: &mut Ledger, now: Time) {
        let trace = ledger.last_trace(now);
        // Fingerprints of settled time are forgotten, so events before the trace would be taken for new.
        let kept = !ledger.is_settled(trace - OVERLAP.end);
        ledger.cut_back(if kept { trace - OVERLAP.end } else { trace });
        self.give_up_windows();
    }

    /// The overlap in force.
    pub fn overlap(&self) -> Duration {
        self.overlap
    }

    /// Whether what was asked last is of a window.
    pub fn is_in_window(&self) -> bool {
        matches!(self.asked, Asked::Window(_))
    }

    /// Whose request was asked last, or answered since.
    pub fn asked(&self) -> Asked {
        self.asked
    }

    /// Whether the read under way is a live poll.
    pub fn is_polling(&self) -> bool {
        self.reads.live.is_some()
    }

    /// What the read in progress is about, for status and dead letters.
    pub fn reading_range(&self, now: Time) -> Option<Range<Time>> {
        Some(self.reads.of(self.asked)?.range(now))
    }
}

/// An overlap that keeps what is known in it under half a page.
fn fit_overlap(overlap: Duration, known: u64, half: u64) -> Duration {
    let fitted = if known > half {
        overlap.mul_f64(half as f64 / known as f64)
    } else if known < half / 2 {
        overlap * 2
    } else {
        overlap
    };
    fitted.clamp(OVERLAP.start, OVERLAP.end)
}
