//! The configuration: every fault at once, each with its place and remedy; nothing secret ever shown.

mod environment;
mod secret;
mod section;

use std::time::Duration;

use jumpstream::clock::Time;
use jumpstream::config::{
    Account, Config, DeadLetter, Environment, Faults, LogFormat, Mechanism, Region, Sasl, Secret, Sink, Site,
};
use jumpstream::config::{Start, State};
use jumpstream::record::Key;
use proptest::prelude::*;

const LEAST: &str = "accounts: [{api_key: {file: /run/key}}]\nsinks: [{type: stdout}]\n";
const EXAMPLE: &str = include_str!("../../docs/reference/example.yaml");

fn parse(text: &str) -> Result<Config, Faults> {
    parse_with(text, &[])
}

fn parse_with(text: &str, variables: &[(&str, &str)]) -> Result<Config, Faults> {
    Config::parse("c.yaml", text, &environment(variables)).map(|(config, _)| config)
}

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// What an operator reads.
fn faults(text: &str) -> String {
    parse(text).expect_err("the text is faulty").to_string()
}

/// Text with one account and one sink, each with more keys.
fn with(account: &str, sink: &str, rest: &str) -> String {
    format!("accounts: [{{api_key: {{file: /run/key}}{account}}}]\nsinks: [{{{sink}}}]\n{rest}\n")
}

const KAFKA: &str = "type: kafka, brokers: [\"k:9092\"], topic: t, delivery: at_least_once";

fn account(keys: &str) -> String {
    with(&format!(", {keys}"), "type: stdout", "")
}

fn kafka(keys: &str) -> String {
    with("", &format!("{KAFKA}, {keys}"), "")
}

fn only_account(text: &str) -> Account {
    parse(text).expect("a sound text").accounts.remove(0)
}

/// The one fault of `text` says `problem` and then `remedy`.
#[track_caller]
fn check(text: &str, problem: &str, remedy: &str) {
    let refused = parse(text).expect_err("the text is faulty");
    let [fault] = refused.faults.as_slice() else { panic!("one fault expected:\n{refused}") };
    assert!(fault.problem.contains(problem), "{problem:?} is not in:\n{refused}");
    assert!(fault.remedy.contains(remedy), "{remedy:?} is not in:\n{refused}");
    assert!(!fault.remedy.is_empty());
}

#[test]
fn everything_wrong_is_told_at_once() {
    let text = r#"
accounts:
  - api_key: {file: /run/key}
    region: usa
    organizations: [5f00000000000000000000aa, "*", short]
    services: [all, sso, sso]
    requests_per_second: 0
  - api_key: jca_0123456789
    endpoint: http://api.example.com
    organizations: [5f00000000000000000000aa]
poll: {intervall: 5s, page_size: 20000, start: yesterday, page_size: 5, max_event_bytes: 5 apples}
verify: {after: [8d]}
sinks:
  - type: kafka
    brokers: kafka:9092
    topic: events-{servise}
    properties: {acks: 1, sasl.password: hunter2, linger: 5}
    tls: {certificate: /etc/tls.crt}
    sasl: {mechanism: SCRAM-SHA-512, username: u, password: hunter2}
  - {type: syslog, address: "siem:6514"}
  - {type: files}
dead_letter: {topic: a, file: b}
server: {listen: localhost}
page: {listen: "0.0.0.0:9465"}
log: verbose
"#;
    insta::assert_snapshot!(faults(text));
}

#[test]
fn the_smallest_file_has_every_default() {
    let config = parse(LEAST).expect("the smallest file");
    let [account] = config.accounts.as_slice() else { panic!("{config:?}") };
    assert_eq!(account.name, "main");
    assert_eq!(account.site, Site::Region(Region::Us));
    assert_eq!(account.site.api(), "https://api.jumpcloud.com");
    assert_eq!(account.site.console(), "https://console.jumpcloud.com");
    assert_eq!(account.api_key, Secret::File("/run/key".into()));
    assert!(account.organizations.is_empty());
    assert_eq!(account.services, ["all"]);
    assert_eq!(account.requests_per_second, 5.0);
    assert_eq!(config.poll.interval, Duration::from_secs(15));
    assert_eq!(config.poll.page_size, 10_000);
    assert_eq!(config.poll.start, Start::Age(Duration::from_secs(86_400)));
    assert_eq!(config.poll.max_event_bytes, 16 << 20);
    assert_eq!(config.sinks, [Sink::Stdout]);
    assert_eq!(config.dead_letter, None);
    assert_eq!(config.state, State::Sqlite { path: "jumpstream.db".into() });
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:9464");
    assert_eq!(config.page.listen.to_string(), "127.0.0.1:9465");
    assert_eq!(config.page.token, None);
    assert_eq!((config.log.level, config.log.format), (tracing::Level::INFO, LogFormat::Text));
}

#[test]
fn a_kafka_sink_has_its_defaults() {
    let config = parse(&with("", KAFKA, "")).expect("a Kafka sink");
    let [Sink::Kafka(kafka)] = config.sinks.as_slice() else { panic!("{config:?}") };
    assert_eq!((kafka.brokers.as_slice(), kafka.topic.known()), (["k:9092".to_string()].as_slice(), Some("t")));
    assert_eq!(kafka.key, Key::Actor);
    assert_eq!((&kafka.tls, &kafka.sasl), (&None, &None));
    assert!(kafka.properties.is_empty());
}

#[test]
fn the_annotated_example_is_sound_and_means_what_it_says() {
    let config = parse_with(EXAMPLE, &[("KAFKA_PASSWORD", "hunter2")]).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.accounts.len(), 2);
    assert_eq!(config.poll.start, Start::At(Time::parse("2026-09-01T00:00:00Z").unwrap()));
    assert_eq!(config.sinks.len(), 3);
    let Sink::Kafka(kafka) = &config.sinks[0] else { panic!("{config:?}") };
    let Some(Sasl::Password { mechanism, password, .. }) = &kafka.sasl else { panic!("{kafka:?}") };
    assert_eq!((*mechanism, password), (Mechanism::ScramSha512, &Secret::Env("KAFKA_PASSWORD".into())));
    assert_eq!(kafka.tls.as_ref().unwrap().ca.as_deref(), Some("/etc/jumpstream/ca.pem".as_ref()));
    assert_eq!(config.dead_letter, Some(DeadLetter::Topic("jumpcloud.dead".into())));
}

#[test]
fn what_is_not_built_yet_is_refused_by_name_with_what_to_use_meanwhile() {
    let cases = [
        (with("", "type: stdout, format: ecs", ""), "`ecs` isn't built yet", "format: raw"),
        (account("organizations: [\"*\"]"), "`*`, all that the key sees, isn't built yet", "list the ids"),
        (account("exclude_organizations: [a]"), "`exclude_organizations` isn't built yet", "`organizations`"),
        (account("service_account: {client_id: a}"), "`service_account` isn't built yet", "api_key"),
        (kafka("sasl: {mechanism: GSSAPI, username: u}"), "`GSSAPI` isn't built yet", "another mechanism"),
    ];
    for (text, problem, remedy) in cases {
        check(&text, problem, remedy);
    }
    check(
        "accounts: [{service_account: {client_id: a, client_secret: {file: /f}}}]\nsinks: [{type: stdout}]",
        "`service_account` isn't built yet",
        "use `api_key: {file: …}`",
    );
}

#[test]
fn a_kafka_sink_is_exactly_once_with_its_ledger_beside_the_events_unless_it_says_otherwise() {
    let text = with("", "type: kafka, brokers: [\"k:9092\"], topic: t", "");
    let config = parse(&text).unwrap();
    assert!(config.sinks[0].is_exactly_once());
    let (topic, group) = ("jumpstream.ledger".to_owned(), "jumpstream".to_owned());
    assert_eq!(config.state, State::Kafka { topic, partitions: 8, group });
    let named = with("", "type: kafka, brokers: [\"k:9092\"], topic: t", "state: {topic: l, partitions: 24}");
    assert!(matches!(parse(&named).unwrap().state, State::Kafka { partitions: 24, .. }));
    assert!(matches!(parse(&kafka("")).unwrap().state, State::Sqlite { .. }));
}

#[test]
fn impossible_combinations_of_sinks_and_state_are_refused_with_the_reason() {
    let exactly = "type: kafka, brokers: [\"k:9092\"], topic: t";
    check(&with("", exactly, "state: {type: sqlite, path: p}"), "one transaction with the events", "at_least_once");
    check(&with("", "type: stdout", "state: {type: kafka, topic: l}"), "beside a sink of", "sqlite");
    check(&with("", exactly, "state: {topic: t}"), "events may go to this topic too", "jumpstream.ledger");
    let second = "type: kafka, brokers: [\"k:9092\"], topic: t}, {type: kafka, brokers: [\"o:9092\"], topic: u";
    check(&with("", second, ""), "a second sink of `delivery: exactly_once`", "at_least_once");
}

#[test]
fn an_empty_list_of_excluded_organizations_asks_for_nothing_and_is_taken() {
    assert!(parse(&account("exclude_organizations: []")).is_ok());
}

#[test]
fn unknown_keys_get_a_suggestion_or_the_list() {
    check(&with("", "type: stdout", "pol: {interval: 5s}"), "unknown key", "did you mean `poll`?");
    check(&account("orgnaizations: []"), "unknown key", "did you mean `organizations`?");
    check(&with("", "type: stdout", "retention: 5"), "unknown key", "the keys here are accounts, poll, verify, sinks");
    // A key of another type of sink is as unknown as any other.
    check(&with("", "type: file, path: p, topic: t", ""), "unknown key", "the keys here are type, path, format");
}

#[test]
fn duplicate_keys_are_refused_at_every_level() {
    check(&format!("{LEAST}log: {{level: info}}\nlog: {{level: debug}}\n"), "first at line 3, column 1", "keep one");
    check(&format!("{LEAST}log: {{level: info, level: debug}}\n"), "written twice", "keep one");
    check(&account("region: us, region: us"), "written twice", "keep one");
    check(&kafka("properties: {linger.ms: 5, linger.ms: 6}"), "written twice", "keep one");
}

#[test]
fn a_fault_names_line_column_and_path() {
    let refused = parse(&format!("{LEAST}\npoll:\n  interval: 5\n")).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "c.yaml:5:13: poll.interval: expected a duration from 1s to 1h, found `5`\n  → write it as in `interval: \
         30s`\nc.yaml: 1 fault"
    );
}

#[test]
fn a_section_without_a_value_is_refused_rather_than_guessed() {
    // `tls:` with nothing below could mean TLS or none; plaintext must never come from a guess.
    check(&kafka("tls: "), "found nothing", "its keys are ca");
    check(&with("", "type: stdout", "poll: ~"), "found nothing", "its keys are interval");
    check(&with("", "type: stdout", "poll: {interval: }"), "found nothing", "interval: 30s");
}

#[test]
fn an_empty_file_lacks_accounts_and_sinks() {
    for text in ["", "# nothing\n", "---\n", "~"] {
        let refused = parse(text).unwrap_err();
        let keys: Vec<_> = refused.faults.iter().map(|fault| fault.key.as_str()).collect();
        assert_eq!(keys, ["accounts", "sinks"], "{text:?}");
    }
    check("[accounts]", "expected a section, found a list", "its keys are accounts");
}

#[test]
fn what_is_not_honest_yaml_ends_at_once_with_its_place() {
    check("accounts: [", "this isn't YAML", "missing quote or bracket");
    let unclosed = faults("log: {level: 'info}\n");
    assert!(unclosed.contains("this isn't YAML") && !unclosed.contains('\\'), "{unclosed}");
    check(&format!("{LEAST}---\npoll: {{}}\n"), "a second document begins here", "keep one document");
    check("accounts: !vault x", "tags", "delete the tag");
    check("accounts: {{ .Values.accounts }}", "a key must be text", "was not rendered");
    check(&format!("a: {}", "[".repeat(40)), "more than 16", "deep");
    check(&"[".repeat(500_000), "recursion limit", "missing quote or bracket");
    check(&format!("#{}", "x".repeat(1 << 20)), "larger than 1MiB", "split the accounts");
}

#[test]
fn aliases_stand_for_what_they_name() {
    let text = format!(
        "{}\n",
        "accounts:\n  - {name: a, api_key: &key {file: /run/key}}\n  - {name: b, api_key: *key}\nsinks: [{type: stdout}]"
    );
    let config = parse(&text).expect("an honest alias");
    assert_eq!(config.accounts[1].api_key, Secret::File("/run/key".into()));
    check("a: &a [*a]", "inside its own anchor", "write out");
}

#[test]
fn a_bomb_of_aliases_is_refused_before_it_goes_off() {
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let previous = format!("*a{}", level - 1);
        laughs.push_str(&format!("a{level}: &a{level} [{}]\n", vec![previous; 10].join(", ")));
    }
    check(&laughs, "stands for more than 100000 values", "fewer aliases");
    let flat = format!("a: &a [{}]\nb: [{}]\n", vec!["x"; 1_000].join(","), vec!["*a"; 200].join(","));
    check(&flat, "stands for more than 100000 values", "fewer aliases");
    // One long text named often is one text in memory.
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), vec!["*a"; 90_000].join(","));
    assert!(parse(&long).is_err());
}

#[test]
fn durations_sizes_and_starts_are_read_as_people_write_them() {
    let poll = |keys: &str| parse(&with("", "type: stdout", &format!("poll: {{{keys}}}"))).map(|config| config.poll);
    for (text, seconds) in [("1s", 1), ("2m", 120), ("1m 30s", 90), ("1h", 3600), ("PT15S", 15), ("\"30s\"", 30)] {
        assert_eq!(poll(&format!("interval: {text}")).unwrap().interval, Duration::from_secs(seconds), "{text}");
    }
    for text in ["15", "0s", "999ms", "2h", "-5s", "soon", "[15s]", "\"\"", "1mo", "99999999999999999999d"] {
        assert!(poll(&format!("interval: {text}")).is_err(), "{text}");
    }
    for (text, bytes) in [("16MiB", 16 << 20), ("1MB", 1_000_000), ("4096", 4096), ("64 KiB", 65_536), ("2kB", 2_000)] {
        assert_eq!(poll(&format!("max_event_bytes: {text}")).unwrap().max_event_bytes, bytes, "{text}");
    }
    for text in ["1.5MiB", "MiB", "1TiB", "-1", "99999999999999999999", "17179869184GiB", "300MiB"] {
        assert!(poll(&format!("max_event_bytes: {text}")).is_err(), "{text}");
    }
    let now = Time::parse("2026-10-10T10:00:00Z").unwrap();
    for (text, instant) in [
        ("now", "2026-10-10T10:00:00Z"),
        ("24h", "2026-10-09T10:00:00Z"),
        ("8d", "2026-10-02T10:00:00Z"),
        ("2026-09-01", "2026-09-01T00:00:00Z"),
        ("2026-09-01T06:30:00Z", "2026-09-01T06:30:00Z"),
        ("2026-09-01T06:30:00.5+02:00", "2026-09-01T04:30:00.5Z"),
    ] {
        assert_eq!(
            poll(&format!("start: {text}")).unwrap().start.resolve(now),
            Time::parse(instant).unwrap(),
            "{text}"
        );
    }
    for text in ["2026-13-01", "2026-02-30", "yesterday", "20260901", "2026-09-01T06:30:00"] {
        assert!(poll(&format!("start: {text}")).is_err(), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,200}") {
        let _ = parse(&text);
    }

    /// A sound file with pieces cut out, doubled or replaced.
    #[test]
    fn no_mutation_of_a_sound_file_makes_the_reader_panic(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0usize..40, "[-\\[\\]{}:,&*!|>'\"#%@ \n\ta-z0-9~é]{0,6}"), 1..6)
    ) {
        let mut chars: Vec<char> = EXAMPLE.chars().collect();
        for (at, length, instead) in cuts {
            let from = at.index(chars.len().max(1)).min(chars.len());
            let to = (from + length).min(chars.len());
            chars.splice(from..to, instead.chars());
        }
        let text: String = chars.into_iter().collect();
        if let Err(refused) = parse(&text) {
            // A refusal always says what, where and what to do.
            prop_assert!(!refused.faults.is_empty());
            for fault in refused.faults {
                prop_assert!(!fault.problem.is_empty() && !fault.remedy.is_empty());
            }
        }
    }

    #[test]
    fn no_variable_makes_the_reader_panic(name in "(ACCOUNTS|SINKS|POLL|PAGE|STATE)(_[0-9]{1,20})?(_[A-Z_]{0,12})?", text in ".{0,20}") {
        let name = format!("JUMPSTREAM_{name}");
        let _ = parse_with(EXAMPLE, &[(&name, &text)]);
    }
}

/// What is wrong with files, which only [`Config::load`] looks at; `NAME` in the text is the folder.
fn load(folder: &std::path::Path, text: &str) -> Result<Config, Faults> {
    let path = folder.join("c.yaml");
    std::fs::write(&path, text.replace("NAME", &folder.display().to_string())).unwrap();
    Config::load(&path, &environment(&[])).map(|(config, _)| config)
}

#[test]
fn no_file_that_is_written_may_be_another_one_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let name = |name: &str| folder.path().join(name);
    std::fs::write(name("key"), "k").unwrap();
    std::fs::write(name("events"), "").unwrap();
    std::fs::hard_link(name("key"), name("hard")).unwrap();
    std::os::unix::fs::symlink(name("events"), name("soft")).unwrap();
    std::fs::create_dir(name("inner")).unwrap();
    let text = |sink: &str, dead: &str, state: &str| {
        format!(
            "accounts: [{{api_key: {{file: NAME/key}}}}]\nsinks: [{{type: file, path: {sink}}}]\n\
             dead_letter: {{file: {dead}}}\nstate: {{path: {state}}}\n"
        )
    };
    load(folder.path(), &text("NAME/events", "NAME/dead", "NAME/s.db")).unwrap();
    for (sink, dead, state, what) in [
        ("NAME/key", "NAME/dead", "NAME/s.db", "the file of accounts[0].api_key.file"),
        ("NAME/hard", "NAME/dead", "NAME/s.db", "the file of accounts[0].api_key.file"),
        ("NAME/c.yaml", "NAME/dead", "NAME/s.db", "the configuration itself"),
        ("NAME/events", "NAME/soft", "NAME/s.db", "the file of sinks[0].path"),
        ("NAME/new", "NAME/inner/../new", "NAME/s.db", "the file of sinks[0].path"),
        ("NAME/events", "NAME/dead", "NAME/soft", "the file of sinks[0].path"),
        ("NAME/s.db-wal", "NAME/dead", "NAME/s.db", "the file of sinks[0].path"),
        ("NAME/events", "NAME/s.db.lock", "NAME/s.db", "the file of dead_letter.file"),
        ("NAME/events", "NAME/dead", "NAME/key", "the file of accounts[0].api_key.file"),
    ] {
        let refused = load(folder.path(), &text(sink, dead, state)).unwrap_err();
        let [fault] = refused.faults.as_slice() else { panic!("{sink}, {dead}, {state}:\n{refused}") };
        assert!(fault.problem.contains(what) && fault.remedy.contains("a file of its own"), "{refused}");
    }
}

#[test]
fn a_pipe_is_no_place_of_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    assert!(std::process::Command::new("mkfifo").arg(folder.path().join("key")).status().unwrap().success());
    let refused =
        load(folder.path(), "accounts: [{api_key: {file: NAME/key}}]\nsinks: [{type: stdout}]\n").unwrap_err();
    assert!(refused.to_string().contains("no regular file"), "{refused}");
    let read = Secret::File(folder.path().join("key")).read();
    assert!(read.unwrap_err().to_string().contains("no regular file"));
}

#[test]
fn a_start_in_the_future_is_a_fault_and_one_of_long_ago_a_warning() {
    let poll = |start: &str| format!("{LEAST}poll: {{start: \"{start}\"}}\n");
    check(&poll("2099-01-01"), "lies in the future", "an age or `now`");
    for (start, warned) in [("1600-01-01", true), ("999999d", true), ("400d", true), ("90d", false), ("now", false)] {
        let (_, warnings) = Config::parse("c.yaml", &poll(start), &environment(&[])).unwrap();
        assert_eq!(warnings.iter().any(|own| own.problem.contains("further back")), warned, "{start}");
    }
}
