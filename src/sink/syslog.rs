//! Events as syslog messages over UDP, TCP, TLS or RELP.
//!
//! By RELP each message is acknowledged by the receiver. By TCP and TLS a batch is *handed over*: it counts when the
//! receiver's kernel has acknowledged each byte and the connection still stands. By UDP it counts when it was sent.
//! docs/concepts/delivery.md says what each can lose.
//!
//! # Invariants
//! Whatever may heal is waited for and said. What is not known to have arrived is sent again with the same `event-id`:
//! by RELP exactly what was not acknowledged, by all else the whole batch. One connection at a time; of several
//! addresses the first that can be had, and the first of all again as soon as it can.
//!
//! # Cancellation
//! Dropping `deliver` drops its connection, in mid-frame perhaps; the next one makes another.

mod answer;
mod connection;
mod datagram;
mod fault;
pub mod framing;
mod handed_over;
mod inspect;
mod kernel;
pub mod relp;
mod tls;
mod wire;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::UdpSocket;
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::clock;
use crate::quote::quote;
use crate::record::syslog::{self, Address, Format, Transport};
use crate::record::{Reason, Record};
use crate::retry::Schedule;
use crate::sink::trouble::{Trouble, Wait};
use crate::sink::{Error, Refused, Sink};
use fault::Fault;
use framing::Framing;
use handed_over::Frames;
pub use inspect::{Inspection, TEST_TYPE, inspect, test_record};
use relp::batch::Batch;
pub use tls::Tls;

/// Where messages go, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The one to use and those that stand in for it, all of one transport.
    pub addresses: Vec<Address>,
    pub format: syslog::Settings,
    /// Lines in place of counted octets, by TCP and TLS.
    pub newline: bool,
    /// The longest frame, in bytes.
    pub max_message_bytes: usize,
    /// How many messages RELP may have in flight.
    pub window: usize,
    pub tls: Tls,
    pub deadlines: Deadlines,
}

/// How long what may take.
#[derive(Debug, Clone, PartialEq)]
pub struct Deadlines {
    /// To reach one IP address.
    pub connect: Duration,
    /// To look up a name, and for a handshake of TLS or RELP.
    pub handshake: Duration,
    /// Nothing moves: it is said.
    pub stall: Duration,
    /// Nothing moves, and the other machine doesn't answer: the connection is given up.
    pub give_up: Duration,
    /// Whether that holds for a receiver whose machine answers too: where another one may stand in for it.
    pub leaves_the_full: bool,
    /// A new connection's first batch is held so long.
    pub probation: Duration,
    /// A connection that was not used for longer is not trusted.
    pub idle: Duration,
    /// How often the first address is tried again while another one stands in, and the files of TLS are looked at.
    pub again: Duration,
    /// To leave in good order.
    pub close: Duration,
}

impl Default for Deadlines {
    fn default() -> Deadlines {
        Deadlines {
            connect: Duration::from_secs(5),
            handshake: Duration::from_secs(10),
            stall: Duration::from_secs(10),
            give_up: Duration::from_secs(60),
            leaves_the_full: false,
            probation: Duration::from_millis(300),
            idle: Duration::from_secs(600),
            again: Duration::from_secs(30),
            close: Duration::from_secs(1),
        }
    }
}

/// Sends each event as a message.
pub struct SyslogSink {
    settings: Settings,
    format: Format,
    framing: Framing,
    place: Mutex<Place>,
    trouble: Trouble,
    lines: AtomicU64,
    /// Messages in a row that a RELP receiver refused while it took none.
    refused_in_a_row: AtomicU64,
}

/// Where deliveries find the line.
#[derive(Default)]
struct Place {
    /// None before the first delivery, after a fault, and while one is at it.
    line: Option<Line>,
    /// When and why no line was to be had.
    failed: Option<(Duration, Fault)>,
}

/// A connection and what is known of it.
struct Line {
    link: Link,
    /// Which of the addresses it leads to.
    at: usize,
    /// Tells one line from those before.
    number: u64,
    used: Duration,
    /// When the first address was last tried, and the files last looked at.
    looked: Duration,
    files: tls::Stamp,
}

enum Link {
    Datagram(UdpSocket),
    Stream(handed_over::Connection),
    Relp(relp::Connection),
}

/// Between two tries to connect, whoever tries.
const REST: Duration = Duration::from_millis(150);
/// How often a message that a RELP receiver refuses is sent before it is given up.
const TRIES: u32 = 3;
/// So many messages in a row are given up; a receiver that refuses more and takes none is itself at fault.
const MOST_REFUSED: u64 = 10;

impl SyslogSink {
    /// Connects at the first delivery, not before.
    pub fn new(mut settings: Settings) -> SyslogSink {
        settings.deadlines.leaves_the_full = settings.addresses.len() > 1;
        let transport = settings.transport();
        let target = settings.addresses.first().map(Address::to_string).unwrap_or_default();
        SyslogSink {
            format: Format::new(settings.format.clone()),
            framing: match transport {
                Transport::Udp => Framing::Datagram,
                Transport::Tcp | Transport::Tls if settings.newline => Framing::Newline,
                Transport::Tcp | Transport::Tls => Framing::OctetCounting,
                Transport::Relp | Transport::RelpTls => Framing::Relp,
            },
            place: Mutex::default(),
            trouble: Trouble::new(format!("syslog {target}")),
            lines: AtomicU64::new(0),
            refused_in_a_row: AtomicU64::new(0),
            settings,
        }
    }

    fn frames(&self) -> Frames<'_> {
        let room = self.framing.room(self.settings.max_message_bytes);
        Frames { format: &self.format, framing: self.framing, room }
    }

    /// A line that may be used: the one that there is, if nothing speaks against it, else a new one.
    async fn line(&self, place: &mut Place) -> Result<Line, Fault> {
        let Settings { addresses, tls, deadlines, .. } = &self.settings;
        let Some(mut line) = place.line.take() else { return self.connect_or_rest(place).await };
        let now = clock::uptime();
        if now.saturating_sub(line.used) > deadlines.idle || line.look(addresses, tls).await.is_err() {
            line.link.close(deadlines.close).await;
            return self.connect().await;
        }
        if now.saturating_sub(line.looked) < deadlines.again {
            return Ok(line);
        }
        line.looked = now;
        if line.files != tls.stamp() {
            tracing::info!("the files of tls were changed: connecting anew");
            line.link.close(deadlines.close).await;
            return self.connect().await;
        }
        if line.at > 0
            && let Ok(first) = self.connect_to(0).await
        {
            tracing::info!("back to {}", addresses[0]);
            line.link.close(deadlines.close).await;
            return Ok(first);
        }
        Ok(line)
    }

    /// As [`Self::connect`], but where that has just failed it fails at once: many streams may ask.
    async fn connect_or_rest(&self, place: &mut Place) -> Result<Line, Fault> {
        let rests = |failed: &(Duration, Fault)| clock::uptime().saturating_sub(failed.0) < REST;
        if let Some((_, fault)) = place.failed.as_ref().filter(|failed| rests(failed)) {
            return Err(fault.clone());
        }
        let connected = self.connect().await;
        place.failed = connected.as_ref().err().map(|fault| (clock::uptime(), fault.clone()));
        connected
    }

    /// To the first address that can be had.
    async fn connect(&self) -> Result<Line, Fault> {
        let addresses = &self.settings.addresses;
        let mut faults = Vec::new();
        for (at, address) in addresses.iter().enumerate() {
            match self.connect_to(at).await {
                Ok(line) => {
                    if let Some(fault) = faults.last() {
                        tracing::warn!("{address} stands in: {fault}");
                    }
                    return Ok(line);
                }
                Err(fault) => faults.push(fault),
            }
        }
        if faults.len() > 1 {
            let findings = faults.iter().map(|fault| fault.finding.as_str()).collect::<Vec<_>>().join(", and ");
            return Err(Fault::new(findings, faults[0].remedy.clone()));
        }
        Err(faults.pop().unwrap_or_else(|| Fault::new("there is no address", "write `address: …`")))
    }

    async fn connect_to(&self, at: usize) -> Result<Line, Fault> {
        let Settings { addresses, tls, deadlines, window, .. } = &self.settings;
        let files = tls.stamp();
        let link = Link::open(&addresses[at], tls, *window, deadlines).await?;
        let now = clock::uptime();
        let number = self.lines.fetch_add(1, Ordering::Relaxed);
        Ok(Line { link, at, number, used: now, looked: now, files })
    }

    /// One try of all transports but RELP.
    async fn hand_over(&self, records: &[Record], wait: &mut Wait<'_>) -> Result<Vec<Refused>, Fault> {
        let Settings { addresses, tls, deadlines, .. } = &self.settings;
        let frames = self.frames();
        let mut place = self.place.lock().await;
        let mut line = self.line(&mut place).await?;
        let address = &addresses[line.at];
        let (too_large, mark) = match &mut line.link {
            Link::Datagram(socket) => (datagram::send(socket, &frames, records, address).await?, None),
            Link::Stream(stream) => {
                let (too_large, mark) = stream.write(&frames, records, (address, tls), deadlines, wait).await?;
                (too_large, Some((mark, stream.probation(deadlines))))
            }
            Link::Relp(_) => return Err(Fault::broken("a RELP session", "report this")),
        };
        let number = line.number;
        line.used = clock::uptime();
        place.line = Some(line);
        drop(place);
        if let Some((mark, probation)) = mark {
            // Others may write meanwhile.
            mark.acknowledged(address, deadlines, wait).await.map_err(|fault| self.given_up(number, fault))?;
            sleep(probation).await;
            self.still_stands(number).await?;
        }
        Ok(too_large.into_iter().map(|(index, size)| self.too_large(index, size)).collect())
    }

    /// The line is dropped by whoever uses it next: its peer has closed it, or nothing moves on it.
    fn given_up(&self, number: u64, fault: Fault) -> Fault {
        if let Ok(mut place) = self.place.try_lock() {
            place.line.take_if(|line| line.number == number);
        }
        fault
    }

    /// Whether the line that a batch was written to has not been closed since.
    async fn still_stands(&self, number: u64) -> Result<(), Fault> {
        let Settings { addresses, tls, .. } = &self.settings;
        let mut place = self.place.lock().await;
        let looked = match place.line.as_mut().filter(|line| line.number == number) {
            Some(line) => line.look(addresses, tls).await,
            None => Err(Fault::broken("the connection broke", "look at the receiver's log")),
        };
        if looked.is_err() {
            place.line.take_if(|line| line.number == number);
        }
        looked
    }

    /// One try by RELP.
    async fn acknowledge(&self, batch: &mut Batch<'_>, wait: &mut Wait<'_>) -> Result<(), Fault> {
        let Settings { addresses, tls, deadlines, .. } = &self.settings;
        let mut place = self.place.lock().await;
        let mut line = self.line(&mut place).await?;
        let address = &addresses[line.at];
        let Link::Relp(session) = &mut line.link else { return Err(Fault::broken("no RELP session", "report this")) };
        let mut pauses = Schedule::new(Duration::from_millis(200), Duration::from_secs(10));
        for tries in 1.. {
            session.send(batch, address, tls, deadlines, wait).await?;
            let Some((_, words)) = batch.refused().next() else { break };
            let refused = batch.refused().count() as u64;
            let in_a_row = match batch.acknowledged() {
                0 => self.refused_in_a_row.load(Ordering::Relaxed) + refused,
                _ => 0,
            };
            if tries >= TRIES && in_a_row <= MOST_REFUSED {
                self.refused_in_a_row.store(in_a_row, Ordering::Relaxed);
                break;
            }
            if tries >= TRIES {
                let words = quote(words);
                wait.until(format!(
                    "{address} refuses every message (`{words}`); look at the receiver's log and its disk"
                ));
            }
            sleep(pauses.pause()).await;
            batch.reopen();
        }
        if batch.acknowledged() > 0 {
            self.refused_in_a_row.store(0, Ordering::Relaxed);
        }
        line.used = clock::uptime();
        place.line = Some(line);
        Ok(())
    }

    async fn deliver_by_relp(&self, records: &[Record]) -> Vec<Refused> {
        let room = self.frames().room;
        let mut batch = Batch::new(records, &self.format, room);
        let mut patience = Patience::new(&self.trouble);
        let (mut settled, mut losses) = (0, 0);
        while let Err(mut fault) = self.acknowledge(&mut batch, &mut patience.wait).await {
            let progress = batch.acknowledged() != std::mem::replace(&mut settled, batch.acknowledged());
            losses = if progress || !fault.broke { 0 } else { losses + 1 };
            if losses >= 3
                && let Some(record) = batch.first_open()
            {
                let id = quote(record.event.id().unwrap_or("unknown"));
                fault.finding +=
                    &format!(", each time before it acknowledges event {id} of {} bytes", record.value.len());
                fault.remedy =
                    "its limit may be lower (maxDataSize of rsyslog's imrelp): raise it, or lower max_message_bytes"
                        .into();
            }
            patience.with(fault).await;
        }
        patience.wait.over();
        let too_large = batch.too_large().iter().map(|(index, size)| self.too_large(*index, *size));
        let refused = batch.refused().map(|(index, words)| Refused {
            index,
            reason: Reason::Refused,
            explanation: format!("the receiver refuses it by RELP: {}", quote(words)),
        });
        too_large.chain(refused).collect()
    }

    fn too_large(&self, index: usize, size: usize) -> Refused {
        let (size, most) = (self.framing.frame(size), self.settings.max_message_bytes);
        let explanation = match size > most {
            true => format!("as a frame of syslog it has {size} bytes, more than the {most} of max_message_bytes"),
            false => format!("the network takes no datagram of {size} bytes: lower max_message_bytes, or use tcp://"),
        };
        Refused { index, reason: Reason::TooLargeForSink, explanation }
    }
}

#[async_trait]
impl Sink for SyslogSink {
    fn name(&self) -> &'static str {
        "syslog"
    }

    async fn deliver(&self, records: &[Record]) -> Result<Vec<Refused>, Error> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        if self.framing == Framing::Relp {
            return Ok(self.deliver_by_relp(records).await);
        }
        let mut patience = Patience::new(&self.trouble);
        loop {
            match self.hand_over(records, &mut patience.wait).await {
                Ok(refused) => {
                    patience.wait.over();
                    return Ok(refused);
                }
                Err(fault) => patience.with(fault).await,
            }
        }
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.text()
    }

    async fn close(&self) {
        let line = self.place.lock().await.line.take();
        if let Some(line) = line {
            line.link.close(self.settings.deadlines.close).await;
        }
    }
}

/// Waits between tries, and says why.
struct Patience<'a> {
    wait: Wait<'a>,
    pauses: Schedule,
    broke: bool,
}

impl Patience<'_> {
    fn new(trouble: &Trouble) -> Patience<'_> {
        let pauses = Schedule::new(Duration::from_millis(200), Duration::from_secs(5));
        Patience { wait: trouble.wait(), pauses, broke: false }
    }

    /// The first connection that breaks is made again at once and in silence: receivers are restarted.
    async fn with(&mut self, fault: Fault) {
        if fault.broke && !std::mem::replace(&mut self.broke, true) {
            tracing::debug!("{fault}");
            return;
        }
        self.wait.until(fault.to_string());
        sleep(self.pauses.pause()).await;
    }
}

impl Line {
    async fn look(&mut self, addresses: &[Address], tls: &Tls) -> Result<(), Fault> {
        let address = &addresses[self.at];
        match &mut self.link {
            Link::Datagram(_) => Ok(()),
            Link::Stream(stream) => stream.look(address, tls).await,
            Link::Relp(session) => session.look(address).await,
        }
    }
}

impl Link {
    async fn open(address: &Address, tls: &Tls, window: usize, deadlines: &Deadlines) -> Result<Link, Fault> {
        if address.transport == Transport::Udp {
            return Ok(Link::Datagram(connection::datagrams(address, deadlines).await?));
        }
        let wire = connection::connect(address, tls, deadlines).await?;
        if address.transport.is_relp() {
            return Ok(Link::Relp(relp::open(wire, window, address, tls, deadlines).await?));
        }
        Ok(Link::Stream(handed_over::Connection::new(wire, address)))
    }

    async fn close(self, within: Duration) {
        match self {
            Link::Datagram(_) => {}
            Link::Stream(stream) => stream.close(within).await,
            Link::Relp(session) => session.close(within).await,
        }
    }
}

impl Settings {
    pub fn transport(&self) -> Transport {
        self.addresses.first().map_or(Transport::Udp, |address| address.transport)
    }
}
