//! A TCP connection, with TLS or without: one step of writing and reading at a time.
//!
//! # Cancellation
//! A step that is dropped has moved nothing that its caller wasn't told of.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A connection.
pub(super) struct Wire {
    io: Io,
    /// Whether all that was written has gone to the kernel.
    flushed: bool,
    ends: Ends,
}

/// What identifies a connection to the kernel, and how much it was given.
#[derive(Debug, Clone)]
pub(super) struct Ends {
    pub local: SocketAddr,
    pub peer: SocketAddr,
    /// Bytes that the kernel has taken.
    pub written: Arc<AtomicU64>,
}

enum Io {
    Plain(Counted),
    Tls(Box<TlsStream<Counted>>),
}

/// What one step moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moved {
    pub written: usize,
    /// Zero is the end of what the peer sends.
    pub read: Option<usize>,
}

impl Wire {
    pub fn plain(stream: Counted) -> Wire {
        Wire { ends: stream.ends.clone(), io: Io::Plain(stream), flushed: true }
    }

    pub fn tls(stream: TlsStream<Counted>) -> Wire {
        Wire { ends: stream.get_ref().0.ends.clone(), io: Io::Tls(Box::new(stream)), flushed: true }
    }

    pub fn ends(&self) -> &Ends {
        &self.ends
    }

    pub fn is_flushed(&self) -> bool {
        self.flushed
    }

    /// Writes some of `out` and reads what is there, whatever can be done first.
    ///
    /// With nothing to write it writes out what was held back, and then waits for the peer to say something.
    pub async fn exchange(&mut self, out: &[u8], inbox: &mut [u8]) -> io::Result<Moved> {
        poll_fn(|cx| {
            let mut moved = Moved { written: 0, read: None };
            let mut buffer = ReadBuf::new(inbox);
            // What a peer said before it broke off explains why: it is read before a failed write is told.
            if Pin::new(&mut self.io).poll_read(cx, &mut buffer)?.is_ready() {
                moved.read = Some(buffer.filled().len());
                return Poll::Ready(Ok(moved));
            }
            if !out.is_empty() {
                moved.written = ready!(Pin::new(&mut self.io).poll_write(cx, out))?;
                self.flushed = false;
                return Poll::Ready(Ok(moved));
            }
            if !self.flushed {
                ready!(Pin::new(&mut self.io).poll_flush(cx))?;
                self.flushed = true;
                return Poll::Ready(Ok(moved));
            }
            Poll::Pending
        })
        .await
    }

    /// What the peer has said by now, without waiting; zero bytes are its end.
    pub async fn look(&mut self, inbox: &mut [u8]) -> io::Result<Option<usize>> {
        poll_fn(|cx| {
            let mut buffer = ReadBuf::new(inbox);
            Poll::Ready(match Pin::new(&mut self.io).poll_read(cx, &mut buffer) {
                Poll::Ready(read) => read.map(|()| Some(buffer.filled().len())),
                Poll::Pending => Ok(None),
            })
        })
        .await
    }

    /// Leaves in good order, within the time: `close_notify` where there is TLS, then the end of what we send; and what
    /// the peer still says is read, since a socket that is closed with something unread resets the connection and
    /// takes with it what the receiver hasn't read yet.
    pub async fn close(mut self, within: Duration) {
        let leave = async {
            self.io.shutdown().await?;
            let mut rest = [0; 1024];
            while self.io.read(&mut rest).await? > 0 {}
            io::Result::Ok(())
        };
        // Whoever doesn't answer is left all the same.
        let _ = tokio::time::timeout(within, leave).await;
    }
}

/// Counts what the kernel takes.
pub(super) struct Counted {
    stream: TcpStream,
    ends: Ends,
}

impl Counted {
    pub fn new(stream: TcpStream) -> io::Result<Counted> {
        let ends = Ends { local: stream.local_addr()?, peer: stream.peer_addr()?, written: Arc::default() };
        Ok(Counted { stream, ends })
    }

    fn count(&self, written: usize) -> usize {
        self.ends.written.fetch_add(written as u64, Ordering::Relaxed);
        written
    }

    /// Asks the kernel to acknowledge what was read now, and not with what we send next: a receiver whose second answer
    /// waits until its first one is acknowledged (RFC 9293 §3.7.4) would make a window's answers 40 ms late.
    ///
    /// The kernel forgets it after a while (tcp(7), `TCP_QUICKACK`), so it is told after each read; where it can't be
    /// told, answers come later and nothing else changes.
    fn acknowledge_at_once(&self) {
        #[cfg(target_os = "linux")]
        let _ = self.stream.set_quickack(true);
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.acknowledge_at_once();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        Poll::Ready(Ok(self.count(written)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, pieces))?;
        Poll::Ready(Ok(self.count(written)))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Io::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Io::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Io::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
