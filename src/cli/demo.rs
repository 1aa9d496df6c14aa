//! `jumpstream demo`: see it work, with nothing to set up.

use crate::exit_code::ExitCode;

/// Runs against an emulated API with faults, and counts what came out
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many events the emulated API issues
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub events: u64,

    /// Makes the same events and faults again; a new one is chosen and printed otherwise
    #[arg(long, value_name = "SEED")]
    pub seed: Option<u64>,
}

/// May be cancelled at any point: nothing outlives it.
pub async fn run(_args: Args) -> ExitCode {
    eprintln!("jumpstream: `demo` is being built");
    ExitCode::Failed
}
