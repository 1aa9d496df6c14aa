//! `memory`: the most that `run --until-caught-up` ever holds, over backfills of different lengths and ages.

use std::process::Stdio;

use crate::api::{Api, Dataset, KEY_VARIABLE};
use crate::{Options, Outcome, process, row, table};

pub async fn run(options: &Options) -> Outcome<()> {
    let old = |events: u32, days: u32| Dataset { events, days, later_days: 9, incompressible: false, cached_pages: 8 };
    let events = options.events;
    let cases = [
        ("older than the last age", old(events, 10)),
        ("older than the last age", old(events.saturating_mul(10), 10)),
        ("within the last age", Dataset { later_days: 0, ..old(events, 7) }),
        ("within the last age", Dataset { later_days: 0, ..old(events.saturating_mul(4), 7) }),
    ];
    let mut rows = vec![row!["events", "", "peak MiB", "events/s", "CPU s/M"]];
    for (what, dataset) in cases {
        let api = Api::start(&dataset).await?;
        let folder = tempfile::tempdir()?;
        let (config, state) = (folder.path().join("bench.yaml"), folder.path().join("bench.db"));
        let text = format!(
            "{}poll: {{start: \"{}\", interval: 1s}}\nsinks: [{{type: stdout}}]\nstate: {{type: sqlite, path: \"{}\"}}\n\
             server: {{listen: \"127.0.0.1:0\"}}\npage: {{listen: \"127.0.0.1:0\"}}\nlog: {{level: error}}\n",
            api.account(),
            dataset.start(),
            state.display()
        );
        std::fs::write(&config, text)?;
        let mut command = process::jumpstream();
        command.args(["run", "--until-caught-up", "--config"]).arg(config).env(KEY_VARIABLE.0, KEY_VARIABLE.1);
        let taken = process::run(command.stdout(Stdio::null())).await?;
        rows.push(row![
            table::thousands(f64::from(dataset.events)),
            what,
            format!("{:.0}", taken.peak_bytes as f64 / f64::from(1 << 20)),
            table::thousands(f64::from(dataset.events) / taken.wall_seconds),
            format!("{:.2}", taken.cpu_seconds / f64::from(dataset.events) * 1e6),
        ]);
    }
    table::print("memory: run --until-caught-up to standard output, which leads nowhere", &rows);
    Ok(())
}
