//! What each section refuses for reasons of its own.

use std::time::Duration;

use jumpstream::config::{Config, Control, Environment, Sasl, Sink, Syslog};
use jumpstream::record::syslog::{FACILITIES, Oversize, Protocol};

use super::{KAFKA, account, check, kafka, only_account, parse, with};

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
fn each_mechanism_has_its_own_keys() {
    let sasl = |keys: &str| kafka(&format!("tls: {{}}, sasl: {{mechanism: {keys}}}"));
    let token = |keys: &str| sasl(&format!("OAUTHBEARER, {keys}"));
    let who = "client_id: c, client_secret: {file: /s}";
    for name in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        assert!(parse(&sasl(&format!("{name}, username: u, password: {{file: /p}}"))).is_ok());
        check(&sasl(&format!("{name}, username: u")), &format!("missing, which {name} wants"), "password: {file: ");
        check(
            &sasl(&format!("{name}, username: u, password: {{file: /p}}, scope: s")),
            &format!("{name} has no `scope`"),
            "delete it",
        );
    }
    let config =
        parse(&token(&format!("token_endpoint: \"https://login.example.com/token\", {who}, scope: k"))).unwrap();
    let Sink::Kafka(kafka) = &config.sinks[0] else { panic!("{config:?}") };
    let Some(Sasl::Token { endpoint, client_id, scope, ca, .. }) = &kafka.sasl else { panic!("{kafka:?}") };
    assert_eq!((endpoint.as_str(), client_id.as_str()), ("https://login.example.com/token", "c"));
    assert_eq!((scope.as_deref(), ca), (Some("k"), &None));
    check(&token(who), "missing, which OAUTHBEARER wants", "token_endpoint: https://");
    check(&token(&format!("token_endpoint: \"http://a.example.com\", {who}")), "http beyond loopback", "use https");
    check(&token(&format!("token_endpoint: \"https://u:p@a\", {who}")), "password in a URL", "client_secret");
    check(&token(&format!("token_endpoint: token, {who}")), "expected an https URL, found `token`", "https://");
    check(&token(&format!("token_endpoint: \"https://a\", {who}, username: u")), "has no `username`", "delete it");
    assert!(parse(&token(&format!("token_endpoint: \"http://127.0.0.1:8080/token\", {who}"))).is_ok());
}

#[test]
fn control_records_collide_with_nothing() {
    let sinks = |list: &str, rest: &str| format!("accounts: [{{api_key: {{file: /k}}}}]\nsinks: [{list}]\n{rest}");
    let kafka = |rest: &str| sinks(&format!("{{{KAFKA}}}"), rest);
    check(&sinks("{type: stdout}", "control: {topic: d}"), "a control topic needs a Kafka sink", "control: {file: …}");
    check(&kafka("control: {topic: t}"), "the sink's own topic", "jumpstream-control");
    check(&kafka("control: {topic: d}\ndead_letter: {topic: d}"), "the dead letters' own topic", "jumpstream-control");
    check(&sinks("{type: file, path: a}", "control: {file: a}"), "a sink writes to this file too", "another");
    check(&sinks("{type: stdout}", "control: {}"), "expected either `topic` or `file`", "control: {topic: …}");
    let exactly = "{type: kafka, brokers: [\"k:9092\"], topic: t}";
    check(&sinks(exactly, "control: {topic: jumpstream.ledger}"), "the ledger's own topic", "jumpstream-control");
    let config = parse(&kafka("control: {topic: c}\ndead_letter: {topic: d}")).unwrap();
    assert_eq!(config.control, Some(Control::Topic("c".into())));
    assert_eq!(parse(&sinks("{type: stdout}", "")).unwrap().control, None);
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

#[test]
fn a_topic_may_be_a_template_that_leads_nowhere_forbidden() {
    let topic = |text: &str, rest: &str| kafka(rest).replace("topic: t,", &format!("topic: \"{text}\","));
    let config = parse(&topic("jumpcloud.{service}", "topic_fallback: other")).expect("a template");
    let Sink::Kafka(kafka_sink) = &config.sinks[0] else { panic!("{config:?}") };
    assert_eq!((kafka_sink.topic.fallback(), kafka_sink.topic.is_template()), (Some("other"), true));
    assert!(parse(&topic("{organization}", "")).is_ok());
    check(&topic("t-{servise}", ""), "expected `{service}` or `{organization}`", "jumpcloud.{service}");
    check(&topic("t-{service", ""), "expected `{service}` or `{organization}`", "jumpcloud.{service}");
    check(&topic("a b.{service}", ""), "expected a topic of letters", "jumpcloud.events");
    check(&topic("t", "topic_fallback: other"), "nothing would ever go to `topic_fallback`", "delete it");
    check(&topic("t.{service}", "topic_fallback: \"{service}\""), "a template, where one topic is expected", "write");
    let dead = |text: &str| format!("{}\ndead_letter: {{topic: jumpcloud.dead}}\n", topic(text, ""));
    check(&dead("jumpcloud.{service}"), "the sink's own topic", "choose another");
    assert!(parse(&dead("events.{service}")).is_ok());
    // An event whose service is called like the ledger must not be written into it.
    let once = |text: &str| topic(text, "").replace("at_least_once", "exactly_once");
    let state = |text: &str| format!("{}\nstate: {{type: kafka}}\n", once(text));
    check(&state("jumpstream.{service}"), "events may go to this topic too", "choose another");
    check(&state("jumpstream.ledger"), "events may go to this topic too", "choose another");
    assert!(parse(&state("jumpcloud.{service}")).is_ok());
}

#[test]
fn ages_are_whole_minutes_that_ascend() {
    let verify = |text: &str| with("", "type: stdout", &format!("verify: {text}"));
    let config = parse(&verify("{after: [2m, 1h, 8d], retention: 90d}")).unwrap_or_else(|faults| panic!("{faults}"));
    let ages = [120, 3_600, 8 * 86_400].map(Duration::from_secs);
    assert_eq!(
        (&config.verify.after[..], config.verify.retention),
        (&ages[..], Some(Duration::from_secs(90 * 86_400)))
    );
    for (text, problem) in [
        ("{after: []}", "no age at all"),
        ("{after: [1h, 2m]}", "ages that don't ascend"),
        ("{after: [90s]}", "expected an age of whole minutes, 1m to 30d, found `90s`"),
        ("{after: [2m, 31d]}", "found `31d`"),
        ("{after: [2m, soon]}", "found `soon`"),
    ] {
        check(&verify(text), problem, "write it as in `after:");
    }
}

/// A syslog sink with these keys.
fn syslog(keys: &str) -> String {
    with("", &format!("type: syslog, {keys}"), "")
}

fn only_syslog(keys: &str) -> Syslog {
    match parse(&syslog(keys)).unwrap_or_else(|faults| panic!("{faults}")).sinks.remove(0) {
        Sink::Syslog(syslog) => syslog,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_syslog_sink_has_the_defaults_of_its_transport() {
    for (address, size) in [
        ("udp://siem", 1_472),
        ("tcp://siem:1514", 65_536),
        ("tls://siem", 65_536),
        ("relp://[::1]", 131_072),
        ("relp+tls://siem:20514", 131_072),
    ] {
        let sink = only_syslog(&format!("address: \"{address}\""));
        assert_eq!((sink.max_message_bytes, sink.window, sink.newline), (size, 128, false), "{address}");
        assert_eq!((sink.protocol, sink.oversize), (Protocol::Rfc5424, Oversize::DeadLetter));
        assert_eq!((FACILITIES[usize::from(sink.facility)], sink.enterprise_number), ("local0", 32_473));
        assert_eq!((sink.hostname, sink.app_name.as_str(), sink.server_name), (None, "jumpstream", None));
    }
}

#[test]
fn a_syslog_sink_reads_all_of_its_keys() {
    let sink = only_syslog(
        "address: \"tls://a\", fallbacks: [\"tls://b:1\", \"tls://[::2]\"], format: rfc3164, framing: newline, \
         facility: authpriv, hostname: h.example.com, app_name: jc, enterprise_number: 7, max_message_bytes: 1MiB, \
         oversize: split, tls: {ca: /ca, certificate: /c, key: /k, server_name: siem}",
    );
    let addresses: Vec<String> = sink.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["tls://a:6514", "tls://b:1", "tls://[::2]:6514"]);
    assert_eq!((sink.protocol, sink.newline, sink.oversize), (Protocol::Rfc3164, true, Oversize::Split));
    assert_eq!((sink.facility, sink.hostname.as_deref(), sink.app_name.as_str()), (10, Some("h.example.com"), "jc"));
    assert_eq!((sink.enterprise_number, sink.max_message_bytes), (7, 1 << 20));
    assert_eq!((sink.tls.ca.as_deref(), sink.server_name.as_deref()), (Some("/ca".as_ref()), Some("siem")));
    assert_eq!(only_syslog("address: \"relp://a\", window: 1024").window, 1_024);
    assert_eq!(only_syslog("address: \"udp://a\", oversize: shrink").oversize, Oversize::Shrink);
}

#[test]
fn what_a_syslog_sink_would_not_use_is_refused() {
    check(&syslog("address: \"udp://a\", framing: newline"), "`udp://` has no use for it", "delete it");
    check(&syslog("address: \"relp://a\", framing: newline"), "`relp://` has no use for it", "delete it");
    check(&syslog("address: \"tcp://a\", window: 4"), "`tcp://` has no use for it", "relp://");
    check(&syslog("address: \"tcp://a\", tls: {}"), "`tcp://` has no use for it", "write tls://");
    check(&syslog("address: \"udp://a\", max_message_bytes: 64KiB"), "at most 65507", "tcp://");
    check(&syslog("address: \"tls://a\", fallbacks: [\"tcp://b\"]"), "`tcp://`, where `address` has `tls://`", "same");
    check(&syslog("address: \"siem\""), "expected `scheme://host:port`", "tls://siem.example.com:6514");
    check(&syslog("address: \"https://siem\""), "expected `udp`, `tcp`", "tls://");
    check(&syslog("address: \"tls://u:hunter2@siem\""), "a user or a password (not shown)", "tls://");
    check(&syslog("address: \"tls://a\", fallbacks: [b]"), "expected `scheme://host:port`", "tls://");
    check(&syslog("address: \"tls://a\", hostname: \"a b\""), "printable ASCII", "plainer");
    check(&syslog(&format!("address: \"tls://a\", app_name: {}", "a".repeat(49))), "at most 48", "shorter");
    check(
        &syslog(&format!("address: \"tls://a\", format: rfc3164, app_name: {}", "a".repeat(33))),
        "at most 32",
        "shorter",
    );
    check(&syslog("address: \"tls://a\", facility: local8"), "`local7`, found `local8`", "facility: local4");
    check(&syslog("address: \"tls://a\", tls: {key: /k}"), "`key` without `certificate`", "write both");
    check(
        "accounts: [{api_key: {file: /k}}]\nsinks: [{type: syslog, address: \"udp://a\"}, {type: syslog, address: \"udp://a:514\"}]",
        "another sink writes to udp://a:514 too",
        "delete one",
    );
}
