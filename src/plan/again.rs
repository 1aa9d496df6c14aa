//! A range read once more, beside its stream's plan: how it is cut into windows, what to ask of each, and which events
//! are its own.
//!
//! Nothing is known here of what was delivered when, so all that the range shows is to be delivered. It is cut first,
//! all of it, as a gap is; then its windows are read from the oldest to the newest. What a window has shown is
//! remembered until it ends, since pages overlap and what failed is asked for again.
//!
//! # Invariants
//! Time is done only once its caller has said that what it showed is delivered ([`Again::delivered`]). Two lives that
//! are told the same [`Again::done`] show each event of the range at least once between them.

use std::ops::Range;
use std::time::Duration;

use crate::clock::Time;
use crate::event::Event;
use crate::ledger::minutes::Minutes;
use crate::ledger::{Coverage, FingerprintKey, UNTIMED, minute_of};
use crate::plan::aside::MOST_GIVEN_UP;
use crate::plan::cut::{Cuts, Next, Unit};
use crate::plan::read::{PageEnd, Read, Reading, Standing};
use crate::plan::{Aside, Ask, Taken, WINDOW_PAGES};
use crate::record::Delivery;

const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A range being read once more.
#[derive(Debug)]
pub struct Again {
    page_size: u32,
    done: Coverage,
    /// Stretches still to be cut, ascending.
    uncut: Vec<Range<Time>>,
    cuts: Cuts,
    /// Cut and still to be read, the oldest last.
    windows: Vec<Range<Time>>,
    window: Option<Window>,
    key: FingerprintKey,
    /// What the window under way has shown.
    seen: Minutes,
    /// A window that ends here or earlier is a part of one that couldn't be read.
    narrow: Time,
    unread: Vec<(Range<Time>, Aside)>,
    /// How many events the windows cut so far hold; none where one of them wasn't counted.
    expected: Option<u64>,
}

/// The window under way.
#[derive(Debug)]
struct Window {
    read: Read,
    /// What it has shown from here on is not known to be delivered.
    from: Time,
    to: Time,
    /// The latest millisecond that it has shown, and whether what was new came in the order of milliseconds.
    latest: Time,
    ascending: bool,
    /// The event taken in last was the first of a millisecond: all before that has been shown.
    passed: Option<Time>,
}

impl Again {
    /// Of `range`, less what is `done`; `key` is a new one.
    pub fn new(page_size: u32, key: FingerprintKey, range: Range<Time>, done: Coverage) -> Again {
        Again {
            page_size,
            uncut: done.gaps(range),
            done,
            cuts: Cuts::default(),
            windows: Vec::new(),
            window: None,
            key,
            seen: Minutes::default(),
            narrow: Time::MIN,
            unread: Vec::new(),
            expected: Some(0),
        }
    }

    /// What to ask next, never to wait; none when all has been read that can be.
    pub fn ask(&mut self) -> Option<Ask> {
        loop {
            if let Some(Window { read, .. }) = &mut self.window {
                return Some(Ask::Page(read.ask(self.page_size)));
            }
            if let Some((range, unit)) = self.cut() {
                return Some(Ask::Interval { range, unit });
            }
            let Range { start, end } = self.windows.pop()?;
            let read = Read::new(Reading::Window, start, Some(end));
            self.window = Some(Window { read, from: start, to: end, latest: Time::MIN, ascending: true, passed: None });
        }
    }

    /// Cuts all that is still to be cut, the newest first, so that the oldest window comes to lie last; gives what has
    /// to be counted for it.
    fn cut(&mut self) -> Option<(Range<Time>, Unit)> {
        loop {
            if self.cuts.is_empty() {
                self.cuts.begin(self.uncut.pop()?);
            }
            match self.cuts.next(self.few())? {
                Next::Ask { range, unit } => return Some((range, unit)),
                Next::Window(range) => {
                    if self.narrow < range.end {
                        self.expected =
                            self.expected.zip(self.cuts.taken()).map(|(sum, more)| sum.saturating_add(more));
                    }
                    self.windows.push(range);
                }
            }
        }
    }

    /// The answer to [`Ask::Interval`].
    pub fn interval_read(&mut self, buckets: &[(Time, u64)]) {
        self.cuts.split(buckets, self.few());
    }

    /// `/events/interval` is refused: what was asked about is one window.
    pub fn interval_refused(&mut self) {
        self.cuts.take_whole();
    }

    /// Takes in one event of the page that was asked last.
    pub fn admit(&mut self, event: &Event) -> Taken {
        let Some(window) = &mut self.window else { return Taken::Outside };
        window.passed = None;
        let time = event.time();
        if time.is_some_and(|time| !window.read.admits(time)) {
            window.read.saw_again(event, time);
            return Taken::Outside;
        }
        if !self.seen.insert(time.map_or(UNTIMED, minute_of), self.key.fingerprint(&event.identity())) {
            window.read.saw_again(event, time);
            return Taken::Known;
        }
        window.read.saw_new();
        time.inspect(|time| window.shows(time.floor(MILLISECOND)));
        Taken::New(Delivery::Replay)
    }

    /// Whether [`Self::admit_head`] has had it.
    pub fn knows_head(&self, head: &[u8]) -> bool {
        self.seen.contains(UNTIMED, self.key.fingerprint_of_head(head))
    }

    /// Takes in what stands for something that is no event to us: whether it is new.
    pub fn admit_head(&mut self, head: &[u8]) -> bool {
        self.seen.insert(UNTIMED, self.key.fingerprint_of_head(head))
    }

    /// What has been shown to its end before the event that was taken in last, where that began a new millisecond. A
    /// batch that ends here leaves no event in doubt.
    pub fn passed(&self) -> Option<Range<Time>> {
        self.window.as_ref().and_then(|window| Some(window.from..window.passed?))
    }

    /// The page that was asked last came to its end, and all its events were admitted. Gives what has been shown to its
    /// end by it.
    pub fn page_read(&mut self, mut end: PageEnd) -> Option<Range<Time>> {
        let mut window = self.window.take()?;
        // As many as we asked for may be all that we asked for, whatever limit the API claims.
        end.limit = end.limit.map(|limit| limit.min(self.page_size));
        match window.read.page_read(end) {
            Standing::Goes => {
                self.go_on(&mut window);
                self.window = Some(window);
                None
            }
            Standing::Ended => {
                self.forget_before(window.to);
                Some(window.from..window.to)
            }
            Standing::Unpageable => self.narrow(window, Aside::Unpageable),
        }
    }

    /// A window with more pages than foreseen need not remember what lies before the last whole minute that it passed.
    fn go_on(&mut self, window: &mut Window) {
        let minute = window.latest.floor(MINUTE);
        if window.ascending && window.read.pages() >= WINDOW_PAGES && window.read.from < minute && minute < window.to {
            window.read.begin_at(minute);
            self.forget_before(minute);
        }
    }

    /// The window's answers are never whole: it is halved, down to what can't be read. Gives what it showed to its end.
    pub fn read_unreadable(&mut self) -> Option<Range<Time>> {
        let window = self.window.take()?;
        self.narrow(window, Aside::Unreadable)
    }

    fn narrow(&mut self, window: Window, why: Aside) -> Option<Range<Time>> {
        let rest = window.left();
        self.narrow = self.narrow.max(window.to);
        if self.unread.len() >= MOST_GIVEN_UP || !self.cuts.halve(rest.clone()) {
            self.unread.push((rest.clone(), why));
        }
        Some(window.from..rest.start).filter(|shown| !shown.is_empty())
    }

    /// The window can't go on with its cursor: it begins again, and remembers what it has shown.
    pub fn begin_again(&mut self) {
        if let Some(window) = &mut self.window {
            let Range { start, end } = window.left();
            window.read = Read::new(Reading::Window, start, Some(end));
        }
    }

    /// Whether the window under way is a part of one that couldn't be read.
    pub fn is_narrowing(&self) -> bool {
        self.window.as_ref().is_some_and(|window| window.to <= self.narrow)
    }

    /// All that `shown` holds has been delivered.
    pub fn delivered(&mut self, shown: Range<Time>) {
        if let Some(window) = self.window.as_mut().filter(|window| shown.contains(&window.from)) {
            window.from = shown.end;
        }
        self.done.add(shown);
    }

    pub fn done(&self) -> &Coverage {
        &self.done
    }

    /// What the API couldn't be brought to show, and why.
    pub fn unread(&self) -> &[(Range<Time>, Aside)] {
        &self.unread
    }

    /// How many events are to come in all, as counted; none where not all was counted.
    pub fn expected(&self) -> Option<u64> {
        self.expected
    }

    /// What the window under way still reads.
    pub fn reading_range(&self) -> Option<Range<Time>> {
        self.window.as_ref().map(Window::left)
    }

    /// How many events are remembered.
    pub fn remembered(&self) -> usize {
        self.seen.len()
    }

    fn few(&self) -> u64 {
        u64::from(self.page_size) * u64::from(WINDOW_PAGES)
    }

    /// Those without a readable time stay: any window may show them.
    fn forget_before(&mut self, time: Time) {
        self.seen.forget(UNTIMED + 1..minute_of(time));
    }
}

impl Window {
    /// What it still has to read.
    fn left(&self) -> Range<Time> {
        self.read.from.max(self.from)..self.to
    }

    /// Something new of that millisecond.
    fn shows(&mut self, millisecond: Time) {
        self.ascending &= self.latest <= millisecond;
        if self.ascending && Time::MIN < self.latest && self.latest < millisecond && self.from < millisecond {
            self.passed = Some(millisecond);
        }
        self.latest = self.latest.max(millisecond);
    }
}
