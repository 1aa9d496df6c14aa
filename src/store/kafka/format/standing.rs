//! What is known of the time read, as bytes: each stretch's beginning and end as steps, the kind of its mark, its figures.

use std::ops::Range;
use std::time::Duration;

use super::Error;
use super::bytes::{Reader, Writer};
use crate::clock::Time;
use crate::ledger::{Mark, Standing};

pub(super) fn write(out: &mut Writer, standing: &Standing) {
    out.number(standing.ranges().len() as u64);
    let mut last = 0;
    for (Range { start, end }, mark) in standing.ranges() {
        for end in [start.as_nanos(), end.as_nanos()] {
            out.number(end.wrapping_sub(last) as u64);
            last = end;
        }
        match mark {
            Mark::Counted { age } => numbers(out, 0, &[age.as_secs()]),
            Mark::Unsettled { age, missing } => numbers(out, 1, &[age.as_secs(), *missing]),
            Mark::Doubted { tries, unseen, again } => {
                numbers(out, 2, &[u64::from(*tries), *unseen]);
                out.signed(again.as_nanos());
            }
            Mark::Verified => numbers(out, 3, &[]),
            Mark::Gone { events } => numbers(out, 4, &[*events]),
            Mark::Unprovable => numbers(out, 5, &[]),
        }
    }
}

fn numbers(out: &mut Writer, kind: u8, numbers: &[u64]) {
    out.byte(kind);
    numbers.iter().for_each(|number| out.number(*number));
}

/// Only the exact form is believed: a stretch that claims to be verified is never read again.
pub(super) fn read(read: &mut Reader<'_>) -> Result<Standing, Error> {
    let mut ranges: Vec<(Range<Time>, Mark)> = Vec::new();
    let mut last = None;
    for _ in 0..read.number("the number of stretches")? {
        let from = step(read, last, |last, from| last <= from)?;
        let to = step(read, Some(from), |from, to| from < to)?;
        last = Some(to);
        ranges.push((Time::from_nanos(from)..Time::from_nanos(to), mark(read)?));
    }
    let standing = Standing::of(ranges.iter().cloned());
    read.check(standing.ranges() == ranges, "stretches that touch say the same")?;
    Ok(standing)
}

fn step(read: &mut Reader<'_>, last: Option<i64>, ascends: fn(i64, i64) -> bool) -> Result<i64, Error> {
    let end = last.unwrap_or(0).wrapping_add(read.number("a stretch")? as i64);
    read.check(last.is_none_or(|last| ascends(last, end)), "the stretches do not ascend")?;
    Ok(end)
}

fn mark(read: &mut Reader<'_>) -> Result<Mark, Error> {
    let seconds = |read: &mut Reader<'_>| read.number("an age").map(Duration::from_secs);
    Ok(match read.byte("the kind of mark")? {
        0 => Mark::Counted { age: seconds(read)? },
        1 => Mark::Unsettled { age: seconds(read)?, missing: read.number("what is missing")? },
        2 => Mark::Doubted {
            tries: read.small("the number of tries")?,
            unseen: read.number("what was not shown")?,
            again: Time::from_nanos(read.signed("when to read again")?),
        },
        3 => Mark::Verified,
        4 => Mark::Gone { events: read.number("what is gone")? },
        5 => Mark::Unprovable,
        _ => return Err(read.damage("the kind of mark is not known")),
    })
}
