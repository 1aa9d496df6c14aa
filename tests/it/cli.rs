//! The command line, as a process: what it prints where, and its exit codes.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use jumpstream::cli::check::{Report, Row, State};
use jumpstream::exit_code::ExitCode;

fn jumpstream(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jumpstream"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("JUMPSTREAM_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).envs(variables.iter().copied()).output().expect("the program starts")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ended by itself")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A folder with a key and a configuration; `rest` is added to the sound one.
fn configuration(rest: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let key: PathBuf = folder.path().join("key");
    std::fs::write(&key, "k").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let text = format!("accounts: [{{api_key: {{file: {}}}}}]\nsinks: [{{type: stdout}}]\n{rest}", key.display());
    let path = folder.path().join("c.yaml");
    std::fs::write(&path, text).unwrap();
    let path = path.display().to_string();
    (folder, path)
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    for arguments in [
        &["run"][..],
        &["frobnicate"],
        &["run", "--config", "c", "--timeout", "5s"],
        &["run", "--config", "c", "--until-caught-up", "--timeout", "5"],
        &["check", "--config"],
        &["demo", "--events", "many"],
        &["demo", "--kafka", "localhost"],
        &["demo", "--kills", "3"],
        &["emulate", "--fault-share", "1.5"],
        &["emulate", "--rate", "-1"],
        &["emulate", "--replicas", "0"],
        &["status"],
        &["status", "--from-instance", "127.0.0.1:9465"],
        &["status", "--from-instance", "http://127.0.0.1:9", "--from", "2026-01-01"],
        &["replay", "--config", "c"],
        &["replay", "--config", "c", "--from", "2026-01-01", "--to", "2026-01-02", "--rate-share", "2"],
        &["state"],
        &["state", "rebuild"],
    ] {
        let output = jumpstream(arguments, &[]);
        assert_eq!(code(&output), 2, "{arguments:?}: {}", err(&output));
        assert_eq!(out(&output), "");
    }
}

#[test]
fn help_and_version_end_with_0_on_standard_output() {
    let help = jumpstream(&["--help"], &[]);
    assert_eq!(code(&help), 0);
    for needed in ["Examples:", "Exit codes:", "78  the configuration is wrong", "docs/reference/configuration.md"] {
        assert!(out(&help).contains(needed), "{}", out(&help));
    }
    let version = jumpstream(&["--version"], &[]);
    assert_eq!((code(&version), out(&version).trim()), (0, concat!("jumpstream ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn commands_that_are_not_built_are_not_listed() {
    let help = out(&jumpstream(&["--help"], &[]));
    for command in ["run", "check", "demo", "emulate", "replay", "status", "report", "state"] {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
    }
    assert!(!help.contains("\n  dead-letter "), "{help}");
}

#[test]
fn run_with_a_faulty_configuration_ends_with_78_and_says_all_on_standard_error() {
    let (_folder, path) = configuration("poll: {interval: 5, page_size: 0}\n");
    let output = jumpstream(&["run", "--config", &path], &[("JUMPSTREAM_LOG_LVEL", "debug")]);
    assert_eq!(code(&output), 78);
    assert_eq!(out(&output), "");
    let told = err(&output);
    assert!(told.contains(&format!("{path}:3:18: poll.interval")), "{told}");
    assert!(told.contains(&format!("{path}:3:32: poll.page_size")), "{told}");
    assert!(told.contains("2 faults"), "{told}");
    assert!(told.contains("did you mean JUMPSTREAM_LOG_LEVEL?"), "{told}");
}

#[test]
fn a_state_that_is_a_database_can_not_be_made_again_and_78_says_so() {
    let (_folder, path) = configuration("");
    let output = jumpstream(&["state", "rebuild", "--config", &path], &[]);
    assert_eq!((code(&output), out(&output).as_str()), (78, ""));
    assert!(err(&output).contains("restore the file from a backup"), "{}", err(&output));
}

#[test]
fn check_offline_is_green_for_a_sound_configuration() {
    let (_folder, path) = configuration("");
    let output = jumpstream(&["check", "--offline", "--config", &path], &[]);
    assert_eq!((code(&output), out(&output).as_str()), (0, "green   configuration  1 account, 1 sink\n1 green\n"));
}

#[test]
fn check_gives_a_red_row_for_each_fault_and_ends_with_78() {
    let (_folder, path) = configuration("poll: {interval: 5}\nlog: {level: loud}\n");
    let output = jumpstream(&["check", "--offline", "--json", "--config", &path], &[]);
    assert_eq!(code(&output), 78);
    let report: serde_json::Value = serde_json::from_str(&out(&output)).expect("JSON");
    assert_eq!(report["state"], "red");
    assert_eq!(report["rows"].as_array().unwrap().len(), 2);
    assert_eq!(report["rows"][0]["name"], "configuration");
    assert_eq!(report["rows"][0]["state"], "red");
    assert!(report["rows"][0]["finding"].as_str().unwrap().contains("poll.interval: expected a duration"));
    assert!(report["rows"][0]["remedy"].as_str().unwrap().contains("interval: 30s"));
}

#[test]
fn a_warning_is_yellow_and_no_failure() {
    let (_folder, path) = configuration("");
    let output = jumpstream(&["check", "--offline", "--config", &path], &[("JUMPSTREAM_POLL_INTERVL", "5s")]);
    assert_eq!(code(&output), 0);
    assert!(out(&output).contains("yellow  configuration  JUMPSTREAM_POLL_INTERVL"), "{}", out(&output));
}

#[test]
fn the_table_is_aligned_and_coloured_only_where_asked() {
    let row = |name: &str, state, remedy: Option<&str>| Row {
        name: name.into(),
        state,
        finding: "found".into(),
        remedy: remedy.map(Into::into),
    };
    let report = Report::of(vec![row("key", State::Green, None), row("reachability", State::Red, Some("do this"))]);
    assert_eq!(report.state, State::Red);
    insta::assert_snapshot!(report.table(false), @r"
    green   key           found
    red     reachability  found
                          → do this
    1 red, 1 green
    ");
    assert!(report.table(true).contains("\x1b[31mred   \x1b[0m"), "{}", report.table(true));
}

#[test]
fn exit_codes_are_the_contract() {
    assert_eq!(ExitCode::ALL.map(ExitCode::number), [0, 1, 2, 3, 78]);
}

#[test]
fn an_emulator_that_is_asked_for_nonsense_names_the_option() {
    let told = err(&jumpstream(&["emulate", "--fault-share", "1.5"], &[]));
    assert!(told.contains("--fault-share") && told.contains("between 0 and 1"), "{told}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let output = jumpstream(&["emulate", "--listen", &taken.local_addr().unwrap().to_string()], &[]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("in use"), "{}", err(&output));
}

#[test]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn all_threads_share_one_heap_unless_told_otherwise() {
    const HEAPS: &str = "MALLOC_ARENA_MAX";
    for (told, expected) in [(None, "1"), (Some("3"), "3")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jumpstream"));
        command.args(["emulate", "--listen", "127.0.0.1:0"]).env_remove(HEAPS).envs(told.map(|heaps| (HEAPS, heaps)));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        // Its address: it has begun.
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        let environment = std::fs::read_to_string(format!("/proc/{}/environ", child.id())).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let heaps = environment.split('\0').find_map(|variable| variable.strip_prefix(HEAPS)?.strip_prefix('='));
        assert_eq!(heaps, Some(expected));
    }
}
