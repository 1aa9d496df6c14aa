//! What the kernel knows of a TCP connection: how many bytes the other side's kernel has not acknowledged yet.
//!
//! It is the figure of the ioctl SIOCOUTQ, asked of the kernel by a message (sock_diag(7)), since the ioctl can't be
//! called without `unsafe`: docs/decisions/0022 has the reasons.

use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const AF_NETLINK: i32 = 16;
const NETLINK_SOCK_DIAG: i32 = 4;
const IPPROTO_TCP: u8 = 6;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const ESTABLISHED: u8 = 1;
/// `idiag_timer` while a closed window is probed.
const PROBES: u8 = 4;
const HEADER: usize = 16;

/// A connection as the kernel sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    /// Both sides may still send.
    pub is_open: bool,
    /// Bytes that we wrote and the other kernel has not acknowledged.
    pub unacknowledged: u32,
    /// The other kernel answers, and has no room since nobody reads there.
    pub is_full: bool,
}

/// Asks for one connection of our own; `NotFound` where there is none any more.
pub(super) fn state(local: SocketAddr, peer: SocketAddr) -> io::Result<State> {
    let mut socket = Socket::new(
        Domain::from(AF_NETLINK),
        Type::DGRAM.cloexec().nonblocking(),
        Some(Protocol::from(NETLINK_SOCK_DIAG)),
    )?;
    socket.send(&question(local, peer))?;
    // The kernel has answered when `send` returns.
    let mut answer = [0; 512];
    let length = socket.read(&mut answer)?;
    read(&answer[..length])
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2` of linux/inet_diag.h.
fn question(local: SocketAddr, peer: SocketAddr) -> Vec<u8> {
    const LENGTH: u32 = 16 + 56;
    let mut question = Vec::with_capacity(LENGTH as usize);
    question.extend(LENGTH.to_ne_bytes());
    question.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    question.extend(NLM_F_REQUEST.to_ne_bytes());
    // Sequence number and our port: neither is of use for one question.
    question.extend([0; 8]);
    question.extend([if local.is_ipv4() { AF_INET } else { AF_INET6 }, IPPROTO_TCP, 0, 0]);
    // In any state.
    question.extend(u32::MAX.to_ne_bytes());
    question.extend(local.port().to_be_bytes());
    question.extend(peer.port().to_be_bytes());
    question.extend(address(local.ip()));
    question.extend(address(peer.ip()));
    // Any interface, but of a link-local address its own; no cookie.
    let interface = match peer {
        SocketAddr::V6(peer) => peer.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    question.extend(interface.to_ne_bytes());
    question.extend([0xff; 8]);
    question
}

fn address(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        }
    }
}

/// `struct inet_diag_msg`, or an error's number.
fn read(answer: &[u8]) -> io::Result<State> {
    let cut = || io::Error::new(io::ErrorKind::InvalidData, "a cut answer of sock_diag");
    let word = |at: usize| answer.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).ok_or_else(cut);
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes).ok_or_else(cut)?;
    match kind {
        SOCK_DIAG_BY_FAMILY => {
            let body = answer.get(HEADER..).filter(|body| body.len() >= 64).ok_or_else(cut)?;
            let (state, timer, tries) = (body[1], body[2], body[3]);
            Ok(State {
                is_open: state == ESTABLISHED,
                unacknowledged: u32::from_ne_bytes(word(HEADER + 60)?),
                is_full: timer == PROBES && tries <= 2,
            })
        }
        NLMSG_ERROR => Err(io::Error::from_raw_os_error(-i32::from_ne_bytes(word(HEADER)?))),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "an answer of sock_diag that we don't know")),
    }
}
