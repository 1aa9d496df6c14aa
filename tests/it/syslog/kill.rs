//! `kill -9` of the real program at any moment: by RELP and by TCP nothing is lost, and only what was in flight comes twice.

use std::time::Duration;

use super::receiver::{Ends, Receiver};
use super::relp::Server;
use super::text;
use crate::kill::awkward;
use crate::process::tally::Tally;
use crate::process::{Home, Settings, emulate, eventually};
use crate::random;

/// Kills in `make test` and in `make prove`.
const SAMPLE: usize = 4;
const ALL: usize = 25;
/// What the stream commits at once, at most.
const BATCH: usize = 10_000;

enum Far {
    Relp(Server),
    Tcp(Receiver),
}

impl Far {
    fn address(&self) -> String {
        match self {
            Far::Relp(server) => server.address(),
            Far::Tcp(receiver) => format!("tcp://127.0.0.1:{}", receiver.port),
        }
    }

    fn texts(&self) -> Vec<Vec<u8>> {
        let messages = match self {
            Far::Relp(server) => server.messages(),
            Far::Tcp(receiver) => receiver.messages(),
        };
        messages.iter().map(|message| text(message).to_vec()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_a_receiver_lacks_nothing_and_sees_again_only_what_was_in_flight() {
    for seed in random::seeds(1, 4) {
        for far in [Far::Relp(Server::start(vec![]).await), Far::Tcp(Receiver::start(Ends::Counted).await)] {
            kill_and_compare(seed, far).await;
        }
    }
}

async fn kill_and_compare(seed: u64, far: Far) {
    let emulator = emulate(awkward(seed)).await;
    let sinks = format!("[{{type: syslog, address: \"{}\", max_message_bytes: 1MiB}}]", far.address());
    let poll = "{interval: 1s, start: 2h, page_size: 5000}";
    let home = Home::new(Settings { poll, sinks: &sinks, ..Settings::of(&emulator) });
    let kills = if random::is_prove() { ALL } else { SAMPLE };
    let mut rng = fastrand::Rng::with_seed(seed);
    for kill in 0..kills {
        let before = far.texts().len();
        let mut process = match kill % 2 {
            // Between the receiver's acknowledgement and the checkpoint.
            0 => home.start_failing("delivered", rng.u32(1..4)),
            _ => home.start(&[]),
        };
        eventually("something is delivered", async || (far.texts().len() > before).then_some(())).await;
        tokio::time::sleep(Duration::from_millis(rng.u64(0..1_500))).await;
        assert!(process.is_running(), "it ended by itself:\n{}", process.log());
        process.kill();
    }
    let until = emulator.now();
    home.catch_up().await;
    // What a kernel has acknowledged is still to be read.
    let tally = eventually("all is there", async || {
        let tally = Tally::of(&emulator.truth(Some(until)), &emulator.truth(None), far.texts());
        (tally.lost == 0).then_some(tally)
    })
    .await;
    assert_eq!(tally.foreign, 0, "{tally:?}, seed {seed}");
    if let Far::Relp(server) = &far {
        assert_eq!(server.closed(), 1, "what ends in order closes its session, and what is killed doesn't");
    }
    assert!(tally.repeated <= kills * BATCH, "{tally:?}, seed {seed}");
    println!("{} by {kills} kills, seed {seed}: {tally:?}", far.address());
}
