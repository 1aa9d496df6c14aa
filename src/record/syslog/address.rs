//! Where messages go: transport, host and port, as `tls://siem.example.com:6514`.

use std::fmt;

/// What carries messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
    Relp,
    RelpTls,
}

impl Transport {
    pub const ALL: [Transport; 5] =
        [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Relp, Transport::RelpTls];

    pub fn scheme(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Relp => "relp",
            Transport::RelpTls => "relp+tls",
        }
    }

    /// RFC 5426 §3.3, RFC 6587 §3.2 (by custom), RFC 5425 §4.1; RELP has none of its own, this is rsyslog's example.
    pub fn default_port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp => 514,
            Transport::Tls => 6514,
            Transport::Relp | Transport::RelpTls => 2514,
        }
    }

    /// The largest frame that is sent where nothing is configured, in bytes: one that an Ethernet packet holds, what
    /// receivers commonly take, and RELP's own limit.
    pub fn default_max_message_bytes(self) -> usize {
        match self {
            Transport::Udp => 1472,
            Transport::Tcp | Transport::Tls => 64 << 10,
            Transport::Relp | Transport::RelpTls => 128 << 10,
        }
    }

    pub fn is_tls(self) -> bool {
        matches!(self, Transport::Tls | Transport::RelpTls)
    }

    pub fn is_relp(self) -> bool {
        matches!(self, Transport::Relp | Transport::RelpTls)
    }
}

/// A receiver.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    pub transport: Transport,
    /// A name or an IP address, without brackets.
    pub host: String,
    pub port: u16,
}

impl Address {
    /// Reads `scheme://host`, `scheme://host:port`, IPv6 in brackets; an error says what was expected.
    pub fn parse(text: &str) -> Result<Address, &'static str> {
        let (scheme, rest) = text.split_once("://").ok_or("expected `scheme://host:port`")?;
        let transport = Transport::ALL
            .into_iter()
            .find(|transport| transport.scheme() == scheme)
            .ok_or("expected `udp`, `tcp`, `tls`, `relp` or `relp+tls` before `://`")?;
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or("expected `]` behind the IPv6 address")?;
                let legal = |c: char| c.is_ascii_hexdigit() || ":.".contains(c);
                // A zone, as in `fe80::1%eth0`, is a name.
                let address = host.split('%').next().unwrap_or_default();
                if !address.contains(':') || !address.chars().all(legal) {
                    return Err("expected an IPv6 address in the brackets");
                }
                match port.strip_prefix(':') {
                    Some(port) => (host, Some(port)),
                    None if port.is_empty() => (host, None),
                    None => return Err("expected `:` and a port behind the brackets"),
                }
            }
            None => match rest.split_once(':') {
                Some((_, port)) if port.contains(':') => {
                    return Err("expected an IPv6 address in brackets, `[::1]:514`");
                }
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let legal = |c: char| c.is_ascii_alphanumeric() || "._-:%".contains(c);
        if host.is_empty() || !host.chars().all(legal) {
            return Err(
                "expected a host of letters, digits, `.`, `_` and `-` behind `://`, and nothing behind the port",
            );
        }
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or("expected a port from 1 to 65535")?,
            None => transport.default_port(),
        };
        Ok(Address { transport, host: host.to_owned(), port })
    }
}

/// As it may be written, with its port.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address { transport, host, port } = self;
        match host.contains(':') {
            true => write!(f, "{}://[{host}]:{port}", transport.scheme()),
            false => write!(f, "{}://{host}:{port}", transport.scheme()),
        }
    }
}
