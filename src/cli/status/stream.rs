//! What is said of a stream, from its ledger or from the instance that runs it.

use std::ops::Range;
use std::time::Duration;

use serde::Serialize;

use crate::clock::Time;
use crate::ledger::{Ledger, Mark, StreamKey, Summary, length};
use crate::telemetry::status::{Cause, StreamStatus};

/// So far behind the API's time a poll that succeeds may leave the edge.
const EDGE_BEHIND: Duration = Duration::from_secs(5);

/// What is known beside the ledger.
pub(super) struct Known {
    /// How long the API keeps events, where that is configured.
    pub retention: Option<Duration>,
    pub running: Option<StreamStatus>,
}

/// What only a ledger tells is null where it was not read.
#[derive(Serialize)]
pub(super) struct Stream {
    pub organization: String,
    pub service: String,
    pub start: Option<Time>,
    pub first_run: Option<Time>,
    pub edge: Option<Time>,
    pub lag_seconds: Option<u64>,
    pub counted_until: Option<Time>,
    pub verified_until: Option<Time>,
    pub missing_events: u64,
    pub doubted_events: u64,
    pub gone_events: u64,
    pub delivered_events: Option<u64>,
    pub late_events: Option<u64>,
    pub gaps: Vec<Gap>,
    /// When and why nothing newer than the edge could be read.
    pub hindrances: Option<Vec<Hindrance>>,
    pub unsettled: Option<Vec<Stretch>>,
    pub unprovable: Option<Vec<Stretch>>,
    /// Read only when the API had forgotten it.
    pub lost: Option<Vec<Stretch>>,
    /// How long the API keeps events, as far as is known.
    pub retention_seconds: u64,
    /// Until it forgets the oldest wanted time that has not been read.
    pub retention_left_seconds: u64,
    /// Not read, and forgotten by then.
    pub past_retention_seconds: u64,
    pub fingerprints: u64,
    pub ledger_bytes: u64,
    /// What the instance that runs it says, whole; null where none was asked or it runs elsewhere.
    pub running: Option<StreamStatus>,
}

#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stretch {
    pub from: Time,
    pub to: Time,
}

/// Wanted time that was not read.
#[derive(Serialize)]
pub(super) struct Gap {
    pub from: Time,
    pub to: Time,
    /// Why it is not read yet; null where no instance runs the stream.
    pub reason: Option<String>,
    /// Why it came to be.
    pub cause: Cause,
}

/// A spell in which the stream could not read.
#[derive(Serialize)]
pub(super) struct Hindrance {
    pub from: Time,
    pub to: Time,
    pub cause: Cause,
}

impl From<Range<Time>> for Stretch {
    fn from(range: Range<Time>) -> Stretch {
        Stretch { from: range.start, to: range.end }
    }
}

impl Stream {
    /// By the ledger as it is stored, of `range` where one was asked about, and by what the instance adds that runs it.
    pub fn of_ledger(
        key: &StreamKey,
        ledger: &Ledger,
        range: Option<&Range<Time>>,
        now: Time,
        Known { retention, running }: Known,
    ) -> Stream {
        let Summary { counted_until, verified_until, .. } = ledger.summary();
        let all = Time::MIN..Time::MAX;
        let range = range.unwrap_or(&all);
        let parts = |wanted: fn(Mark) -> bool| -> Vec<Stretch> {
            let parts = ledger.standing().parts(range.clone(), |mark| mark.is_some_and(wanted));
            parts.map(Stretch::from).collect()
        };
        let retention = ledger.retention(retention);
        let past = length(&ledger.past_retention(retention, now));
        let doubts = Doubts::of(ledger, range);
        let (delivered, late) = totals(ledger, range);
        // An idle edge is stored minutes late.
        let live = running.as_ref().filter(|running| running.edge > ledger.edge());
        let edge = live.map_or(ledger.edge(), |running| running.edge);
        let lag = edge.map(|edge| now.since(edge).as_secs());
        Stream {
            organization: key.organization.clone(),
            service: key.service.clone(),
            start: Some(ledger.start()),
            first_run: Some(ledger.first_run()),
            edge,
            lag_seconds: live.and_then(|running| Some(running.lag_seconds? as u64)).or(lag),
            counted_until,
            verified_until,
            missing_events: doubts.missing,
            doubted_events: doubts.doubted,
            gone_events: doubts.gone,
            delivered_events: Some(delivered),
            late_events: Some(late),
            gaps: gaps(ledger, range, running.as_ref()),
            hindrances: Some(hindrances(ledger, edge, range)),
            unsettled: Some(parts(|mark| matches!(mark, Mark::Unsettled { .. }))),
            unprovable: Some(parts(|mark| mark == Mark::Unprovable)),
            lost: Some(parts(|mark| mark == Mark::LOST)),
            retention_seconds: retention.as_secs(),
            retention_left_seconds: ledger.retention_left(retention, now).as_secs(),
            past_retention_seconds: past.as_secs(),
            fingerprints: ledger.fingerprints() as u64,
            ledger_bytes: ledger.fingerprints() as u64 * 8,
            running,
        }
    }

    /// By the instance that runs it, alone.
    pub fn of_instance(running: StreamStatus) -> Stream {
        let gap = |gap: &crate::telemetry::status::Gap| Gap {
            from: gap.from,
            to: gap.to,
            reason: Some(gap.reason.to_string()),
            cause: gap.cause,
        };
        Stream {
            organization: running.organization.clone(),
            service: running.service.clone(),
            start: running.start,
            first_run: None,
            edge: running.edge,
            lag_seconds: running.lag_seconds.map(|lag| lag as u64),
            counted_until: running.compared.counted_until,
            verified_until: running.compared.verified_until,
            missing_events: running.compared.missing_events,
            doubted_events: running.compared.doubted_events,
            gone_events: running.compared.gone_events,
            delivered_events: None,
            late_events: None,
            gaps: running.gaps.iter().map(gap).collect(),
            hindrances: None,
            unsettled: None,
            unprovable: None,
            lost: None,
            retention_seconds: running.compared.retention_seconds,
            retention_left_seconds: running.compared.retention_left_seconds,
            past_retention_seconds: running.compared.past_retention_seconds,
            fingerprints: running.ledger.fingerprints,
            ledger_bytes: running.ledger.bytes,
            running: Some(running),
        }
    }

    /// Whether its ledger was read.
    pub fn is_mapped(&self) -> bool {
        self.first_run.is_some()
    }
}

/// Events of which not all is well.
#[derive(Default)]
struct Doubts {
    missing: u64,
    doubted: u64,
    gone: u64,
}

impl Doubts {
    fn of(ledger: &Ledger, range: &Range<Time>) -> Doubts {
        let ranges = ledger.standing().ranges().iter();
        let touching = ranges.filter(|(own, _)| own.start < range.end && range.start < own.end);
        let mut doubts = Doubts::default();
        for (_, mark) in touching {
            doubts.missing += mark.missing();
            match mark {
                Mark::Doubted { unseen, .. } => doubts.doubted += unseen,
                Mark::Gone { events } => doubts.gone += events,
                _ => {}
            }
        }
        doubts
    }
}

/// Events delivered, and how many of them late.
fn totals(ledger: &Ledger, range: &Range<Time>) -> (u64, u64) {
    let hours = ledger.hours().iter().filter(|(hour, _)| {
        let begins = Time::from_secs(hour.saturating_mul(3_600));
        begins < range.end && range.start < begins + Duration::from_secs(3_600)
    });
    hours.fold((0, 0), |(events, late), (_, total)| (events + total.events, late + total.late))
}

/// What of them lies behind the edge and touches the range.
fn hindrances(ledger: &Ledger, edge: Option<Time>, range: &Range<Time>) -> Vec<Hindrance> {
    let since = edge.map_or(Time::MIN, |edge| edge + EDGE_BEHIND);
    let spells = ledger.hindrances().spells().iter().filter(|(own, _)| since < own.end);
    let spells = spells.filter(|(own, _)| own.start < range.end && range.start <= own.end);
    let from = |own: Time| edge.map_or(own, |edge| own.max(edge));
    spells.map(|(own, cause)| Hindrance { from: from(own.start), to: own.end, cause: *cause }).collect()
}

/// Those of the ledger, each with what the instance knows of it.
fn gaps(ledger: &Ledger, range: &Range<Time>, running: Option<&StreamStatus>) -> Vec<Gap> {
    let within = |part: Range<Time>| part.start.max(range.start)..part.end.min(range.end);
    let gap = |gap: Range<Time>| {
        let mut known = running.into_iter().flat_map(|running| &running.gaps);
        let known = known.find(|own| own.from < gap.end && gap.start < own.to);
        Gap {
            from: gap.start,
            to: gap.end,
            reason: known.map(|known| known.reason.to_string()),
            cause: known.map_or_else(|| ledger.cause(&gap), |known| known.cause),
        }
    };
    ledger.gaps().into_iter().map(within).filter(|gap| gap.start < gap.end).map(gap).collect()
}
