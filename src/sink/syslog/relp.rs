//! RELP, the reliable event logging protocol: each message is acknowledged by the receiver itself.
//!
//! By `doc/relp.md` of librelp, and where that is vague, by what rsyslog's imrelp does. We are the client:
//!
//! | command | who, number | data | answer |
//! |---|---|---|---|
//! | `open` | client, 1 | offers, a line each: `relp_version=0`, `relp_software=…`, `commands=syslog` | `rsp`: `200 OK` and the offers that the server takes; nothing is sent before |
//! | `syslog` | client, counting on | one message | `rsp`: `200 OK`, or `500 …`, which refuses the message |
//! | `close` | client | none | `rsp`; then both close the connection |
//! | `rsp` | server, the number that it answers | `CODE SP TEXT [LF DATA]` | none |
//! | `serverclose` | server, 0 | none | none: a hint that the server closes the connection |
//! | `starttls`, `abort` | – | – | not used: `relp+tls` speaks TLS from the first byte, as rsyslog does |
//!
//! Numbers go to 999,999,999 and begin again with 1. Up to a window of messages is unanswered at a time. A session that
//! ends has settled what it answered; the rest goes out again in the next one, in order.
//!
//! `frame`, `session` and `batch` are pure; what carries them is here.

pub mod batch;
pub mod frame;
pub mod session;

use std::io;
use std::time::Duration;

use tokio::time::timeout;

use super::fault::Fault;
use super::tls::Tls;
use super::wire::Wire;
use super::{Deadlines, answer};
use crate::clock;
use crate::quote::quote;
use crate::record::syslog::Address;
use crate::sink::Wait;
use batch::Batch;
use session::{Error, Session};

/// So much is written at once.
const CHUNK: usize = 64 << 10;

/// A connection with a session on it.
pub(super) struct Connection {
    wire: Wire,
    session: Session,
    /// Written by the session and not yet by the wire.
    out: Vec<u8>,
    written: usize,
    inbox: Vec<u8>,
}

/// Opens a session.
pub(super) async fn open(
    wire: Wire,
    window: usize,
    address: &Address,
    tls: &Tls,
    deadlines: &Deadlines,
) -> Result<Connection, Fault> {
    let mut out = Vec::new();
    let session = Session::open(window, &mut out);
    let mut connection = Connection { wire, session, out, written: 0, inbox: vec![0; 16 << 10] };
    let opened = async {
        while !connection.session.is_open() {
            connection.step(address, tls, &mut |_| {}).await?;
        }
        Ok(())
    };
    let plain = if address.transport.is_tls() { "tls" } else { "tcp" };
    let silent = || {
        Fault::new(
            format!(
                "{address} takes the connection but doesn't answer RELP's `open` within {} s",
                deadlines.handshake.as_secs()
            ),
            format!(
                "correct the port: it must be a RELP receiver's; a plain one waits likewise, for it write `{plain}://`"
            ),
        )
    };
    // Most receivers of another kind say nothing of it: they close.
    let closed = || {
        let remedy = match address.transport.is_tls() {
            true => "correct the port, or write `tls://` for a plain receiver; its log may say more",
            false => "correct the port; if it speaks TLS there, write `relp+tls://`, if plain syslog, `tcp://`",
        };
        Fault::new(format!("{address} closes the connection before it answers RELP's `open`"), remedy)
    };
    let opened = timeout(deadlines.handshake, opened).await.unwrap_or_else(|_| Err(silent()));
    opened.map(|()| connection).map_err(|fault: Fault| if fault.broke { closed() } else { fault })
}

impl Connection {
    /// Sends what is open of the batch, and returns when each message is settled.
    pub async fn send(
        &mut self,
        batch: &mut Batch<'_>,
        address: &Address,
        tls: &Tls,
        deadlines: &Deadlines,
        wait: &mut Wait<'_>,
    ) -> Result<(), Fault> {
        batch.rewind();
        let (mut moved_at, mut said) = (clock::uptime(), false);
        loop {
            if self.written == self.out.len() {
                self.refill(batch);
            }
            if self.session.in_flight() == 0 && self.out.is_empty() {
                return Ok(());
            }
            let mut tell = |told| batch.settle(told);
            match timeout(deadlines.stall, self.step(address, tls, &mut tell)).await {
                Ok(stepped) => {
                    stepped?;
                    moved_at = clock::uptime();
                    if std::mem::take(&mut said) {
                        wait.over();
                    }
                }
                Err(_) if clock::uptime().saturating_sub(moved_at) < deadlines.give_up => {
                    said = true;
                    wait.until(format!(
                        "{address} acknowledges nothing; look at the receiver: its disk or its queue may be full"
                    ));
                }
                Err(_) => {
                    return Err(Fault::broken(
                        format!("{address} acknowledges nothing, for {} s by now", deadlines.give_up.as_secs()),
                        "look at the receiver: its disk or its queue may be full; a new session is tried",
                    ));
                }
            }
        }
    }

    fn refill(&mut self, batch: &mut Batch<'_>) {
        self.out.clear();
        self.written = 0;
        while self.session.may_send() && self.out.len() < CHUNK {
            let Some((token, message)) = batch.next_message() else { break };
            self.session.send(token, message, &mut self.out);
        }
    }

    async fn step(&mut self, address: &Address, tls: &Tls, tell: &mut impl FnMut(session::Told)) -> Result<(), Fault> {
        let moved = self.wire.exchange(&self.out[self.written..], &mut self.inbox).await;
        // What TLS says of us heals by no new connection: said at once.
        let explain_io =
            |fault: io::Error| tls.explain(address, &fault).unwrap_or_else(|| lost(address, &fault.to_string()));
        let moved = moved.map_err(explain_io)?;
        self.written += moved.written;
        match moved.read {
            None => Ok(()),
            Some(0) => Err(lost(address, "the receiver closed it")),
            Some(read) => self.session.receive(&self.inbox[..read], tell).map_err(|error| explain(address, error)),
        }
    }

    /// Whether the session may still be used, as far as the receiver has said.
    pub async fn look(&mut self, address: &Address) -> Result<(), Fault> {
        match self.wire.look(&mut self.inbox).await {
            Ok(None) => Ok(()),
            Ok(Some(0)) => Err(lost(address, "the receiver closed it")),
            Ok(Some(read)) => {
                self.session.receive(&self.inbox[..read], |_| {}).map_err(|error| explain(address, error))
            }
            Err(fault) => Err(lost(address, &fault.to_string())),
        }
    }

    /// Says `close`, waits for its answer, and leaves.
    pub async fn close(mut self, within: Duration) {
        self.out.clear();
        self.written = 0;
        self.session.close(&mut self.out);
        let said = async {
            while self.written < self.out.len() || !self.wire.is_flushed() {
                let moved = self.wire.exchange(&self.out[self.written..], &mut self.inbox).await?;
                self.written += moved.written;
                if moved.read == Some(0) {
                    break;
                }
            }
            // The answer, whatever it says.
            self.wire.exchange(&[], &mut self.inbox).await
        };
        let _ = timeout(within, said).await;
        self.wire.close(within).await;
    }
}

fn lost(address: &Address, why: &str) -> Fault {
    Fault::broken(format!("the session with {address} was lost ({})", quote(why)), "look at the receiver's log")
}

fn explain(address: &Address, error: Error) -> Fault {
    match error {
        Error::Foreign(said) => answer::in_relp(address, &said),
        Error::OpenRefused(words) => Fault::new(
            format!("{address} refuses a RELP session (`{}`)", quote(&words)),
            "look at the receiver's settings and its log",
        ),
        Error::NoSyslog => Fault::new(
            format!("{address} speaks RELP, but takes no `syslog` command"),
            "allow that command there (rsyslog's imrelp does)",
        ),
        Error::Closed => lost(address, "the receiver closed it"),
        Error::Malformed(_) | Error::Unasked(_) => Fault::broken(
            format!("{address} breaks RELP: {error}"),
            "look at the receiver: what stands between us may change what it says",
        ),
    }
}
