//! Parses the command line, runs the command, and says how it ended.

use std::process::ExitCode;

use clap::Parser as _;
use jumpstream::cli::Cli;

fn main() -> ExitCode {
    // A wrong command line ends here with 2.
    let cli = Cli::parse();
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(cli.run());
            // A write that blocks for ever (a pipe that nobody reads, a dead disk) must not hold the process back.
            runtime.shutdown_background();
            code.into()
        }
        Err(error) => {
            eprintln!("jumpstream: starting threads: {error}; raise the limit on processes (ulimit -u)");
            jumpstream::exit_code::ExitCode::Failed.into()
        }
    }
}
