//! `kafka`: the emulator → the released binary → real Kafka, against librdkafka alone with the same bytes.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::api::{Api, Dataset, KEY_VARIABLE};
use crate::broker::Broker;
use crate::process::{self, Process, Taken};
use crate::{Options, Outcome, bare, row, table};

/// One round's figures.
struct Round {
    jumpstream: Taken,
    jumpstream_broker_cpu: f64,
    emulator_cpu: f64,
    alone: Taken,
    alone_broker_cpu: f64,
    download: Taken,
    download_emulator_cpu: f64,
}

pub async fn run(options: &Options) -> Outcome<()> {
    let Some(broker) = Broker::start().await? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    for incompressible in [false, true] {
        let days = options.events.div_ceil(100_000).max(1);
        let cached_pages = options.events / 2_000 + 100;
        let dataset = Dataset { events: options.events, days, later_days: 9, incompressible, cached_pages };
        let api = Api::start(&dataset).await?;
        let mut rounds = Vec::new();
        let mut events = 0;
        // The first round makes the emulator's pages and lets Java compile; it is not counted.
        for number in 0..=options.rounds {
            let (round, count) = measure(&broker, &api, &dataset, folder.path(), number).await?;
            events = count;
            if number > 0 {
                rounds.push(round);
            }
        }
        show(&rounds, events as f64, incompressible);
    }
    Ok(())
}

async fn measure(broker: &Broker, api: &Api, dataset: &Dataset, folder: &Path, number: usize) -> Outcome<(Round, u64)> {
    let topic = format!("bench-{}-{number}", if dataset.incompressible { "incompressible" } else { "compressible" });
    broker.create(&topic).await?;
    let known = api.asked().await?;
    let (emulator, brokers) = (api.cpu_seconds()?, broker.cpu_seconds()?);
    let begun = Instant::now();
    let running = Process::start(&mut command(broker, api, dataset, folder, &topic)?)?;
    let running = tokio::spawn(running.wait(begun));
    // It goes on until a poll has covered the time it began at, an interval after the last event has arrived.
    let arrived = broker.await_count(&topic, u64::from(dataset.events), || running.is_finished()).await?;
    let (taken, status) = running.await??;
    if !status.success() {
        return Err(format!("jumpstream ended with {status}").into());
    }
    let jumpstream = Taken { wall_seconds: (arrived - begun).as_secs_f64(), ..taken };
    let emulator_cpu = api.cpu_seconds()? - emulator;
    let jumpstream_broker_cpu = broker.cpu_seconds()? - brokers;
    let events = broker.count(&topic)?;
    broker.delete(&topic).await?;
    let requests = folder.join("requests").display().to_string();
    std::fs::write(&requests, api.pages_since(known).await?)?;

    let topic = format!("{topic}-alone");
    broker.create(&topic).await?;
    let mut brokers = 0.0;
    let before = || {
        brokers = broker.cpu_seconds()?;
        Ok(())
    };
    let (alone, sent) = bare::measure_produce(&api.url, &requests, &broker.bootstrap, &topic, before).await?;
    let alone_broker_cpu = broker.cpu_seconds()? - brokers;
    let arrived = broker.count(&topic)?;
    broker.delete(&topic).await?;
    if (events, arrived) != (sent, sent) {
        let counts = format!("jumpstream delivered {events} and librdkafka alone {arrived} of {sent}");
        return Err(format!("{counts}: no comparison").into());
    }

    let emulator = api.cpu_seconds()?;
    let download = bare::measure_download(&api.url, &requests).await?;
    let download_emulator_cpu = api.cpu_seconds()? - emulator;
    let round = Round {
        jumpstream,
        jumpstream_broker_cpu,
        emulator_cpu,
        alone,
        alone_broker_cpu,
        download,
        download_emulator_cpu,
    };
    Ok((round, events))
}

fn command(broker: &Broker, api: &Api, dataset: &Dataset, folder: &Path, topic: &str) -> Outcome<Command> {
    let (config, state) = (folder.join(format!("{topic}.yaml")), folder.join(format!("{topic}.db")));
    let text = format!(
        "{}poll: {{start: \"{}\", interval: 1s}}\n\
         sinks: [{{type: kafka, brokers: [\"{}\"], topic: {topic}, delivery: at_least_once}}]\n\
         state: {{type: sqlite, path: \"{}\"}}\n\
         server: {{listen: \"127.0.0.1:0\"}}\npage: {{listen: \"127.0.0.1:0\"}}\nlog: {{level: error}}\n",
        api.account(),
        dataset.start(),
        broker.bootstrap,
        state.display()
    );
    std::fs::write(&config, text)?;
    let mut command = process::jumpstream();
    command.args(["run", "--until-caught-up", "--config"]).arg(config).env(KEY_VARIABLE.0, KEY_VARIABLE.1);
    command.stdout(Stdio::null());
    Ok(command)
}

fn show(rounds: &[Round], events: f64, incompressible: bool) {
    let median = |figure: fn(&Round) -> f64| table::median(rounds.iter().map(figure).collect());
    let million = events / 1e6;
    let rate = |seconds: f64| table::thousands(events / seconds);
    let cpu = |seconds: f64| format!("{:.2}", seconds / million);
    let wall = median(|round| round.jumpstream.wall_seconds);
    let alone = median(|round| round.alone.wall_seconds);
    let bare = median(|round| round.download.wall_seconds);
    let rows = [
        row!["", "events/s", "own CPU s/M", "broker CPU s/M", "emulator CPU s/M", "peak MiB"],
        row![
            "emulator → jumpstream → Kafka, at least once",
            rate(wall),
            cpu(median(|round| round.jumpstream.cpu_seconds)),
            cpu(median(|round| round.jumpstream_broker_cpu)),
            cpu(median(|round| round.emulator_cpu)),
            format!("{:.0}", median(|round| round.jumpstream.peak_bytes as f64) / f64::from(1 << 20)),
        ],
        row![
            "librdkafka alone → Kafka, no transactions",
            rate(alone),
            cpu(median(|round| round.alone.cpu_seconds)),
            cpu(median(|round| round.alone_broker_cpu)),
            "—",
            "—",
        ],
        row![
            "emulator → a client that throws away",
            rate(bare),
            cpu(median(|round| round.download.cpu_seconds)),
            "—",
            cpu(median(|round| round.download_emulator_cpu)),
            "—",
        ],
    ];
    let kind = if incompressible { "incompressible" } else { "compressible" };
    let events = table::thousands(events);
    table::print(&format!("kafka: {events} {kind} events, median of {} rounds", rounds.len()), &rows);
    let ratio =
        table::median(rounds.iter().map(|round| round.alone.wall_seconds / round.jumpstream.wall_seconds).collect());
    println!("\n  jumpstream's throughput ÷ librdkafka's alone, round by round: {ratio:.2}");
}
