//! By UDP: a message a datagram, what is too large is refused, and a port where nobody listens is said.

use jumpstream::record::Reason;
use jumpstream::sink::Sink as _;
use jumpstream::sink::syslog::SyslogSink;
use tokio::net::UdpSocket;

use super::{assert_all_there, deliver, id, record, records, settings};
use crate::sink::eventually;

async fn receive(socket: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
    let mut received = Vec::new();
    let mut buffer = vec![0; 65_536];
    while received.len() < count {
        let read = tokio::time::timeout(crate::sink::DEADLINE, socket.recv(&mut buffer)).await;
        received.push(buffer[..read.expect("a datagram in time").unwrap()].to_vec());
    }
    received
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datagram_is_a_message() {
    for host in ["127.0.0.1", "[::1]"] {
        let socket = UdpSocket::bind(format!("{host}:0")).await.unwrap();
        let sink = SyslogSink::new(settings(&[&format!("udp://{host}:{}", socket.local_addr().unwrap().port())]));
        // Few enough for the socket's buffer: by UDP what overflows it is lost.
        assert_eq!(deliver(&sink, &records(0..50, 100)).await, []);
        assert_all_there(&receive(&socket, 50).await, 0..50);
        assert_eq!(sink.trouble(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_datagram_does_not_hold_is_refused_and_the_others_go_on() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = format!("udp://{}", socket.local_addr().unwrap());
    let mut batch = records(0..2, 10);
    batch.insert(1, record(format!(r#"{{"id":"large","x":"{}"}}"#, "y".repeat(1_472))));
    let refused = deliver(&SyslogSink::new(settings(&[&address])), &batch).await;
    assert_eq!((refused.len(), refused[0].index, refused[0].reason), (1, 1, Reason::TooLargeForSink));
    assert!(refused[0].explanation.contains("more than the 1472 of max_message_bytes"), "{refused:?}");
    assert_all_there(&receive(&socket, 2).await, 0..2);
    // More than any datagram holds, whatever is configured.
    batch[1] = record(format!(r#"{{"id":"large","x":"{}"}}"#, "y".repeat(70_000)));
    let mut wide = settings(&[&address]);
    wide.max_message_bytes = 100_000;
    let refused = deliver(&SyslogSink::new(wide), &batch).await;
    assert_eq!((refused.len(), refused[0].index), (1, 1));
    assert!(refused[0].explanation.contains("lower max_message_bytes"), "{refused:?}");
    assert_all_there(&receive(&socket, 2).await, 0..2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_where_nobody_listens_is_said_and_waited_for() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    let sink = std::sync::Arc::new(SyslogSink::new(settings(&[&format!("udp://{address}")])));
    let delivering = sink.clone();
    let delivery = tokio::spawn(async move { deliver(&delivering, &records(0..20, 10)).await });
    let trouble = eventually("the trouble is said", || sink.trouble()).await;
    assert!(trouble.contains("nobody listens") && trouble.contains("; start the receiver"), "{trouble}");
    let socket = UdpSocket::bind(address).await.unwrap();
    let received = receive(&socket, 20).await;
    assert_eq!(delivery.await.unwrap(), []);
    assert!(received.iter().any(|message| id(message) == "19"));
    assert_eq!(sink.trouble(), None);
}
