//! A receiver's name that comes to mean another address: it is looked up again when the connection is made anew.

use std::time::Duration;

use jumpstream::emulator::Options;

use super::receiver::{Door, PLAIN, Receiver, Server};
use super::way::{Mode, Way};
use crate::process::tally::Tally;
use crate::process::{Home, Settings, emulate, eventually};

const HOST: &str = "receiver.example";

/// All that the file says, so that nothing else is asked.
fn hosts(home: &Home, address: &str) {
    home.write("hosts", format!("127.0.0.1 localhost\n{address} {HOST}\n"));
    home.open_to_all("hosts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_moves_is_followed_and_no_event_is_lost() {
    let Some(first) = Receiver::start(Server::Rsyslog, "a name that moves", PLAIN).await else { return };
    let Some(second) = Receiver::start(Server::Rsyslog, "a name that moves", PLAIN).await else { return };
    let options = Options { events: 2_000, span: "1h".parse().unwrap(), rate: 200.0, ..Options::default() };
    let emulator = emulate(options).await;
    // Two addresses of loopback and one port.
    let old = Way::to(first.port(Door::Relp)).await;
    let new = Way::from(format!("127.0.0.2:{}", old.port()).parse().unwrap(), second.port(Door::Relp)).await;
    let sinks = format!("[{{type: syslog, address: \"relp://{HOST}:{}\"}}]", old.port());
    let home = Home::new(Settings { poll: "{interval: 1s, start: 2h}", sinks: &sinks, ..Settings::of(&emulator) });
    hosts(&home, "127.0.0.1");
    let mut process = home.start_with_hosts("hosts");
    process.ready().await;
    first.await_count(2_000).await;

    // The old address stays, and refuses whoever comes.
    hosts(&home, "127.0.0.2");
    old.set(Mode::Closed);
    second.await_count(1).await;
    eventually("events come by the new way", async || (new.carried() > 10_000).then_some(())).await;
    process.ready().await;
    let until = emulator.now();
    tokio::time::timeout(Duration::from_secs(90), async {
        let wanted = emulator.truth(Some(until));
        loop {
            let texts = texts(&first, &second);
            let tally = Tally::of(&wanted, &emulator.truth(None), &texts);
            if tally.lost == 0 {
                println!("a name that moves: {tally:?}");
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .expect("all events are at one of the two");
    process.stop().await;
}

fn texts(first: &Receiver, second: &Receiver) -> Vec<String> {
    [first, second].iter().flat_map(|receiver| receiver.received().0).map(|got| got.text).collect()
}
