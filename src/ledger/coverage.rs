//! Coverage: the time ranges that have been read, as a set of instants.

use std::ops::Range;
use std::time::Duration;

use crate::clock::Time;

/// How long ranges are together that don't overlap.
pub fn length(ranges: &[Range<Time>]) -> Duration {
    ranges.iter().map(|range| range.end.since(range.start)).sum()
}

/// Disjoint half-open ranges, ascending, never touching.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Coverage {
    ranges: Vec<Range<Time>>,
}

impl Coverage {
    /// Any ranges; empty ones are left out, overlapping and touching ones become one.
    pub fn of(ranges: impl IntoIterator<Item = Range<Time>>) -> Coverage {
        let mut coverage = Coverage::default();
        for range in ranges {
            coverage.add(range);
        }
        coverage
    }

    /// Ascending, disjoint, never touching.
    pub fn ranges(&self) -> &[Range<Time>] {
        &self.ranges
    }

    pub fn contains(&self, time: Time) -> bool {
        let behind = self.ranges.partition_point(|range| range.end <= time);
        self.ranges.get(behind).is_some_and(|range| range.start <= time)
    }

    /// Whether every instant of `range` has been read.
    pub fn covers(&self, range: &Range<Time>) -> bool {
        if range.start >= range.end {
            return true;
        }
        let behind = self.ranges.partition_point(|own| own.end <= range.start);
        self.ranges.get(behind).is_some_and(|own| own.start <= range.start && range.end <= own.end)
    }

    pub fn add(&mut self, range: Range<Time>) {
        if range.start >= range.end {
            return;
        }
        let from = self.ranges.partition_point(|own| own.end < range.start);
        let to = self.ranges.partition_point(|own| own.start <= range.end);
        let joined = self.ranges[from..to]
            .iter()
            .fold(range, |joined, own| joined.start.min(own.start)..joined.end.max(own.end));
        self.ranges.splice(from..to, [joined]);
    }

    /// Takes away everything from `end` on.
    pub fn cut_back(&mut self, end: Time) {
        self.ranges.retain(|range| range.start < end);
        if let Some(last) = self.ranges.last_mut() {
            last.end = last.end.min(end);
        }
    }

    /// Takes `range` away.
    pub fn remove(&mut self, range: Range<Time>) {
        if range.start >= range.end {
            return;
        }
        let from = self.ranges.partition_point(|own| own.end <= range.start);
        let to = self.ranges.partition_point(|own| own.start < range.end);
        let left: Vec<_> = self.ranges[from..to]
            .iter()
            .flat_map(|own| [own.start..range.start, range.end..own.end])
            .filter(|own| own.start < own.end)
            .collect();
        self.ranges.splice(from..to, left);
    }

    /// What of `range` has been read, ascending.
    pub fn within(&self, Range { start, end }: Range<Time>) -> impl Iterator<Item = Range<Time>> {
        let first = self.ranges.partition_point(|own| own.end <= start);
        let own = self.ranges[first..].iter().take_while(move |own| own.start < end);
        own.map(move |own| own.start.max(start)..own.end.min(end))
    }

    /// What of `range` has not been read, ascending.
    pub fn gaps(&self, range: Range<Time>) -> Vec<Range<Time>> {
        let mut gaps = Vec::new();
        let mut from = range.start;
        for own in &self.ranges {
            if own.end <= from {
                continue;
            }
            if own.start >= range.end {
                break;
            }
            if from < own.start {
                gaps.push(from..own.start);
            }
            from = own.end;
        }
        if from < range.end {
            gaps.push(from..range.end);
        }
        gaps
    }
}
