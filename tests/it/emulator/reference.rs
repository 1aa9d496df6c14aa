//! `docs/reference/insights-api.md` names only tests and flags that exist, and the emulator imports nothing of ours.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, Command, FromArgMatches};
use jumpstream::emulator::{End, Kind, Options};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The contents of all Rust files below `folder`, with their names.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    found
}

/// The cells of the page's tables, by row.
fn rows() -> Vec<Vec<String>> {
    let page = std::fs::read_to_string(root().join("docs/reference/insights-api.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| behaviour"));
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// What stands in backticks in a cell.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn flags() -> BTreeSet<String> {
    let command = Options::augment_args(Command::new("emulate"));
    command.get_arguments().filter_map(|argument| Some(format!("--{}", argument.get_long()?))).collect()
}

#[test]
fn every_test_that_the_reference_names_exists() {
    let tests: String = sources(&root().join("tests/it")).into_iter().map(|(_, text)| text).collect();
    let rows = rows();
    assert!(rows.len() > 30, "{} rows", rows.len());
    for row in rows {
        assert_eq!(row.len(), 4, "{row:?}");
        for name in quoted(&row[3]) {
            assert!(tests.contains(&format!("fn {name}()")), "there is no test {name}");
        }
        assert!(!row[3].is_empty(), "no test shows: {}", row[0]);
        assert!(
            ["documented", "fixture", "reported", "inferred", "ours"].iter().any(|mark| row[1].contains(mark)),
            "{row:?}"
        );
    }
}

#[test]
fn the_reference_names_every_flag_and_no_other() {
    let rows = rows();
    let named: BTreeSet<String> = rows
        .iter()
        .flat_map(|row| quoted(&row[2]))
        .filter_map(|text| text.split_whitespace().next())
        .filter(|text| text.starts_with("--"))
        .map(str::to_owned)
        .collect();
    assert_eq!(named, flags());
}

#[test]
fn every_flag_is_explained_with_its_default() {
    let command = Options::augment_args(Command::new("emulate"));
    for argument in command.get_arguments() {
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        assert!(!help.is_empty(), "{argument}");
        let switch = !argument.get_action().takes_values();
        assert!(switch || !argument.get_default_values().is_empty() || help.contains("[default: "), "{argument}");
    }
}

#[test]
fn a_command_line_sets_the_options() {
    let command = || Options::augment_args(Command::new("emulate"));
    let line = "emulate --events 5 --span 90d --date-offset -1h --faults cut_body,slow_body --end inclusive \
        --clock 2026-03-02T12:00:00Z --key a --key b --strict";
    let options = Options::from_arg_matches(&command().get_matches_from(line.split_whitespace())).unwrap();
    assert_eq!((options.events, options.span.to_string()), (5, "90d".to_owned()));
    assert_eq!(
        (options.date_offset.to_string(), options.faults),
        ("-1h".to_owned(), vec![Kind::CutBody, Kind::SlowBody])
    );
    assert_eq!((options.end, options.keys.len(), options.strict, options.gzip), (End::Inclusive, 2, true, false));
    assert_eq!(options.clock.unwrap().to_string(), "2026-03-02T12:00:00Z");
    for bad in ["--span forever", "--faults nonsense", "--clock today", "--end maybe"] {
        let line = format!("emulate {bad}");
        assert!(command().try_get_matches_from(line.split_whitespace()).is_err(), "{bad}");
    }
}

#[test]
fn the_emulator_imports_nothing_of_ours() {
    let folder = root().join("src/emulator");
    let mut files = sources(&folder);
    files.push((root().join("src/emulator.rs"), std::fs::read_to_string(root().join("src/emulator.rs")).unwrap()));
    assert!(files.len() > 10);
    for (path, text) in files {
        assert!(!text.contains("crate::"), "{} reaches out of the emulator", path.display());
        assert!(!text.contains("super::super::"), "{} reaches out of the emulator", path.display());
    }
}
