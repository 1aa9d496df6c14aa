//! `latency`: from visible in the API to readable in Kafka by readers of committed records, at 50 events a second.

use std::path::Path;
use std::time::{Duration, Instant};

use jumpstream::clock::{self, Time};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use sha2::{Digest as _, Sha256};

use crate::api::Api;
use crate::broker::Broker;
use crate::process::{self, Process};
use crate::setup::{Histogram, Out, Setup, ledger_of};
use crate::{Options, Outcome, row, table};

const RATE: u32 = 50;
const INTERVAL: Duration = Duration::from_secs(1);
/// The first polls, which start everything, are left out.
const WARM: Duration = Duration::from_secs(6);
/// Events that are measured of each delivery, all rounds together.
const EVENTS: u32 = 4_000;
const ROUNDS: usize = 2;
const COMMIT: &str = "jumpstream_commit_duration_seconds";

/// One delivery's figures.
#[derive(Default)]
struct Figures {
    /// Of each event, in seconds.
    delays: Vec<f64>,
    /// Of each round.
    commits: Vec<Histogram>,
    cpu_seconds: f64,
    wall_seconds: f64,
}

pub async fn run(options: &Options) -> Outcome<()> {
    let Some(broker) = Broker::start().await? else { return Ok(()) };
    let api = Api::start_with(&["--events=1000".to_owned(), format!("--rate={RATE}")])?;
    let folder = tempfile::tempdir()?;
    let rounds = options.rounds(ROUNDS);
    let length = Duration::from_secs_f64(f64::from(options.events(EVENTS)) / f64::from(RATE) / rounds as f64);
    let outs = [Out::ExactlyOnce, Out::AtLeastOnce];
    let mut figures = outs.map(|_| Figures::default());
    for number in 1..=rounds {
        for (out, figures) in outs.into_iter().zip(&mut figures) {
            eprintln!("latency: round {number} of {rounds}, {}: {:.0} s", out.words(), (WARM + length).as_secs_f64());
            measure(&broker, &api, folder.path(), (out, number), length, figures).await?;
        }
    }
    let mut rows = vec![row![
        "milliseconds",
        "p50",
        "p99",
        "most",
        "p50 beyond half the interval",
        "p99 beyond the interval",
        "commit p50",
        "commit p99",
        "% of a core"
    ]];
    for (out, mut figures) in outs.into_iter().zip(figures) {
        figures.delays.sort_by(f64::total_cmp);
        let at = |share: f64| figures.delays[((figures.delays.len() - 1) as f64 * share) as usize];
        let commit = |share: f64| {
            let each = figures.commits.iter().map(|histogram| histogram.quantile(share));
            format!("{:.1}", table::median(each.collect()) * 1e3)
        };
        rows.push(row![
            out.words(),
            ms(at(0.5)),
            ms(at(0.99)),
            ms(at(1.0)),
            ms(at(0.5) - INTERVAL.as_secs_f64() / 2.0),
            ms(at(0.99) - INTERVAL.as_secs_f64()),
            commit(0.5),
            commit(0.99),
            format!("{:.1}", figures.cpu_seconds / figures.wall_seconds * 100.0),
        ]);
    }
    let title = format!(
        "latency: visible in the API → readable in Kafka (read_committed), {} events a delivery, {RATE} a second, polled \
         every {INTERVAL:?}",
        options.events(EVENTS)
    );
    table::print(&title, &rows);
    println!("\n  goal: p99 beyond the interval ≤ 100 ms");
    println!("  commits are jumpstream's own {COMMIT}, read between its buckets; {rounds} rounds in turn");
    Ok(())
}

async fn measure(
    broker: &Broker,
    api: &Api,
    folder: &Path,
    (out, number): (Out, usize),
    length: Duration,
    figures: &mut Figures,
) -> Outcome<()> {
    let topic = format!("bench-latency-{out:?}-{number}");
    broker.create(&topic).await?;
    let mut setup = Setup::of(api, broker, out, &topic);
    setup.poll = format!("{{start: now, interval: {}s}}", INTERVAL.as_secs());
    let (mut command, metrics) = setup.command(folder)?;
    let jumpstream = Process::start(&mut command)?;
    let consumer = consumer(broker, &topic)?;
    let consumer = reading(consumer, WARM).await?.0;
    let (before, cpu, begun) =
        (Histogram::ask(&metrics, COMMIT).await?, process::cpu_seconds(jumpstream.id())?, Instant::now());
    let (_, arrivals) = reading(consumer, length).await?;
    if arrivals.is_empty() {
        return Err("nothing arrived in Kafka".into());
    }
    let visible = api.visible().await?;
    figures.cpu_seconds += process::cpu_seconds(jumpstream.id())? - cpu;
    figures.wall_seconds += begun.elapsed().as_secs_f64();
    figures.commits.push(Histogram::ask(&metrics, COMMIT).await?.since(&before));
    for (sha256, arrived) in arrivals {
        let visible = visible.get(&sha256).ok_or("an event in Kafka that the emulator never showed")?;
        figures.delays.push(arrived.since(*visible).as_secs_f64());
    }
    drop(jumpstream);
    broker.delete(&topic).await?;
    match out {
        Out::ExactlyOnce => broker.delete(&ledger_of(&topic)).await,
        _ => Ok(()),
    }
}

/// In hexadecimal.
fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn ms(seconds: f64) -> String {
    format!("{:.0}", seconds * 1e3)
}

fn consumer(broker: &Broker, topic: &str) -> Outcome<BaseConsumer> {
    let mut config = broker.config("read_committed");
    config.set("group.id", "bench").set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create()?;
    consumer.subscribe(&[topic])?;
    Ok(consumer)
}

/// Reads for so long; the SHA-256 of each event, and when it could be read.
async fn reading(consumer: BaseConsumer, length: Duration) -> Outcome<(BaseConsumer, Vec<(String, Time)>)> {
    let read = move || {
        let (begun, mut arrivals) = (Instant::now(), Vec::new());
        while begun.elapsed() < length {
            let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
            let (message, now) = (message?, clock::wall());
            arrivals.push((sha256(message.payload().unwrap_or_default()), now));
        }
        Ok((consumer, arrivals))
    };
    tokio::task::spawn_blocking(read).await?
}
