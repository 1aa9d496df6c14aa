//! Frames: what a transport puts around a message, so that its end is found.

use std::io::Write as _;

use crate::record::syslog::Message;

/// How a message's end is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// A datagram is a message (RFC 5426 §3.1).
    Datagram,
    /// The length before it (RFC 6587 §3.4.1, RFC 5425 §4.3).
    OctetCounting,
    /// A line's end behind it (RFC 6587 §3.4.2).
    Newline,
    /// A RELP frame, with the longest transaction number.
    Relp,
}

impl Framing {
    /// What comes around a message of `length` bytes, in bytes.
    fn around(self, length: usize) -> usize {
        let digits = length.max(1).ilog10() as usize + 1;
        match self {
            Framing::Datagram => 0,
            Framing::OctetCounting => digits + " ".len(),
            Framing::Newline => "\n".len(),
            Framing::Relp => "999999999 syslog ".len() + digits + " \n".len(),
        }
    }

    /// The frame of a message of `length` bytes, in bytes.
    pub fn frame(self, length: usize) -> usize {
        length + self.around(length)
    }

    /// The longest message that a frame of `most` bytes holds.
    pub fn room(self, most: usize) -> usize {
        // What comes around the longest is no shorter than what comes around a shorter one; one digit may be saved.
        let least = most.saturating_sub(self.around(most));
        (least..=most).take_while(|length| self.frame(*length) <= most).last().unwrap_or(0)
    }

    /// The frame of a message, but for RELP, whose frames a session numbers.
    pub fn write(self, message: Message<'_>, out: &mut Vec<u8>) {
        if self == Framing::OctetCounting {
            write!(out, "{} ", message.len()).expect("a vector takes all");
        }
        message.write(out);
        if self == Framing::Newline {
            out.push(b'\n');
        }
    }
}
