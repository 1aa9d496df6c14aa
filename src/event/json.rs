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
}

/// What stood at the place instead of what was expected: a word small enough to travel in registers, since
/// every step gives one.
type Step<T> = Result<T, &'static str>;

impl<'a> Walk<'a> {
    pub(super) fn new(input: &'a [u8]) -> Walk<'a> {
        Walk { input, at: 0, escaped: false }
    }

    /// Walks one object and shows each entry: the key, and the value's place.
    /// Gives the number of bytes read.
    pub(super) fn object(mut self, entry: impl FnMut(&[u8], Range<usize>)) -> Result<usize, Error> {
        self.entries(entry).map_err(|expected| {
            if self.at < self.input.len() { Error::Syntax { at: self.at, expected } } else { Error::Incomplete }
        })?;
        Ok(self.at)
    }

    fn entries(&mut self, mut entry: impl FnMut(&[u8], Range<usize>)) -> Step<()> {
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
    #[inline]
    fn key(&mut self) -> Step<&'a [u8]> {
        self.expect(b'"', "a key")?;
        let from = self.at;
        self.string()?;
        let key = &self.input[from..self.at - 1];
        self.expect(b':', ":")?;
        Ok(key)
    }

    /// Passes over one value of any type and depth.
    #[inline]
    fn value(&mut self) -> Step<()> {
        if self.token() == b'"' {
            self.at += 1;
            return self.string();
        }
        let mut open = Nesting::default();
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
                        open.push(is_object);
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
            if self.close(&mut open)? {
                return Ok(());
            }
        }
    }

    /// Behind a value: closes what ends here. True when nothing is open any more, false when a value follows.
    #[inline]
    fn close(&mut self, open: &mut Nesting) -> Step<bool> {
        while let Some(is_object) = open.innermost() {
            match self.token() {
                b',' => {
                    self.at += 1;
                    if is_object {
                        self.key()?;
                    }
                    return Ok(false);
                }
                b'}' if is_object => open.pop(),
                b']' if !is_object => open.pop(),
                _ => return Err("a comma or the closing bracket"),
            }
            self.at += 1;
        }
        Ok(true)
    }

    /// The next byte that is no white space.
    #[inline]
    fn token(&mut self) -> u8 {
        while matches!(self.byte(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
        self.byte()
    }

    #[inline]
    fn expect(&mut self, token: u8, expected: &'static str) -> Step<()> {
        if self.token() != token {
            return Err(expected);
        }
        self.at += 1;
        Ok(())
    }

    /// From behind a quote to behind the next one.
    #[inline]
    fn string(&mut self) -> Step<()> {
        loop {
            self.at += plain(&self.input[self.at..]);
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

    #[cold]
    fn escape(&mut self) -> Step<()> {
        self.escaped = true;
        self.at += 1;
        match self.byte() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
            b'u' => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.byte().is_ascii_hexdigit() {
                        return Err("four hexadecimal digits");
                    }
                    self.at += 1;
                }
            }
            _ => return Err("an escape"),
        }
        Ok(())
    }

    fn literal(&mut self, word: &[u8]) -> Step<()> {
        for letter in word {
            if self.byte() != *letter {
                return Err("true, false or null");
            }
            self.at += 1;
        }
        Ok(())
    }

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
    #[inline]
    fn byte(&self) -> u8 {
        self.input.get(self.at).copied().unwrap_or(0)
    }
}

/// A key as it is meant; one that can't be decoded stays as it is written.
#[cold]
fn unescaped(key: &[u8]) -> Cow<'_, [u8]> {
    let quoted = [b"\"", key, b"\""].concat();
    serde_json::from_slice::<String>(&quoted).map_or(Cow::Borrowed(key), |key| Cow::Owned(key.into_bytes()))
}

/// How many bytes come before the first quote, backslash or control character; all, where there is none.
///
/// Eight bytes at a time: most strings of an event are shorter than what a vector search pays to begin.
#[inline]
fn plain(input: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = ONES << 7;
    let mut at = 0;
    while let Some(eight) = input.get(at..at + 8) {
        let word = u64::from_le_bytes(eight.try_into().expect("the slice is eight bytes long"));
        // The lowest high bit set marks the first byte that is zero, or less than n; borrows spoil only later ones.
        let zero = |word: u64| word.wrapping_sub(ONES) & !word;
        let quote = zero(word ^ (ONES * b'"' as u64));
        let backslash = zero(word ^ (ONES * b'\\' as u64));
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let found = (quote | backslash | control) & HIGH;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = &input[at..];
    at + rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len())
}

/// Which brackets are open, a bit each: set for an object.
#[derive(Default)]
struct Nesting {
    depth: usize,
    /// The innermost ones, at most 64.
    bits: u64,
    outer: Vec<u64>,
}

impl Nesting {
    #[inline]
    fn push(&mut self, is_object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.outer.push(self.bits);
        }
        self.bits = self.bits << 1 | u64::from(is_object);
        self.depth += 1;
    }

    #[inline]
    fn pop(&mut self) {
        self.depth -= 1;
        self.bits >>= 1;
        if self.depth.is_multiple_of(64) {
            self.bits = self.outer.pop().unwrap_or_default();
        }
    }

    #[inline]
    fn innermost(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.bits & 1 == 1)
    }
}
