//! A gap, cut into windows: by how many events each day, hour or minute of it holds, and only as finely as needed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use crate::clock::Time;

/// How many buckets one `/events/interval` answer may have.
const BUCKETS: u32 = 1_500;

/// The unit of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    Minute,
    Hour,
    Day,
}

impl Unit {
    pub const fn length(self) -> Duration {
        Duration::from_secs(match self {
            Unit::Minute => 60,
            Unit::Hour => 3_600,
            Unit::Day => 86_400,
        })
    }

    fn finer(self) -> Option<Unit> {
        match self {
            Unit::Minute => None,
            Unit::Hour => Some(Unit::Minute),
            Unit::Day => Some(Unit::Hour),
        }
    }

    /// The coarsest that still divides `range`; none for a gap so short that asking costs more than reading.
    fn dividing(range: &Range<Time>) -> Option<Unit> {
        let length = range.end.since(range.start);
        [Unit::Day, Unit::Hour]
            .into_iter()
            .find(|unit| length > unit.length() * 2)
            .or(if length > Unit::Minute.length() * 5 { Some(Unit::Minute) } else { None })
    }
}

/// A part of a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cut {
    range: Range<Time>,
    /// As counted by the API; none where it wasn't asked.
    events: Option<u64>,
    /// How it may be divided further.
    finer: Option<Unit>,
}

/// What to do with the newest part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    Window(Range<Time>),
    Ask { range: Range<Time>, unit: Unit },
}

/// One gap in parts, the newest last.
#[derive(Debug, Default)]
pub struct Cuts {
    parts: Vec<Cut>,
    /// Its division was asked for and is not known yet.
    asked: Option<Cut>,
    /// The events counted in the window that was taken last.
    taken: Option<u64>,
}

impl Cuts {
    pub fn begin(&mut self, gap: Range<Time>) {
        let finer = Unit::dividing(&gap);
        self.parts = vec![Cut { range: gap, events: None, finer }];
        self.asked = None;
    }

    pub fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.asked.is_none()
    }

    pub fn clear(&mut self) {
        *self = Cuts::default();
    }

    /// Takes the newest part where it holds at most `few` events or can't be divided; else asks how it divides.
    pub fn next(&mut self, few: u64) -> Option<Next> {
        if self.asked.is_none() {
            let part = self.parts.pop()?;
            let dividing = part.finer.filter(|_| part.events.is_none_or(|events| events > few));
            let Some(unit) = dividing else {
                self.taken = part.events;
                return Some(Next::Window(part.range));
            };
            self.asked = Some(self.newest(part, unit));
        }
        let asked = self.asked.as_ref()?;
        Some(Next::Ask { range: asked.range.clone(), unit: asked.finer? })
    }

    /// The newest stretch of `part` that one answer can hold; the rest goes back.
    fn newest(&mut self, part: Cut, unit: Unit) -> Cut {
        let reach = part.range.end.floor(unit.length()) - unit.length() * (BUCKETS - 2);
        if part.range.start >= reach {
            return part;
        }
        let older = Cut { range: part.range.start..reach, ..part.clone() };
        self.parts.push(older);
        Cut { range: reach..part.range.end, events: None, ..part }
    }

    /// Divides the part that was asked about: neighbours of together at most `few` events stay one window. Gives the end
    /// of the oldest unit that holds any.
    pub fn split(&mut self, buckets: &[(Time, u64)], few: u64) -> Option<Time> {
        let Cut { range, finer, .. } = self.asked.take()?;
        let unit = finer?;
        let mut counts: BTreeMap<Time, u64> = BTreeMap::new();
        for (start, events) in buckets {
            let count = counts.entry(start.floor(unit.length())).or_default();
            *count = count.saturating_add(*events);
        }
        let mut from = range.start;
        let mut open: Option<Cut> = None;
        while from < range.end {
            let bucket = from.floor(unit.length());
            let to = (bucket + unit.length()).min(range.end);
            let events = counts.get(&bucket).copied().unwrap_or(0);
            match &mut open {
                Some(cut) if cut.events.unwrap_or(0).saturating_add(events) <= few => {
                    cut.range.end = to;
                    cut.events = Some(cut.events.unwrap_or(0) + events);
                }
                _ => {
                    self.parts.extend(open.replace(Cut { range: from..to, events: Some(events), finer: unit.finer() }))
                }
            }
            from = to;
        }
        self.parts.extend(open);
        counts.into_iter().find(|(_, events)| *events > 0).map(|(bucket, _)| bucket + unit.length())
    }

    /// The part that was asked about is read undivided.
    pub fn take_whole(&mut self) {
        self.parts.extend(self.asked.take().map(|cut| Cut { finer: None, ..cut }));
    }

    /// Puts a window back in two halves, at a whole minute while it is that long; false where it is one millisecond.
    pub fn halve(&mut self, window: Range<Time>) -> bool {
        let millisecond = Duration::from_millis(1);
        let length = window.end.since(window.start);
        let unit = if length >= Duration::from_secs(120) { Duration::from_secs(60) } else { millisecond };
        let middle = (window.start + length / 2).floor(unit).max(window.start.floor(unit) + unit);
        if middle >= window.end {
            return false;
        }
        for half in [window.start..middle, middle..window.end] {
            self.parts.push(Cut { range: half, events: None, finer: None });
        }
        true
    }

    /// The events counted in the window that was taken last.
    pub fn taken(&self) -> Option<u64> {
        self.taken
    }

    /// The events counted in all parts that are left; none where nothing was counted.
    pub fn expected(&self) -> Option<u64> {
        self.parts.iter().chain(&self.asked).filter_map(|part| part.events).reduce(u64::saturating_add)
    }
}
