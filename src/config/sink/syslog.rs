//! A sink of `type: syslog`.

use super::super::key::{Choice, Key, Kind, Presence};
use super::super::read::{Item, Section};
use super::super::value::shown;
use super::of_type;
use super::tls::{self, Tls};
use crate::record::syslog::{Address, FACILITIES, Oversize, Protocol, Transport};

pub(super) const KEYS: &[Key] = &[
    of_type("syslog"),
    Key::new(
        "address",
        Kind::Text,
        Presence::Required,
        "Transport, host and port of the receiver: `udp://`, `tcp://` (port 514), `tls://` (6514), `relp://` or \
         `relp+tls://` (2514); an IPv6 address in brackets.",
        "\"tls://siem.example.com:6514\"",
    ),
    Key::new(
        "fallbacks",
        Kind::Texts,
        Presence::Default(""),
        "Receivers of the same transport that stand in, in this order, while the first can't be had.",
        "[\"tls://siem-b.example.com:6514\"]",
    ),
    Key::new(
        "format",
        Kind::Choice(&[Choice::new("rfc5424"), Choice::new("rfc3164")]),
        Presence::Default("rfc5424"),
        "What stands before the event. `rfc3164` is for receivers that know no other: it has no structured data, and a \
         time without year and zone.",
        "rfc5424",
    ),
    Key::new(
        "framing",
        Kind::Choice(&[Choice::new("octet_counting"), Choice::new("newline")]),
        Presence::Default("octet_counting"),
        "How a message ends, by `tcp` and `tls`: its length stands before it, or a line's end behind it.",
        "newline",
    ),
    Key::new(
        "facility",
        Kind::Choice(FACILITY),
        Presence::Default("local0"),
        "The facility of each message.",
        "local4",
    ),
    Key::new(
        "hostname",
        Kind::Text,
        Presence::Optional("this machine's name"),
        "The HOSTNAME of each message.",
        "jumpstream.example.com",
    ),
    Key::new(
        "app_name",
        Kind::Text,
        Presence::Default("jumpstream"),
        "The APP-NAME or tag of each message.",
        "jumpcloud",
    ),
    Key::new(
        "enterprise_number",
        Kind::Integer { least: 1, most: u32::MAX as u64 },
        Presence::Default("32473"),
        "Whose structured data it is: a private enterprise number. The default is the one that stands for examples.",
        "32473",
    ),
    Key::new(
        "max_message_bytes",
        Kind::Size { least: 480, most: 64 << 20 },
        Presence::Optional("1472 by `udp`, 64KiB by `tcp` and `tls`, 128KiB by `relp` and `relp+tls`"),
        "The longest frame that is sent. It must be no more than the receiver takes, or that one cuts what it is sent.",
        "1MiB",
    ),
    Key::new(
        "oversize",
        Kind::Choice(&[Choice::new("dead_letter"), Choice::new("shrink"), Choice::new("split")]),
        Presence::Default("dead_letter"),
        "What happens to an event that doesn't fit: `dead_letter` keeps it there, `shrink` leaves out its largest values \
         and says which, `split` sends it in parts.",
        "split",
    ),
    Key::new(
        "window",
        Kind::Integer { least: 1, most: 100_000 },
        Presence::Default("128"),
        "How many messages may be without their acknowledgement at a time, by `relp` and `relp+tls`.",
        "1024",
    ),
    Key::new(
        "tls",
        Kind::Section(tls::WITH_NAME),
        Presence::Optional("the system's roots"),
        "How TLS is spoken, by `tls` and `relp+tls`. The receiver's name is always verified; the files are read again \
         when they change.",
        "{ca: /etc/ca.pem}",
    ),
];

const FACILITY: &[Choice] = &{
    let mut choices = [Choice::new(""); FACILITIES.len()];
    let mut at = 0;
    while at < choices.len() {
        choices[at] = Choice::new(FACILITIES[at]);
        at += 1;
    }
    choices
};

/// RFC 5424 §6.
const HOSTNAME: usize = 255;
const APP_NAME: usize = 48;
/// RFC 3164 §4.1.3.
const TAG: usize = 32;
/// The largest datagram of IPv4.
const DATAGRAM: u64 = 65_507;

/// Sends each event as a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Syslog {
    /// The receiver and those that stand in for it, all of one transport.
    pub addresses: Vec<Address>,
    pub protocol: Protocol,
    /// Lines in place of counted octets.
    pub newline: bool,
    /// A place in [`FACILITIES`].
    pub facility: u8,
    /// None is this machine's.
    pub hostname: Option<String>,
    pub app_name: String,
    pub enterprise_number: u32,
    /// Of the whole frame.
    pub max_message_bytes: usize,
    pub oversize: Oversize,
    /// Messages in flight by RELP.
    pub window: usize,
    pub tls: Tls,
    /// None is the address's host.
    pub server_name: Option<String>,
}

impl Syslog {
    pub(super) fn section(section: &Section) -> Option<Syslog> {
        let addresses = addresses(section);
        let transport = addresses.as_ref().and_then(|addresses| Some(addresses.first()?.transport));
        let protocol = section.choice("format").map(|format| match format {
            "rfc3164" => Protocol::Rfc3164,
            _ => Protocol::Rfc5424,
        });
        let most = if protocol == Some(Protocol::Rfc3164) { TAG } else { APP_NAME };
        let hostname = section.node("hostname").map(|_| printable(section, "hostname", HOSTNAME));
        let app_name = printable(section, "app_name", most);
        let newline = section.choice("framing").map(|framing| framing == "newline");
        let oversize = section.choice("oversize").map(|oversize| match oversize {
            "shrink" => Oversize::Shrink,
            "split" => Oversize::Split,
            _ => Oversize::DeadLetter,
        });
        let facility = section.choice("facility");
        let (enterprise_number, window) = (section.integer("enterprise_number"), section.integer("window"));
        let size = section.node("max_message_bytes").map(|_| section.size("max_message_bytes"));
        let tls = section.node("tls").map(|_| {
            let section = section.section("tls")?;
            let name = section.node("server_name").map(|_| section.text("server_name"));
            Some((Tls::section(&section)?, name.map_or(Some(None), |name| name.map(Some))?))
        });
        if let Some(transport) = transport {
            refuse_useless(section, transport, size.flatten());
        }
        let facility = FACILITIES.iter().position(|name| Some(*name) == facility)?;
        let (tls, server_name) = tls.unwrap_or(Some((Tls::default(), None)))?;
        Some(Syslog {
            addresses: addresses?,
            protocol: protocol?,
            newline: newline?,
            facility: facility as u8,
            hostname: hostname.map_or(Some(None), |hostname| hostname.map(Some))?,
            app_name: app_name?,
            enterprise_number: enterprise_number? as u32,
            max_message_bytes: match size {
                Some(size) => size? as usize,
                None => transport?.default_max_message_bytes(),
            },
            oversize: oversize?,
            window: window? as usize,
            tls,
            server_name,
        })
    }
}

/// What is written and would not be used by this transport.
fn refuse_useless(section: &Section, transport: Transport, size: Option<u64>) {
    let scheme = transport.scheme();
    let lines = matches!(transport, Transport::Tcp | Transport::Tls);
    let useless = [
        ("framing", lines, "delete it: only tcp:// and tls:// have one"),
        ("window", transport.is_relp(), "delete it: only relp:// and relp+tls:// have one"),
        ("tls", transport.is_tls(), "write tls:// or relp+tls:// where TLS is meant, or delete it"),
    ];
    for (name, is_used, remedy) in useless {
        if section.node(name).is_some() && !is_used {
            section.fault(name, format!("`{scheme}://` has no use for it"), remedy);
        }
    }
    if transport == Transport::Udp && size.is_some_and(|size| size > DATAGRAM) {
        let problem = format!("a datagram holds at most {DATAGRAM} bytes");
        section.fault(
            "max_message_bytes",
            problem,
            "write less, or use tcp://; over 1472 bytes a packet is cut on its way",
        );
    }
}

fn addresses(section: &Section) -> Option<Vec<Address>> {
    let first = section.item("address").map(|item| address(section, &item));
    let others = section
        .items("fallbacks")
        .map(|items| items.iter().map(|item| (address(section, item), item.clone())).collect::<Vec<_>>());
    let first = first??;
    let mut addresses = vec![first];
    for (address, item) in others? {
        let address = address?;
        if address.transport != addresses[0].transport {
            let problem = format!(
                "`{}://`, where `address` has `{}://`",
                address.transport.scheme(),
                addresses[0].transport.scheme()
            );
            section.reader.refuse(&item, problem, "give all addresses the same transport");
            return None;
        }
        addresses.push(address);
    }
    Some(addresses)
}

fn address(section: &Section, item: &Item) -> Option<Address> {
    let text = item.text;
    let remedy = "write it as in `address: \"tls://siem.example.com:6514\"`";
    if text.contains('@') {
        section.reader.refuse(item, "a user or a password (not shown), which syslog doesn't have", remedy);
        return None;
    }
    match Address::parse(text) {
        Ok(address) => Some(address),
        Err(expected) => {
            section.reader.refuse(item, format!("{expected}, found {}", shown(text)), remedy);
            None
        }
    }
}

/// RFC 5424's PRINTUSASCII of at most so many bytes.
fn printable(section: &Section, name: &str, most: usize) -> Option<String> {
    let text = section.text(name)?;
    if text.len() > most || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let problem =
            format!("expected at most {most} printable ASCII characters without spaces, found {}", shown(&text));
        section.fault(name, problem, "write a shorter or a plainer one");
        return None;
    }
    Some(text)
}
