//! One session of RELP: which messages are in flight, and what the receiver's answers say of them.
//!
//! # Invariants
//! Pure: bytes come in and go out, whatever carries them. No more than the window is in flight. A message is
//! acknowledged once, by an answer that names it, in whatever order answers come.

use std::collections::VecDeque;

use super::frame::{self, Frame, Malformed};

/// A session, from `open` on.
#[derive(Debug)]
pub struct Session {
    /// Zero until the receiver has agreed.
    window: usize,
    agreed: usize,
    next: u32,
    /// By their numbers, oldest first; each with its sender's token.
    in_flight: VecDeque<(u32, usize)>,
    inbox: Vec<u8>,
}

/// What the receiver has said of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Acknowledged(usize),
    /// With the code and the receiver's words.
    Refused(usize, String),
}

/// Why the session is of no use any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not even the first answer is a frame of RELP.
    #[error("no RELP")]
    Foreign(Vec<u8>),
    #[error("the answer is no frame of RELP: {0}")]
    Malformed(#[from] Malformed),
    /// The receiver's words.
    #[error("the receiver refuses the session ({0})")]
    OpenRefused(String),
    #[error("the receiver takes no `syslog` command")]
    NoSyslog,
    #[error("an answer to transaction {0}, which isn't in flight")]
    Unasked(u32),
    #[error("the receiver closes the session")]
    Closed,
}

/// The number of `open`.
const OPEN: u32 = 1;
/// What we offer. librelp, which wrote the specification, calls the version 0 and is called so by all.
const OFFERS: &str =
    concat!("relp_version=0\nrelp_software=jumpstream,", env!("CARGO_PKG_VERSION"), "\ncommands=syslog");

impl Session {
    /// Begins a session by writing `open`; messages wait until [`Self::is_open`].
    pub fn open(window: usize, out: &mut Vec<u8>) -> Session {
        frame::write(OPEN, "open", OFFERS.as_bytes(), out);
        Session { window: 0, agreed: window.max(1), next: OPEN + 1, in_flight: VecDeque::new(), inbox: Vec::new() }
    }

    pub fn is_open(&self) -> bool {
        self.window > 0
    }

    /// How many messages are not answered.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether the window has room.
    pub fn may_send(&self) -> bool {
        self.in_flight.len() < self.window
    }

    /// Writes a message, whose answer will be told with `token`.
    pub fn send(&mut self, token: usize, message: &[u8], out: &mut Vec<u8>) {
        debug_assert!(self.may_send(), "the window is full");
        let number = self.number();
        frame::write(number, "syslog", message, out);
        self.in_flight.push_back((number, token));
    }

    /// Writes `close`; nothing may be sent behind it.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        self.window = 0;
        let number = self.number();
        frame::write(number, "close", b"", out);
    }

    fn number(&mut self) -> u32 {
        let number = self.next;
        self.next = if number == frame::LAST { 1 } else { number + 1 };
        number
    }

    /// Takes what has come, in any pieces, and tells of each message that it answers.
    pub fn receive(&mut self, bytes: &[u8], mut tell: impl FnMut(Told)) -> Result<(), Error> {
        self.inbox.extend_from_slice(bytes);
        let mut inbox = std::mem::take(&mut self.inbox);
        let mut at = 0;
        loop {
            let read = frame::read(&inbox[at..]);
            let foreign = |malformed| match self.is_open() {
                true => Error::Malformed(malformed),
                false => Error::Foreign(inbox[at..].to_vec()),
            };
            let Some((frame, length)) = read.map_err(foreign)? else { break };
            self.take(frame, &mut tell)?;
            at += length;
        }
        inbox.drain(..at);
        self.inbox = inbox;
        Ok(())
    }

    fn take(&mut self, frame: Frame<'_>, tell: &mut impl FnMut(Told)) -> Result<(), Error> {
        match (frame.command, frame.number) {
            (b"serverclose", _) => Err(Error::Closed),
            // A hint that we don't know asks for nothing.
            (_, 0) => Ok(()),
            (b"rsp", OPEN) if !self.is_open() => self.agree(frame.data),
            (b"rsp", number) => {
                let found = self.in_flight.iter().position(|(sent, _)| *sent == number);
                let (_, token) = found.and_then(|place| self.in_flight.remove(place)).ok_or(Error::Unasked(number))?;
                let (code, words) = response(frame.data);
                tell(match code {
                    b"200" => Told::Acknowledged(token),
                    _ => Told::Refused(token, words),
                });
                Ok(())
            }
            _ => Err(Error::Malformed(Malformed("a command where an answer is expected"))),
        }
    }

    fn agree(&mut self, data: &[u8]) -> Result<(), Error> {
        let (code, words) = response(data);
        if code != b"200" {
            return Err(Error::OpenRefused(words));
        }
        let offers = data.split(|byte| *byte == b'\n').skip(1);
        let mut commands = offers.filter_map(|offer| offer.strip_prefix(b"commands="));
        // A receiver that says nothing of commands takes what we have offered.
        if commands
            .next()
            .is_some_and(|commands| !commands.split(|byte| *byte == b',').any(|command| command == b"syslog"))
        {
            return Err(Error::NoSyslog);
        }
        self.window = self.agreed;
        Ok(())
    }
}

/// An answer's code, and its first line as text.
fn response(data: &[u8]) -> (&[u8], String) {
    let line = data.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let code = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    (code, String::from_utf8_lossy(line).into_owned())
}
