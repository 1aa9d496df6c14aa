//! Parses the command line, runs the command, and says how it ended.

use std::process::ExitCode;

use clap::Parser as _;
use jumpstream::cli::Cli;

fn main() -> ExitCode {
    // A wrong command line ends here with 2.
    let cli = Cli::parse();
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(cli.run()).into(),
        Err(error) => {
            eprintln!("jumpstream: starting threads: {error}; raise the limit on processes (ulimit -u)");
            jumpstream::exit_code::ExitCode::Failed.into()
        }
    }
}
