//! UDP: a message a datagram (RFC 5426). Nothing is acknowledged; what can be noticed is that nobody listens.

use std::io;

use rustix::io::Errno;
use tokio::net::UdpSocket;

use super::fault::Fault;
use super::handed_over::Frames;
use crate::record::Record;
use crate::record::syslog::{Address, Scratch};

/// Sends all records; gives those too large to be sent, each with its message's length.
pub(super) async fn send(
    socket: &UdpSocket,
    frames: &Frames<'_>,
    records: &[Record],
    address: &Address,
) -> Result<Vec<(usize, usize)>, Fault> {
    let mut too_large = Vec::new();
    let mut scratch = Scratch::default();
    let (mut out, mut ends) = (Vec::new(), Vec::new());
    for (index, record) in records.iter().enumerate() {
        out.clear();
        ends.clear();
        let written = frames.format.messages(record, frames.room, &mut scratch, |message| {
            frames.framing.write(message, &mut out);
            ends.push(out.len());
        });
        too_large.extend(written.err().map(|fault| (index, fault.size)));
        let mut start = 0;
        for end in ends.drain(..) {
            let size = end - start;
            match socket.send(&out[start..end]).await {
                Ok(_) => {}
                // The way is narrower than what is configured.
                Err(fault) if Errno::from_io_error(&fault) == Some(Errno::MSGSIZE) => {
                    too_large.push((index, size));
                    break;
                }
                Err(fault) => return Err(refused(address, &fault)),
            }
            start = end;
        }
    }
    // A datagram that nobody took is told at the next question.
    tokio::task::yield_now().await;
    match socket.take_error() {
        Ok(None) => Ok(too_large),
        Ok(Some(fault)) | Err(fault) => Err(refused(address, &fault)),
    }
}

fn refused(address: &Address, fault: &io::Error) -> Fault {
    match fault.kind() {
        io::ErrorKind::ConnectionRefused => {
            Fault::new(format!("nobody listens at {address}"), "start the receiver, or correct the address")
        }
        _ => Fault::new(format!("sending to {address}: {fault}"), "correct the address and the network"),
    }
}
