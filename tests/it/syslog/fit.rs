//! What doesn't fit: refused, shrunk or split, and never cut in silence.

use jumpstream::record::Record;
use jumpstream::record::syslog::{self, Oversize};
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{format_settings, messages, record, text};

fn as_policy(oversize: Oversize, record: &Record, most: usize) -> Option<Vec<Value>> {
    let settings = syslog::Settings { oversize, ..format_settings() };
    let found = messages(settings, record, most)?;
    Some(
        found
            .iter()
            .map(|message| {
                assert!(message.len() <= most, "{} bytes of {most}", message.len());
                serde_json::from_slice(text(message))
                    .unwrap_or_else(|fault| panic!("{fault}: {}", String::from_utf8_lossy(message)))
            })
            .collect(),
    )
}

fn shrunk(record: &Record, most: usize) -> Option<Value> {
    as_policy(Oversize::Shrink, record, most).map(|mut messages| messages.remove(0))
}

fn sha256(text: &[u8]) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn what_fits_comes_whole_under_every_policy() {
    let record = record(r#"{"id":"1","x":"y"}"#);
    for oversize in [Oversize::DeadLetter, Oversize::Shrink, Oversize::Split] {
        assert_eq!(as_policy(oversize, &record, 480), Some(vec![json!({"id": "1", "x": "y"})]));
    }
}

#[test]
fn one_byte_too_many_is_refused() {
    let record = record(format!(r#"{{"id":"1","x":"{}"}}"#, "y".repeat(2_000)));
    let whole = messages(format_settings(), &record, usize::MAX).unwrap()[0].len();
    assert!(as_policy(Oversize::DeadLetter, &record, whole).is_some());
    assert!(as_policy(Oversize::DeadLetter, &record, whole - 1).is_none());
}

#[test]
fn the_largest_values_are_left_out_and_named_and_what_identifies_the_event_stays() {
    let event = json!({
        "id": "69a5", "service": "mdm", "event_type": "mdm_command_result", "timestamp": "2026-03-02T08:33:36Z",
        "organization": "5f00000000000000000000ab", "success": true, "client_ip": "203.0.113.25",
        "command": {"request_type": "ProfileList", "payload": "ab".repeat(40_000)},
        "profile_list": (0..500).map(|n| json!({"n": n, "signer": "x".repeat(100)})).collect::<Vec<_>>(),
    });
    let json = event.to_string();
    let found = shrunk(&record(json.clone()), 4_000).unwrap();
    for kept in ["id", "service", "event_type", "timestamp", "organization", "success", "client_ip"] {
        assert_eq!(found[kept], event[kept], "{kept}");
    }
    assert_eq!(found["command"]["request_type"], "ProfileList");
    assert_eq!(found["command"]["payload"].as_str(), Some(&*format!("{}…", "ab".repeat(127) + "a")));
    assert_eq!(found.get("profile_list"), None);
    assert_eq!(
        found["jumpstream"],
        json!({
            "left_out": ["profile_list"], "shortened": ["command.payload"], "bytes": json.len(),
            "sha256": sha256(json.as_bytes()),
        })
    );
}

#[test]
fn what_identifies_the_event_is_never_left_out_even_if_nothing_fits_then() {
    let record = record(format!(r#"{{"id":"{}","x":1}}"#, "i".repeat(5_000)));
    assert_eq!(shrunk(&record, 4_000), None);
}

#[test]
fn names_that_have_no_room_are_counted() {
    let values: serde_json::Map<String, Value> =
        (0..2_000).map(|n| (format!("a_rather_long_name_{n:04}"), json!("x".repeat(40)))).collect();
    let found = shrunk(&record(Value::Object(values).to_string()), 2_000).unwrap();
    let names = found["jumpstream"]["left_out"].as_array().unwrap();
    let more = names.last().unwrap().as_str().unwrap();
    let counted: usize = more.strip_prefix("and ").unwrap().strip_suffix(" more").unwrap().parse().unwrap();
    let there = found.as_object().unwrap().len() - 1;
    assert_eq!(names.len() - 1 + counted + there, 2_000);
}

#[test]
fn shortened_text_ends_at_a_whole_character_or_escape() {
    // The cut falls on each place within what belongs together.
    for piece in ["é", "\u{1f600}", r"\n", r"\u00e9", r"\ud83d\ude00"] {
        for before in 0..14 {
            let long = format!("{}{}", "x".repeat(before), piece.repeat(2_000));
            let found = shrunk(&record(format!(r#"{{"id":"1","text":"{long}"}}"#)), 1_500).unwrap();
            let whole: String = serde_json::from_str(&format!("\"{long}\"")).unwrap();
            let short = found["text"].as_str().unwrap().strip_suffix('…').unwrap();
            assert!(whole.starts_with(short) && short.len() > 60, "{piece} behind {before}: {short}");
        }
    }
}

#[test]
fn parts_say_which_they_are_and_have_the_events_id() {
    let json = format!(r#"{{"id":"69a5","x":"{}"}}"#, "y".repeat(3_000));
    let parts = as_policy(Oversize::Split, &record(json.clone()), 1_472).unwrap();
    assert_eq!(parts.len(), 3);
    for (place, part) in parts.iter().enumerate() {
        assert_eq!(part["part"], place + 1);
        assert_eq!((&part["of"], &part["id"]), (&json!(3), &json!("69a5")));
        assert_eq!(part.as_object().unwrap().len(), 4);
    }
    let joined: String = parts.iter().map(|part| part["data"].as_str().unwrap()).collect();
    assert_eq!(joined, json);
}

#[test]
fn parts_of_an_event_without_an_id_belong_together_by_its_digest() {
    let json = format!(r#"{{"x":"{}"}}"#, "y".repeat(3_000));
    let parts = as_policy(Oversize::Split, &record(json.clone()), 1_472).unwrap();
    assert!(parts.iter().all(|part| part["id"] == sha256(json.as_bytes())), "{parts:?}");
}

#[test]
fn what_is_no_utf8_is_refused_rather_than_changed() {
    let mut json = format!(r#"{{"id":"1","x":"{}"#, "y".repeat(3_000)).into_bytes();
    json.extend(b"\xff\"}");
    assert_eq!(as_policy(Oversize::Split, &record(json), 1_472), None);
}

/// JSON objects that are too large for a datagram now and then.
fn object() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,40}".prop_map(Value::from),
        ("[\\x00-\\x7fé😀\"\\\\]{1,6}", 1usize..400).prop_map(|(text, times)| Value::from(text.repeat(times))),
    ];
    let value = leaf.prop_recursive(3, 64, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            proptest::collection::hash_map("\\PC{0,20}", inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    proptest::collection::hash_map(prop_oneof!["[a-z_]{1,12}", "\\PC{0,20}"], value, 0..12)
        .prop_map(|map| Value::Object(map.into_iter().collect()))
}

fn cases() -> ProptestConfig {
    ProptestConfig { cases: if crate::random::is_prove() { 50_000 } else { 1_000 }, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn parts_joined_are_the_event_byte_for_byte(event in object(), most in 480usize..3_000, pretty in any::<bool>()) {
        let json = if pretty { serde_json::to_string_pretty(&event).unwrap() } else { event.to_string() };
        let record = record(json.clone());
        if let Some(parts) = as_policy(Oversize::Split, &record, most) && parts[0].get("part").is_some() {
            let joined: String = parts.iter().map(|part| part["data"].as_str().unwrap()).collect();
            prop_assert_eq!(joined, json);
            prop_assert!(parts.iter().all(|part| part["of"] == parts.len()));
        }
    }

    #[test]
    fn what_is_left_is_part_of_the_event_and_what_is_left_out_is_said(event in object(), most in 480usize..3_000) {
        let json = event.to_string();
        let whole = messages(format_settings(), &record(json.clone()), usize::MAX).unwrap()[0].len();
        let Some(found) = shrunk(&record(json.clone()), most) else { return Ok(()) };
        if whole <= most {
            prop_assert_eq!(found, event);
            return Ok(());
        }
        let note = &found["jumpstream"];
        prop_assert_eq!(&note["sha256"], &Value::from(sha256(json.as_bytes())));
        for (key, value) in found.as_object().unwrap().iter().filter(|(key, _)| *key != "jumpstream") {
            prop_assert!(is_part(value, &event[key]), "{}: {} of {}", key, value, event[key]);
        }
        let less = note["left_out"].as_array().unwrap().len() + note["shortened"].as_array().unwrap().len();
        prop_assert!(less > 0, "{}", note);
    }
}

/// Whether it is the same, or has only less in it.
fn is_part(found: &Value, of: &Value) -> bool {
    match (found, of) {
        (Value::Object(found), Value::Object(of)) => {
            found.iter().all(|(key, value)| of.get(key).is_some_and(|of| is_part(value, of)))
        }
        (Value::String(found), Value::String(of)) => {
            found == of || found.strip_suffix('…').is_some_and(|found| of.starts_with(found))
        }
        _ => found == of,
    }
}
