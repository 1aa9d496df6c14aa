//! RELP's frames: `TXNR SP COMMAND SP DATALEN [SP DATA] LF`.
//!
//! # Invariants
//! Pure. What is not a frame is told at the first byte that shows it; nothing is waited for in vain.

use std::io::Write as _;

/// The last transaction number; the next one is 1.
pub const LAST: u32 = 999_999_999;
/// The most data that we take in one frame: answers are short.
const MOST_DATA: usize = 128 << 10;
/// The longest command.
const COMMAND: usize = 32;
const DIGITS: usize = 9;

/// A frame as it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Zero is a hint, which nobody answers.
    pub number: u32,
    pub command: &'a [u8],
    pub data: &'a [u8],
}

/// It is no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// Writes a frame.
pub fn write(number: u32, command: &str, data: &[u8], out: &mut Vec<u8>) {
    write!(out, "{number} {command} {}", data.len()).expect("a vector takes all");
    if !data.is_empty() {
        out.push(b' ');
        out.extend_from_slice(data);
    }
    out.push(b'\n');
}

/// Reads the frame at the beginning of `input` and gives its length with it; none where it goes on behind `input`.
pub fn read(input: &[u8]) -> Result<Option<(Frame<'_>, usize)>, Malformed> {
    let Some((number, at)) = field(input, 0, DIGITS, u8::is_ascii_digit, "a transaction number")? else {
        return Ok(None);
    };
    let Some((command, at)) = field(input, at, COMMAND, u8::is_ascii_alphabetic, "a command")? else {
        return Ok(None);
    };
    let digits = input[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits > DIGITS {
        return Err(Malformed("a length of too many digits"));
    }
    let length = decimal(&input[at..at + digits]) as usize;
    let at = at + digits;
    let Some(next) = input.get(at) else { return Ok(None) };
    if digits == 0 {
        return Err(Malformed("no length"));
    }
    if length > MOST_DATA {
        return Err(Malformed("more data than an answer has"));
    }
    // Where there is no data there is no space either, but some write one.
    let start = match (next, length) {
        (b' ', _) => at + 1,
        (b'\n', 0) => at,
        _ => return Err(Malformed("no space behind the length")),
    };
    match input.get(start + length) {
        None => Ok(None),
        Some(b'\n') => {
            let frame = Frame { number: decimal(number), command, data: &input[start..start + length] };
            Ok(Some((frame, start + length + 1)))
        }
        Some(_) => Err(Malformed("no line's end behind the data")),
    }
}

/// The bytes of one kind from `at` on, up to a space, and the place behind it.
fn field<'a>(
    input: &'a [u8],
    at: usize,
    most: usize,
    is_legal: impl Fn(&u8) -> bool,
    name: &'static str,
) -> Result<Option<(&'a [u8], usize)>, Malformed> {
    let rest = &input[at..];
    let length = rest.iter().take_while(|byte| is_legal(byte)).count();
    match rest.get(length) {
        _ if length > most => Err(Malformed(name)),
        None => Ok(None),
        Some(b' ') if length > 0 => Ok(Some((&rest[..length], at + length + 1))),
        Some(_) => Err(Malformed(name)),
    }
}

/// At most nine digits, so it fits.
fn decimal(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'))
}
