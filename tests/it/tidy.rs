//! Style as a test: which module may use which, what the pure ones may not do, and how files begin, end and are named.
//!
//! Each rule stands beside a sample that breaks it; a rule that its sample does not break is itself a failure.

use std::path::{Path, PathBuf};

/// The house from the roof down: a module and those it may `use`. Every arrow but [`UP`] points down the list, so there is no other ring.
#[rustfmt::skip]
const ARROWS: &[(&str, &[&str])] = &[
    ("main",      &["cli", "exit_code"]),
    ("cli",       &["app", "replay", "server", "emulator", "stream", "config", "telemetry", "sink", "store", "source", "ledger", "record", "quote", "clock", "exit_code"]),
    ("app",       &["emulator", "replay", "stream", "control", "commit", "cluster", "server", "config", "telemetry", "sink", "store", "source", "plan", "ledger", "record", "event", "retry", "quote", "clock", "exit_code"]),
    // An imitation of the API that shared our code would share our mistakes.
    ("emulator",  &[]),
    // A second loop beside the stream's, which shares its way out.
    ("replay",    &["stream", "commit", "sink", "store", "source", "plan", "ledger", "record", "retry", "quote", "clock"]),
    ("stream",    &["fail_point", "control", "commit", "telemetry", "source", "plan", "ledger", "record", "event", "retry", "quote", "clock"]),
    // Told by the stream beside what it commits; knows the trait that takes its records, and no sink.
    ("control",   &["telemetry", "sink", "ledger", "clock"]),
    ("commit",    &["sink", "store", "ledger", "record", "retry", "clock", "fail_point"]),
    // Knows partitions; the app brings its client's configuration and says whose they are.
    ("cluster",   &["clock"]),
    ("server",    &["telemetry", "clock"]),
    ("config",    &["record", "quote", "clock"]),
    ("telemetry", &["sink", "ledger", "record", "quote", "clock"]),
    // The ledger topic implements `commit`'s trait over the Kafka sink's producer.
    ("store",     &["commit", "sink", "ledger", "record", "event", "retry", "clock", "fail_point"]),
    ("sink",      &["record", "event", "retry", "quote", "clock", "fail_point"]),
    ("source",    &["event", "retry", "quote", "clock"]),
    ("plan",      &["ledger", "record", "event", "clock"]),
    ("ledger",    &["record", "event", "clock"]),
    ("record",    &["event", "clock"]),
    ("event",     &["clock"]),
    ("retry",     &[]),
    ("quote",     &[]),
    ("clock",     &[]),
    ("exit_code", &[]),
    ("fail_point", &[]),
];

/// The one arrow up: the ledger topic implements `commit`'s trait, since only there records and ledger are one.
const UP: &[(&str, &str)] = &[("store", "commit")];

/// Knows the traits only: the front doors, not what is inside.
const TRAITS_ONLY: &[(&str, &[&str])] = &[("commit", &["sink", "store"]), ("control", &["sink"])];

/// The middle: no clock, no I/O, nothing that waits. So properties and simulation can test it.
const PURE: &[&str] = &["event", "ledger", "plan", "record"];
/// What is as pure in a module that is not.
const PURE_FILES: &[&str] = &["src/control/blindness.rs"];
const IMPURE: &[&str] = &[
    "async",
    "await",
    "tokio",
    "wall",
    "uptime",
    "SystemTime",
    "Instant",
    "fs",
    "net",
    "env",
    "thread",
    "Mutex",
    "println",
];

const LONGEST: usize = 500;
const SAYS_NOTHING: &[&str] =
    &["util", "utils", "misc", "helper", "helpers", "common", "manager", "handler", "processor"];

// In pieces, so that this file keeps the rules it states.
const UNFINISHED: &[&str] =
    &[concat!("#[ig", "nore"), concat!("to", "do!("), concat!("unimple", "mented!("), concat!("FIX", "ME")];
const MACHINE_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/fa", "rm/")];

/// A file's path from the top of the project, with `/`, and its text.
struct File {
    path: String,
    text: String,
}

impl File {
    /// The module under `src` that it belongs to.
    fn module(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?.trim_end_matches(".rs");
        Some(inside.split_once('/').map_or(inside, |(module, _)| module))
    }

    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    fn is_script(&self) -> bool {
        self.text.starts_with("#!")
    }

    /// The lines without their comments, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let uncommented =
            |line| str::split_once(line, "//").filter(|(code, _)| !code.ends_with(':')).map_or(line, |(code, _)| code);
        self.text.lines().enumerate().map(move |(number, line)| (number + 1, uncommented(line)))
    }
}

/// A claim, the rule that finds what breaks it, and a file that does: its path and its text.
struct Rule {
    claim: &'static str,
    complaints: fn(&File) -> Vec<String>,
    bad: (&'static str, &'static str),
}

const RULES: &[Rule] = &[
    Rule {
        claim: "a module uses only what lies below it",
        complaints: forbidden_arrows,
        bad: ("src/ledger/minutes.rs", "use crate::{event::Event, sink::Sink};"),
    },
    Rule {
        claim: "the emulator uses nothing of ours",
        complaints: forbidden_arrows,
        bad: ("src/emulator/api.rs", "let now = crate::clock::wall();"),
    },
    Rule {
        claim: "a module is in the list of arrows",
        complaints: forbidden_arrows,
        bad: ("src/unheard_of.rs", "//! Unheard of.\n"),
    },
    Rule {
        claim: "no front door climbs past the list with `super`",
        complaints: forbidden_arrows,
        bad: ("src/event.rs", "use super::sink::Sink;"),
    },
    Rule {
        claim: "commit knows sinks and stores by their traits",
        complaints: beyond_the_trait,
        bad: ("src/commit.rs", "use crate::sink::kafka::Kafka;"),
    },
    Rule { claim: "the middle does not wait", complaints: impurities, bad: ("src/plan.rs", "pub async fn next() {}") },
    Rule {
        claim: "what says whether a stream is blind does not read a clock",
        complaints: impurities,
        bad: ("src/control/blindness.rs", "let now = clock::uptime();"),
    },
    Rule {
        claim: "the middle does not read a clock",
        complaints: impurities,
        bad: ("src/event/time.rs", "let now = clock::wall();"),
    },
    Rule {
        claim: "a Rust file opens with a sentence",
        complaints: no_opening,
        bad: ("src/sink.rs", "//! (being built)\nuse std::fmt;\n"),
    },
    Rule {
        claim: "a script opens with a sentence and stops at the first failure",
        complaints: no_opening,
        bad: ("scripts/bench", "#!/usr/bin/env bash\n# Measures.\necho fast\n"),
    },
    Rule {
        claim: "tests live in tests/it",
        complaints: tests_in_src,
        bad: ("src/retry.rs", "#[cfg(test)]\nmod tests {}"),
    },
    Rule { claim: "a file's name says something", complaints: empty_names, bad: ("src/sink/utils.rs", "") },
    Rule {
        claim: "nothing is left unfinished or switched off",
        complaints: unfinished,
        bad: ("tests/it/sink.rs", concat!("//! Sinks.\n#[ig", "nore]\n")),
    },
    Rule {
        claim: "no path of one machine",
        complaints: machine_paths,
        bad: ("Makefile", concat!("cd /ro", "ot/jumpstream")),
    },
];

fn forbidden_arrows(file: &File) -> Vec<String> {
    let Some(module) = file.module().filter(|module| *module != "lib") else { return Vec::new() };
    let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == module) else {
        return vec![format!("{module} is not in ARROWS")];
    };
    let is_front_door = file.path.matches('/').count() == 1;
    let mut complaints = Vec::new();
    for (_, target) in uses(file) {
        if target != module && !allowed.contains(&target.as_str()) {
            complaints.push(format!("{module} may not use {target}"));
        }
    }
    if is_front_door && file.code().any(|(_, line)| line.contains("super::")) {
        complaints.push("say crate:: instead of super::".to_owned());
    }
    complaints
}

/// Modules of ours named in a file, as (what follows the name, the name): `crate::sink::kafka` gives `("kafka", "sink")`.
fn uses(file: &File) -> Vec<(String, String)> {
    let code: String = file.code().flat_map(|(_, line)| [line, "\n"]).collect();
    let mut found = Vec::new();
    for root in ["crate::", "jumpstream::"] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '"') {
                continue;
            }
            let rest = &code[at + root.len()..];
            let branches = if rest.starts_with('{') { branches(rest) } else { vec![rest] };
            found.extend(branches.into_iter().map(|path| {
                let (name, after) = path.split_at(word_end(path));
                let after = after.strip_prefix("::").unwrap_or_default();
                (after[..word_end(after)].to_owned(), name.to_owned())
            }));
        }
    }
    // A type or macro at the root, as `crate::Error`, belongs to no module.
    found.retain(|(_, name)| name.starts_with(|c: char| c.is_ascii_lowercase()));
    found
}

fn word_end(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// `{a::{b, c}, d}…` → `a::{b, c}`, `d`.
fn branches(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 1, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if (c == ',' && depth == 1) || depth == 0 {
            found.push(text[start..at].trim());
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    found
}

fn beyond_the_trait(file: &File) -> Vec<String> {
    let Some((_, doors)) = TRAITS_ONLY.iter().find(|(module, _)| file.module() == Some(module)) else {
        return Vec::new();
    };
    let inner = |(after, name): &(String, String)| {
        doors.contains(&name.as_str()) && after.starts_with(|c: char| c.is_ascii_lowercase())
    };
    uses(file).iter().filter(|each| inner(each)).map(|(after, name)| format!("looks inside {name}: {after}")).collect()
}

fn impurities(file: &File) -> Vec<String> {
    let is_pure =
        file.module().is_some_and(|module| PURE.contains(&module)) || PURE_FILES.contains(&file.path.as_str());
    if !is_pure {
        return Vec::new();
    }
    let words =
        |line: &str| line.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned).collect::<Vec<_>>();
    let found = file.code().flat_map(|(number, line)| words(line).into_iter().map(move |word| (number, word)));
    found
        .filter(|(_, word)| IMPURE.contains(&word.as_str()))
        .map(|(number, word)| format!("line {number}: {word} has no place in the middle"))
        .collect()
}

fn no_opening(file: &File) -> Vec<String> {
    let (lines, mark): (Vec<&str>, _) = match file {
        _ if file.is_rust() => (file.text.lines().collect(), "//!"),
        _ if file.is_script() => (file.text.lines().skip(1).collect(), "#"),
        _ => return Vec::new(),
    };
    let paragraph: Vec<&str> =
        lines.iter().map_while(|line| line.strip_prefix(mark)).take_while(|line| !line.trim().is_empty()).collect();
    let text = paragraph.join(" ");
    let mut complaints = Vec::new();
    if !text.trim_end().ends_with(['.', ':', ';', '?']) {
        complaints.push(format!("does not open with a sentence after {mark}"));
    }
    let strict = if file.text.starts_with("#!/usr/bin/env perl") { "use strict;" } else { "set -euo pipefail" };
    if file.is_script() && !file.text.contains(strict) {
        complaints.push(format!("has no {strict}"));
    }
    complaints
}

fn tests_in_src(file: &File) -> Vec<String> {
    let found = file.module().is_some() && file.code().any(|(_, line)| line.contains("cfg(test)"));
    if found { vec!["has a test of its own; tests live in tests/it".to_owned()] } else { Vec::new() }
}

fn empty_names(file: &File) -> Vec<String> {
    let parts = file.path.split('/').map(|part| part.split('.').next().unwrap_or(part));
    parts.filter(|part| SAYS_NOTHING.contains(part)).map(|part| format!("{part} says nothing")).collect()
}

fn unfinished(file: &File) -> Vec<String> {
    if !file.is_rust() && !file.is_script() {
        return Vec::new();
    }
    UNFINISHED.iter().filter(|mark| file.text.contains(**mark)).map(|mark| format!("contains {mark}")).collect()
}

fn machine_paths(file: &File) -> Vec<String> {
    MACHINE_PATHS.iter().filter(|path| file.text.contains(**path)).map(|path| format!("contains {path}")).collect()
}

fn too_long(file: &File) -> Vec<String> {
    let lines = file.text.lines().count();
    if file.is_rust() && lines > LONGEST {
        vec![format!("{lines} lines, more than {LONGEST}: perhaps two ideas")]
    } else {
        Vec::new()
    }
}

/// Every text file of the project, without what is built or locked.
fn files() -> Vec<File> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !["target", ".git", "node_modules"].contains(&name.as_str()) {
                walk(&path, found);
            } else if path.is_file() && name != ".git" && !name.ends_with(".lock") {
                found.push(path);
            }
        }
    }
    let top = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").to_owned()));
    let mut paths = Vec::new();
    walk(&top, &mut paths);
    paths.sort();
    let text = |path: &PathBuf| String::from_utf8(std::fs::read(path).ok()?).ok();
    let inside = |path: &PathBuf| path.strip_prefix(&top).unwrap().to_string_lossy().replace('\\', "/");
    paths.iter().filter_map(|path| Some(File { path: inside(path), text: text(path)? })).collect()
}

#[test]
fn the_project_keeps_its_own_rules() {
    let files = files();
    assert!(files.iter().any(|file| file.path == "src/lib.rs"), "the rules were shown no file of ours");
    let mut complaints = Vec::new();
    for file in &files {
        for complaint in RULES.iter().flat_map(|rule| (rule.complaints)(file)).chain(too_long(file)) {
            complaints.push(format!("{}: {complaint}", file.path));
        }
    }
    complaints.dedup();
    complaints.sort();
    complaints.dedup();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn each_rule_sees_what_breaks_it() {
    for Rule { claim, complaints, bad: (path, text) } in RULES {
        let file = File { path: (*path).to_owned(), text: (*text).to_owned() };
        assert!(!complaints(&file).is_empty(), "the rule is blind: {claim}");
    }
    let long = File { path: "src/sink.rs".to_owned(), text: "//! Sinks.\n".repeat(LONGEST + 1) };
    assert!(!too_long(&long).is_empty());
}

#[test]
fn what_keeps_the_rules_is_left_alone() {
    let good = [
        (
            "src/ledger/minutes.rs",
            "//! Minutes, not `crate::sink`.\nuse crate::{clock::Time, event::{Event, Identity}};\n",
        ),
        ("src/plan.rs", "//! Plans; nothing here is async.\nuse crate::ledger::Ledger; // no .await\n"),
        ("src/commit.rs", "//! Commits.\nuse crate::sink::{self, Sink};\nuse crate::store::Store;\n"),
        ("scripts/demo", "#!/usr/bin/env bash\n# Shows it.\nset -euo pipefail\n"),
    ];
    for (path, text) in good {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        let complaints: Vec<String> = RULES.iter().flat_map(|rule| (rule.complaints)(&file)).collect();
        assert_eq!(complaints, Vec::<String>::new(), "{path}");
    }
}

#[test]
fn every_arrow_points_down() {
    let row = |module: &str| ARROWS.iter().position(|(from, _)| *from == module);
    for (place, (from, targets)) in ARROWS.iter().enumerate() {
        for to in *targets {
            assert!(UP.contains(&(*from, *to)) || row(to).is_some_and(|below| below > place), "{from} → {to}");
        }
    }
}
