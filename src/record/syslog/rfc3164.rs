//! The head of a message as RFC 3164 found it in use: a time without year and zone, host and tag.

use std::io::Write as _;

use super::Record;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `sender` holds host and tag, with what stands around them. The time is the event's, else the admission's, in UTC.
pub(super) fn head(record: &Record, sender: &[u8], out: &mut Vec<u8>) {
    let time = record.event.time().filter(|time| !time.is_saturated()).unwrap_or(record.ingested_at);
    // RFC 3339: `2026-09-20T10:00:00…`, always of four digits for what a `Time` can hold.
    let start = out.len();
    write!(out, "{time}").expect("a vector takes all");
    let text: [u8; 19] = out[start..].first_chunk().copied().unwrap_or(*b"1970-01-01T00:00:00");
    out.truncate(start);
    let digits = |from: usize| usize::from(text[from] - b'0') * 10 + usize::from(text[from + 1] - b'0');
    let clock = std::str::from_utf8(&text[11..]).unwrap_or_default();
    // §4.1.2: a day below ten has a space before it.
    write!(out, "{} {:2} {clock}", MONTHS[(digits(5) + 11) % 12], digits(8)).expect("a vector takes all");
    out.extend_from_slice(sender);
}
