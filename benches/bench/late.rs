//! `late`: what it takes to find one late event among a million, age by age, by how late the API answers.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use serde_json::json;

use crate::api::{Api, Dataset};
use crate::broker::Broker;
use crate::process::Taken;
use crate::setup::{Out, Setup};
use crate::{Options, Outcome, process, row, table};

const EVENTS: u32 = 1_000_000;
/// Milliseconds from a request to the head of its answer.
const LATENCIES: [u32; 2] = [5, 300];
/// What is due when, and by how many hours the clock is set forward for it. The last one reads everything once more.
const AGES: [(&str, u32); 3] = [("24 h: counted", 24), ("48 h: counted", 24), ("8 d: read", 6 * 24)];

pub async fn run(options: &Options) -> Outcome<()> {
    let Some(broker) = Broker::start().await? else { return Ok(()) };
    let (events, folder) = (options.events(EVENTS), tempfile::tempdir()?);
    let dataset = Dataset { days: 1, later_days: 0, ..Dataset::of(events) };
    let mut rows = vec![row!["API answers after", "age", "late", "counts", "intervals", "pages", "seconds", "CPU s"]];
    for latency in LATENCIES {
        let api = Api::start(&dataset).await?;
        api.ask("/_emulator/settings", Some(format!("{{\"latency\":\"{latency}ms\"}}"))).await?;
        let topic = format!("late-{latency}");
        let file = folder.path().join(format!("{topic}.ndjson"));
        let poll = format!("{{start: \"{}\", interval: 1s}}", dataset.start());
        let setup = Setup { poll, ..Setup::of(&api, &broker, Out::File, &topic) };
        catch_up(&setup, folder.path()).await?;
        for (age, hours) in AGES {
            api.ask("/_emulator/clock", Some(format!("{{\"advance\":\"{hours}h\"}}"))).await?;
            api.ask("/_emulator/events", Some(late_event(&dataset, age)?)).await?;
            let (since, before) = (api.now().await?, lines(&file)?);
            let taken = catch_up(&setup, folder.path()).await?;
            let found = lines(&file)? - before;
            let [counts, intervals, pages] = api.requests_since(since).await?;
            eprintln!("late: {latency} ms, {age}: {found} found in {:.1} s", taken.wall_seconds);
            rows.push(row![
                format!("{latency} ms"),
                age,
                found,
                counts,
                intervals,
                pages,
                format!("{:.1}", taken.wall_seconds),
                format!("{:.1}", taken.cpu_seconds),
            ]);
        }
    }
    table::print(&format!("late: one event among {} of a day", table::thousands(f64::from(events))), &rows);
    Ok(())
}

/// Runs until all is read and what is due is compared.
async fn catch_up(setup: &Setup<'_>, folder: &Path) -> Outcome<Taken> {
    let (mut command, _) = setup.command(folder)?;
    process::run(command.arg("--until-caught-up")).await
}

/// An event of the middle of the day that the API has held back until now.
fn late_event(dataset: &Dataset, id: &str) -> Outcome<String> {
    let noon = dataset.start().parse::<jiff::Timestamp>()? + jiff::SignedDuration::from_hours(12);
    let event = json!({ "id": id, "timestamp": noon.to_string(), "service": "directory", "event_type": "user_update" });
    Ok(json!({ "event": event }).to_string())
}

fn lines(file: &Path) -> Outcome<usize> {
    let mut lines = 0;
    for line in BufReader::new(File::open(file)?).split(b'\n') {
        line?;
        lines += 1;
    }
    Ok(lines)
}
