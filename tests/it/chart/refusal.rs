//! What can't work is refused at `helm install`, with a sentence that says what to do: by the schema, and behind it by the templates.

use super::{FILE, Helm, KAFKA};

/// What is wrong, the values, and what the two doors say; where the schema can't see it, the first is empty.
struct Case {
    what: &'static str,
    values: String,
    schema: &'static str,
    template: &'static str,
}

fn case(what: &'static str, values: impl Into<String>, schema: &'static str, template: &'static str) -> Case {
    Case { what, values: values.into(), schema, template }
}

/// With a part of the smallest values replaced.
fn but(values: &str, from: &str, to: &str) -> String {
    assert!(values.contains(from), "{from}");
    values.replace(from, to)
}

fn cases() -> Vec<Case> {
    let page = |page: &str| but(KAFKA, "config:\n", &format!("config:\n  page: {page}\n"));
    vec![
        case(
            "no key and no sink",
            "config: {}",
            "missing properties 'accounts', 'sinks'",
            "config.accounts is missing",
        ),
        case(
            "no sink",
            but(KAFKA, "  sinks: [{type: kafka, brokers: [\"kafka:9092\"], topic: jumpcloud.events}]\n", ""),
            "missing property 'sinks'",
            "config.sinks is missing",
        ),
        case("a typo in a key", but(KAFKA, "topic:", "topics:"), "additional properties 'topics' not allowed", ""),
        case(
            "a typo in a section",
            but(KAFKA, "config:\n", "config:\n  pol: {interval: 30s}\n"),
            "additional properties 'pol' not allowed",
            "",
        ),
        case(
            "a typo in a value",
            format!("{KAFKA}\nreplicas: 3\n"),
            "additional properties 'replicas' not allowed",
            "",
        ),
        case("an unknown type", but(KAFKA, "type: kafka", "type: kafak"), "value must be one of", ""),
        case(
            "a duration without a unit",
            but(KAFKA, "config:\n", "config:\n  poll: {interval: 30}\n"),
            "got number, want string",
            "",
        ),
        case(
            "a number out of bounds",
            but(KAFKA, "config:\n", "config:\n  poll: {page_size: 20000}\n"),
            "maximum: got 20,000, want 10,000",
            "",
        ),
        case(
            "an id that YAML takes for a number",
            but(KAFKA, "{api_key", "{organizations: [500000000000000000000000], api_key"),
            "got number, want string",
            "",
        ),
        case(
            "a key in the values themselves",
            but(KAFKA, "{file: /run/secrets/jumpcloud/api-key}", "jca_not_a_real_key"),
            "got string, want object",
            "",
        ),
        case(
            "a secret in a variable",
            but(KAFKA, "{file: /run/secrets/jumpcloud/api-key}", "{env: KEY}"),
            "additional properties 'env' not allowed",
            "the chart mounts secrets as files",
        ),
        case(
            "two replicas of one database",
            format!("{FILE}replicaCount: 2\n"),
            "maximum: got 2, want 1",
            "the state is a database, which has one process at a time",
        ),
        case(
            "a database beside exactly once",
            but(KAFKA, "config:\n", "config:\n  state: {type: sqlite}\n"),
            "value must be 'kafka'",
            "whose ledger lies in Kafka",
        ),
        case(
            "a ledger in Kafka without exactly once",
            but(FILE, "config:\n", "config:\n  state: {type: kafka}\n"),
            "value must be 'sqlite'",
            "there is no Kafka sink of delivery: exactly_once",
        ),
        case(
            "probes that can't arrive",
            but(KAFKA, "config:\n", "config:\n  server: {listen: \"127.0.0.1:9464\"}\n"),
            "at '/config/server/listen': 'not' failed",
            "where the kubelet's probes can't reach it",
        ),
        case(
            "a page for everybody",
            page("{listen: \"0.0.0.0:9465\"}"),
            "missing property 'token'",
            "open to the whole network",
        ),
        case("one port for both listeners", page("{listen: \"127.0.0.1:9464\"}"), "", "both take port 9464"),
        case(
            "no time to end",
            format!("{KAFKA}terminationGracePeriodSeconds: 10\n"),
            "minimum: got 10, want 15",
            "may take 12 s to commit",
        ),
        case(
            "both monitors",
            format!("{KAFKA}metrics: {{podMonitor: {{enabled: true}}, serviceMonitor: {{enabled: true}}}}\n"),
            "at '/metrics': 'not' failed",
            "every replica would be asked twice",
        ),
        case(
            "a secret that isn't named",
            but(KAFKA, "secrets: {jumpcloud:", "secrets: {other:"),
            "",
            "write `secrets: {jumpcloud: {secretName: …}}` with a secret that has the key api-key",
        ),
        case(
            "a key of a secret that isn't mounted",
            but(KAFKA, "{secretName: jumpcloud}", "{secretName: jumpcloud, items: [{key: k, path: key}]}"),
            "",
            "secrets.jumpcloud.items makes only key",
        ),
        case(
            "a file that nothing mounts",
            but(KAFKA, "/run/secrets/jumpcloud/api-key", "/etc/api-key"),
            "",
            "which nothing mounts",
        ),
        case(
            "dead letters on a root that is read-only",
            but(KAFKA, "config:\n", "config:\n  dead_letter: {file: dead.ndjson}\n"),
            "",
            "use a topic (`dead_letter: {topic: …}`)",
        ),
        case(
            "control records on a root that is read-only",
            but(KAFKA, "config:\n", "config:\n  control: {file: control.ndjson}\n"),
            "",
            "use a topic (`control: {topic: …}`)",
        ),
        case("events outside the claim", but(FILE, "events.ndjson", "/data/events.ndjson"), "", "outside the claim"),
        case(
            "a secretName that is missing",
            but(KAFKA, "{secretName: jumpcloud}", "{existingSecret: jumpcloud}"),
            "missing property 'secretName'",
            "",
        ),
        case("a digest that is none", format!("{KAFKA}image: {{digest: latest}}\n"), "does not match pattern", ""),
    ]
}

#[test]
fn bad_values_are_refused_by_the_schema_and_behind_it_by_the_templates() {
    let Some(helm) = Helm::find("bad values") else { return };
    let mut complaints = Vec::new();
    for Case { what, values, schema, template } in cases() {
        let mut expect = |door: &str, expected: &str, further: &[&str]| match helm.template(&values, further) {
            _ if expected.is_empty() => {}
            Ok(_) => complaints.push(format!("{what}: {door} takes it")),
            Err(said) if said.contains(expected) => {}
            Err(said) => complaints.push(format!("{what}: {door} doesn't say {expected:?}:\n{said}")),
        };
        expect("the schema", schema, &[]);
        expect("the template", template, &["--skip-schema-validation"]);
        // What only the templates see must come out without help, too.
        expect("the whole", if schema.is_empty() { template } else { "" }, &[]);
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));
}
