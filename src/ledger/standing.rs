//! Standing: what is known of each stretch of time beside that it was read: counted, unsettled, verified, unprovable.

use std::ops::Range;
use std::time::Duration;

use crate::clock::Time;

/// What the API was last heard to say of a stretch of time that had been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// At this age the API counted as many records as it had shown us, or a read showed all that it counted.
    Counted { age: Duration },
    /// At this age the API counted `missing` more than it showed.
    Unsettled { age: Duration, missing: u64 },
    /// Read again at the last age, so many times, and `unseen` delivered events were not shown; read once more from
    /// `again` on.
    Doubted { tries: u8, unseen: u64, again: Time },
    /// Read again in full at the last age, and all that had been delivered was shown.
    Verified,
    /// The same, but so many delivered events the API shows no more.
    Gone { events: u64 },
    /// Outside known retention: what the API shows of it proves nothing.
    Unprovable,
}

impl Mark {
    /// First read when the API had forgotten it, as far as is known, and then it showed nothing: what it held is lost, and
    /// nobody can say how much that was. Stored as [`Mark::Gone`] without a number, which nothing else is.
    pub const LOST: Mark = Mark::Gone { events: 0 };

    /// Whether nothing is asked about it ever again, so that its fingerprints are not needed.
    pub fn is_final(&self) -> bool {
        matches!(self, Mark::Verified | Mark::Gone { .. } | Mark::Unprovable)
    }

    /// Whether something may still be asked about time with this mark, or with none.
    pub fn is_open(mark: Option<Mark>) -> bool {
        mark.is_none_or(|mark| !mark.is_final())
    }

    /// Whether it has been looked at as `age` wants it.
    pub fn satisfies(&self, age: Duration) -> bool {
        match self {
            Mark::Counted { age: own } | Mark::Unsettled { age: own, .. } => *own >= age,
            // Only the last age leads here, and what is doubted is not counted again.
            _ => true,
        }
    }

    /// Events known to exist that were not delivered.
    pub fn missing(&self) -> u64 {
        if let Mark::Unsettled { missing, .. } = self { *missing } else { 0 }
    }
}

/// Disjoint half-open ranges, ascending; neighbours that touch differ in their marks. Time without a mark was never
/// looked at since it was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    ranges: Vec<(Range<Time>, Mark)>,
}

impl Standing {
    /// Ascending, disjoint.
    pub fn ranges(&self) -> &[(Range<Time>, Mark)] {
        &self.ranges
    }

    /// Of ranges in any order, later ones over earlier ones.
    pub fn of(ranges: impl IntoIterator<Item = (Range<Time>, Mark)>) -> Standing {
        let mut standing = Standing::default();
        for (range, mark) in ranges {
            standing.set(range, mark);
        }
        standing
    }

    pub fn at(&self, time: Time) -> Option<Mark> {
        let behind = self.ranges.partition_point(|(range, _)| range.end <= time);
        self.ranges.get(behind).filter(|(range, _)| range.start <= time).map(|(_, mark)| *mark)
    }

    pub fn set(&mut self, range: Range<Time>, mark: Mark) {
        if range.start >= range.end {
            return;
        }
        self.clear(range.clone());
        let at = self.ranges.partition_point(|(own, _)| own.end <= range.start);
        self.ranges.insert(at, (range, mark));
        self.join(at + 1);
        self.join(at);
    }

    /// Nothing is known of `range` any more.
    pub fn clear(&mut self, range: Range<Time>) {
        if range.start >= range.end {
            return;
        }
        let from = self.ranges.partition_point(|(own, _)| own.end <= range.start);
        let to = self.ranges.partition_point(|(own, _)| own.start < range.end);
        let left: Vec<_> = self.ranges[from..to]
            .iter()
            .flat_map(|(own, mark)| [(own.start..range.start, *mark), (range.end..own.end, *mark)])
            .filter(|(own, _)| own.start < own.end)
            .collect();
        self.ranges.splice(from..to, left);
    }

    /// The parts of `range` of which `wanted` holds, ascending; it is asked with none for time without a mark.
    pub fn parts(
        &self,
        range: Range<Time>,
        wanted: impl Fn(Option<Mark>) -> bool,
    ) -> impl Iterator<Item = Range<Time>> {
        let mut stretches = self.stretches(range).filter(move |(_, mark)| wanted(*mark)).map(|(own, _)| own).peekable();
        std::iter::from_fn(move || {
            let mut part = stretches.next()?;
            while let Some(next) = stretches.next_if(|next| next.start == part.end) {
                part.end = next.end;
            }
            Some(part)
        })
    }

    /// Whether `holds` is true of each instant of `range`; asked as in [`Self::parts`].
    pub fn all(&self, range: Range<Time>, holds: impl Fn(Option<Mark>) -> bool) -> bool {
        self.stretches(range).all(|(_, mark)| holds(mark))
    }

    /// Whether `holds` is true of any instant of `range`.
    pub fn any(&self, range: Range<Time>, holds: impl Fn(Option<Mark>) -> bool) -> bool {
        self.stretches(range).any(|(_, mark)| holds(mark))
    }

    /// All of `range`, stretch by stretch, with and without marks.
    fn stretches(&self, range: Range<Time>) -> impl Iterator<Item = (Range<Time>, Option<Mark>)> {
        let first = self.ranges.partition_point(|(own, _)| own.end <= range.start);
        let marked = self.ranges[first..].iter().take_while(move |(own, _)| own.start < range.end);
        let clipped = marked.map(move |(own, mark)| (own.start.max(range.start)..own.end.min(range.end), Some(*mark)));
        let mut from = range.start;
        let with_gaps = clipped.chain([(range.end..range.end, None)]).flat_map(move |(own, mark)| {
            let before = from..own.start;
            from = own.end;
            [(before, None), (own, mark)]
        });
        with_gaps.filter(|(own, _)| own.start < own.end)
    }

    /// Makes the range at `at` and the one before it one, where they touch and say the same.
    fn join(&mut self, at: usize) {
        if at == 0 || at >= self.ranges.len() {
            return;
        }
        let (before, own) = (&self.ranges[at - 1], &self.ranges[at]);
        if before.0.end == own.0.start && before.1 == own.1 {
            self.ranges[at - 1].0.end = own.0.end;
            self.ranges.remove(at);
        }
    }
}
