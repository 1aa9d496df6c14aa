//! The real stream, hindered for longer than a poll looks back: the gap that comes of it says what hindered it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jumpstream::emulator::{self, Emulator};
use jumpstream::record::Record;
use jumpstream::sink::{self, Refused, Sink};
use jumpstream::telemetry::status::{Cause, State, StreamStatus};
use tokio::sync::watch;
use tokio::time::timeout;

use super::stream::{Life, emulator, life};
use super::world::World;

const DEADLINE: Duration = Duration::from_secs(60);
/// Longer than any clock is doubted for.
const LONG: Duration = Duration::from_secs(1_800);

/// Time passes, here and at the API.
async fn pass(emulator: &Emulator) {
    emulator.advance(LONG);
    tokio::time::pause();
    tokio::time::advance(LONG).await;
    tokio::time::resume();
}

async fn until(status: &mut watch::Receiver<StreamStatus>, what: &str, holds: impl FnMut(&StreamStatus) -> bool) {
    let held = timeout(DEADLINE, status.wait_for(holds)).await.map(|held| drop(held.unwrap()));
    assert!(held.is_ok(), "{what}: {:?}", status.borrow());
}

/// Dividing a gap is refused for some time, so that it stays to be looked at.
async fn keep_gaps(emulator: &Emulator) {
    let order = r#"{"kind":"unavailable","count":100000,"path":"/events/interval"}"#;
    let url = format!("{}/_emulator/faults", emulator.url());
    reqwest::Client::new().post(url).body(order).send().await.unwrap().error_for_status().unwrap();
}

fn is_of(cause: Cause) -> impl FnMut(&StreamStatus) -> bool {
    move |status| status.gaps.last().is_some_and(|gap| gap.cause == cause)
}

/// The gap that a key leaves that was refused for long is read by the process that meets it, and by a later one.
#[tokio::test]
async fn while_the_key_was_refused() {
    let (emulator, key) = emulator(1, emulator::Options { rate: 5.0, ..emulator::Options::default() }).await;
    let world = World::new();
    let Life { stream, end, mut status, .. } = life(&emulator, key.path(), &world, 1_000);
    let reading = tokio::spawn(stream.run());
    until(&mut status, "it is live", |status| status.state == State::Live).await;
    emulator.rotate_key("jca_new");
    until(&mut status, "it is blocked", |status| status.state == State::Blocked).await;
    pass(&emulator).await;
    keep_gaps(&emulator).await;
    std::fs::write(key.path(), "jca_new").unwrap();
    until(&mut status, "the gap says it", is_of(Cause::KeyRefused)).await;
    end.send_replace(true);
    timeout(DEADLINE, reading).await.expect("it ends").unwrap().unwrap();
    let Life { stream, end, mut status, .. } = life(&emulator, key.path(), &world, 1_000);
    let reading = tokio::spawn(stream.run());
    until(&mut status, "the next process says it too", is_of(Cause::KeyRefused)).await;
    until(&mut status, "the gap is read", |status| status.gaps.is_empty()).await;
    // Nobody knows of anything that hindered it now.
    pass(&emulator).await;
    until(&mut status, "a gap without a cause", is_of(Cause::NotRunningOrUnknown)).await;
    end.send_replace(true);
    timeout(DEADLINE, reading).await.expect("it ends").unwrap().unwrap();
}

/// Takes what comes while it is open.
struct Gate(watch::Receiver<bool>);

#[async_trait]
impl Sink for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    async fn deliver(&self, _records: &[Record]) -> Result<Vec<Refused>, sink::Error> {
        let opened = self.0.clone().wait_for(|open| *open).await.is_ok();
        assert!(opened, "the test holds the gate");
        Ok(Vec::new())
    }

    fn trouble(&self) -> Option<String> {
        None
    }
}

#[tokio::test]
async fn while_a_sink_was_blocked() {
    let (emulator, key) = emulator(1, emulator::Options { rate: 5.0, ..emulator::Options::default() }).await;
    let (gate, opened) = watch::channel(true);
    let Life { mut stream, end, mut status, .. } = life(&emulator, key.path(), &World::new(), 1_000);
    let route = Arc::get_mut(&mut stream.route).unwrap();
    route.sinks = vec![Arc::new(Gate(opened))];
    let reading = tokio::spawn(stream.run());
    until(&mut status, "it is live", |status| status.state == State::Live).await;
    gate.send_replace(false);
    // Until it has something to deliver, and then waits: it tells nothing more.
    while timeout(Duration::from_secs(8), status.changed()).await.is_ok() {}
    pass(&emulator).await;
    keep_gaps(&emulator).await;
    gate.send_replace(true);
    until(&mut status, "the gap says it", is_of(Cause::SinkBlocked)).await;
    end.send_replace(true);
    timeout(DEADLINE, reading).await.expect("it ends").unwrap().unwrap();
}
