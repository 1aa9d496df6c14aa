//! Messages: what each part says, read back by a parser that isn't ours.

use jumpstream::record::syslog::{self, FACILITIES, Protocol};
use proptest::prelude::*;
use serde_json::{Value, json};
use syslog_rfc5424::SyslogMessage;

use super::{format_settings, messages, record, text};

const LOGIN: &str = r#"{"id":"69a54b60c1d2e3f4a5b6c7d8","event_type":"admin_login_attempt","service":"directory","timestamp":"2026-03-02T08:33:36.512345678Z","organization":"5f00000000000000000000ab","success":false}"#;

fn message(json: &str) -> String {
    let messages = messages(format_settings(), &record(json.to_owned()), usize::MAX).unwrap();
    let [message] = messages.as_slice() else { panic!("{} messages", messages.len()) };
    String::from_utf8(message.clone()).unwrap()
}

fn parse(message: &str) -> SyslogMessage {
    message.parse().unwrap_or_else(|fault| panic!("{fault}: {message}"))
}

#[test]
fn a_message_says_what_the_event_says() {
    assert_eq!(
        message(LOGIN),
        format!(
            "<132>1 2026-03-02T08:33:36.512345Z host.example.com jumpstream - admin_login_attempt [jumpstream@32473 \
             event-id=\"69a54b60c1d2e3f4a5b6c7d8\" event-type=\"admin_login_attempt\" service=\"directory\" \
             organization=\"5f00000000000000000000ab\" delivery=\"live\"] {LOGIN}"
        )
    );
}

#[test]
fn an_event_that_says_nothing_has_nils() {
    assert_eq!(
        message("{}"),
        "<134>1 - host.example.com jumpstream - - [jumpstream@32473 organization=\"5f00000000000000000000aa\" \
         delivery=\"live\"] {}"
    );
}

#[test]
fn the_old_format_has_a_time_a_host_and_a_tag() {
    let settings = syslog::Settings { protocol: Protocol::Rfc3164, ..format_settings() };
    for (timestamp, shown) in [
        (r#""2026-03-02T08:33:36.512345678Z""#, "Mar  2 08:33:36"),
        (r#""2026-12-31T23:59:59Z""#, "Dec 31 23:59:59"),
        (r#""2026-01-10T01:30:00+02:00""#, "Jan  9 23:30:00"),
        // The time of admission.
        ("null", "Sep 21 14:13:20"),
    ] {
        let json = format!(r#"{{"timestamp":{timestamp},"success":true}}"#);
        let found = messages(settings.clone(), &record(json.clone()), usize::MAX).unwrap();
        assert_eq!(String::from_utf8_lossy(&found[0]), format!("<134>{shown} host.example.com jumpstream: {json}"));
    }
}

#[test]
fn severity_follows_the_outcome() {
    for (fields, severity) in [
        (r#""success":true"#, 6),
        (r#""success":false"#, 4),
        (r#""success":false,"error_message":"""#, 4),
        // What the event says of itself weighs more than a message.
        (r#""success":true,"error_message":"odd""#, 6),
        (r#""success":null,"error_message":"denied""#, 4),
        (r#""error_message":"denied""#, 4),
        (r#""error_message":"""#, 6),
        (r#""error_message":null"#, 6),
        (r#""error_message":["a"]"#, 6),
        // Single sign-on: the token counts, and a step on the way is no failure.
        (r#""sso_token_success":true,"error_message":"odd""#, 6),
        (r#""sso_token_success":false,"error_message":"denied""#, 4),
        (r#""sso_token_success":false,"error_message":"""#, 6),
        // LDAP.
        (r#""error_code":49"#, 4),
        (r#""error_code":0"#, 6),
        (r#""error_code":-1"#, 4),
        (r#""error_code":"49""#, 6),
        (r#""success":"false""#, 6),
        (r#""inner":{"success":false}"#, 6),
        (r#""other":1"#, 6),
    ] {
        let found = message(&format!("{{{fields}}}"));
        assert!(found.starts_with(&format!("<{}>1 ", 16 * 8 + severity)), "{fields}: {found}");
    }
}

#[test]
fn every_facility_has_its_code() {
    let known = [(0, "kern"), (4, "auth"), (10, "authpriv"), (13, "audit"), (16, "local0"), (23, "local7")];
    for (code, name) in known {
        assert_eq!(FACILITIES[code], name);
        let settings = syslog::Settings { facility: code as u8, ..format_settings() };
        let found = messages(settings, &record("{}"), usize::MAX).unwrap();
        assert!(found[0].starts_with(format!("<{}>1 ", code * 8 + 6).as_bytes()));
    }
}

#[test]
fn a_message_id_has_32_characters_and_the_whole_type_stands_beside() {
    let long = "a_type_of_more_than_thirty_two_characters";
    let found = parse(&message(&json!({"event_type": long}).to_string()));
    assert_eq!(found.msgid.as_deref(), Some(&long[..32]));
    let parameter = |found: &SyslogMessage, name: &str| found.sd.find_tuple("jumpstream@32473", name).cloned();
    assert_eq!(parameter(&found, "event-type").as_deref(), Some(long));
    let found = parse(&message(&json!({"event_type": "änderung von\u{7}x"}).to_string()));
    assert_eq!(found.msgid.as_deref(), Some("_nderung_von_x"));
    assert_eq!(parameter(&found, "event-type").as_deref(), Some("änderung von x"));
}

#[test]
fn line_ends_of_the_json_become_spaces_and_nothing_else_changes() {
    let found = message("{\r\n  \"id\" : \"a\\nb\",\n\t\"x\":1\n}");
    assert!(found.ends_with("] {    \"id\" : \"a\\nb\", \t\"x\":1 }"), "{found}");
    assert!(!found.contains('\n'));
}

/// Text of all that makes trouble: what the RFC escapes, what framings end with, what is no ASCII.
fn awkward() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("]".to_owned()),
        Just("\"".to_owned()),
        Just("\\".to_owned()),
        Just("\\]".to_owned()),
        Just("\\\"".to_owned()),
        Just("\n".to_owned()),
        Just("\r\n".to_owned()),
        Just("\0".to_owned()),
        Just("|=<>[ ".to_owned()),
        Just("\u{7f}\u{85}\u{2028}".to_owned()),
        "\\PC{0,8}",
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn cases() -> ProptestConfig {
    ProptestConfig { cases: if crate::random::is_prove() { 100_000 } else { 2_000 }, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn what_an_event_says_is_what_a_strict_parser_reads(
        id in awkward(), event_type in awkward(), service in awkward(), organization in awkward(), other in awkward(),
        nanos in 0u32..1_000_000_000, success in proptest::option::of(any::<bool>()),
    ) {
        let event = json!({
            "id": id, "event_type": event_type, "service": service, "organization": organization, "other": other,
            "timestamp": format!("2026-03-02T08:33:36.{nanos:09}Z"), "success": success,
        });
        let json = event.to_string();
        let message = message(&json);
        prop_assert!(!message.contains(['\n', '\r', '\0']), "{message}");
        let found = parse(&message);
        // A control character of a parameter is a space; the text has it.
        let plain = |text: &str| text.replace(|c: char| c < ' ' || c == '\x7f', " ");
        for (name, value) in [("event-id", &id), ("event-type", &event_type), ("service", &service), ("organization", &organization)] {
            prop_assert_eq!(found.sd.find_tuple("jumpstream@32473", name), Some(&plain(value)), "{}", name);
        }
        prop_assert_eq!(found.sd.find_tuple("jumpstream@32473", "delivery").map(String::as_str), Some("live"));
        prop_assert_eq!((found.hostname.as_deref(), found.appname.as_deref()), (Some("host.example.com"), Some("jumpstream")));
        prop_assert_eq!((found.timestamp, found.timestamp_nanos), (Some(1_772_440_416), Some(nanos / 1_000 * 1_000)));
        prop_assert_eq!(found.severity.as_str(), if success == Some(false) { "warning" } else { "info" });
        prop_assert_eq!(text(message.as_bytes()), json.as_bytes());
        prop_assert_eq!(serde_json::from_str::<Value>(found.msg.trim_start()).unwrap(), event);
    }
}
