//! Events with every awkward byte, and what must be received of them.

use fastrand::Rng;
use jumpstream::record::Record;

use super::receiver::Received;
use crate::sink::record;

/// As JSON has them inside a string.
#[rustfmt::skip]
const PIECES: &[&str] = &[
    r"\n", r"\r", r"\r\n", r"\t", r"\u0000", r"\u0001", r"\u001b[31m", r"\u0085", r"\u2028", r#"\""#, r"\\", r"\/",
    "]", "[", "|", "=", "%", "%n", "'", "`", "$(id)", "{}", "<13>1 ", "<34>Oct 11 22:14:15 mymachine su: ",
    "5 hello", "#011", " ", "  ", "@cee:", "é", "ß", "漢字", "🙂", "\u{7f}", "\u{80}", "\u{a0}", "\u{2029}",
    "\u{feff}", "\u{fffd}", "e\u{301}", "BOM", "-",
];
/// Between tokens: JSON allows these four.
const SPACES: &[&str] = &["", "", "", " ", "\t", "\n", "\r\n", " \n "];

/// Of the shape that `length` asks for, in bytes of JSON, roughly; the number is part of its id.
pub fn event(number: usize, length: usize, rng: &mut Rng) -> Record {
    let mut space = || SPACES[rng.usize(..SPACES.len())];
    let spaces: Vec<&str> = (0..12).map(|_| space()).collect();
    let mut piece = || PIECES[rng.usize(..PIECES.len())];
    let (a, b, c) = (piece(), piece(), piece());
    let mut text = String::new();
    while text.len() < length.saturating_sub(250) {
        text.push_str(piece());
        text.push_str("lorem ipsum");
    }
    let id = if number.is_multiple_of(3) { format!("{number}-{a}") } else { number.to_string() };
    let [s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11] = spaces[..] else { unreachable!("there are twelve") };
    let micros = number % 1_000_000;
    record(format!(
        "{{{s0}\"id\"{s1}:{s2}\"{id}\",{s3}\"event_type\":\"user_login_attempt_with_a_long_name{b}\"{s4},{s5}\
         \"service\":\"directory{c}\",{s6}\"timestamp\":\"2026-09-20T10:00:00.{micros:06}Z\"{s7},\
         \"organization\":\"5f00000000000000000000aa\",\"success\":{},{s8}\"text\":{s9}\"{text}\"{s10}}}{s11}",
        number.is_multiple_of(2)
    ))
}

/// The event's JSON on one line: an end of a line can only stand between tokens, where a space is as good.
pub fn line(record: &Record) -> String {
    String::from_utf8(record.value.to_vec()).unwrap().replace(['\n', '\r'], " ")
}

/// Compares what was received with what was sent, of the format of RFC 5424: every parameter and every byte.
#[track_caller]
pub fn assert_equal(record: &Record, got: &Received) {
    let event = &record.event;
    assert_eq!(got.text, line(record));
    for (name, value) in [
        ("event-id", event.id()),
        ("event-type", event.event_type()),
        ("service", event.service()),
        ("organization", event.organization()),
        ("delivery", Some("live")),
    ] {
        assert_eq!(got.parameter(name), value.map(on_one_line).as_deref(), "{name} of {got:?}");
    }
    assert_eq!(jumpstream::clock::Time::parse(&got.time), event.time(), "{got:?}");
    assert_eq!(got.msgid, &event.event_type().unwrap()[..32], "{got:?}");
}

/// A parameter's value: what controls a terminal has no place outside the text.
fn on_one_line(value: &str) -> String {
    value.replace(|c: char| c.is_ascii_control(), " ")
}
