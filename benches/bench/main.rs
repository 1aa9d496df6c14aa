//! What `make bench` runs: figures measured side by side in one run, medians of interleaved rounds, never judged by time.
//!
//! `bench [PART…] [--events N] [--rounds N]`, the parts being `core`, `kafka`, `memory` and `latency`, by default all.
//! What is measured runs in processes of its own (the released binary, the emulator, the broker), so that the
//! processor time of each is known; this binary starts itself again for the two it is compared with.

#![allow(clippy::disallowed_methods, reason = "it measures time")]

mod api;
mod bare;
mod broker;
mod core;
mod kafka;
mod latency;
mod memory;
mod process;
mod table;

use std::error::Error;

/// A bench that can't go on says why and ends.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const PARTS: [&str; 4] = ["core", "kafka", "memory", "latency"];

/// What was asked for.
#[derive(Debug, Clone)]
struct Options {
    parts: Vec<String>,
    /// Events a round reads from Kafka's side of the API; the other parts scale with it.
    events: u32,
    rounds: usize,
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Outcome<Options> {
        let mut options = Options { parts: Vec::new(), events: 1_000_000, rounds: 5 };
        while let Some(argument) = arguments.next() {
            let mut number = || arguments.next().unwrap_or_default().parse::<u32>();
            match argument.as_str() {
                // `cargo bench` says so of its own accord.
                "--bench" => {}
                "--events" => options.events = number()?,
                "--rounds" => options.rounds = number()? as usize,
                part if PARTS.contains(&part) => options.parts.push(argument),
                _ => return Err(format!("{argument}: not one of {PARTS:?}, --events N, --rounds N").into()),
            }
        }
        if options.parts.is_empty() {
            options.parts = PARTS.map(str::to_owned).to_vec();
        }
        Ok(options)
    }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [bare::DOWNLOAD, url, requests] => return bare::download(url, requests).await,
        [bare::PRODUCE, url, requests, broker, topic] => return bare::produce(url, requests, broker, topic).await,
        _ => {}
    }
    let options = Options::read(arguments.into_iter())?;
    for part in &options.parts {
        match part.as_str() {
            "core" => core::run(&options).await?,
            "kafka" => kafka::run(&options).await?,
            "memory" => memory::run(&options).await?,
            _ => latency::run(&options).await?,
        }
    }
    Ok(())
}
