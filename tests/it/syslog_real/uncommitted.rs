//! What is not committed yet is not lost, by any transport: a connection that ends while a delivery is under way, with
//! part of it in the sockets and part of it in the middle of a frame, costs repeats only.

use std::collections::HashSet;
use std::time::Duration;

use fastrand::Rng;
use jumpstream::record::Record;

use super::receiver::{Door, PLAIN, Receiver, Server};
use super::way::{Mode, Way};
use super::{awkward, deliver, open};
use crate::process::eventually;
use crate::random;

/// Breaks by each door, in `make test` and in `make prove`.
const SAMPLE: usize = 4;
const ALL: usize = 100;
/// Of some 400 bytes each: far more than what the sockets on the way hold together.
const BATCH: usize = 1_000;

#[derive(Debug, Clone, Copy)]
enum End {
    Reset,
    Killed,
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_ends_a_connection_what_was_not_acknowledged_is_sent_again() {
    let Some(receiver) = Receiver::start(Server::Rsyslog, "deliveries cut off", PLAIN).await else { return };
    for seed in random::seeds(1, 1) {
        let mut rng = Rng::with_seed(seed);
        for door in [Door::Tcp, Door::Tls, Door::Relp, Door::RelpTls] {
            let way = Way::to(receiver.port(door)).await;
            let sink = open(&receiver.sink_at(door, way.port(), ""));
            let (mut repeated, mut number) = (0, 0);
            for round in 0..if random::is_prove() { ALL } else { SAMPLE } {
                let end = if round % 4 == 3 { End::Killed } else { End::Reset };
                // What came before is all there, so that what is missing can only be of this delivery.
                let from = receiver.length();
                let records: Vec<Record> =
                    (number..number + BATCH).map(|number| awkward::event(number, 400, &mut rng)).collect();
                number += BATCH;
                way.set(Mode::Stopped);
                let carried = way.carried();
                let delivery = deliver(&*sink, &records);
                tokio::pin!(delivery);
                let part = rng.u64(1..100_000);
                tokio::select! {
                    _ = &mut delivery => panic!("{door:?}: acknowledged although nothing went through"),
                    () = tokio::time::sleep(Duration::from_millis(300)) => {}
                }
                match end {
                    End::Reset => way.cut_after(part),
                    End::Killed => way.stop_after(part),
                }
                way.set(Mode::Open);
                let cut = async {
                    eventually("a part went through and the rest did not", async || way.is_cut().then_some(())).await;
                    if let End::Killed = end {
                        receiver.kill().await;
                        receiver.start_again().await;
                        way.set(Mode::Open);
                    }
                };
                let (refused, ()) = tokio::join!(delivery, cut);
                assert_eq!(refused, []);
                assert!(way.carried() >= carried + part, "{door:?}: the rest never went through");
                // Its time, which is in its text and in no other's.
                let last = format!(".{:06}Z", number - 1);
                eventually("the last one is received", async || {
                    let (received, _) = receiver.received_from(receiver.length().saturating_sub(5_000).max(from));
                    received.iter().any(|got| got.text.contains(&last)).then_some(())
                })
                .await;
                let (received, _) = receiver.received_from(from);
                let got: HashSet<&str> = received.iter().map(|got| &got.text[..]).collect();
                let lost = records.iter().filter(|record| !got.contains(&awkward::line(record)[..])).count();
                assert_eq!(lost, 0, "{door:?}, {end:?} after {part} bytes, seed {seed}");
                repeated += received.len() - BATCH;
            }
            println!("{door:?}: {number} events in deliveries that were cut off, lost 0, delivered again {repeated}");
        }
    }
}
