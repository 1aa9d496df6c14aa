//! From an address to a connection: names looked up anew, each of their addresses tried, TLS, deadlines.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::time::timeout;

use super::Deadlines;
use super::fault::Fault;
use super::tls::Tls;
use super::wire::{Counted, Wire};
use crate::quote::quote;
use crate::record::syslog::Address;

/// A connection on which nothing is said is asked for life after this time, and then more often: so a receiver that
/// died without a word is noticed, and a firewall doesn't forget us.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(10), 6);

/// Connects by TCP, and speaks TLS where the address wants it.
pub(super) async fn connect(address: &Address, tls: &Tls, deadlines: &Deadlines) -> Result<Wire, Fault> {
    let mut last = None;
    for place in resolve(address, deadlines).await? {
        match timeout(deadlines.connect, TcpStream::connect(place)).await {
            Ok(Ok(stream)) => return speak(address, tls, deadlines, stream).await,
            Ok(Err(fault)) => last = Some(fault.to_string()),
            Err(_) => last = Some(format!("no answer within {} s", deadlines.connect.as_secs())),
        }
    }
    let why = last.unwrap_or_else(|| "its name has no address".to_owned());
    Err(Fault::new(
        format!("{address} can't be reached ({why})"),
        "start the receiver, or correct the address and the network",
    ))
}

/// A socket that sends to the address alone, and so is told where nobody listens there.
pub(super) async fn datagrams(address: &Address, deadlines: &Deadlines) -> Result<UdpSocket, Fault> {
    let mut last = None;
    for place in resolve(address, deadlines).await? {
        let any: SocketAddr =
            if place.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { (std::net::Ipv6Addr::UNSPECIFIED, 0).into() };
        let connected = async {
            let socket = UdpSocket::bind(any).await?;
            socket.connect(place).await?;
            io::Result::Ok(socket)
        };
        match connected.await {
            Ok(socket) => return Ok(socket),
            Err(fault) => last = Some(fault.to_string()),
        }
    }
    let why = last.unwrap_or_else(|| "its name has no address".to_owned());
    Err(Fault::new(format!("{address} can't be reached ({why})"), "correct the address and the network"))
}

async fn resolve(address: &Address, deadlines: &Deadlines) -> Result<Vec<SocketAddr>, Fault> {
    let unknown = |why: String| {
        Fault::new(format!("no IP address is known for {} ({why})", address.host), "correct the address, or the DNS")
    };
    match timeout(deadlines.handshake, lookup_host((address.host.as_str(), address.port))).await {
        Ok(Ok(places)) => Ok(places.collect()),
        Ok(Err(fault)) => Err(unknown(quote(&fault.to_string()))),
        Err(_) => Err(unknown(format!("no answer within {} s", deadlines.handshake.as_secs()))),
    }
}

async fn speak(address: &Address, tls: &Tls, deadlines: &Deadlines, stream: TcpStream) -> Result<Wire, Fault> {
    let failed = |fault: io::Error| Fault::new(format!("{address}: {fault}"), "start the receiver");
    tune(&stream).map_err(failed)?;
    let stream = Counted::new(stream).map_err(failed)?;
    if !address.transport.is_tls() {
        return Ok(Wire::plain(stream));
    }
    let (connector, name) = (tls.connector()?, tls.server_name(address)?);
    let plain = if address.transport.is_relp() { "relp" } else { "tcp" };
    match timeout(deadlines.handshake, connector.connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(Wire::tls(stream)),
        Ok(Err(fault)) => Err(tls.explain(address, &fault).unwrap_or_else(|| {
            Fault::new(
                format!(
                    "{address} ends the connection in the midst of the TLS handshake ({})",
                    quote(&fault.to_string())
                ),
                format!("correct the port; for a receiver without TLS write `{plain}://`; its log may say more"),
            )
        })),
        Err(_) => Err(Fault::new(
            format!(
                "{address} takes the connection but gives no answer in TLS within {} s",
                deadlines.handshake.as_secs()
            ),
            format!("correct the port: a receiver without TLS waits likewise; for such a one write `{plain}://`"),
        )),
    }
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    // A batch's last bytes would wait for the acknowledgement of those before.
    stream.set_nodelay(true)?;
    let (idle, between, tries) = KEEPALIVE;
    let keepalive = TcpKeepalive::new().with_time(idle).with_interval(between).with_retries(tries);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
