//! `jumpstream emulate`: the emulated API by itself.

use crate::exit_code::ExitCode;

/// Serves an emulated Directory Insights API
#[derive(Debug, clap::Args)]
pub struct Args {}

/// May be cancelled at any point: nothing outlives it.
pub async fn run(_args: Args) -> ExitCode {
    eprintln!("jumpstream: `emulate` is being built");
    ExitCode::Failed
}
