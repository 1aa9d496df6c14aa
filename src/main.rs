//! Parses the command line, runs the command, and says how it ended.

use std::process::ExitCode;

use clap::Parser as _;
use jumpstream::cli::Cli;

fn main() -> ExitCode {
    share_one_heap();
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

/// Begins anew with one heap for all threads, where glibc would give each thread its own: what one thread allocates and
/// another frees then stays with the first, which took up to a third of all memory (decision 36).
///
/// glibc reads it from the environment when a program starts, and only then. A process that can't begin anew goes on.
fn share_one_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::os::unix::process::CommandExt as _;
        const HEAPS: &str = "MALLOC_ARENA_MAX";
        let mut arguments = std::env::args_os();
        let (Some(name), Ok(program), None) = (arguments.next(), std::env::current_exe(), std::env::var_os(HEAPS))
        else {
            return;
        };
        let error = std::process::Command::new(program).arg0(name).args(arguments).env(HEAPS, "1").exec();
        eprintln!("jumpstream: starting with one heap: {error}; going on with more memory than it needs");
    }
}
