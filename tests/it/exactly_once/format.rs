//! A ledger topic that a newer release has written to is refused, aloud.

use std::time::Duration;

use jumpstream::emulator::Options;
use jumpstream::ledger::StreamKey;
use jumpstream::store::kafka::format::{KNOWN, Key};
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::shared;
use super::{Stage, assert_once};
use crate::kafka::unique;
use crate::process::emulate;

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_a_newer_format_ends_run_with_78_and_a_sentence() {
    let Some(stage) = Stage::set("a newer ledger", 1).await else { return };
    let emulator = emulate(Options { events: 1_000, span: "1h".parse().unwrap(), ..Options::default() }).await;
    let home = stage.home(&emulator, &unique("group"), "");
    home.catch_up().await;
    let stream = StreamKey { organization: emulator.organizations()[0].clone(), service: "all".to_owned() };
    let key = Key::Commit { stream, number: 1_000_000 }.encode();
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", shared().await.bootstrap()).create().unwrap();
    let newer = [KNOWN + 1, 1, 2, 3];
    let record = FutureRecord::to(&stage.ledger).partition(0).key(&key).payload(&newer[..]);
    producer.send(record, Duration::from_secs(30)).await.unwrap();
    let mut process = home.start(&[]);
    assert_eq!(process.ended().await, 78, "{}", process.log());
    let sentence = format!(
        "ledger topic {}: the ledger was written by a newer jumpstream (format {}, this one knows {KNOWN}); run that \
         release again, or a later one",
        stage.ledger,
        KNOWN + 1
    );
    assert_eq!(process.count(&sentence), 1, "{}", process.log());
    // Nor is it taken for a ledger that was lost.
    let (code, _, log) = home.command(&["state", "rebuild"]).await;
    assert!(code == 1 && log.contains("nothing is ever written over a ledger"), "{code}: {log}");
    let (tally, _) = stage.tally(&emulator, emulator.now()).await;
    assert_once(&tally);
}
