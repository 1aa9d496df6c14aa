//! `jumpstream demo`: see it work, with nothing to set up.
//!
//! An emulated API, an in-process Kafka and the pipeline as `run` builds it, in one process. The API misbehaves act by
//! act; a consumer reads the topic meanwhile, and what it read is compared with what the API issued. With a real Kafka
//! the pipeline is `jumpstream run` as a process of its own, which delivers exactly once and is killed again and again.
//!
//! # Invariants
//! Speaks to loopback and to the Kafka that it was given, reads no configuration and no variable, and leaves nothing
//! behind. The verdict is made of the emulator's truth and the consumer's bytes; the pipeline's own counters only move
//! the picture.

mod child;
mod consumer;
mod killing;
mod play;
mod stage;
pub mod tally;
mod topics;
mod view;

use std::io::Write as _;

use crate::exit_code::ExitCode;
use crate::{app, emulator};
use stage::Stage;
use tally::Tally;

/// Runs against an emulated API with faults, and counts what came out
///
/// Takes half a minute and needs nothing: no account, no Kafka, no network. Exits with 0 where every event that was
/// issued came out of Kafka once, else with 1.
///
/// With --kafka it takes a minute: jumpstream is a process that is killed in the middle of its transactions.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many events the emulated API holds at the start
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub events: u32,

    /// Makes the same events and faults again; a new one is chosen and printed otherwise
    #[arg(long, value_name = "SEED")]
    pub seed: Option<u64>,

    /// Delivers exactly once into this Kafka (plain text, no password), by a jumpstream that is killed again and again
    ///
    /// Makes two topics whose names begin with `jumpstream-demo-`, and removes them at the end.
    #[arg(long, value_name = "HOST:PORT", value_parser = broker)]
    pub kafka: Option<String>,

    /// How often it is killed (SIGKILL)
    #[arg(long, value_name = "N", requires = "kafka", default_value_t = 5, value_parser = clap::value_parser!(u32).range(..=100))]
    pub kills: u32,
}

fn broker(text: &str) -> Result<String, String> {
    let is_broker = |(host, port): (&str, &str)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0);
    match text.rsplit_once(':').is_some_and(is_broker) {
        true => Ok(text.to_owned()),
        false => Err("expected a broker as HOST:PORT, such as localhost:9092".to_owned()),
    }
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("making a private folder below {folder}: {source}; set TMPDIR to a local disk with room")]
    Folder { folder: String, source: std::io::Error },
    #[error(transparent)]
    Emulator(#[from] emulator::Error),
    #[error("{brokers}: {why}; --kafka wants a broker's plain-text listener, and the right to make topics there")]
    Brokers { brokers: String, why: String },
    #[error("Kafka's client: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
    #[error("the demo's own configuration is refused: {0}")]
    Configuration(#[from] crate::config::Faults),
    #[error(transparent)]
    App(#[from] app::Error),
    #[error("writing the new key: {0}")]
    Key(std::io::Error),
    #[error("the demo's consumer: {0}")]
    Consumer(String),
    #[error("the pipeline ended in the middle of it")]
    Ended,
    #[error("starting jumpstream as a process: {0}")]
    Child(std::io::Error),
    #[error("jumpstream ended by itself, which no kill explains: {0}")]
    ChildEnded(String),
    #[error("a client for the status page: {0}")]
    Page(reqwest::Error),
    #[error("stopped before the end")]
    Stopped,
}

/// May be cancelled at any point: nothing outlives it but, where it is killed, its folder and its topics.
pub async fn run(args: Args) -> ExitCode {
    let seed = args.seed.unwrap_or_else(random_seed);
    let performed = match &args.kafka {
        Some(brokers) => killing::perform(brokers, args.events, seed, args.kills).await,
        None => perform(args.events, seed).await,
    };
    match performed {
        Ok(tally) => tell(&tally, seed),
        Err(error) => {
            eprintln!("jumpstream: {error}");
            ExitCode::Failed
        }
    }
}

async fn perform(events: u32, seed: u64) -> Result<Tally, Error> {
    let stage = Stage::set(events, seed).await?;
    tokio::select! {
        tally = play::run(stage, events, seed) => tally,
        () = app::first_signal() => Err(Error::Stopped),
    }
}

fn tell(tally: &Tally, seed: u64) -> ExitCode {
    let text = if tally.is_perfect() {
        "\n  Next: docs/start.md sets up the real thing in a few minutes;\n        \
         jumpstream check --config FILE says what is still missing.\n"
            .to_owned()
    } else {
        format!("\n  This is a bug. Please report it with the seed: jumpstream demo --seed {seed}\n")
    };
    // A reader that went away (`| head`) has seen what it wanted; the exit code says the rest.
    let _ = write!(std::io::stdout(), "\n{}{text}", tally.table());
    if tally.is_perfect() { ExitCode::Done } else { ExitCode::Failed }
}

/// Short enough to be typed again.
fn random_seed() -> u64 {
    u64::from(getrandom::u32().unwrap_or(1) % 1_000_000)
}
