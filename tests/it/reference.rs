//! The reference pages say exactly what the code does; `UPDATE_DOCS=1` writes them anew.

pub mod schema;

use std::fmt::Write as _;
use std::path::Path;

use clap::CommandFactory as _;
use jumpstream::cli::Cli;
use jumpstream::config::key::{Key, Kind, Presence};
use jumpstream::config::{self, Config, Environment, value};
use jumpstream::exit_code::ExitCode;

/// Compares a page with what it should be, or writes it.
#[track_caller]
fn check(name: &str, expected: &str) {
    check_file(&format!("docs/reference/{name}"), expected);
}

/// The same of any file of the project.
#[track_caller]
pub fn check_file(name: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        std::fs::write(&path, expected).expect("the page can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "{name} is out of date: run `make chart-docs` if it is the chart's, else UPDATE_DOCS=1 cargo test --test it reference"
    );
}

#[test]
fn the_schema_for_editors_is_made_from_the_tables_of_the_reader() {
    check("config.schema.json", &schema::page());
}

#[test]
fn the_configuration_page_lists_exactly_the_known_keys() {
    let mut page = CONFIGURATION.to_string();
    section(&mut page, "The file", "", config::KEYS);
    section(&mut page, "Any secret", "", Kind::Secret.tables()[0].1);
    check("configuration.md", &page);
}

#[test]
fn the_exit_code_page_lists_exactly_the_codes() {
    let mut page = EXIT_CODES.to_string();
    for code in ExitCode::ALL {
        writeln!(page, "| {} | {} |", code.number(), code.meaning()).unwrap();
    }
    check("exit-codes.md", &page);
}

#[test]
fn the_command_line_page_is_the_help_text() {
    let mut page = COMMAND_LINE.to_string();
    let mut command = Cli::command().term_width(100).disable_help_subcommand(true);
    command.build();
    writeln!(page, "```text\n{}\n```", command.render_long_help().to_string().trim_end()).unwrap();
    pages(&mut page, &mut command);
    check("command-line.md", &page);
}

/// Each command's help; of one that has commands of its own, theirs alone.
fn pages(page: &mut String, command: &mut clap::Command) {
    for command in command.get_subcommands_mut().filter(|command| !command.is_hide_set()) {
        if command.has_subcommands() {
            pages(page, command);
            continue;
        }
        let help = command.render_long_help().to_string();
        let name = command.get_bin_name().unwrap_or_default();
        writeln!(page, "\n## `{name}`\n\n```text\n{}\n```", help.trim_end()).unwrap();
    }
}

#[test]
fn every_documented_example_is_accepted() {
    for key in config::KEYS.iter().filter(|key| key.not_yet.is_none()) {
        for (name, table) in key.kind.tables() {
            for inner in table.iter().filter(|inner| inner.not_yet.is_none() && inner.name != "type") {
                accept(key, name, inner);
            }
        }
    }
}

/// Reads a small sound file with one example in it.
fn accept(key: &Key, of_type: Option<&str>, inner: &Key) {
    let example = format!("{}: {}", inner.name, inner.example);
    let base = match of_type {
        Some("kafka") if inner.name == "topic_fallback" => {
            "type: kafka\nbrokers: [\"k:1\"]\ntopic: t.{service}\ndelivery: at_least_once"
        }
        Some("kafka") if key.name == "sinks" => "type: kafka\nbrokers: [\"k:1\"]\ntopic: t\ndelivery: at_least_once",
        Some("file") => "type: file\npath: p",
        Some("syslog") if inner.name == "window" => "type: syslog\naddress: \"relp://r\"",
        Some("syslog") => "type: syslog\naddress: \"tls://r\"",
        Some("stdout") => "type: stdout",
        Some("sqlite") => "type: sqlite",
        Some(_) => return,
        None if key.name == "accounts" => "api_key: {file: /k}",
        None => "",
    };
    let kept = base.lines().filter(|line| !line.starts_with(&format!("{}:", inner.name)));
    let mut lines: Vec<_> = kept.map(str::to_owned).chain([example]).collect();
    if key.name == "page" && inner.name == "listen" {
        lines.push("token: {file: /t}".into());
    }
    let sections = [
        ("accounts", "[{api_key: {file: /k}}]"),
        ("sinks", "[{type: kafka, brokers: [\"k:1\"], topic: u, delivery: at_least_once}]"),
    ];
    let mut text = String::new();
    for (name, other) in sections.iter().filter(|(name, _)| *name != key.name) {
        writeln!(text, "{name}: {other}").unwrap();
    }
    let bullet = if key.kind.is_list() { "- " } else { "  " };
    writeln!(text, "{}:\n{bullet}{}", key.name, lines.join("\n  ")).unwrap();
    let environment = Environment::from([("JUMPCLOUD_API_KEY".to_string(), "k".to_string())]);
    if let Err(faults) = Config::parse("example", &text, &environment) {
        panic!("{text}\n{faults}");
    }
}

/// A table of the section's keys, then the sections in it; a secret's keys are the same everywhere and stand at the end.
fn section(page: &mut String, title: &str, path: &str, keys: &[Key]) {
    writeln!(page, "\n## {title}\n\n| key | value | default | meaning | example |\n|---|---|---|---|---|").unwrap();
    for key in keys {
        let not_yet = key.not_yet.map(|remedy| format!(" **Not in this release:** {remedy}.")).unwrap_or_default();
        let (name, meaning) = (key.name, key.meaning);
        let (value, default) = (value_of(key.kind), default_of(key.presence));
        writeln!(page, "| `{name}` | {value} | {default} | {meaning}{not_yet} | `{name}: {}` |", key.example).unwrap();
    }
    for key in keys.iter().filter(|key| !matches!(key.kind, Kind::Secret)) {
        let list = if key.kind.is_list() { "[]" } else { "" };
        let dot = if path.is_empty() { "" } else { "." };
        for (name, keys) in key.kind.tables() {
            let of_type = name.map(|name| format!("({name})")).unwrap_or_default();
            let path = format!("{path}{dot}{}{list}{of_type}", key.name);
            section(page, &format!("`{path}`"), &path, keys);
        }
    }
}

fn value_of(kind: Kind) -> String {
    let Kind::Choice(choices) = kind else { return value::describe(kind) };
    let spell = |later: bool| {
        let names = choices.iter().filter(|choice| choice.not_yet.is_some() == later);
        names.map(|choice| format!("`{}`", choice.name)).collect::<Vec<_>>().join(", ")
    };
    let later = spell(true);
    if later.is_empty() { spell(false) } else { format!("{}; not in this release: {later}", spell(false)) }
}

fn default_of(presence: Presence) -> String {
    match presence {
        Presence::Required | Presence::RequiredSince(_) => "must be written".into(),
        Presence::Optional(meaning) => meaning.into(),
        Presence::Default("") => "`[]`".into(),
        Presence::Default(text) if text.contains(',') => format!("`[{}]`", text.replace(',', ", ")),
        Presence::Default(text) => format!("`{text}`"),
    }
}

const CONFIGURATION: &str = "\
# Configuration

<!-- Made from the tables in src/config by the test `reference`: change them, then run UPDATE_DOCS=1 cargo test --test it reference -->

One YAML file, named by `--config`. [example.yaml](example.yaml) is a complete one; the smallest is

```yaml
accounts: [{api_key: {file: /run/secrets/jumpcloud/api-key}}]
sinks: [{type: stdout}]
```

**Faults.** The whole file is checked before anything starts, and all faults are told at once, each with line, column, what was expected and what to do; the exit code is 78. Unknown keys, keys written twice and keys without a value are faults. Keys whose part this release doesn't have are known and refused with what to use meanwhile. `jumpstream check --offline` does the same and nothing more.

**Values.** A *duration* has units: `15s`, `2m`, `1h 30m`, `8d` (a day is 24 hours) or ISO 8601 (`PT15S`). A *size* is in bytes: `4096`, `64KiB`, `16MiB` (powers of 1,024), `1MB` (powers of 1,000). Paths are relative to the working directory.

**Secrets** never stand in the file: a secret's key says where it is kept, `{file: /path}` or `{env: NAME}`.

**Variables** override the file. A key's variable is its path in capitals behind `JUMPSTREAM_`: `poll.interval` is `JUMPSTREAM_POLL_INTERVAL`, `sinks[0].topic` is `JUMPSTREAM_SINKS_0_TOPIC`. Lists of text are separated by commas, `{}` is an empty section, and the number after a list's last adds to it. They are applied before the check; one that no key has is warned of. A secret's value can't be set this way, only its place (`JUMPSTREAM_ACCOUNTS_0_API_KEY_FILE`).

**Limits.** 1 MiB, one document, 16 levels, 100,000 values with aliases written out.

The configuration is read once: a change wants a restart.

**In an editor.** [config.schema.json](config.schema.json) is a JSON Schema of all keys that this release has. An editor with YAML's language server takes it by a first line `# yaml-language-server: $schema=…`, with the path or address where you keep it.

In the titles below, `sinks[](kafka)` is a member of the list `sinks` with `type: kafka`.
";

const EXIT_CODES: &str = "\
# Exit codes

<!-- Made from src/exit_code.rs by the test `reference` -->

| code | meaning |
|---|---|
";

const COMMAND_LINE: &str = "\
# Command line

<!-- Made from the help texts in src/cli by the test `reference` -->

";
