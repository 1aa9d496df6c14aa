//! Records as syslog messages, by RFC 5424 or as RFC 3164 found them, and where they go.
//!
//! A message is a *head*, made of what the event says of itself, and a *text*, the event's JSON on one line. Framing,
//! which is the transport's matter, comes around it elsewhere.
//!
//! # Invariants
//! Pure. The text is the event as it came, or, where that is too long and the settings say so, valid JSON that says
//! what it lacks. Nothing is cut in silence.

pub mod address;
mod fit;
mod rfc3164;
mod rfc5424;
mod severity;

use std::io::Write as _;

use super::{Record, line};
pub use address::{Address, Transport};

/// The facilities of RFC 5424 §6.2.1 by their codes, under the names that syslog daemons give them.
pub const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Rfc5424,
    /// For receivers that know no other: without structured data, and with a time without year and zone, in UTC.
    Rfc3164,
}

/// What happens to an event that doesn't fit into a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oversize {
    /// It is refused.
    DeadLetter,
    /// Its largest values are left out or shortened, and the text says which.
    Shrink,
    /// It comes in parts, a message each.
    Split,
}

/// What messages say of their sender, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub protocol: Protocol,
    pub oversize: Oversize,
    /// A place in [`FACILITIES`].
    pub facility: u8,
    /// Printable ASCII without spaces, at most 255 bytes; `-` is none.
    pub hostname: String,
    /// As `hostname`, at most 48 bytes (RFC 3164: 32).
    pub app_name: String,
    /// Whose structured data it is: a private enterprise number.
    pub enterprise_number: u32,
}

/// Writes messages.
#[derive(Debug, Clone)]
pub struct Format {
    settings: Settings,
    /// The part of the head that is the same in each.
    sender: Vec<u8>,
    /// The beginning of the structured data.
    element: Vec<u8>,
}

/// Memory for the messages of one record after the other.
#[derive(Debug, Default)]
pub struct Scratch {
    head: Vec<u8>,
    text: Vec<u8>,
}

/// One message.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    head: &'a [u8],
    /// On one line once it is written.
    text: &'a [u8],
}

/// The message would be longer than it may be, and nothing may be or can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of {size} bytes, where {most} are allowed")]
pub struct TooLarge {
    /// Of the whole message, in bytes.
    pub size: usize,
    pub most: usize,
}

impl Message<'_> {
    /// In bytes; never zero.
    #[expect(clippy::len_without_is_empty, reason = "a message is never empty")]
    pub fn len(&self) -> usize {
        self.head.len() + self.text.len()
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.head);
        line::write(out, self.text).expect("a vector takes all");
    }
}

impl Format {
    pub fn new(settings: Settings) -> Format {
        let mut format = Format { sender: Vec::new(), element: Vec::new(), settings };
        let Settings { protocol, hostname, app_name, enterprise_number, .. } = &format.settings;
        let written = match protocol {
            Protocol::Rfc5424 => write!(format.sender, " {hostname} {app_name} - "),
            Protocol::Rfc3164 => write!(format.sender, " {hostname} {app_name}: "),
        };
        written.and_then(|()| write!(format.element, " [jumpstream@{enterprise_number}")).expect("a vector takes all");
        format
    }

    /// Shows `take` the record's message, or its messages where it is split; none is longer than `most` bytes.
    pub fn messages(
        &self,
        record: &Record,
        most: usize,
        scratch: &mut Scratch,
        mut take: impl FnMut(Message<'_>),
    ) -> Result<(), TooLarge> {
        let Scratch { head, text } = scratch;
        head.clear();
        self.head(record, head);
        let whole = Message { head, text: &record.value };
        if whole.len() <= most {
            take(whole);
            return Ok(());
        }
        let too_large = TooLarge { size: whole.len(), most };
        let room = most.saturating_sub(head.len());
        match self.settings.oversize {
            Oversize::DeadLetter => Err(too_large),
            Oversize::Shrink => {
                fit::shrink(&record.value, room, text).ok_or(too_large)?;
                take(Message { head, text });
                Ok(())
            }
            Oversize::Split => {
                let parts = fit::Parts::of(record, room).ok_or(too_large)?;
                for part in 0..parts.count() {
                    parts.write(part, text);
                    take(Message { head, text });
                }
                Ok(())
            }
        }
    }

    fn head(&self, record: &Record, out: &mut Vec<u8>) {
        let priority = self.settings.facility * 8 + severity::of(&record.event);
        write!(out, "<{priority}>").expect("a vector takes all");
        match self.settings.protocol {
            Protocol::Rfc5424 => rfc5424::head(record, &self.sender, &self.element, out),
            Protocol::Rfc3164 => rfc3164::head(record, &self.sender, out),
        }
    }
}
