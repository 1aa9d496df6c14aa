//! Programs of others that tests call: `scripts/tools` fetches them; without one a test is skipped, aloud.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The folder that `scripts/tools` fills.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools")
}

/// The program, ours before the machine's; or none after saying that `test` is skipped.
///
/// # Panics
/// Without it, where `JUMPSTREAM_TEST_REQUIRE_SERVICES=1`.
pub fn find(program: &str, test: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder().join("bin")).chain(std::env::split_paths(&path));
    let found = folders.map(|folder| folder.join(program)).find(|file| file.is_file());
    if found.is_none() {
        skip(&format!("{test}: {program} is missing; run scripts/tools"));
    }
    found
}

/// Says that something is not shown here.
///
/// # Panics
/// Where `JUMPSTREAM_TEST_REQUIRE_SERVICES=1`.
pub fn skip(missing: &str) {
    assert!(std::env::var("JUMPSTREAM_TEST_REQUIRE_SERVICES").as_deref() != Ok("1"), "{missing}");
    #[expect(clippy::explicit_write, reason = "the harness keeps what eprintln! says in a test that passes to itself")]
    writeln!(std::io::stderr(), "SKIPPED {missing}").unwrap();
}

/// Runs it from the top of the project, with a text for its standard input.
pub fn run(command: &mut Command, input: &str) -> Output {
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut pipe, input) = (child.stdin.take().unwrap(), input.to_owned());
    // By a thread, so that neither side waits for the other; one that reads nothing closes the pipe.
    let writer = std::thread::spawn(move || drop(pipe.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// What it wrote, both ways, for a message.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
