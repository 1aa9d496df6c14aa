//! The way from a sink to a receiver, which the test can cut in the middle of a frame, stop, lead elsewhere or close.
//!
//! # Invariants
//! It carries bytes and understands none. It keeps nothing that it has read: what is in it when it is cut is what the
//! two sockets' small buffers hold.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;

/// Of each socket on the sink's side, so that a sender is soon held up.
const BUFFER: u32 = 8 << 10;
const UNLIMITED: u64 = u64::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Open,
    /// Connections stay; nothing goes through.
    Stopped,
    /// Connections are reset, new ones too.
    Closed,
}

pub struct Way {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    /// Where new connections lead.
    target: watch::Sender<u16>,
    mode: watch::Sender<Mode>,
    /// Changes when all connections there are are reset.
    resets: watch::Sender<u32>,
    /// How many more bytes go to the receiver before all connections are reset, or stop.
    left: AtomicU64,
    stops: AtomicBool,
    carried: AtomicU64,
}

impl Way {
    pub async fn to(port: u16) -> Way {
        Way::from("127.0.0.1:0".parse().unwrap(), port).await
    }

    pub async fn from(address: SocketAddr, target: u16) -> Way {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.set_recv_buffer_size(BUFFER).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(64).unwrap();
        let state = Arc::new(State {
            target: watch::Sender::new(target),
            mode: watch::Sender::new(Mode::Open),
            resets: watch::Sender::new(0),
            left: AtomicU64::new(UNLIMITED),
            stops: AtomicBool::new(false),
            carried: AtomicU64::new(0),
        });
        let address = listener.local_addr().unwrap();
        let accepting = state.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(accepting.clone().carry(client));
            }
        });
        Way { address, state }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn set(&self, mode: Mode) {
        self.state.mode.send_replace(mode);
    }

    /// Resets all connections there are, and leads new ones to another port.
    pub fn lead(&self, port: u16) {
        self.state.target.send_replace(port);
        self.state.resets.send_modify(|resets| *resets += 1);
    }

    /// Lets so many more bytes through, then resets all connections there are; later ones are carried again.
    pub fn cut_after(&self, bytes: u64) {
        self.state.stops.store(false, Ordering::SeqCst);
        self.state.left.store(bytes, Ordering::SeqCst);
    }

    /// Lets so many more bytes through, then is [`Mode::Stopped`].
    pub fn stop_after(&self, bytes: u64) {
        self.state.stops.store(true, Ordering::SeqCst);
        self.state.left.store(bytes, Ordering::SeqCst);
    }

    /// Whether the cut has been made, or the stop.
    pub fn is_cut(&self) -> bool {
        self.state.left.load(Ordering::SeqCst) == UNLIMITED
    }

    /// How many bytes went to the receiver.
    pub fn carried(&self) -> u64 {
        self.state.carried.load(Ordering::SeqCst)
    }
}

impl State {
    async fn carry(self: Arc<State>, client: TcpStream) {
        // Closing then resets, which is what the far end of a killed process looks like.
        client.set_zero_linger().unwrap();
        if *self.mode.borrow() == Mode::Closed {
            return;
        }
        // Both before the target is looked at, so that nothing is missed.
        let (mut mode, mut resets) = (self.mode.subscribe(), self.resets.subscribe());
        let target = *self.target.borrow();
        let Ok(receiver) = TcpStream::connect(("127.0.0.1", target)).await else { return };
        receiver.set_nodelay(true).unwrap();
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_receiver, mut to_receiver) = receiver.into_split();
        let cut = tokio::select! {
            cut = self.forward(&mut from_client, &mut to_receiver) => cut,
            () = self.answer(&mut from_receiver, &mut to_client) => false,
            _ = mode.wait_for(|mode| *mode == Mode::Closed) => true,
            _ = resets.changed() => true,
        };
        if !cut {
            // The one who has ended has said all; what the other still says goes through.
            let _ = to_receiver.shutdown().await;
            tokio::select! {
                () = self.answer(&mut from_receiver, &mut to_client) => {}
                _ = mode.wait_for(|mode| *mode == Mode::Closed) => {}
                _ = resets.changed() => {}
            }
        }
    }

    /// Whether the connection is to be reset, and was not closed by the client.
    async fn forward(&self, from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf) -> bool {
        let mut mode = self.mode.subscribe();
        let mut buffer = vec![0; BUFFER as usize];
        loop {
            if mode.wait_for(|mode| *mode != Mode::Stopped).await.is_err() {
                return true;
            }
            let read = match from.read(&mut buffer).await {
                Ok(0) | Err(_) => return false,
                Ok(read) => read,
            };
            let left = self.left.load(Ordering::SeqCst);
            let through = usize::try_from(left).unwrap_or(usize::MAX).min(read);
            if to.write_all(&buffer[..through]).await.is_err() {
                return true;
            }
            self.carried.fetch_add(through as u64, Ordering::SeqCst);
            if left == UNLIMITED {
                continue;
            }
            if left > read as u64 {
                self.left.store(left - through as u64, Ordering::SeqCst);
                continue;
            }
            self.left.store(UNLIMITED, Ordering::SeqCst);
            if !self.stops.load(Ordering::SeqCst) {
                return true;
            }
            self.mode.send_replace(Mode::Stopped);
            let opened = mode.wait_for(|mode| *mode != Mode::Stopped).await.is_ok();
            if !opened || to.write_all(&buffer[through..read]).await.is_err() {
                return true;
            }
        }
    }

    async fn answer(&self, from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf) {
        let mut mode = self.mode.subscribe();
        let mut buffer = vec![0; BUFFER as usize];
        loop {
            if mode.wait_for(|mode| *mode != Mode::Stopped).await.is_err() {
                return;
            }
            match from.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(read) if to.write_all(&buffer[..read]).await.is_err() => return,
                Ok(_) => {}
            }
        }
    }
}
