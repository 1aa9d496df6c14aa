//! What `make bench` runs: figures measured side by side in one run, medians of interleaved rounds, never judged by time.
//!
//! `bench [PART…] [--events N] [--page N] [--rounds N]`, the parts being `core`, `kafka`, `syslog`, `latency`, `memory`, `idle`,
//! `restart`, `backfill` and `late`, by default all. Each part has numbers of its own where none are given; progress
//! goes to standard error.
//! What is measured runs in processes of its own (the released binary, the emulator, the broker), so that the
//! processor time of each is known; this binary starts itself again for what it is compared with.

#![allow(clippy::disallowed_methods, reason = "it measures time")]

mod api;
mod backfill;
mod bare;
mod broker;
mod core;
mod idle;
mod kafka;
mod late;
mod latency;
mod memory;
mod process;
mod restart;
mod setup;
mod syslog;
mod table;

use std::error::Error;

/// A bench that can't go on says why and ends.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const PARTS: [&str; 9] = ["core", "kafka", "syslog", "latency", "memory", "idle", "restart", "backfill", "late"];

/// What was asked for.
#[derive(Debug, Clone)]
struct Options {
    parts: Vec<String>,
    /// What a part works on, where it was said.
    events: Option<u32>,
    /// Events of a page, in `backfill`.
    page: Option<u32>,
    rounds: Option<usize>,
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Outcome<Options> {
        let mut options = Options { parts: Vec::new(), events: None, page: None, rounds: None };
        while let Some(argument) = arguments.next() {
            let mut number = || arguments.next().unwrap_or_default().parse::<u32>();
            match argument.as_str() {
                // `cargo bench` says so of its own accord.
                "--bench" => {}
                "--events" => options.events = Some(number()?.max(1)),
                "--page" => options.page = Some(number()?.clamp(1, 10_000)),
                "--rounds" => options.rounds = Some(number()?.max(1) as usize),
                part if PARTS.contains(&part) => options.parts.push(argument),
                _ => return Err(format!("{argument}: not one of {PARTS:?}, --events N, --page N, --rounds N").into()),
            }
        }
        if options.parts.is_empty() {
            options.parts = PARTS.map(str::to_owned).to_vec();
        }
        Ok(options)
    }

    fn events(&self, by_default: u32) -> u32 {
        self.events.unwrap_or(by_default)
    }

    fn rounds(&self, by_default: usize) -> usize {
        self.rounds.unwrap_or(by_default)
    }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [bare::DOWNLOAD, url, requests] => return bare::download(url, requests).await,
        [bare::DELIVER, url, requests] => return bare::deliver(url, requests).await,
        [bare::PRODUCE, url, requests, broker] => return bare::produce(url, requests, broker).await,
        _ => {}
    }
    let options = Options::read(arguments.into_iter())?;
    for part in &options.parts {
        match part.as_str() {
            "core" => core::run(&options).await?,
            "kafka" => kafka::run(&options).await?,
            "syslog" => syslog::run(&options).await?,
            "latency" => latency::run(&options).await?,
            "memory" => memory::run(&options).await?,
            "idle" => idle::run(&options).await?,
            "restart" => restart::run(&options).await?,
            "backfill" => backfill::run(&options).await?,
            _ => late::run(&options).await?,
        }
    }
    Ok(())
}
