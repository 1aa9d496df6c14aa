//! `jumpstream emulate`: the emulated API by itself.

use crate::emulator;
use crate::exit_code::ExitCode;

/// Serves an emulated Directory Insights API
///
/// It holds events made from a seed, misbehaves as told, and tells under /_emulator/ what a reader must have got.
/// Point `accounts[0].endpoint` at the address it prints, with the key given to it.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub options: emulator::Options,
}

/// May be cancelled at any point: nothing outlives it.
pub async fn run(args: Args) -> ExitCode {
    let emulator = match emulator::start(args.options).await {
        Ok(emulator) => emulator,
        Err(error) => {
            eprintln!("jumpstream: {error}");
            return ExitCode::Failed;
        }
    };
    println!("{}", emulator.url());
    eprintln!(
        "serving {} records of organizations {}; truth at {}/_emulator/truth; Ctrl-C ends it",
        emulator.records(),
        emulator.organizations().join(", "),
        emulator.url()
    );
    emulator.run_until(crate::app::first_signal()).await;
    ExitCode::Done
}
