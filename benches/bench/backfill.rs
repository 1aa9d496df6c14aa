//! `backfill`: how fast old time is read with one window or several at a time, by how late the API answers.

use crate::api::{Api, Dataset};
use crate::broker::{Broker, PARTITIONS};
use crate::setup::{Out, Setup, ledger_of};
use crate::{Options, Outcome, process, row, table};

const EVENTS: u32 = 300_000;
/// A real page holds up to ten times as many; so many requests take long enough to be compared.
const PAGE: u32 = 1_000;
const WINDOWS: [u32; 4] = [1, 2, 4, 8];
/// Milliseconds from a request to the head of its answer.
const LATENCIES: [u32; 2] = [5, 300];

pub async fn run(options: &Options) -> Outcome<()> {
    let Some(broker) = Broker::start().await? else { return Ok(()) };
    let (events, page, folder) = (options.events(EVENTS), options.page.unwrap_or(PAGE), tempfile::tempdir()?);
    let dataset = Dataset { days: 90, ..Dataset::of(events) };
    let api = Api::start(&dataset).await?;
    let mut rows = vec![row!["API answers after", "windows", "seconds", "events/s", "÷ one window", "peak MiB"]];
    for latency in LATENCIES {
        api.ask("/_emulator/settings", Some(format!("{{\"latency\":\"{latency}ms\"}}"))).await?;
        let mut with_one = f64::NAN;
        for windows in WINDOWS {
            let mut taken = Vec::new();
            for _ in 0..options.rounds(1) {
                let topic = format!("bench-backfill-{:08x}", getrandom::u32().unwrap_or_default());
                broker.create_with(&topic, PARTITIONS, &[]).await?;
                let poll =
                    format!("{{start: \"{}\", page_size: {page}, windows: {windows}, interval: 15s}}", dataset.start());
                let setup = Setup { poll, ..Setup::of(&api, &broker, Out::ExactlyOnce, &topic) };
                let (mut command, _) = setup.command(folder.path())?;
                taken.push(process::run(command.arg("--until-caught-up")).await?);
                broker.delete(&topic).await?;
                broker.delete(&ledger_of(&topic)).await?;
            }
            let seconds = table::median(taken.iter().map(|each| each.wall_seconds).collect());
            let peak = taken.iter().map(|each| each.peak_bytes).max().unwrap_or_default();
            let rate = f64::from(events) / seconds;
            if windows == 1 {
                with_one = rate;
            }
            eprintln!("backfill: {latency} ms, {windows} at a time: {seconds:.1} s");
            rows.push(row![
                format!("{latency} ms"),
                windows,
                format!("{seconds:.1}"),
                table::thousands(rate),
                format!("{:.2}", rate / with_one),
                format!("{:.0}", peak as f64 / f64::from(1 << 20)),
            ]);
        }
    }
    table::print(
        &format!(
            "backfill: {} events of 90 days, {} a page, to Kafka exactly once, from the start of the process to its end",
            table::thousands(f64::from(events)),
            table::thousands(f64::from(page)),
        ),
        &rows,
    );
    Ok(())
}
