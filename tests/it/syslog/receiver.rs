//! Receivers of our own: by TCP or TLS, in frames or lines, and by RELP; each does to its clients what it is told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// How messages end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    Counted,
    Lines,
}

/// What becomes of the next connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is read to its end.
    Good,
    /// It is reset once so many bytes were read.
    ResetAfter(usize),
    /// It is closed in order once so many bytes were read.
    CloseAfter(usize),
    /// Nothing is read of it until [`Receiver::wake`].
    Asleep,
}

pub struct Receiver {
    pub port: u16,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

struct State {
    messages: Mutex<Vec<Vec<u8>>>,
    connections: AtomicUsize,
    /// Of the next connections, last first; none left is good.
    fates: Mutex<Vec<Fate>>,
    /// How the connections ended: true where the client said that it leaves.
    endings: Mutex<Vec<bool>>,
    wake: watch::Sender<bool>,
    stop: watch::Sender<bool>,
}

impl Receiver {
    pub async fn start(ends: Ends) -> Receiver {
        Receiver::with(0, ends, None).await
    }

    /// `port` zero is any.
    pub async fn with(port: u16, ends: Ends, tls: Option<TlsAcceptor>) -> Receiver {
        let listener = listen(port);
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            messages: Mutex::default(),
            connections: AtomicUsize::new(0),
            fates: Mutex::default(),
            endings: Mutex::default(),
            wake: watch::Sender::new(false),
            stop: watch::Sender::new(false),
        });
        let serving = state.clone();
        let accepting = tokio::spawn(async move {
            let mut clients = JoinSet::new();
            let mut stop = serving.stop.subscribe();
            loop {
                let (stream, _) = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap(),
                    () = async { drop(stop.wait_for(|stop| *stop).await) } => break,
                };
                serving.connections.fetch_add(1, Ordering::SeqCst);
                let fate = serving.fates.lock().unwrap().pop().unwrap_or(Fate::Good);
                clients.spawn(serving.clone().serve(stream, ends, tls.clone(), fate));
            }
            clients.shutdown().await;
        });
        Receiver { port, state, accepting }
    }

    /// What the next connections meet, in this order.
    pub fn fates(&self, fates: &[Fate]) {
        *self.state.fates.lock().unwrap() = fates.iter().rev().copied().collect();
    }

    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    pub fn messages(&self) -> Vec<Vec<u8>> {
        self.state.messages.lock().unwrap().clone()
    }

    pub fn endings(&self) -> Vec<bool> {
        self.state.endings.lock().unwrap().clone()
    }

    pub fn wake(&self) {
        self.state.wake.send_replace(true);
    }

    /// Ends it, with all of its connections, and gives what it had received.
    pub async fn stop(self) -> Vec<Vec<u8>> {
        self.state.stop.send_replace(true);
        self.accepting.await.unwrap();
        self.state.messages.lock().unwrap().clone()
    }
}

/// With little room for what is not read, so that what a kernel acknowledges is nearly what was read.
fn listen(port: u16) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    socket.bind(([127, 0, 0, 1], port).into()).unwrap();
    socket.listen(64).unwrap()
}

impl State {
    async fn serve(self: Arc<State>, stream: TcpStream, ends: Ends, tls: Option<TlsAcceptor>, fate: Fate) {
        match tls {
            None => {
                let (mut stream, reset) = self.clone().read(stream, ends, fate).await;
                if reset {
                    // Dropped with this set, a socket resets its connection.
                    socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
                } else {
                    let _ = stream.shutdown().await;
                }
            }
            Some(tls) => {
                let Ok(stream) = tls.accept(stream).await else { return };
                let (mut stream, _) = self.clone().read(stream, ends, fate).await;
                let _ = stream.shutdown().await;
            }
        }
    }

    /// Gives the stream back, and whether it is to be reset.
    async fn read<S: AsyncRead + AsyncWrite + Unpin>(
        self: Arc<State>,
        mut stream: S,
        ends: Ends,
        fate: Fate,
    ) -> (S, bool) {
        if fate == Fate::Asleep {
            let _ = self.wake.subscribe().wait_for(|awake| *awake).await;
        }
        let (mut inbox, mut seen) = (Vec::new(), 0);
        loop {
            while let Some(message) = take(&mut inbox, ends) {
                self.messages.lock().unwrap().push(message);
            }
            match fate {
                Fate::ResetAfter(bytes) if seen >= bytes => return (stream, true),
                Fate::CloseAfter(bytes) if seen >= bytes => return (stream, false),
                _ => {}
            }
            match stream.read_buf(&mut inbox).await {
                Ok(0) => break self.endings.lock().unwrap().push(true),
                Ok(read) => seen += read,
                Err(_) => break self.endings.lock().unwrap().push(false),
            }
        }
        (stream, false)
    }
}

/// The first whole message of what was read.
fn take(inbox: &mut Vec<u8>, ends: Ends) -> Option<Vec<u8>> {
    let (start, end, next) = match ends {
        Ends::Lines => {
            let end = inbox.iter().position(|byte| *byte == b'\n')?;
            (0, end, end + 1)
        }
        Ends::Counted => {
            let space = inbox.iter().position(|byte| *byte == b' ')?;
            let length: usize = std::str::from_utf8(&inbox[..space]).unwrap().parse().expect("a count of octets");
            (space + 1, space + 1 + length, space + 1 + length)
        }
    };
    if inbox.len() < next {
        return None;
    }
    let message = inbox[start..end].to_vec();
    inbox.drain(..next);
    Some(message)
}
