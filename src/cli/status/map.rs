//! The coverage map: a letter an hour for the last two days, and a letter a day for the month before now.

use std::time::Duration;

use crate::clock::Time;
use crate::ledger::{Ledger, Mark};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

pub(super) const LEGEND: &str = "each letter is an hour or a day, the newest last: . not wanted  ! gap  - read  + counted  ? unsettled  # verified  ~ unprovable  x gone  0 lost\n";

/// Whether a mark, or none, is of a kind.
type Is = fn(Option<Mark>) -> bool;

/// The rows with their names.
pub(super) fn rows(ledger: &Ledger, now: Time) -> Vec<(&'static str, String)> {
    let row = |unit: Duration, count: u32| -> String {
        let end = now.ceil(unit);
        (0..count).rev().map(|back| letter(ledger, end - unit * (back + 1), end - unit * back)).collect()
    };
    vec![("48 hours", row(HOUR, 48)), ("30 days", row(DAY, 30))]
}

/// The worst of what is known of a stretch.
fn letter(ledger: &Ledger, from: Time, to: Time) -> char {
    let Some(edge) = ledger.edge() else { return '.' };
    let wanted = from.max(ledger.start())..to.min(edge);
    if wanted.start >= wanted.end {
        return '.';
    }
    if !ledger.coverage().covers(&wanted) {
        return '!';
    }
    let any = |is: Is| ledger.standing().any(wanted.clone(), is);
    let worst: [(char, Is); 6] = [
        ('?', |mark| matches!(mark, Some(Mark::Unsettled { .. } | Mark::Doubted { .. }))),
        ('0', |mark| mark == Some(Mark::LOST)),
        ('x', |mark| matches!(mark, Some(Mark::Gone { .. }))),
        ('-', |mark| mark.is_none()),
        ('+', |mark| matches!(mark, Some(Mark::Counted { .. }))),
        ('~', |mark| mark == Some(Mark::Unprovable)),
    ];
    worst.into_iter().find(|(_, is)| any(*is)).map_or('#', |(letter, _)| letter)
}
