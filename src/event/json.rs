//! Walks JSON text (RFC 8259) without building anything: where each value of an object lies.
//!
//! Checks the grammar but not the encoding: strings that are no UTF-8, lone surrogates and numbers that fit no
//! machine type pass. Uses no recursion, so depth costs a bit a level and never the stack. What follows the text is
//! not looked at, but for the rest of the block that its last string ends in.
//!
//! Tokens are read one by one, since in what the API sends each follows the other; what strings hold is passed over by
//! [`mask`]s. All of a step is inlined into the loop that takes it, and whatever is rare is kept out of it.

mod mask;

use std::borrow::Cow;
use std::ops::Range;

use mask::BLOCK;

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
    /// Whether the key or value being passed holds an escape.
    escaped: bool,
    /// What ends a string, in the block of the input that ends before `looked`.
    stops: u64,
    looked: usize,
}

/// A key of an object.
#[derive(Clone, Copy)]
pub(super) struct Key<'a> {
    /// Without its quotes.
    written: &'a [u8],
    escaped: bool,
}

impl<'a> Key<'a> {
    /// The key as it is written, without its quotes.
    pub fn written(self) -> &'a [u8] {
        self.written
    }

    /// The key as it is meant; one that can't be decoded stays as it is written.
    pub fn text(self) -> Cow<'a, [u8]> {
        if self.escaped { unescaped(self.written) } else { Cow::Borrowed(self.written) }
    }

    /// Which of `names` it is.
    #[inline(always)]
    pub fn place(self, names: &[&str]) -> Option<usize> {
        if self.escaped { place_of_escaped(self.written, names) } else { place(self.written, names) }
    }
}

/// A value: where it lies, and whether it holds an escape.
pub(super) struct Value {
    pub place: Range<usize>,
    pub escaped: bool,
}

/// What stood at the place instead of what was expected: a word small enough to travel in registers, since
/// every step gives one.
pub(super) type Step<T> = Result<T, &'static str>;

impl<'a> Walk<'a> {
    pub(super) fn new(input: &'a [u8]) -> Walk<'a> {
        Walk { input, at: 0, escaped: false, stops: 0, looked: 0 }
    }

    /// Walks one object and stops before each value: `entry` is told the key and has to pass the value, by
    /// [`Self::value`] or [`Self::entries`]. Gives the number of bytes read.
    #[inline(always)]
    pub(super) fn object(mut self, entry: impl FnMut(&mut Walk<'a>, Key<'a>) -> Step<()>) -> Result<usize, Error> {
        let walked = self.entries(entry);
        self.end(walked)
    }

    /// Walks one array and shows each value. Gives the number of bytes read.
    pub(super) fn array(mut self, element: impl FnMut(Value)) -> Result<usize, Error> {
        let walked = self.elements(element);
        self.end(walked)
    }

    fn end(self, walked: Step<()>) -> Result<usize, Error> {
        match walked {
            Ok(()) => Ok(self.at),
            Err(expected) if self.at < self.input.len() => Err(Error::Syntax { at: self.at, expected }),
            Err(_) => Err(Error::Incomplete),
        }
    }

    fn elements(&mut self, mut element: impl FnMut(Value)) -> Step<()> {
        self.expect(b'[', "[")?;
        if self.token() == b']' {
            self.at += 1;
            return Ok(());
        }
        loop {
            element(self.value()?);
            match self.token() {
                b',' => self.at += 1,
                b']' => break,
                _ => return Err(", or ]"),
            }
        }
        self.at += 1;
        Ok(())
    }

    /// As [`Self::object`], where the object is a value itself.
    #[inline(always)]
    pub(super) fn entries(&mut self, mut entry: impl FnMut(&mut Walk<'a>, Key<'a>) -> Step<()>) -> Step<()> {
        self.expect(b'{', "{")?;
        if self.token() == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.escaped = false;
            let written = self.key()?;
            let key = Key { written: &self.input[written], escaped: self.escaped };
            entry(self, key)?;
            match self.token() {
                b',' => self.at += 1,
                b'}' => break,
                _ => return Err(", or }"),
            }
        }
        self.at += 1;
        Ok(())
    }

    /// Passes over one value of any type and depth.
    #[inline(always)]
    pub(super) fn value(&mut self) -> Step<Value> {
        self.escaped = false;
        let token = self.token();
        let from = self.at;
        if token == b'"' {
            self.at += 1;
            self.string()?;
        } else if matches!(token, b'{' | b'[') {
            self.nested(token)?;
        } else {
            self.scalar(token)?;
        }
        Ok(Value { place: from..self.at, escaped: self.escaped })
    }

    /// A key and its colon. Gives the key's place, without its quotes.
    #[inline(always)]
    fn key(&mut self) -> Step<Range<usize>> {
        self.expect(b'"', "a key")?;
        let from = self.at;
        self.skip_plain();
        let to = self.at;
        // Both at once, which is how nearly every key ends.
        if self.input.get(to..).and_then(|rest| rest.first_chunk()) == Some(b"\":") {
            self.at += 2;
            return Ok(from..to);
        }
        self.string()?;
        let to = self.at - 1;
        self.expect(b':', ":")?;
        Ok(from..to)
    }

    /// An object or array, which begins with `token`.
    #[inline(always)]
    fn nested(&mut self, mut token: u8) -> Step<()> {
        let mut open = Nesting::default();
        loop {
            if token == b'"' {
                self.at += 1;
                self.string()?;
            } else if matches!(token, b'{' | b'[') {
                let is_object = token == b'{';
                open.push(is_object);
                self.at += 1;
                token = self.token();
                if token != closing(is_object) {
                    if is_object {
                        self.key()?;
                        token = self.token();
                    }
                    continue;
                }
            } else {
                self.scalar(token)?;
            }
            // Behind a value, or at the bracket of an empty one.
            loop {
                token = self.token();
                if token != closing(open.is_object()) {
                    break;
                }
                self.at += 1;
                if open.pop() {
                    return Ok(());
                }
            }
            if token != b',' {
                return Err("a comma or the closing bracket");
            }
            self.at += 1;
            if open.is_object() {
                self.key()?;
            }
            token = self.token();
        }
    }

    #[inline(always)]
    fn scalar(&mut self, token: u8) -> Step<()> {
        match token {
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            b'-' | b'0'..=b'9' => self.number(),
            _ => Err("a value"),
        }
    }

    /// The next byte that is no white space.
    #[inline(always)]
    pub(super) fn token(&mut self) -> u8 {
        let byte = self.byte();
        if byte > b' ' {
            return byte;
        }
        self.at = behind_blanks(self.input, self.at);
        self.byte()
    }

    #[inline(always)]
    fn expect(&mut self, token: u8, expected: &'static str) -> Step<()> {
        if self.byte() != token && self.token() != token {
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
        let ahead = match self.looked.checked_sub(self.at) {
            Some(left @ 1..) => self.stops >> (BLOCK - left),
            _ => 0,
        };
        if ahead != 0 {
            self.at += ahead.trailing_zeros() as usize;
        } else {
            (self.at, self.looked, self.stops) = look(self.input, self.at.max(self.looked));
        }
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
    fn literal<const LENGTH: usize>(&mut self, word: &[u8; LENGTH]) -> Step<()> {
        let rest = &self.input[self.at..];
        let same = match rest.first_chunk::<LENGTH>() {
            Some(written) if written == word => LENGTH,
            _ => rest.iter().zip(word).take_while(|(written, letter)| written == letter).count(),
        };
        self.at += same;
        if same == LENGTH { Ok(()) } else { Err("true, false or null") }
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

/// Whether all of `place` is UTF-8. Nearly all is short and ASCII, which one look at a block finds out.
#[inline(always)]
pub(super) fn is_utf8(input: &[u8], place: Range<usize>) -> bool {
    let (length, block) = (place.len(), input[place.start..].first_chunk());
    let is_ascii = |block| mask::foreign(block) & ((1 << length) - 1) == 0;
    length < BLOCK && block.is_some_and(is_ascii) || std::str::from_utf8(&input[place]).is_ok()
}

#[inline(always)]
fn place(key: &[u8], names: &[&str]) -> Option<usize> {
    names.iter().position(|name| name.as_bytes() == key)
}

#[cold]
#[inline(never)]
fn place_of_escaped(key: &[u8], names: &[&str]) -> Option<usize> {
    place(&unescaped(key), names)
}

/// A key as it is meant; one that can't be decoded stays as it is written.
#[cold]
fn unescaped(key: &[u8]) -> Cow<'_, [u8]> {
    let quoted = [b"\"", key, b"\""].concat();
    serde_json::from_slice::<String>(&quoted).map_or(Cow::Borrowed(key), |key| Cow::Owned(key.into_bytes()))
}

/// Behind the white space at `at`.
#[inline(never)]
fn behind_blanks(input: &[u8], at: usize) -> usize {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
    input[at..].iter().position(|byte| !blank(byte)).map_or(input.len(), |blanks| at + blanks)
}

/// The first place from `from` on of what ends a string, the end of the block that begins there, and what
/// else in it does.
#[inline(never)]
fn look(input: &[u8], mut from: usize) -> (usize, usize, u64) {
    loop {
        let rest = &input[from..];
        let stops = match rest.first_chunk() {
            Some(whole) => mask::stops(whole),
            None => {
                // The end of the input ends a string, as the control character does that stands for it.
                let mut padded = [0; BLOCK];
                padded[..rest.len()].copy_from_slice(rest);
                mask::stops(&padded)
            }
        };
        if stops != 0 {
            return (from + stops.trailing_zeros() as usize, from + BLOCK, stops);
        }
        from += BLOCK;
    }
}

#[inline(always)]
fn closing(is_object: bool) -> u8 {
    if is_object { b'}' } else { b']' }
}

/// Which brackets are open, a bit each: set for an object.
#[derive(Default)]
struct Nesting {
    /// The innermost ones, at most 63, behind a one that is none; zero where none has been opened.
    bits: u64,
    /// The words that are full.
    outer: Vec<u64>,
}

impl Nesting {
    #[inline(always)]
    fn push(&mut self, is_object: bool) {
        if self.bits >> 63 != 0 {
            self.outer.push(self.bits);
            self.bits = 0;
        }
        self.bits = self.bits.max(1) << 1 | u64::from(is_object);
    }

    /// Whether none is open any more.
    #[inline(always)]
    fn pop(&mut self) -> bool {
        self.bits >>= 1;
        if self.bits == 1 {
            self.bits = self.outer.pop().unwrap_or_default();
        }
        self.bits == 0
    }

    #[inline(always)]
    fn is_object(&self) -> bool {
        self.bits & 1 == 1
    }
}
