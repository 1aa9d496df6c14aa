//! Windows of gaps: which part of which gap is read next, and what its reads have covered.
//!
//! Several are under way at a time, so that an API that answers late is not waited for: while a request is in the air
//! ([`Plan::send_off`]) the plan names another one, and its answer may come in any order ([`Plan::answered`]).

use std::ops::Range;
use std::time::Duration;

use super::aside::{self, Aside};
use super::cut::Next;
use super::read::{PageEnd, Read, Reading, Standing};
use super::reads::{Asked, Window};
use super::{Ask, Plan};
use crate::clock::Time;
use crate::ledger::{Coverage, Ledger};

/// What lies so near to being forgotten by the API is read before all newer gaps.
const ENDANGERED: Duration = Duration::from_secs(86_400);

/// A request in the air.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

impl Plan {
    /// What was asked last is in the air: others may be asked until it is [answered](Self::answered). Without this the
    /// plan goes on only with what was asked last.
    pub fn send_off(&mut self) -> Ticket {
        let ticket = Ticket(self.number());
        self.in_the_air.insert(ticket, self.asked);
        ticket
    }

    /// What follows is about that request. False where nobody wants its answer any more.
    pub fn answered(&mut self, ticket: Ticket) -> bool {
        let asked = self.in_the_air.remove(&ticket);
        self.asked = asked.unwrap_or(self.asked);
        asked.is_some()
    }

    pub(super) fn is_in_the_air(&self, asked: Asked) -> bool {
        self.in_the_air.values().any(|each| *each == asked)
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(super) fn next_of_gap(&mut self, ledger: &Ledger, now: Time) -> Option<Ask> {
        let waits = |window: &Window| !self.is_in_the_air(Asked::Window(window.number));
        let mut number = self.reads.windows.iter().find(|window| waits(window)).map(|window| window.number);
        if number.is_none() && self.reads.windows.len() < self.settings.windows && !self.is_in_the_air(Asked::Cut) {
            match self.cut(ledger, now)? {
                Next::Window(range) => number = Some(self.open_window(range)),
                Next::Ask { range, unit } => {
                    self.asked = Asked::Cut;
                    return Some(Ask::Interval { range, unit });
                }
            }
        }
        self.asked = Asked::Window(number?);
        let page_size = self.settings.page_size;
        self.reads.of_mut(self.asked).map(|read| Ask::Page(read.ask(page_size)))
    }

    fn open_window(&mut self, range: Range<Time>) -> u64 {
        let read = Read::new(Reading::Window, range.start, Some(range.end));
        let window = Window { number: self.number(), read, events: self.cuts.taken() };
        let number = window.number;
        self.reads.windows.push(window);
        number
    }

    /// The next part of the gap that is being cut, or of the next one.
    fn cut(&mut self, ledger: &Ledger, now: Time) -> Option<Next> {
        self.aside.retain(|(_, again, _)| now < *again && *again <= now + aside::AGAIN);
        if self.cuts.is_empty() {
            (self.narrowing, self.given_up) = (false, 0);
            let gap = self.next_gap(ledger, now)?;
            self.cuts.begin(gap);
        }
        self.cuts.next(self.few())
    }

    /// What nobody reads yet: of what the API will soon forget the oldest day, else the newest gap.
    fn next_gap(&self, ledger: &Ledger, now: Time) -> Option<Range<Time>> {
        let read = self.reads.windows.iter().map(|window| window.read.range(now));
        let taken = Coverage::of(read.chain(self.aside.iter().map(|(range, ..)| range.clone())));
        let gaps: Vec<Range<Time>> = ledger.gaps().into_iter().flat_map(|gap| taken.gaps(gap)).collect();
        let endangered = now - self.retention(ledger) + ENDANGERED;
        let oldest = gaps.first().filter(|gap| gap.start < endangered);
        let oldest = oldest.map(|gap| gap.start..gap.end.min(endangered.ceil(ENDANGERED)));
        oldest.or_else(|| gaps.last().cloned())
    }

    /// Whatever is being read of gaps begins again from the ledger.
    pub(super) fn give_up_windows(&mut self) {
        self.reads.windows.clear();
        self.cuts.clear();
        self.in_the_air.retain(|_, asked| !matches!(asked, Asked::Cut | Asked::Window(_)));
    }

    pub(super) fn window_page_read(&mut self, ledger: &mut Ledger, end: PageEnd, now: Time) {
        let Some(mut window) = self.reads.take_window(self.asked) else { return };
        window.read.tell(ledger, end.sent_at);
        match window.read.page_read(end) {
            Standing::Goes => self.go_on(ledger, window, now),
            Standing::Ended => self.window_read(ledger, &mut window.read, None, now),
            Standing::Unpageable => self.halve(window.read.range(now), now, Aside::Unpageable),
        }
    }

    /// A window with more pages than foreseen ends at the last whole minute that it has passed: pages come by
    /// ascending timestamp, so all before it has been shown.
    fn go_on(&mut self, ledger: &mut Ledger, mut window: Window, now: Time) {
        if let Some(minute) = window.read.long_behind() {
            self.window_read(ledger, &mut window.read, Some(minute), now);
            window.read.begin_at(minute);
        }
        self.reads.windows.push(window);
    }

    /// A window was read to its end, or up to `minute`.
    fn window_read(&mut self, ledger: &mut Ledger, read: &mut Read, minute: Option<Time>, now: Time) {
        let whole = read.range(now);
        let range = whole.start..minute.unwrap_or(whole.end);
        ledger.cover(range.clone());
        let shown = read.shown(&range, ledger);
        self.verify.window_read(ledger, range, shown.records, now);
    }

    /// The window can't go on with its cursor: it is begun anew, and keeps its number, since its failures go on counting.
    pub(super) fn begin_window_again(&mut self, now: Time) {
        if let Some(read) = self.reads.of_mut(self.asked) {
            let range = read.range(now);
            *read = Read::new(Reading::Window, range.start, Some(range.end));
        }
    }

    /// How many events are expected of what is cut so far; none where nothing was counted.
    pub fn expected(&self) -> Option<u64> {
        let under_way = self.reads.windows.iter().filter_map(|window| window.events);
        self.cuts.expected().into_iter().chain(under_way).reduce(u64::saturating_add)
    }
}
