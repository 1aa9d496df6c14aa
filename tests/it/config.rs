//! The configuration: every fault at once, each with its place and remedy; nothing secret ever shown.

use std::time::Duration;

use jumpstream::clock::Time;
use jumpstream::config::{Account, Config, DeadLetter, Environment, Faults, LogFormat, Region, Secret, Sink, Site};
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
    topic: events-{service}
    properties: {acks: 1, sasl.password: hunter2, linger: 5}
    tls: {certificate: /etc/tls.crt}
    sasl: {mechanism: SCRAM-SHA-512, username: u, password: hunter2}
  - {type: syslog, address: "tls://siem:6514"}
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
    assert_eq!((kafka.brokers.as_slice(), kafka.topic.as_str()), (["k:9092".to_string()].as_slice(), "t"));
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
    assert_eq!(kafka.sasl.as_ref().unwrap().password, Secret::Env("KAFKA_PASSWORD".into()));
    assert_eq!(kafka.tls.as_ref().unwrap().ca.as_deref(), Some("/etc/jumpstream/ca.pem".as_ref()));
    assert_eq!(config.dead_letter, Some(DeadLetter::Topic("jumpcloud.dead".into())));
}

#[test]
fn what_is_not_built_yet_is_refused_by_name_with_what_to_use_meanwhile() {
    let cases = [
        (with("", "type: stdout", "verify: {after: [8d]}"), "`verify` isn't built yet", "delete it"),
        (with("", "type: stdout", "state: {type: kafka, topic: l}"), "`kafka` isn't built yet", "sqlite"),
        (with("", "type: syslog, address: \"udp://s:514\"", ""), "`syslog` isn't built yet", "type: file"),
        (with("", "type: stdout, format: ecs", ""), "`ecs` isn't built yet", "format: raw"),
        (account("organizations: [\"*\"]"), "`*`, all that the key sees, isn't built yet", "list the ids"),
        (account("exclude_organizations: [a]"), "`exclude_organizations` isn't built yet", "`organizations`"),
        (account("service_account: {client_id: a}"), "`service_account` isn't built yet", "api_key"),
        (kafka("topic_fallback: other"), "`topic_fallback` isn't built yet", "delete it"),
        (kafka("sasl: {mechanism: SCRAM-SHA-512, username: u, password: {file: /p}}"), "isn't built yet", "PLAIN"),
        (kafka("sasl: {mechanism: OAUTHBEARER, username: u, password: {file: /p}}"), "isn't built yet", "PLAIN"),
        (kafka("").replace("topic: t,", "topic: \"t-{service}\","), "`{service}`", "one topic for all"),
        (kafka("").replace("at_least_once", "exactly_once"), "`exactly_once` isn't built yet", "at_least_once"),
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
fn a_kafka_sink_must_say_what_it_guarantees() {
    let text = with("", "type: kafka, brokers: [\"k:9092\"], topic: t", "");
    check(&text, "a key is missing here", "`exactly_once`, the default to come, isn't built yet");
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
        "c.yaml:5:13: poll.interval: expected a duration from 1s to 1h, found `5`\n  remedy: write it as in \
         `interval: 30s`\nc.yaml: 1 fault"
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

#[test]
fn variables_override_the_file_before_it_is_checked() {
    let text = with("", KAFKA, "poll: {interval: nonsense}");
    let variables = [
        ("JUMPSTREAM_POLL_INTERVAL", "30s"),
        ("JUMPSTREAM_POLL_START", "now"),
        ("JUMPSTREAM_SINKS_0_TOPIC", "other"),
        ("JUMPSTREAM_SINKS_0_BROKERS", "a:1, b:2"),
        ("JUMPSTREAM_SINKS_0_TLS", "{}"),
        ("JUMPSTREAM_SINKS_1_TYPE", "file"),
        ("JUMPSTREAM_SINKS_1_PATH", "/tmp/e"),
        ("JUMPSTREAM_ACCOUNTS_0_API_KEY_FILE", "/other/key"),
        ("JUMPSTREAM_ACCOUNTS_0_SERVICES", "sso,radius"),
        ("JUMPSTREAM_STATE_PATH", "/var/j.db"),
        ("JUMPSTREAM_LOG_LEVEL", "debug"),
    ];
    let config = parse_with(&text, &variables).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.poll.interval, Duration::from_secs(30));
    assert_eq!(config.poll.start, Start::Now);
    let [Sink::Kafka(kafka), Sink::File(file)] = config.sinks.as_slice() else { panic!("{config:?}") };
    assert_eq!((kafka.topic.as_str(), kafka.brokers.join(" ").as_str()), ("other", "a:1 b:2"));
    assert!(kafka.tls.is_some());
    assert_eq!(file.path.to_str(), Some("/tmp/e"));
    assert_eq!(config.accounts[0].api_key, Secret::File("/other/key".into()));
    assert_eq!(config.accounts[0].services, ["sso", "radius"]);
    assert_eq!(config.state, State::Sqlite { path: "/var/j.db".into() });
    assert_eq!(config.log.level, tracing::Level::DEBUG);
}

#[test]
fn variables_alone_can_be_the_whole_configuration() {
    let variables: Vec<_> = (0..12)
        .map(|index| (format!("JUMPSTREAM_SINKS_{index}_TYPE"), format!("JUMPSTREAM_SINKS_{index}_PATH"), index))
        .flat_map(|(kind, path, index)| [(kind, "file".to_string()), (path, format!("/tmp/{index}"))])
        .chain([("JUMPSTREAM_ACCOUNTS_0_API_KEY_ENV".to_string(), "JUMPSTREAM_KEY".to_string())])
        .chain([("JUMPSTREAM_KEY".to_string(), "secret".to_string())])
        .collect();
    let environment: Environment = variables.into_iter().collect();
    let (config, warnings) = Config::parse("c.yaml", "", &environment).unwrap_or_else(|faults| panic!("{faults}"));
    // The tenth comes after the ninth, not after the first.
    let paths: Vec<_> = config.sinks.iter().map(|sink| format!("{sink:?}")).collect();
    assert!(paths[10].contains("/tmp/10"), "{paths:?}");
    // A variable that the file names as a secret's place is not an unknown one.
    assert_eq!(warnings, []);
}

#[test]
fn a_fault_in_a_variable_names_the_variable() {
    let refused = parse_with(LEAST, &[("JUMPSTREAM_POLL_INTERVAL", "soon")]).unwrap_err();
    insta::assert_snapshot!(refused, @r"
    JUMPSTREAM_POLL_INTERVAL: poll.interval: expected a duration from 1s to 1h, found `soon`
      remedy: write it as in `interval: 30s`
    c.yaml: 1 fault
    ");
    let refused = parse_with(LEAST, &[("JUMPSTREAM_SINKS_3_TYPE", "stdout")]).unwrap_err();
    insta::assert_snapshot!(refused, @r"
    JUMPSTREAM_SINKS_3_TYPE: sinks[3].type: `sinks` has 1 so far, so that this one would leave a hole
      remedy: the next one is number 1
    c.yaml: 1 fault
    ");
}

#[test]
fn unknown_variables_warn_and_those_of_others_do_not() {
    let variables = environment(&[
        ("JUMPSTREAM_POLL_INTERVL", "5s"),
        ("JUMPSTREAM_SINKS_2_TOPC", "t"),
        ("JUMPSTREAM_WHATEVER", "x"),
        ("JUMPSTREAM_TEST_KAFKA", "x"),
        ("JUMPSTREAM_PROVE", "x"),
        // Kubernetes sets these beside a service named jumpstream.
        ("JUMPSTREAM_SERVICE_HOST", "10.0.0.1"),
        ("JUMPSTREAM_SERVICE_PORT_METRICS", "9464"),
        ("JUMPSTREAM_PORT", "tcp://10.0.0.1:9464"),
        ("JUMPSTREAM_PORT_9464_TCP_ADDR", "10.0.0.1"),
        ("PATH", "/bin"),
    ]);
    let (_, warnings) = Config::parse("c.yaml", LEAST, &variables).expect("warnings are not faults");
    let told: Vec<_> = warnings.iter().map(|warning| warning.describe("c.yaml")).collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    JUMPSTREAM_POLL_INTERVL: no key has this variable, so it changes nothing
      remedy: did you mean JUMPSTREAM_POLL_INTERVAL?
    JUMPSTREAM_SINKS_2_TOPC: no key has this variable, so it changes nothing
      remedy: did you mean JUMPSTREAM_SINKS_2_TOPIC?
    JUMPSTREAM_WHATEVER: no key has this variable, so it changes nothing
      remedy: delete it; a key's variable is its path in capitals, as JUMPSTREAM_POLL_INTERVAL
    ");
}

#[test]
fn a_secret_is_never_shown_wherever_it_was_put() {
    const SECRET: &str = "jca_s3cretS3cretS3cret0123456789012345";
    let texts = [
        format!("accounts: [{{api_key: {SECRET}}}]\nsinks: [{{type: stdout}}]"),
        format!("accounts: [{{api_key: {{{SECRET}}}}}]\nsinks: [{{type: stdout}}]"),
        format!("accounts: [{{api_key: [{SECRET}]}}]\nsinks: [{{type: stdout}}]"),
        format!("accounts: [{{api_key: {{env: {SECRET}}}}}]\nsinks: [{{type: stdout}}]"),
        format!("accounts: [{{api_key: {{file: {SECRET}}}}}]\nsinks: [{{type: stdout}}]"),
        format!("accounts: [{{api_key: {{value: {SECRET}}}}}]\nsinks: [{{type: stdout}}]"),
        format!("accounts: [{SECRET}]\nsinks: [{{type: stdout}}]"),
        format!("{SECRET}: 5\n{LEAST}"),
        account(&format!("region: {SECRET}")),
        account(&format!("services: [{SECRET} x]")),
        account(&format!("organizations: [{SECRET}]")),
        account(&format!("endpoint: \"https://user:{SECRET}@example.com\"")),
        account(&format!("endpoint: {SECRET}")),
        kafka(&format!("properties: {{sasl.password: {SECRET}}}")),
        kafka(&format!("properties: {{ssl.key.password: {SECRET}}}")),
        kafka(&format!("properties: {{linger.ms: {SECRET}}}")),
        kafka(&format!("properties: {{{SECRET}: 5}}")),
        kafka(&format!("sasl: {{mechanism: PLAIN, username: u, password: {SECRET}}}")),
        kafka("").replace("k:9092", &format!("user:{SECRET}@k:9092")),
        with("", "type: stdout", &format!("page: {{token: {SECRET}}}")),
    ];
    for text in texts {
        let refused = parse(&text).expect_err(&text);
        assert!(!format!("{refused} {refused:?}").contains("s3cret"), "{refused}");
        assert!(!refused.faults.is_empty());
    }
    let refused = parse_with(LEAST, &[("JUMPSTREAM_ACCOUNTS_0_API_KEY", SECRET)]).unwrap_err();
    assert!(!format!("{refused} {refused:?}").contains("s3cret"), "{refused}");
    assert!(refused.to_string().contains("JUMPSTREAM_ACCOUNTS_0_API_KEY: accounts[0].api_key"), "{refused}");
    let known = environment(&[("THE_KEY", SECRET)]);
    let text = "accounts: [{api_key: {env: THE_KEY}}]\nsinks: [{type: stdout}]";
    let (config, _) = Config::parse("c.yaml", text, &known).expect("a set variable");
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[test]
fn a_secret_is_read_from_its_place_without_white_space() {
    use secrecy::ExposeSecret as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, "  s3cret\n\n").unwrap();
    let secret = Secret::File(path.clone());
    assert_eq!(secret.read().unwrap().expose_secret(), "s3cret");
    std::fs::write(&path, " \n").unwrap();
    assert!(secret.read().unwrap_err().to_string().contains("is empty"));
    std::fs::write(&path, "s3cret".repeat(20_000)).unwrap();
    let error = secret.read().unwrap_err().to_string();
    assert!(error.contains("larger than 64 KiB") && !error.contains("s3cret"), "{error}");
    std::fs::remove_file(&path).unwrap();
    assert!(secret.read().unwrap_err().to_string().contains("put it there"));
    assert!(Secret::Env("JUMPSTREAM_TEST_UNSET".into()).read().unwrap_err().to_string().contains("isn't set"));
}

#[test]
fn a_secret_needs_one_place_that_exists() {
    let text = |place: &str| format!("accounts: [{{api_key: {place}}}]\nsinks: [{{type: stdout}}]");
    check(&text("{file: /a, env: B}"), "expected either `file` or `env`", "{file: …}");
    check(&text("{}"), "expected either `file` or `env`", "{file: …}");
    check(&text("{env: UNSET_HERE}"), "the variable UNSET_HERE isn't set", "set it");
    check("accounts: [{}]\nsinks: [{type: stdout}]", "a key is missing here", "api_key: {file:");
}

#[test]
fn accounts_are_told_apart_and_share_nothing() {
    let two = |a: &str, b: &str| {
        format!(
            "accounts:\n  - {{api_key: {{file: /a}}{a}}}\n  - {{api_key: {{file: /b}}{b}}}\nsinks: [{{type: stdout}}]"
        )
    };
    let id = "organizations: [5f00000000000000000000aa]";
    check(&two(", name: a", ""), "missing, where there is more than one account", "write `name: …`");
    check(&two(", name: a", ", name: a"), "another account is named `a` too", "its own name");
    check(&two(&format!(", name: a, {id}"), &format!(", name: b, {id}")), "already listed in accounts[0]", "keep one");
    check(
        &account("organizations: [5F00000000000000000000AA, 5f00000000000000000000aa]"),
        "already listed",
        "keep one",
    );
    assert_eq!(
        only_account(&account("organizations: [5F00000000000000000000AA]")).organizations,
        ["5f00000000000000000000aa"]
    );
    check(&account("organizations: [xyz]"), "24 hexadecimal digits, found `xyz`", "copy the id");
    check(&account("name: \"a b\""), "expected letters, digits", "plainer name");
    check("accounts: []\nsinks: [{type: stdout}]", "expected a list of sections, found a list", "api_key");
}

#[test]
fn services_are_an_open_set_in_which_all_stands_alone() {
    assert_eq!(only_account(&account("services: [sso, brand_new]")).services, ["sso", "brand_new"]);
    check(&account("services: [all, sso]"), "`all` beside other services", "keep `all` alone");
    check(&account("services: [sso, radius, sso]"), "`sso` is listed twice", "keep one");
    check(&account("services: []"), "at least one service", "[all]");
    check(&account("services: sso"), "expected a list of text, found `sso`", "services: [sso, radius]");
    check(&account("services: [\"s s\"]"), "expected a service's name", "API's names");
}

#[test]
fn an_endpoint_never_takes_the_key_through_a_network_in_clear_unasked() {
    let endpoint = |text: &str| only_account(&account(text)).site.api().to_owned();
    assert_eq!(endpoint("endpoint: \"https://proxy.example.com/jc/\""), "https://proxy.example.com/jc");
    for local in ["http://127.0.0.1:8080", "http://localhost:8080", "http://[::1]:8080", "http://127.9.9.9"] {
        assert_eq!(endpoint(&format!("endpoint: \"{local}\"")), local);
    }
    for remote in ["http://10.0.0.1", "http://localhost.example.com", "http://127.0.0.1.example.com", "http://[::2]"] {
        check(&account(&format!("endpoint: \"{remote}\"")), "http beyond loopback", "insecure: true");
        assert_eq!(endpoint(&format!("endpoint: \"{remote}\", insecure: true")), remote);
    }
    check(&account("endpoint: \"https://a\", region: eu"), "excluded by `region`", "delete one");
    check(&account("endpoint: \"ftp://a\""), "expected an http or https URL", "https://");
    check(&account("endpoint: \"https://a?b\""), "no `?` or `#`", "delete it");
    check(&account("region: mars"), "`us` or `eu` or `in`, found `mars`", "region: eu");
    assert_eq!(endpoint("region: eu"), "https://api.eu.jumpcloud.com");
    assert_eq!(endpoint("region: in"), "https://api.in.jumpcloud.com");
}

#[test]
fn properties_that_jumpstream_owns_are_refused_with_the_key_to_use() {
    for (name, remedy) in [
        ("sasl.password", "`sasl`"),
        ("sasl.mechanisms", "`sasl`"),
        ("sasl.oauthbearer.config", "`sasl`"),
        ("ssl.key.password", "tls"),
        ("ssl.keystore.password", "tls"),
        ("ssl.ca.location", "tls: {ca: …}"),
        ("ssl.key.pem", "tls: {certificate: …, key: …}"),
        ("plugin.library.paths", "nothing is loaded"),
        ("ssl.engine.location", "nothing is loaded"),
        ("enable.ssl.certificate.verification", "always verified"),
        ("ssl.endpoint.identification.algorithm", "always verified"),
        ("enable.idempotence", "`delivery`"),
        ("acks", "`delivery`"),
        ("request.required.acks", "`delivery`"),
        ("message.timeout.ms", "`delivery`"),
        ("delivery.timeout.ms", "`delivery`"),
        ("retries", "`delivery`"),
        ("message.send.max.retries", "`delivery`"),
        ("max.in.flight", "`delivery`"),
        ("max.in.flight.requests.per.connection", "`delivery`"),
        ("transactional.id", "`delivery`"),
        ("bootstrap.servers", "`brokers`"),
        ("metadata.broker.list", "`brokers`"),
        ("security.protocol", "`tls: {}`"),
        ("partitioner", "`key`"),
        ("dr_msg_cb", "can't be written as text"),
    ] {
        check(&kafka(&format!("properties: {{{name}: \"1\"}}")), "is decided by jumpstream", remedy);
    }
}

#[test]
fn other_properties_are_what_librdkafka_accepts() {
    let config = parse(&kafka("properties: {client.id: me, compression.type: lz4, linger.ms: 5}")).expect("its own");
    let Sink::Kafka(kafka_sink) = &config.sinks[0] else { panic!("{config:?}") };
    assert_eq!(kafka_sink.properties["linger.ms"], "5");
    check(&kafka("properties: {compression.tpye: lz4}"), "isn't a property of librdkafka", "`compression.type`");
    check(&kafka("properties: {linger.ms: soon}"), "refuses the value of `linger.ms`", "CONFIGURATION.md");
    check(&kafka("properties: {linger.ms: [5]}"), "expected properties", "compression.type");
}

#[test]
fn a_kafka_sink_checks_its_brokers_topic_and_tls() {
    check(&kafka("").replace("k:9092", "k"), "expected `host:port`, found `k`", "kafka:9092");
    check(&kafka("").replace("k:9092", "k:0"), "expected `host:port`", "kafka:9092");
    check(&kafka("").replace("k:9092", "ssl://k:9092"), "found a URL", "`tls: {}`");
    check(&kafka("").replace("[\"k:9092\"]", "[]"), "at least one broker", "kafka:9092");
    check(&kafka("").replace("topic: t,", "topic: \"a b\","), "expected a topic", "jumpcloud.events");
    check(&kafka("tls: {certificate: /c}"), "`certificate` without `key`", "write both");
    check(&kafka("tls: {key: /c}"), "`key` without `certificate`", "write both");
    check(&kafka("key: user"), "`actor` or `organization` or `id` or `none`", "key: organization");
    assert!(parse(&kafka("tls: {}, key: none")).is_ok());
    let text = kafka("sasl: {mechanism: PLAIN, username: u, password: {file: /p}}");
    let (_, warnings) = Config::parse("c.yaml", &text, &Environment::new()).expect("sound");
    assert!(warnings[0].problem.contains("unencrypted"), "{warnings:?}");
}

#[test]
fn sinks_and_dead_letters_do_not_collide() {
    let sinks = |list: &str, rest: &str| format!("accounts: [{{api_key: {{file: /k}}}}]\nsinks: [{list}]\n{rest}");
    check(&sinks("{type: stdout}, {type: stdout}", ""), "another sink writes to standard output", "delete one");
    check(&sinks("{type: file, path: a}, {type: file, path: a}", ""), "another sink writes to a", "delete one");
    assert!(parse(&sinks(&format!("{{type: stdout}}, {{type: file, path: a}}, {{{KAFKA}}}"), "")).is_ok());
    check(&sinks("{type: stdout}", "dead_letter: {topic: d}"), "needs a Kafka sink", "{file: …}");
    check(&sinks(&format!("{{{KAFKA}}}"), "dead_letter: {topic: t}"), "the sink's own topic", "another");
    check(&sinks("{type: file, path: a}", "dead_letter: {file: a}"), "a sink writes to this file too", "another");
    check(&sinks("{type: stdout}", "dead_letter: {}"), "expected either `topic` or `file`", "dead_letter: {topic: …}");
    check(&sinks("{path: a}", ""), "a key is missing here", "type: kafka");
    check(&sinks("", ""), "expected a list of sections", "type: stdout");
}

#[test]
fn the_page_is_never_open_to_the_network_without_a_token() {
    let page = |keys: &str| with("", "type: stdout", &format!("page: {{{keys}}}"));
    for listen in ["0.0.0.0:9465", "10.0.0.1:9465", "[::]:9465"] {
        check(&page(&format!("listen: \"{listen}\"")), "open to anyone on the network", "token: {file: …}");
        assert!(parse(&page(&format!("listen: \"{listen}\", token: {{file: /t}}"))).is_ok());
    }
    assert!(parse(&page("listen: \"[::1]:80\"")).is_ok());
    check(&page("listen: \"127.0.0.1:9464\""), "`server` listens on 127.0.0.1:9464 too", "another port");
    check(&page("listen: \"localhost:80\""), "expected an IP address and a port", "listen:");
}

#[test]
fn load_looks_whether_the_named_files_exist() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let key = write("key", "k");
    let text = |ca: &str| {
        let account = format!("accounts: [{{api_key: {{file: {key}}}}}]");
        write("c.yaml", &format!("{account}\nsinks: [{{{KAFKA}, tls: {{ca: {ca}}}}}]\n"))
    };
    let load = |path: &str| Config::load(path.as_ref(), &Environment::new());
    let refused = load(&text("/nowhere/ca.pem")).unwrap_err();
    assert_eq!(refused.faults.len(), 1, "{refused}");
    assert_eq!(refused.faults[0].key, "sinks[0].tls.ca");
    assert!(refused.faults[0].problem.contains("`/nowhere/ca.pem` can't be read"), "{refused}");
    assert!(load(&text(&folder.path().display().to_string())).unwrap_err().to_string().contains("is a directory"));
    assert!(load(&text(&write("ca.pem", "x"))).is_ok());
    assert!(load("/nowhere/c.yaml").unwrap_err().to_string().contains("can't be read"));
    let large = write("large.yaml", &"é".repeat(1 << 20));
    assert!(load(&large).unwrap_err().to_string().contains("larger than 1MiB"));
    std::fs::write(folder.path().join("latin.yaml"), b"\xe9").unwrap();
    assert!(load(&folder.path().join("latin.yaml").display().to_string()).unwrap_err().to_string().contains("UTF-8"));
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
