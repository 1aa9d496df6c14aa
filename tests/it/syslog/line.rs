//! Addresses as they are written and read back, and what frames add to messages.

use jumpstream::record::syslog::{Address, Transport};
use jumpstream::sink::syslog::framing::Framing;

#[test]
fn an_address_is_read_and_written_back() {
    for (written, transport, host, port) in [
        ("udp://siem", Transport::Udp, "siem", 514),
        ("tcp://10.0.0.7", Transport::Tcp, "10.0.0.7", 514),
        ("tls://siem.example.com", Transport::Tls, "siem.example.com", 6514),
        ("relp://siem", Transport::Relp, "siem", 2514),
        ("relp+tls://siem:20514", Transport::RelpTls, "siem", 20514),
        ("tcp://[::1]", Transport::Tcp, "::1", 514),
        ("tls://[2001:db8::7]:65", Transport::Tls, "2001:db8::7", 65),
    ] {
        let address = Address::parse(written).unwrap_or_else(|fault| panic!("{written}: {fault}"));
        assert_eq!(address, Address { transport, host: host.into(), port }, "{written}");
        assert_eq!(Address::parse(&address.to_string()), Ok(address), "{written}");
    }
}

#[test]
fn what_is_no_address_is_refused() {
    for written in [
        "siem:514",
        "http://siem",
        "tcp://",
        "tcp://:514",
        "tcp://siem:0",
        "tcp://siem:70000",
        "tcp://siem:port",
        "tcp://::1",
        "tcp://[::1",
        "tcp://[siem]:514",
        "tcp://[::1]514",
        "tcp://siem/path",
        "tcp://a b",
        "TCP://siem",
    ] {
        assert!(Address::parse(written).is_err(), "{written}");
    }
}

#[test]
fn the_longest_message_fills_its_frame_and_one_byte_more_does_not_fit() {
    for framing in [Framing::Datagram, Framing::OctetCounting, Framing::Newline, Framing::Relp] {
        for most in (480..3_000).chain([9_999, 10_000, 10_005, 65_536, 99_999, 100_006, 131_072]) {
            let room = framing.room(most);
            assert!(framing.frame(room) <= most, "{framing:?} {most}");
            assert!(framing.frame(room + 1) > most, "{framing:?} {most}: {room} is not the longest");
        }
    }
}
