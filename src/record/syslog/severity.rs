//! An event's severity, from its outcome.

use crate::event::{Event, Outcome};

const WARNING: u8 = 4;
const INFORMATIONAL: u8 = 6;

/// RFC 5424 §6.2.1: 4 (warning) for what failed, 6 (informational) for all else.
pub(super) fn of(event: &Event) -> u8 {
    match event.outcome() {
        Outcome::Failure => WARNING,
        Outcome::Success | Outcome::Unknown => INFORMATIONAL,
    }
}
