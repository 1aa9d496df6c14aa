//! Walks JSON text (RFC 8259) without building anything: where each value of an object lies.
//!
//! Checks the grammar but not the encoding: strings that are no UTF-8, lone surrogates and numbers that fit no
//! machine type pass. Uses no recursion, so depth costs a bit a level and never the stack.

use std::borrow::Cow;
use std::ops::Range;

/// Why the walk ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is right so far and goes on behind the input.
    #[error("the JSON text ends too early")]
    Incomplete,
    #[error("no JSON object: {expected} expected at byte {at}")]
    Syntax { at: usize, expected: &'static str },
}

impl Error {
    pub fn is_eof(&self) -> bool {
        *self == Error::Incomplete
    }
}

/// A place in the text.
pub(super) struct Walk<'a> {
    input: &'a [u8],
    at: usize,
    /// Whether an escape was passed since this was last cleared.
    escaped: bool,
    /// Which block of the input `stops` describes.
    block: usize,
    stops: u64,
}

/// Strings are searched by blocks of so many bytes, each looked at once. An event's strings are so short that a
/// search for each alone would cost more than what it finds.
const BLOCK: usize = 64;

/// What stood at the place instead of what was expected: a word small enough to travel in registers, since
/// every step gives one.
type Step<T> = Result<T, &'static str>;

impl<'a> Walk<'a> {
    pub(super) fn new(input: &'a [u8]) -> Walk<'a> {
        Walk { input, at: 0, escaped: false, block: usize::MAX, stops: 0 }
    }

    /// Walks one object and shows each entry: the key, and the value's place.
    /// Gives the number of bytes read.
    pub(super) fn object(mut self, entry: impl FnMut(&Cow<'a, [u8]>, Range<usize>)) -> Result<usize, Error> {
        let walked = self.entries(entry);
        self.end(walked)
    }

    /// Walks one array and shows each value's place. Gives the number of bytes read.
    pub(super) fn array(mut self, value: impl FnMut(Range<usize>)) -> Result<usize, Error> {
        let walked = self.values(value);
        self.end(walked)
    }

    fn end(self, walked: Step<()>) -> Result<usize, Error> {
        match walked {
            Ok(()) => Ok(self.at),
            Err(expected) if self.at < self.input.len() => Err(Error::Syntax { at: self.at, expected }),
            Err(_) => Err(Error::Incomplete),
        }
    }

    fn values(&mut self, mut value: impl FnMut(Range<usize>)) -> Step<()> {
        self.expect(b'[', "[")?;
        if self.token() == b']' {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.token();
            let from = self.at;
            self.value()?;
            value(from..self.at);
            match self.token() {
                b',' => self.at += 1,
                b']' => break,
                _ => return Err(", or ]"),
            }
        }
        self.at += 1;
        Ok(())
    }

    fn entries(&mut self, mut entry: impl FnMut(&Cow<'a, [u8]>, Range<usize>)) -> Step<()> {
        self.expect(b'{', "{")?;
        if self.token() == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.escaped = false;
            let key = self.key()?;
            let key = if self.escaped { unescaped(key) } else { Cow::Borrowed(key) };
            self.token();
            let from = self.at;
            self.value()?;
            entry(&key, from..self.at);
            match self.token() {
                b',' => self.at += 1,
                b'}' => break,
                _ => return Err(", or }"),
            }
        }
        self.at += 1;
        Ok(())
    }

    /// A key and its colon.
    #[inline(always)]
    fn key(&mut self) -> Step<&'a [u8]> {
        self.expect(b'"', "a key")?;
        let from = self.at;
        self.string()?;
        let key = &self.input[from..self.at - 1];
        self.expect(b':', ":")?;
        Ok(key)
    }

    /// Passes over one value of any type and depth.
    #[inline(always)]
    fn value(&mut self) -> Step<()> {
        if self.token() == b'"' {
            self.at += 1;
            return self.string();
        }
        let (mut open, mut outer) = (Nesting::default(), Vec::new());
        loop {
            match self.token() {
                b'"' => {
                    self.at += 1;
                    self.string()?;
                }
                bracket @ (b'{' | b'[') => {
                    let is_object = bracket == b'{';
                    self.at += 1;
                    if self.token() == if is_object { b'}' } else { b']' } {
                        self.at += 1;
                    } else {
                        open.push(is_object, &mut outer);
                        if is_object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                b't' => self.literal(b"true")?,
                b'f' => self.literal(b"false")?,
                b'n' => self.literal(b"null")?,
                b'-' | b'0'..=b'9' => self.number()?,
                _ => return Err("a value"),
            }
            if self.close(&mut open, &mut outer)? {
                return Ok(());
            }
        }
    }

    /// Behind a value: closes what ends here. True when nothing is open any more, false when a value follows.
    #[inline(always)]
    fn close(&mut self, open: &mut Nesting, outer: &mut Vec<u64>) -> Step<bool> {
        while let Some(is_object) = open.innermost() {
            match self.token() {
                b',' => {
                    self.at += 1;
                    if is_object {
                        self.key()?;
                    }
                    return Ok(false);
                }
                b'}' if is_object => open.pop(outer),
                b']' if !is_object => open.pop(outer),
                _ => return Err("a comma or the closing bracket"),
            }
            self.at += 1;
        }
        Ok(true)
    }

    /// The next byte that is no white space.
    #[inline(always)]
    fn token(&mut self) -> u8 {
        while matches!(self.byte(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
        self.byte()
    }

    #[inline(always)]
    fn expect(&mut self, token: u8, expected: &'static str) -> Step<()> {
        if self.token() != token {
            return Err(expected);
        }
        self.at += 1;
        Ok(())
    }

    /// From behind a quote to behind the next one.
    #[inline(always)]
    fn string(&mut self) -> Step<()> {
        loop {
            self.skip_plain();
            match self.byte() {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => self.escape()?,
                _ => return Err("no control character in a string"),
            }
        }
    }

    /// To the next quote, backslash or control character, or to the end.
    #[inline(always)]
    fn skip_plain(&mut self) {
        while self.at < self.input.len() {
            if self.block != self.at / BLOCK {
                self.block = self.at / BLOCK;
                self.stops = look(self.input, self.block);
            }
            let ahead = self.stops >> (self.at % BLOCK);
            if ahead != 0 {
                self.at += ahead.trailing_zeros() as usize;
                return;
            }
            self.at = (self.block + 1) * BLOCK;
        }
        self.at = self.input.len();
    }

    /// At a backslash. Told the place and telling the next one, so that the walk stays in registers.
    #[inline(always)]
    fn escape(&mut self) -> Step<()> {
        self.escaped = true;
        let (at, wrong) = escape(self.input, self.at);
        self.at = at;
        wrong.map_or(Ok(()), Err)
    }

    #[inline(always)]
    fn literal(&mut self, word: &[u8]) -> Step<()> {
        for letter in word {
            if self.byte() != *letter {
                return Err("true, false or null");
            }
            self.at += 1;
        }
        Ok(())
    }

    #[inline(always)]
    fn number(&mut self) -> Step<()> {
        if self.byte() == b'-' {
            self.at += 1;
        }
        match self.byte() {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.byte() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.byte(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// One digit or more. What follows shows where the number ends: it stands in an object.
    #[inline(always)]
    fn digits(&mut self) -> Step<()> {
        if !self.byte().is_ascii_digit() {
            return Err("a digit");
        }
        while self.byte().is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }

    /// The byte at this place; zero, which no text may hold unescaped, behind the end.
    #[inline(always)]
    fn byte(&self) -> u8 {
        self.input.get(self.at).copied().unwrap_or(0)
    }
}

/// Where the escape at `at` ends, or where it is none and why.
#[cold]
fn escape(input: &[u8], at: usize) -> (usize, Option<&'static str>) {
    let byte = |at: usize| input.get(at).copied().unwrap_or(0);
    match byte(at + 1) {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => (at + 2, None),
        b'u' => match (at + 2..at + 6).find(|at| !byte(*at).is_ascii_hexdigit()) {
            Some(at) => (at, Some("four hexadecimal digits")),
            None => (at + 6, None),
        },
        _ => (at + 1, Some("an escape")),
    }
}

/// A key as it is meant; one that can't be decoded stays as it is written.
#[cold]
fn unescaped(key: &[u8]) -> Cow<'_, [u8]> {
    let quoted = [b"\"", key, b"\""].concat();
    serde_json::from_slice::<String>(&quoted).map_or(Cow::Borrowed(key), |key| Cow::Owned(key.into_bytes()))
}

/// What a block of the input, the last one filled up with spaces, holds that ends a string.
#[inline(never)]
fn look(input: &[u8], block: usize) -> u64 {
    let rest = &input[block * BLOCK..];
    if let Some(whole) = rest.first_chunk() {
        return stops(whole);
    }
    let mut padded = [b' '; BLOCK];
    padded[..rest.len()].copy_from_slice(rest);
    stops(&padded)
}

/// A bit for each byte that ends a run of plain ones in a string: quote, backslash, control character.
///
/// Written so that the compiler makes vector instructions of the first loop, on every kind of processor.
#[inline]
fn stops(block: &[u8; BLOCK]) -> u64 {
    let mut flags = [0u8; BLOCK];
    for (flag, byte) in flags.iter_mut().zip(block) {
        *flag = u8::from((*byte == b'"') | (*byte == b'\\') | (*byte < 0x20));
    }
    let (words, _) = flags.as_chunks::<8>();
    words.iter().enumerate().fold(0, |bits, (at, word)| {
        // The product gathers eight flags, one a byte, in the highest byte.
        let eight = u64::from_le_bytes(*word).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        bits | eight << (8 * at)
    })
}

/// Which brackets are open, a bit each: set for an object.
#[derive(Default)]
struct Nesting {
    depth: usize,
    /// The innermost ones, at most 64.
    bits: u64,
}

impl Nesting {
    /// `outer` keeps the words that are full.
    #[inline(always)]
    fn push(&mut self, is_object: bool, outer: &mut Vec<u64>) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            outer.push(self.bits);
        }
        self.bits = self.bits << 1 | u64::from(is_object);
        self.depth += 1;
    }

    #[inline(always)]
    fn pop(&mut self, outer: &mut Vec<u64>) {
        self.depth -= 1;
        self.bits >>= 1;
        if self.depth.is_multiple_of(64) {
            self.bits = outer.pop().unwrap_or_default();
        }
    }

    #[inline(always)]
    fn innermost(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.bits & 1 == 1)
    }
}
