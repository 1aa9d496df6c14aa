//! Stands between a client and a broker: lets everything through, nothing, or all but one answer.
//!
//! It speaks just enough of Kafka's protocol to know requests by their kind and to put its own port in the place of the
//! broker's wherever the broker names itself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Kinds of requests: <https://kafka.apache.org/protocol#protocol_api_keys>.
pub const PRODUCE: i16 = 0;
pub const END_TRANSACTION: i16 = 26;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Open,
    /// Connections are cut, new ones too.
    Gone,
    /// Connections stay; nothing goes through.
    Silent,
}

pub struct Proxy {
    port: u16,
    state: Arc<State>,
}

struct State {
    broker: u16,
    port: u16,
    blind: bool,
    mode: watch::Sender<Mode>,
    accepted: AtomicUsize,
    /// The kind of request whose next answer gets lost with its connection, and what comes then.
    trap: Mutex<Option<(i16, Mode)>>,
}

impl Proxy {
    /// `broker` is `127.0.0.1:port`.
    pub async fn before(broker: &str) -> Proxy {
        Proxy::start(broker, false).await
    }

    /// One that carries what it can't read, such as TLS: only the first connection of a client comes through it.
    pub async fn blind(broker: &str) -> Proxy {
        Proxy::start(broker, true).await
    }

    async fn start(broker: &str, blind: bool) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let broker = broker.strip_prefix("127.0.0.1:").unwrap().parse().unwrap();
        let (mode, trap, accepted) = (watch::Sender::new(Mode::Open), Mutex::default(), AtomicUsize::new(0));
        let state = Arc::new(State { broker, port, blind, mode, accepted, trap });
        let accepting = state.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                accepting.accepted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(accepting.clone().carry(client));
            }
        });
        Proxy { port, state }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn set(&self, mode: Mode) {
        self.state.mode.send_replace(mode);
    }

    /// How many connections there have been.
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::Relaxed)
    }

    /// Loses the next answer to a request of that kind; the broker has carried it out.
    pub fn lose(&self, kind: i16, then: Mode) {
        *self.state.trap.lock().unwrap() = Some((kind, then));
    }

    /// Whether that answer has been lost.
    pub fn has_lost(&self) -> bool {
        self.state.trap.lock().unwrap().is_none()
    }
}

impl State {
    async fn carry(self: Arc<State>, mut client: TcpStream) {
        let Ok(mut broker) = TcpStream::connect(("127.0.0.1", self.broker)).await else { return };
        if self.blind {
            // However it ends, it has ended.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut broker).await;
            return;
        }
        let (from_client, to_client) = client.into_split();
        let (from_broker, to_broker) = broker.into_split();
        let asked = Mutex::default();
        let mut mode = self.mode.subscribe();
        tokio::select! {
            _ = self.requests(from_client, to_broker, &asked) => {}
            _ = self.answers(from_broker, to_client, &asked) => {}
            _ = mode.wait_for(|mode| *mode == Mode::Gone) => {}
        }
    }

    async fn requests(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        asked: &Mutex<HashMap<i32, i16>>,
    ) -> Option<()> {
        let mut mode = self.mode.subscribe();
        loop {
            let frame = frame(&mut from).await?;
            let kind = i16::from_be_bytes(frame[4..6].try_into().unwrap());
            asked.lock().unwrap().insert(i32::from_be_bytes(frame[8..12].try_into().unwrap()), kind);
            mode.wait_for(|mode| *mode != Mode::Silent).await.ok()?;
            to.write_all(&frame).await.ok()?;
        }
    }

    async fn answers(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        asked: &Mutex<HashMap<i32, i16>>,
    ) -> Option<()> {
        let mut mode = self.mode.subscribe();
        loop {
            let mut frame = frame(&mut from).await?;
            let number = i32::from_be_bytes(frame[4..8].try_into().unwrap());
            let kind = asked.lock().unwrap().remove(&number);
            if let Some((_, then)) = self.trap.lock().unwrap().take_if(|(trapped, _)| kind == Some(*trapped)) {
                self.mode.send_replace(then);
                return None;
            }
            self.rename(&mut frame);
            mode.wait_for(|mode| *mode != Mode::Silent).await.ok()?;
            to.write_all(&frame).await.ok()?;
        }
    }

    /// A broker's address is its host's text and its port in four bytes.
    fn rename(&self, frame: &mut [u8]) {
        let address = |port: u16| [b"127.0.0.1".as_slice(), &u32::from(port).to_be_bytes()].concat();
        let (theirs, ours) = (address(self.broker), address(self.port));
        let places: Vec<usize> = (0..frame.len()).filter(|place| frame[*place..].starts_with(&theirs)).collect();
        for place in places {
            frame[place..place + ours.len()].copy_from_slice(&ours);
        }
    }
}

/// Its length in four bytes, and so many more.
async fn frame(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut frame = vec![0; 4];
    from.read_exact(&mut frame).await.ok()?;
    let length = i32::from_be_bytes(frame[..4].try_into().unwrap());
    frame.resize(4 + usize::try_from(length).unwrap(), 0);
    from.read_exact(&mut frame[4..]).await.ok()?;
    Some(frame)
}
