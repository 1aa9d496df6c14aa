//! What hindered the reading, as bytes: each spell's beginning as a step from the one before, its length, its cause.

use std::ops::Range;

use super::Error;
use super::bytes::{Reader, Writer};
use crate::clock::Time;
use crate::ledger::hindrances::KEPT;
use crate::ledger::{Cause, Hindrances};

pub(super) fn write(out: &mut Writer, hindrances: &Hindrances) {
    out.number(hindrances.spells().len() as u64);
    let mut last = 0i64;
    for (Range { start, end }, cause) in hindrances.spells() {
        let (start, end) = (start.as_nanos(), end.as_nanos());
        out.signed(start.wrapping_sub(last));
        out.number(end.wrapping_sub(start) as u64);
        out.byte(number(*cause));
        last = start;
    }
}

pub(super) fn read(read: &mut Reader<'_>) -> Result<Hindrances, Error> {
    let count: usize = read.small("the number of spells")?;
    read.check(count <= KEPT, "more spells than are kept")?;
    let mut spells = Vec::new();
    let mut last = 0i64;
    for _ in 0..count {
        let start = last.wrapping_add(read.signed("a spell's beginning")?);
        let end = start.wrapping_add(read.number("a spell's length")? as i64);
        read.check(start <= end, "a spell ends before it begins")?;
        spells.push((Time::from_nanos(start)..Time::from_nanos(end), cause(read)?));
        last = start;
    }
    Ok(Hindrances::of(spells))
}

fn number(cause: Cause) -> u8 {
    match cause {
        Cause::NotRunningOrUnknown => 0,
        Cause::Backfill => 1,
        Cause::KeyRefused => 2,
        Cause::Throttled => 3,
        Cause::RequestsRefused => 4,
        Cause::ApiFailing => 5,
        Cause::SinkBlocked => 6,
    }
}

fn cause(read: &mut Reader<'_>) -> Result<Cause, Error> {
    Ok(match read.byte("a spell's cause")? {
        0 => Cause::NotRunningOrUnknown,
        1 => Cause::Backfill,
        2 => Cause::KeyRefused,
        3 => Cause::Throttled,
        4 => Cause::RequestsRefused,
        5 => Cause::ApiFailing,
        6 => Cause::SinkBlocked,
        _ => return Err(read.damage("a spell's cause is not known")),
    })
}
