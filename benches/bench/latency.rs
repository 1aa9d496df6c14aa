//! `latency`: from visible in the API to readable in Kafka, at 50 events a second.

use std::process::Stdio;
use std::time::{Duration, Instant};

use jumpstream::clock::{self, Time};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;

use crate::api::{Api, KEY_VARIABLE};
use crate::broker::Broker;
use crate::process::{self, Process};
use crate::{Options, Outcome, row, table};

const RATE: u32 = 50;
const INTERVAL: Duration = Duration::from_secs(1);
const LENGTH: Duration = Duration::from_secs(60);

pub async fn run(_: &Options) -> Outcome<()> {
    let Some(broker) = Broker::start().await? else { return Ok(()) };
    let api = Api::start_with(&["--events=1000".to_owned(), format!("--rate={RATE}")])?;
    let folder = tempfile::tempdir()?;
    let (config, state) = (folder.path().join("bench.yaml"), folder.path().join("bench.db"));
    broker.create("bench-latency").await?;
    let text = format!(
        "{}poll: {{start: now, interval: {}s}}\n\
         sinks: [{{type: kafka, brokers: [\"{}\"], topic: bench-latency, delivery: at_least_once}}]\n\
         state: {{type: sqlite, path: \"{}\"}}\n\
         server: {{listen: \"127.0.0.1:0\"}}\npage: {{listen: \"127.0.0.1:0\"}}\nlog: {{level: error}}\n",
        api.account(),
        INTERVAL.as_secs(),
        broker.bootstrap,
        state.display()
    );
    std::fs::write(&config, text)?;
    let mut command = process::jumpstream();
    command.args(["run", "--config"]).arg(config).env(KEY_VARIABLE.0, KEY_VARIABLE.1).stdout(Stdio::null());
    let jumpstream = Process::start(&mut command)?;
    let mut delays = tokio::task::spawn_blocking({
        let bootstrap = broker.bootstrap.clone();
        move || read(&bootstrap)
    })
    .await??;
    let cpu = process::cpu_seconds(jumpstream.id())?;
    delays.sort_by(f64::total_cmp);
    let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize];
    let beyond = |share: f64| format!("{:.0}", (at(share) - INTERVAL.as_secs_f64()) * 1e3);
    let title = format!(
        "latency: {} events, {RATE} a second, polled every {INTERVAL:?}; jumpstream took {:.1} % of a core",
        delays.len(),
        cpu / LENGTH.as_secs_f64() * 100.0
    );
    let rows = [
        row!["visible in the API → readable in Kafka", "p50", "p99", "most"],
        row!["milliseconds", ms(at(0.5)), ms(at(0.99)), ms(at(1.0))],
        row!["beyond the poll interval", "—", beyond(0.99), beyond(1.0)],
    ];
    table::print(&title, &rows);
    Ok(())
}

fn ms(seconds: f64) -> String {
    format!("{:.0}", seconds * 1e3)
}

/// How long after its time each event could be read, in seconds; the first polls, which start everything, are left out.
fn read(bootstrap: &str) -> Outcome<Vec<f64>> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "bench").set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer = config.set("enable.auto.commit", "false").create()?;
    consumer.subscribe(&["bench-latency"])?;
    let (begun, warm) = (Instant::now(), LENGTH / 6);
    let mut delays = Vec::new();
    while begun.elapsed() < LENGTH {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let (message, now) = (message?, clock::wall());
        let value = bytes::Bytes::copy_from_slice(message.payload().unwrap_or_default());
        let time = jumpstream::event::Event::parse(value)?.time().unwrap_or(Time::MIN);
        if begun.elapsed() > warm {
            delays.push(now.since(time).as_secs_f64());
        }
    }
    if delays.is_empty() { Err("nothing arrived in Kafka".into()) } else { Ok(delays) }
}
