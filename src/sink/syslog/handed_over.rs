//! TCP and TLS: no receiver says what it has taken, so a batch counts when the receiver's kernel has acknowledged each
//! byte of it and the connection still stands.
//!
//! # Invariants
//! What is not known to have arrived is sent again, all of the batch. A new connection's first batch is held a moment
//! longer: a receiver of the wrong kind, or one that refuses our certificate, says so only when it has been spoken to.

use std::io;
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::fault::Fault;
use super::framing::Framing;
use super::tls::Tls;
use super::wire::{Ends, Wire};
use super::{Deadlines, answer, kernel};
use crate::clock;
use crate::quote::quote;
use crate::record::Record;
use crate::record::syslog::{Address, Format, Scratch, Transport};
use crate::sink::Wait;

/// So much is formatted and written at once.
const CHUNK: usize = 128 << 10;
/// Between two questions to the kernel.
const ASKING: RangeInclusive<Duration> = Duration::from_micros(200)..=Duration::from_millis(10);

/// A connection.
pub(super) struct Connection {
    wire: Wire,
    opened: Duration,
    inbox: Vec<u8>,
}

/// What a batch comes to on its connection.
pub(super) struct Mark {
    ends: Ends,
    /// All of the batch lies before this byte.
    end: u64,
}

/// How a batch becomes frames.
pub(super) struct Frames<'a> {
    pub format: &'a Format,
    pub framing: Framing,
    /// The longest message, in bytes.
    pub room: usize,
}

impl Connection {
    /// Says where a batch will count earlier than it should.
    pub fn new(wire: Wire, address: &Address) -> Connection {
        if let Some(fault) = kernel::state(wire.ends().local, wire.ends().peer).err().filter(is_silence) {
            tracing::warn!(
                "{address}: a batch counts before the receiver's machine has it, since this machine's kernel may not be \
                 asked: {fault}; allow sockets of AF_NETLINK (systemd: RestrictAddressFamilies)"
            );
        }
        Connection { wire, opened: clock::uptime(), inbox: vec![0; 4 << 10] }
    }

    /// Writes all records; gives those too large to be written, each with its message's length, and what to wait for.
    pub async fn write(
        &mut self,
        frames: &Frames<'_>,
        records: &[Record],
        (address, tls): (&Address, &Tls),
        deadlines: &Deadlines,
        wait: &mut Wait<'_>,
    ) -> Result<(Vec<(usize, usize)>, Mark), Fault> {
        let mut too_large = Vec::new();
        let mut scratch = Scratch::default();
        let mut out = Vec::with_capacity(CHUNK + (16 << 10));
        for (index, record) in records.iter().enumerate() {
            let written = frames.format.messages(record, frames.room, &mut scratch, |message| {
                frames.framing.write(message, &mut out);
            });
            too_large.extend(written.err().map(|fault| (index, fault.size)));
            if out.len() >= CHUNK {
                self.drain(&out, (address, tls), deadlines, wait).await?;
                out.clear();
            }
        }
        self.drain(&out, (address, tls), deadlines, wait).await?;
        let ends = self.wire.ends().clone();
        Ok((too_large, Mark { end: ends.written.load(Ordering::Relaxed), ends }))
    }

    async fn drain(
        &mut self,
        out: &[u8],
        (address, tls): (&Address, &Tls),
        deadlines: &Deadlines,
        wait: &mut Wait<'_>,
    ) -> Result<(), Fault> {
        let mut at = 0;
        let mut stalled = Stall::new();
        while at < out.len() || !self.wire.is_flushed() {
            match timeout(deadlines.stall, self.wire.exchange(&out[at..], &mut self.inbox)).await {
                Ok(moved) => {
                    let moved = moved.map_err(|fault| broken(address, tls, &fault))?;
                    at += moved.written;
                    self.hear(address, moved.read)?;
                    stalled.over(wait);
                }
                Err(_) => stalled.say(address, self.wire.ends(), deadlines, wait)?,
            }
        }
        Ok(())
    }

    /// Judges what the peer said, which should be nothing.
    fn hear(&self, address: &Address, read: Option<usize>) -> Result<(), Fault> {
        match read {
            None => Ok(()),
            Some(0) => Err(closed(address)),
            Some(read) => {
                let judge = if address.transport == Transport::Tls { answer::in_tls } else { answer::on_tcp };
                judge(address, &self.inbox[..read]).map_or(Ok(()), Err)
            }
        }
    }

    /// Whether the connection still stands, as far as the peer has said.
    pub async fn look(&mut self, address: &Address, tls: &Tls) -> Result<(), Fault> {
        // More than one thing may have been said: a session ticket, an alert, the end.
        for _ in 0..8 {
            match self.wire.look(&mut self.inbox).await {
                Ok(None) => break,
                Ok(read) => self.hear(address, read)?,
                Err(fault) => return Err(broken(address, tls, &fault)),
            }
        }
        match kernel::state(self.wire.ends().local, self.wire.ends().peer) {
            Ok(state) if !state.is_open => Err(closed(address)),
            Err(fault) if !is_silence(&fault) => Err(closed(address)),
            _ => Ok(()),
        }
    }

    /// How long the connection's first batch has to wait yet.
    pub fn probation(&self, deadlines: &Deadlines) -> Duration {
        (self.opened + deadlines.probation).saturating_sub(clock::uptime())
    }

    pub async fn close(self, within: Duration) {
        self.wire.close(within).await;
    }
}

impl Mark {
    /// Returns when the peer's kernel has acknowledged all that lies before the mark.
    pub async fn acknowledged(
        &self,
        address: &Address,
        deadlines: &Deadlines,
        wait: &mut Wait<'_>,
    ) -> Result<(), Fault> {
        let mut best = 0;
        let mut asking = Asking::new();
        let mut stalled = Stall::new();
        loop {
            // First what was written: what the kernel takes meanwhile can only make the difference smaller.
            let written = self.ends.written.load(Ordering::Relaxed);
            let state = match kernel::state(self.ends.local, self.ends.peer) {
                Ok(state) => state,
                Err(fault) if is_silence(&fault) => return Ok(()),
                Err(_) => return Err(closed(address)),
            };
            let acknowledged = written.saturating_sub(state.unacknowledged.into());
            if acknowledged >= self.end {
                return Ok(());
            }
            if !state.is_open {
                return Err(closed(address));
            }
            if acknowledged > best {
                best = acknowledged;
                stalled.over(wait);
            } else if stalled.is_due(deadlines) {
                stalled.say(address, &self.ends, deadlines, wait)?;
            }
            sleep(asking.pause(self.end - acknowledged)).await;
        }
    }
}

/// When the kernel is asked again: when the rest should have arrived, going by what arrived since the last time. A receiver
/// that is as fast as we are has nothing to read while we sleep longer than that.
struct Asking {
    pause: Duration,
    asked: Duration,
    /// Bytes.
    left: u64,
}

impl Asking {
    fn new() -> Asking {
        Asking { pause: *ASKING.start(), asked: clock::uptime(), left: 0 }
    }

    fn pause(&mut self, left: u64) -> Duration {
        let (now, arrived) = (clock::uptime(), self.left.saturating_sub(left));
        self.pause = match arrived {
            0 => self.pause * 2,
            arrived => (now - self.asked).mul_f64(left as f64 / arrived as f64),
        };
        self.pause = self.pause.clamp(*ASKING.start(), *ASKING.end());
        (self.asked, self.left) = (now, left);
        self.pause
    }
}

/// How long nothing has moved, and the other machine was not seen to answer.
struct Stall {
    since: Duration,
    /// When that was last looked into.
    looked: Duration,
    said: bool,
}

impl Stall {
    fn new() -> Stall {
        Stall { since: clock::uptime(), looked: clock::uptime(), said: false }
    }

    /// Something moves.
    fn over(&mut self, wait: &mut Wait<'_>) {
        if self.said {
            wait.over();
        }
        *self = Stall::new();
    }

    fn is_due(&self, deadlines: &Deadlines) -> bool {
        clock::uptime().saturating_sub(self.looked) >= deadlines.stall
    }

    /// Says that nothing moves; an error where the other machine doesn't answer either.
    fn say(&mut self, address: &Address, ends: &Ends, deadlines: &Deadlines, wait: &mut Wait<'_>) -> Result<(), Fault> {
        (self.looked, self.said) = (clock::uptime(), true);
        let lasted = self.looked.saturating_sub(self.since);
        // Where nobody reads, a new connection would only take what is sent a second time into another buffer.
        let is_full = kernel::state(ends.local, ends.peer).is_ok_and(|state| state.is_open && state.is_full);
        if is_full && !deadlines.leaves_the_full {
            // It answers: one that begins to read just before the next look is not taken for one that is gone.
            self.since = self.looked;
            wait.until(format!("{address} takes nothing; look at the receiver: it has stopped reading"));
            return Ok(());
        }
        if lasted < deadlines.give_up {
            wait.until(format!("{address} takes nothing; look at the receiver and the network"));
            return Ok(());
        }
        let text = format!("{address} takes nothing, for {} s by now", deadlines.give_up.as_secs());
        Err(Fault::broken(text, "look at the receiver and the network; a new connection is tried"))
    }
}

/// The kernel answers no questions; else it answered that there is no such connection.
fn is_silence(fault: &io::Error) -> bool {
    fault.kind() != io::ErrorKind::NotFound
}

fn closed(address: &Address) -> Fault {
    Fault::broken(format!("{address} closes the connection"), elsewhere(address))
}

fn broken(address: &Address, tls: &Tls, fault: &io::Error) -> Fault {
    // What TLS says of us (no certificate, a wrong one) heals by no new connection: said at once.
    tls.explain(address, fault).unwrap_or_else(|| {
        let finding = format!("the connection to {address} broke ({})", quote(&fault.to_string()));
        Fault::broken(finding, elsewhere(address))
    })
}

/// Most receivers of another kind say nothing of it: they close, and their log says why.
fn elsewhere(address: &Address) -> &'static str {
    match address.transport {
        // OpenSSL's servers close with something unread, which takes their alert along.
        Transport::Tls => {
            "look at the receiver's log: if it wants a certificate of ours, write `tls: {certificate: …, key: …}`, and if it \
             speaks RELP at this port, `relp+tls://`"
        }
        _ => "look at the receiver's log: if it speaks TLS at this port, write `tls://`, and if RELP, `relp://`",
    }
}
