//! What a peer says that should say nothing, and so what it is: the wrong kind of receiver is named, not waited for.

use super::fault::Fault;
use crate::quote::quote;
use crate::record::syslog::Address;

/// What speaks there, as far as its first bytes show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    Tls,
    Relp,
    Other(&'static str),
    /// Harmless, since some receivers greet.
    Unknown,
}

fn peer(said: &[u8]) -> Peer {
    let digits = said.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let behind = |word: &[u8]| said[digits..].starts_with(word);
    match said {
        // An alert or a handshake record of SSL 3.0 to TLS 1.3 (RFC 8446 §5.1).
        [0x15 | 0x16, 3, ..] => Peer::Tls,
        _ if digits > 0 && (behind(b" rsp ") || behind(b" serverclose ")) => Peer::Relp,
        _ if said.starts_with(b"HTTP/") => Peer::Other("HTTP"),
        _ if said.starts_with(b"SSH-") => Peer::Other("SSH"),
        _ => Peer::Unknown,
    }
}

/// Judges what the peer of a plain TCP connection said.
pub(super) fn on_tcp(address: &Address, said: &[u8]) -> Option<Fault> {
    let with = |scheme: &str| {
        Address { transport: address.transport, ..address.clone() }.to_string().replacen("tcp", scheme, 1)
    };
    Some(match peer(said) {
        Peer::Tls => Fault::new(
            format!("{address} speaks TLS, and we don't"),
            format!("write `address: \"{}\"`, or correct the port", with("tls")),
        ),
        Peer::Relp => Fault::new(
            format!("{address} speaks RELP, and we speak plain syslog"),
            format!("write `address: \"{}\"`, or correct the port", with("relp")),
        ),
        Peer::Other(name) => not_syslog(address, name),
        Peer::Unknown => return None,
    })
}

/// Judges what came inside of a TLS connection for plain syslog.
pub(super) fn in_tls(address: &Address, said: &[u8]) -> Option<Fault> {
    Some(match peer(said) {
        Peer::Relp => Fault::new(
            format!("{address} speaks RELP within TLS, and we speak plain syslog"),
            format!("write `address: \"{}\"`, or correct the port", address.to_string().replacen("tls", "relp+tls", 1)),
        ),
        Peer::Other(name) => not_syslog(address, name),
        Peer::Tls | Peer::Unknown => return None,
    })
}

/// Judges what is no RELP where RELP was expected.
pub(super) fn in_relp(address: &Address, said: &[u8]) -> Fault {
    match peer(said) {
        Peer::Tls if !address.transport.is_tls() => Fault::new(
            format!("{address} speaks TLS, and we don't"),
            format!(
                "write `address: \"{}\"`, or correct the port",
                address.to_string().replacen("relp", "relp+tls", 1)
            ),
        ),
        Peer::Other(name) => not_syslog(address, name),
        _ => Fault::new(
            format!(
                "{address} answers what is no RELP: `{}`",
                quote(&String::from_utf8_lossy(&said[..said.len().min(80)]))
            ),
            "correct the port: it must be a RELP receiver's, such as rsyslog's imrelp",
        ),
    }
}

fn not_syslog(address: &Address, name: &str) -> Fault {
    Fault::new(format!("{address} speaks {name}"), "correct the port: it must be a syslog receiver's")
}
