//! The real program while its broker is away: it stays, says so, and goes on by itself with nothing lost.

use std::time::Duration;

use jumpstream::clock;
use jumpstream::emulator::Options;

use crate::kafka::Kafka;
use crate::process::tally::Tally;
use crate::process::{Home, Process, Settings, emulate, eventually};
use crate::random;

const TOPIC: &str = "jumpcloud.events";
/// Every timeout that may be set, in the sample.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How long the broker is away, in the sample and in the proof: in the latter for longer than the five minutes after
/// which librdkafka drops a record by default, and than every other timeout of its own.
const SAMPLE: Duration = Duration::from_secs(5);
const ALL: Duration = Duration::from_secs(330);

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_away_for_longer_than_every_timeout_costs_no_event() {
    let Some(kafka) = Kafka::own("a broker that is away", "").await else { return };
    kafka.create_topic(TOPIC, 3, &[]).await;
    let options = Options { events: 5_000, span: "1h".parse().unwrap(), rate: 200.0, ..Options::default() };
    let emulator = emulate(options).await;
    let broker = kafka.bootstrap();
    let short = format!(
        "properties: {{socket.timeout.ms: {0}, socket.connection.setup.timeout.ms: {0}, request.timeout.ms: {0}}}",
        TIMEOUT.as_millis()
    );
    let properties = if random::is_prove() { "properties: {}".to_owned() } else { short };
    let sinks =
        format!("[{{type: kafka, brokers: [\"{broker}\"], topic: {TOPIC}, delivery: at_least_once, {properties}}}]");
    let home = Home::new(Settings { sinks: &sinks, ..Settings::of(&emulator) });
    let mut process = home.start(&[]);
    process.ready().await;
    delivered(&mut process, 1.0).await;

    kafka.kill().await;
    let away = if random::is_prove() { ALL } else { SAMPLE };
    stays_degraded(&mut process, away).await;
    kafka.start_again().await;
    process.ready().await;
    let so_far = process.metric("jumpstream_delivered_events_total", &[]).await;
    delivered(&mut process, so_far + 1.0).await;

    // Away and back at once, with a batch under way.
    kafka.kill().await;
    kafka.start_again().await;
    process.ready().await;
    let said = process.count("waiting: ");
    let log = process.stop().await;
    // Two outages: at most what began each, and what the client found to be the cause a moment later.
    assert!((1..=4).contains(&said), "{log}");

    let until = emulator.now();
    home.catch_up().await;
    let messages = kafka.read_all(TOPIC).await;
    let texts = messages.iter().map(|message| message.text());
    let tally = Tally::of(&emulator.truth(Some(until)), &emulator.truth(None), texts);
    println!("a broker away for {away:?}: {tally:?}");
    assert_eq!((tally.lost, tally.foreign), (0, 0), "{tally:?}");
    // The broker forgets nobody who writes with numbers, so what was in flight does not even come twice.
    assert_eq!(tally.repeated, 0, "{tally:?}");
}

async fn delivered(process: &mut Process, count: f64) {
    eventually("events are delivered", async || {
        (process.metric("jumpstream_delivered_events_total", &[]).await >= count).then_some(())
    })
    .await;
}

/// Looks on for `away`, from when the outage is told.
async fn stays_degraded(process: &mut Process, away: Duration) {
    process.degraded("no broker of").await;
    let end = clock::uptime() + away;
    while clock::uptime() < end {
        assert!(process.is_running(), "it gave up:\n{}", process.log());
        let now = process.readiness().await;
        assert_eq!((now.status, now.state.as_str()), (200, "degraded"), "{now:?}");
        assert!(now.reasons.iter().any(|reason| reason.contains("no broker of")), "{now:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
