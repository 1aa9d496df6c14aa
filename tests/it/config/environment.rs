//! Variables that override the file, and those that are not ours.

use std::time::Duration;

use jumpstream::config::{Config, Environment, Secret, Sink, Start, State};

use super::{KAFKA, LEAST, environment, parse_with, with};

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
    assert_eq!((kafka.topic.to_string().as_str(), kafka.brokers.join(" ").as_str()), ("other", "a:1 b:2"));
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
      → write it as in `interval: 30s`
    c.yaml: 1 fault
    ");
    let refused = parse_with(LEAST, &[("JUMPSTREAM_SINKS_3_TYPE", "stdout")]).unwrap_err();
    insta::assert_snapshot!(refused, @r"
    JUMPSTREAM_SINKS_3_TYPE: sinks[3].type: `sinks` has 1 so far, so that this one would leave a hole
      → the next one is number 1
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
      → did you mean JUMPSTREAM_POLL_INTERVAL?
    JUMPSTREAM_SINKS_2_TOPC: no key has this variable, so it changes nothing
      → did you mean JUMPSTREAM_SINKS_2_TOPIC?
    JUMPSTREAM_WHATEVER: no key has this variable, so it changes nothing
      → delete it; a key's variable is its path in capitals, as JUMPSTREAM_POLL_INTERVAL
    ");
}
