//! Cuts the bytes of an `/events` answer into its elements while they arrive.
//!
//! # Invariants
//! Pure. Each byte is looked at four times at most, however the answer is cut into chunks. An event that lies wholly in
//! a chunk is a slice of it, never a copy; of one that doesn't, at most `max_event_bytes` are held.

use bytes::{Buf as _, Bytes};
use sha2::{Digest as _, Sha256};

use super::{Element, Malformed, Oversized};
use crate::event::{Event, Fields};
use crate::source::Error;

/// How much of an oversized event is kept, to tell which one it was.
const OVERSIZED_HEAD: usize = 64 * 1024;

/// An event that begins within so many bytes of its chunk's end is looked for in so many of the next one too: nearly
/// all end there, and reading one once more costs less than first finding out where it ends.
const BEGINNING: usize = 16 * 1024;
const REST: usize = 4 * 1024;

/// What an answer may not exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A longer event is passed over and reported as [`Element::Oversized`]. Bytes.
    pub max_event_bytes: u64,
    /// An element that has not ended by then fails the request. Bytes.
    pub endless_bytes: u64,
    /// So does this much white space between two elements. Bytes.
    pub blank_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { max_event_bytes: 16 << 20, endless_bytes: 1 << 30, blank_bytes: 1 << 20 }
    }
}

/// Push chunks, pull elements.
#[derive(Debug)]
pub struct Parser {
    limits: Limits,
    /// What has come and was not read yet.
    chunk: Bytes,
    state: State,
    /// White space since the last token.
    blank: u64,
    elements: u64,
}

#[derive(Debug)]
enum State {
    /// Before the `[`.
    Start,
    /// Behind the `[`: an element or the `]`.
    First,
    /// Behind a comma.
    Element,
    /// In an object that began so at the last chunk's end.
    Begun(Bytes),
    /// In an element that began in an earlier chunk.
    Inside(Unfinished),
    /// Behind an element: a comma or the `]`.
    Separator,
    /// Behind the `]`: nothing but white space.
    End,
}

/// The beginning of an element that goes on in the next chunk.
#[derive(Debug, Default)]
struct Unfinished {
    bytes: Vec<u8>,
    /// Its length so far; `bytes` holds less once it is oversized.
    size: u64,
    /// Of all its bytes; only once it is oversized.
    hasher: Option<Sha256>,
    scanner: Scanner,
}

impl Parser {
    pub fn new(limits: Limits) -> Parser {
        Parser { limits, chunk: Bytes::new(), state: State::Start, blank: 0, elements: 0 }
    }

    /// How many elements have been given.
    pub fn elements(&self) -> u64 {
        self.elements
    }

    /// The next piece of the answer, to be pushed when [`Parser::pull`] has given none.
    pub fn push(&mut self, chunk: Bytes) {
        if self.chunk.is_empty() {
            self.chunk = chunk;
        } else {
            self.chunk = [&self.chunk[..], &chunk[..]].concat().into();
        }
    }

    /// The next element; none when more bytes are needed, or when the array has ended.
    pub fn pull(&mut self) -> Result<Option<Element>, Error> {
        loop {
            if let State::Inside(unfinished) = &mut self.state {
                let element = unfinished.go_on(&mut self.chunk, &self.limits)?;
                return Ok(element.inspect(|_| self.count()));
            }
            if let State::Begun(beginning) = &self.state {
                if self.chunk.is_empty() {
                    return Ok(None);
                }
                let beginning = beginning.clone();
                match self.across(&beginning) {
                    Some(element) => return Ok(Some(element)),
                    None => continue,
                }
            }
            let Some(token) = self.token()? else { return Ok(None) };
            self.state = match (&self.state, token) {
                (State::Start, b'[') => State::First,
                (State::First | State::Separator, b']') => State::End,
                (State::Separator, b',') => State::Element,
                (State::First | State::Element, b'{') => match self.element() {
                    Some(element) => return Ok(Some(element)),
                    None => continue,
                },
                // What can be told apart from its neighbours is given, though it is no event.
                (State::First | State::Element, b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                    self.state = State::Inside(Unfinished::default());
                    continue;
                }
                (state, token) => return Err(self.unexpected(state, token)),
            };
            self.chunk.advance(1);
        }
    }

    /// At the end of the body: how many elements it held, if it was whole.
    pub fn finish(&self) -> Result<u64, Error> {
        let why = match self.state {
            State::End => return Ok(self.elements),
            State::Start => "an empty body",
            State::Begun(_) | State::Inside(_) => "within an event",
            State::First | State::Element | State::Separator => "without the closing bracket",
        };
        Err(Error::PageTruncated { elements: self.elements, why: why.to_owned() })
    }

    /// Reads the element that begins the chunk; none when it goes on behind it, or is no JSON, which is seen when its
    /// end is known.
    fn element(&mut self) -> Option<Element> {
        match Fields::read(&self.chunk) {
            Ok((fields, end)) => {
                let bytes = self.chunk.split_to(end);
                self.count();
                return Some(element(bytes, fields, &self.limits));
            }
            Err(error) if error.is_eof() && self.holds(self.chunk.len()) => {
                self.state = State::Begun(std::mem::take(&mut self.chunk));
            }
            Err(_) => self.state = State::Inside(Unfinished::default()),
        }
        None
    }

    /// Whether a beginning of that length may be held.
    fn holds(&self, length: usize) -> bool {
        length <= BEGINNING && length as u64 <= self.limits.max_event_bytes.min(self.limits.endless_bytes)
    }

    /// Reads the element that begins with `beginning` and ends in the chunk; none when it is larger than most, or is no
    /// JSON.
    fn across(&mut self, beginning: &[u8]) -> Option<Element> {
        let rest = &self.chunk[..self.chunk.len().min(REST)];
        let mut bytes = Vec::with_capacity(beginning.len() + rest.len());
        bytes.extend_from_slice(beginning);
        bytes.extend_from_slice(rest);
        let Ok((fields, end)) = Fields::read(&bytes) else {
            let mut unfinished = Unfinished::default();
            unfinished.begin(beginning);
            self.state = State::Inside(unfinished);
            return None;
        };
        self.chunk.advance(end - beginning.len());
        bytes.truncate(end);
        bytes.shrink_to_fit();
        self.count();
        Some(element(bytes.into(), fields, &self.limits))
    }

    fn count(&mut self) {
        self.elements += 1;
        self.state = State::Separator;
    }

    /// The next byte that is no white space; none at the chunk's end.
    fn token(&mut self) -> Result<Option<u8>, Error> {
        let blank = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
        let at = self.chunk.iter().position(|byte| !blank(byte)).unwrap_or(self.chunk.len());
        if at > 0 {
            self.chunk.advance(at);
            self.blank += at as u64;
            if self.blank > self.limits.blank_bytes {
                return Err(Error::TooLong { what: "white space in the answer", limit: self.limits.blank_bytes });
            }
        }
        let token = self.chunk.first().copied();
        if token.is_some() {
            self.blank = 0;
        }
        Ok(token)
    }

    fn unexpected(&self, state: &State, token: u8) -> Error {
        let token = token.escape_ascii();
        let why = match state {
            State::Start => format!("it begins with {token}, not with ["),
            State::End => format!("{token} follows the array"),
            State::Separator => format!("{token} follows event {}, not a comma or ]", self.elements),
            _ => format!("event {} begins with {token} and is no object", self.elements + 1),
        };
        Error::Malformed { why }
    }
}

fn element(bytes: Bytes, fields: Fields, limits: &Limits) -> Element {
    let size = bytes.len() as u64;
    if size > limits.max_event_bytes {
        // Copied, so that 64 KiB don't keep a chunk of any size alive.
        let head = Bytes::copy_from_slice(&bytes[..bytes.len().min(OVERSIZED_HEAD)]);
        return Element::Oversized(Oversized { head, size, digest: Sha256::digest(&bytes).into() });
    }
    Element::Event(Event::new(bytes, fields))
}

impl Unfinished {
    /// With what is known to end behind it.
    fn begin(&mut self, beginning: &[u8]) {
        let end = self.scanner.end(beginning);
        debug_assert!(end.is_none(), "an object that is not whole has no end");
        self.size = beginning.len() as u64;
        self.bytes.extend_from_slice(beginning);
    }

    /// Takes what of `chunk` belongs to the element; gives the element once it has ended.
    fn go_on(&mut self, chunk: &mut Bytes, limits: &Limits) -> Result<Option<Element>, Error> {
        let end = self.scanner.end(chunk);
        let piece = chunk.split_to(end.unwrap_or(chunk.len()));
        self.size += piece.len() as u64;
        if self.size > limits.endless_bytes {
            return Err(Error::TooLong { what: "an event", limit: limits.endless_bytes });
        }
        if self.size <= limits.max_event_bytes {
            self.bytes.extend_from_slice(&piece);
        } else {
            self.hasher.get_or_insert_with(|| Sha256::new_with_prefix(&self.bytes)).update(&piece);
            self.keep_head(&piece);
        }
        if end.is_none() {
            return Ok(None);
        }
        let bytes = Bytes::from(std::mem::take(&mut self.bytes));
        if let Some(hasher) = self.hasher.take() {
            let digest = hasher.finalize().into();
            return Ok(Some(Element::Oversized(Oversized { head: bytes, size: self.size, digest })));
        }
        Ok(Some(match Fields::read(&bytes) {
            Ok((fields, end)) if end == bytes.len() => element(bytes, fields, limits),
            read => {
                let why = read.map_or_else(|error| error.to_string(), |_| "no JSON object: it ends too early".into());
                let digest = Sha256::digest(&bytes).into();
                Element::Malformed(Malformed { bytes, why, digest })
            }
        }))
    }

    /// Of an oversized element only the head is held, and the memory of the rest given back.
    fn keep_head(&mut self, piece: &[u8]) {
        self.bytes.truncate(OVERSIZED_HEAD);
        let missing = OVERSIZED_HEAD - self.bytes.len();
        self.bytes.extend_from_slice(&piece[..missing.min(piece.len())]);
        self.bytes.shrink_to(OVERSIZED_HEAD);
    }
}

/// Finds a value's end by brackets, strings and escapes alone, across any number of chunks.
#[derive(Debug, Default)]
struct Scanner {
    depth: u64,
    in_string: bool,
    /// The next byte is escaped.
    escaped: bool,
}

impl Scanner {
    /// How many bytes of `piece` belong to the value, where it ends in it.
    fn end(&mut self, piece: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < piece.len() {
            if std::mem::take(&mut self.escaped) {
                at += 1;
                continue;
            }
            if self.in_string {
                at += memchr::memchr2(b'"', b'\\', &piece[at..])?;
                self.escaped = piece[at] == b'\\';
                self.in_string = self.escaped;
                at += 1;
                if !self.in_string && self.depth == 0 {
                    return Some(at);
                }
                continue;
            }
            match piece[at] {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                // Behind a number or a word, which end where something else begins.
                b'}' | b']' | b',' | b' ' | b'\n' | b'\r' | b'\t' if self.depth == 0 => return Some(at),
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
            at += 1;
        }
        None
    }
}
