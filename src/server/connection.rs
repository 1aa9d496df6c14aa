//! Connections that a slow client can't hold: each must take an answer in time, and a new one pushes out the oldest.

use std::collections::VecDeque;
use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

/// How many connections a listener keeps. Prometheus and the kubelet need a handful.
pub const CONNECTIONS: usize = 64;
/// A connection on which nothing could be answered for so long is cut; sending a request byte by byte does not help.
/// Longer than the usual scrape interval, so that Prometheus keeps its connection.
const PATIENCE: Duration = Duration::from_secs(90);

/// Accepts connections, the newest before the oldest: a probe is answered while someone holds all the others.
pub struct Connections {
    listener: TcpListener,
    /// Oldest first; closed where the connection has ended.
    open: VecDeque<oneshot::Sender<()>>,
}

impl Connections {
    pub fn new(listener: TcpListener) -> Connections {
        Connections { listener, open: VecDeque::new() }
    }
}

impl Listener for Connections {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // Waits where the process has too many files open, instead of spinning.
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        self.open.retain(|connection| !connection.is_closed());
        while self.open.len() >= CONNECTIONS {
            if let Some(oldest) = self.open.pop_front() {
                let _ = oldest.send(());
            }
        }
        let (cut, told) = oneshot::channel();
        self.open.push_back(cut);
        (Connection { stream, told: Some(told), deadline: Box::pin(tokio::time::sleep(PATIENCE)) }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails once it is cut or its deadline has passed; every written byte moves the deadline.
pub struct Connection {
    stream: TcpStream,
    /// None once the listener is gone: a farewell is not cut.
    told: Option<oneshot::Receiver<()>>,
    deadline: Pin<Box<Sleep>>,
}

impl Connection {
    /// Whether the connection may go on; else the task is woken when that changes.
    fn poll_cut(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if let Some(told) = &mut self.told {
            match Pin::new(told).poll(context) {
                Poll::Ready(Ok(())) => return Err(io::ErrorKind::ConnectionAborted.into()),
                Poll::Ready(Err(_)) => self.told = None,
                Poll::Pending => {}
            }
        }
        match self.deadline.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_cut(context)?;
        Pin::new(&mut self.stream).poll_read(context, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_cut(context)?;
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.deadline.as_mut().reset(Instant::now() + PATIENCE);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
