//! Events: the fields that are read, whatever their shape, and what makes two records the same event.

use bytes::Bytes;
use jumpstream::clock::Time;
use jumpstream::event::{Event, Fields, Identity};
use proptest::prelude::*;
use serde_json::Value;

fn event(json: &str) -> Event {
    Event::parse(Bytes::copy_from_slice(json.as_bytes())).unwrap()
}

const LOGIN: &str = r#"{"id":"69a54b60c1d2e3f4a5b6c7d8","event_type":"admin_login_attempt","service":"directory",
 "timestamp":"2026-03-02T08:33:36.512Z","organization":"5f00000000000000000000aa","@version":"1",
 "initiated_by":{"type":"admin","id":"5f00000000000000000000b1","username":"ana"},"geoip":{"id":"not this one"}}"#;

#[test]
fn the_fields_are_read_and_the_bytes_kept() {
    let event = event(LOGIN);
    assert_eq!(event.bytes(), LOGIN.as_bytes());
    assert_eq!(event.id(), Some("69a54b60c1d2e3f4a5b6c7d8"));
    assert_eq!(event.event_type(), Some("admin_login_attempt"));
    assert_eq!(event.service(), Some("directory"));
    assert_eq!(event.organization(), Some("5f00000000000000000000aa"));
    assert_eq!(event.timestamp(), Some("2026-03-02T08:33:36.512Z"));
    assert_eq!(event.time(), Some(Time::from_millis(1_772_440_416_512)));
    assert_eq!(event.actor(), Some("5f00000000000000000000b1"));
}

#[test]
fn a_field_of_another_type_is_absent() {
    for value in ["null", "7", "true", "[]", "{}", "[\"a\"]", "1e999"] {
        let keys = ["id", "event_type", "service", "timestamp", "organization", "initiated_by"];
        let entries = keys.map(|key| format!("\"{key}\":{value}")).join(",");
        let event = event(&format!("{{{entries}}}"));
        let fields =
            [event.id(), event.event_type(), event.service(), event.timestamp(), event.organization(), event.actor()];
        assert_eq!((fields, event.time()), ([None; 6], None), "{value}");
    }
}

#[test]
fn the_actor_is_the_id_else_the_username() {
    for (initiated_by, actor) in [
        (r#"{"username":"u","id":"i"}"#, Some("i")),
        (r#"{"username":"u"}"#, Some("u")),
        (r#"{"id":null,"username":"u"}"#, Some("u")),
        (r#"{"id":{},"username":"u"}"#, Some("u")),
        (r#"{"id":7,"username":{"id":"x"}}"#, None),
        (r#"{"x":{"id":"i"}}"#, None),
        (r#"[{"id":"i"}]"#, None),
        (r#""i""#, None),
    ] {
        assert_eq!(event(&format!(r#"{{"initiated_by":{initiated_by}}}"#)).actor(), actor, "{initiated_by}");
    }
}

#[test]
fn escapes_are_read_in_keys_and_values() {
    let event = event(r#"{"\u0069d":"a\"\u00e9\\","service":"\ud83d\ude00","event_type":"\ud800"}"#);
    assert_eq!((event.id(), event.service()), (Some("a\"é\\"), Some("😀")));
    assert_eq!(event.event_type(), None, "half a surrogate pair is no text");
}

#[test]
fn of_a_key_that_stands_twice_the_last_counts() {
    assert_eq!(event(r#"{"id":"a","id":"b"}"#).id(), Some("b"));
    assert_eq!(event(r#"{"id":"a","id":3}"#).id(), None);
    assert_eq!(event(r#"{"a":{"id":"x"},"id":"b","c":[{"id":"y"}]}"#).id(), Some("b"));
}

#[test]
fn bytes_that_are_no_utf_8_make_a_field_absent_and_pass() {
    let bytes = Bytes::from_static(b"{\"id\":\"\xff\",\"service\":\"sso\",\"x\":\"\xc3\",\"\xfe\":1}");
    let event = Event::parse(bytes.clone()).unwrap();
    assert_eq!((event.id(), event.service(), event.bytes()), (None, Some("sso"), &bytes));
}

#[test]
fn an_unfinished_object_is_told_from_a_broken_one() {
    for end in 0..LOGIN.len() {
        assert!(Fields::read(&LOGIN.as_bytes()[..end]).unwrap_err().is_eof(), "{end}");
    }
    assert_eq!(Fields::read(format!("{LOGIN},[").as_bytes()).unwrap().1, LOGIN.len());
    let error = Fields::read(b"{\"id\" \"a\"}").unwrap_err();
    assert!(!error.is_eof() && error.to_string().contains("byte 6"), "{error}");
}

fn same(one: &str, other: &str) -> bool {
    event(one).identity() == event(other).identity()
}

#[test]
fn an_event_is_its_id_and_its_instant() {
    let one = r#"{"id":"a","timestamp":"2026-03-02T08:00:00Z","x":1}"#;
    assert!(same(one, r#"{"timestamp":"2026-03-02T09:00:00.000+01:00","x":2,"id":"a"}"#));
    assert!(!same(one, r#"{"id":"b","timestamp":"2026-03-02T08:00:00Z"}"#));
    assert!(!same(one, r#"{"id":"a","timestamp":"2026-03-02T08:00:00.000000001Z"}"#));
    // A timestamp that is no instant counts as its text.
    assert!(same(r#"{"id":"a","timestamp":"yesterday"}"#, r#"{"id":"a","timestamp":"yesterday","x":1}"#));
    assert!(!same(r#"{"id":"a","timestamp":"yesterday"}"#, r#"{"id":"a","timestamp":"today"}"#));
}

#[test]
fn a_name_based_id_may_be_shared_so_the_record_counts() {
    let time = r#""timestamp":"2026-03-02T08:00:00Z""#;
    for (id, by_content) in [
        ("7C0B1F52-3A4D-31E8-9F60-0D2E4C6A8B1C", true),
        ("7c0b1f52-3a4d-51e8-9f60-0d2e4c6a8b1c", true),
        ("7c0b1f52-3a4d-41e8-9f60-0d2e4c6a8b1c", false),
        ("69a54b60c1d2e3f4a5b6c7d8", false),
        ("", true),
    ] {
        let record = |extra: &str| event(&format!(r#"{{"id":"{id}",{time},{extra}}}"#));
        let differ = record(r#""username":"a""#).identity() != record(r#""username":"b""#).identity();
        assert_eq!(differ, by_content, "{id}");
        assert_eq!(matches!(record(r#""x":1"#).identity(), Identity::Content(_)), by_content, "{id}");
    }
}

#[test]
fn without_an_id_the_record_counts_less_its_enrichments_and_the_order_of_its_keys() {
    let one = r#"{"a":{"x":[1,{"p":1,"q":2}],"y":"text"},"b":null}"#;
    assert!(same(one, r#"{"b":null,"a":{"y":"text","x":[1,{"q":2,"p":1}]}}"#));
    assert!(same(one, "{ \"b\" : null,\n\"a\":{\"y\":\"text\",\"x\":[ 1 , {\"q\":2, \"p\" : 1}]}}"));
    assert!(same(one, r#"{"b":null,"geoip":{"x":1},"a":{"y":"text","x":[1,{"q":2,"p":1}]},"asn":1,"useragent":"u"}"#));
    assert!(same(one, r#"{"\u0061":{"x":[1,{"p":1,"q":2}],"y":"te\u0078t"},"b":null}"#), "an escape is the same text");
    for other in [
        r#"{"a":{"x":[{"p":1,"q":2},1],"y":"text"},"b":null}"#,
        r#"{"a":{"x":[1,{"p":1,"q":2}],"y":"text","geoip":1},"b":null}"#,
        r#"{"a":{"x":[1,{"p":1,"q":2}],"y":"text"}}"#,
        r#"{"a":{"x":[1,{"p":1,"q":2}],"y":"Text"},"b":null}"#,
    ] {
        assert!(!same(one, other), "{other}");
    }
}

#[test]
fn keys_that_begin_alike_are_sorted_and_of_one_that_stands_often_the_last_counts() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut keys: Vec<String> = (0..120).map(|place| format!("resource_{}", place % 40)).collect();
    keys.extend(["a".to_owned(), "a\\u0000".to_owned(), "a\\u0000".to_owned(), "".to_owned()]);
    random.shuffle(&mut keys);
    let entries: Vec<String> = keys.iter().enumerate().map(|(place, key)| format!("\"{key}\":{place}")).collect();
    let last: std::collections::BTreeMap<String, usize> =
        keys.iter().enumerate().map(|(place, key)| (key.replace("\\u0000", "\0"), place)).collect();
    let sorted: Vec<String> =
        last.iter().map(|(key, place)| format!("{}:{place},", Value::from(key.as_str()))).collect();
    let event = event(&format!("{{{}}}", entries.join(",")));
    let Identity::Content(content) = event.identity() else { panic!("an event without an id is its content") };
    assert_eq!(String::from_utf8(content).unwrap(), format!("{{{}}}", sorted.concat()));
}

#[test]
fn a_crafted_key_does_not_look_like_two_entries() {
    assert!(!same(r#"{"a:1,b":2}"#, r#"{"a":1,"b":2}"#));
    assert!(!same(r#"{"a\":1,\"b":2}"#, r#"{"a":1,"b":2}"#));
}

#[test]
fn a_record_of_any_depth_has_an_identity() {
    let nested = |inner: &str| format!("{{\"x\":{}{inner}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(same(&nested("1"), &nested("1")));
    assert!(!same(&nested("1"), &nested("2")));
}

proptest! {
    /// The walk against the library, over texts that are nearly JSON.
    #[test]
    fn what_is_read_as_an_object_is_what_serde_json_reads(
        damage in prop::collection::vec((1..LOGIN.len(), prop::sample::select(b"{}[]\",:\\ 0-1.eEtfnu\nx".to_vec())), 0..4),
        end in 0..=LOGIN.len(),
    ) {
        let mut text = LOGIN.as_bytes().to_vec();
        for (at, byte) in damage {
            text[at] = byte;
        }
        text.truncate(end);
        let mut library = serde_json::Deserializer::from_slice(&text).into_iter::<serde::de::IgnoredAny>();
        match (Fields::read(&text), library.next()) {
            (Ok((_, end)), Some(Ok(_))) => prop_assert_eq!(end, library.byte_offset()),
            (Err(ours), Some(Err(theirs))) => prop_assert_eq!(ours.is_eof(), theirs.is_eof(), "{} {}", ours, theirs),
            (Err(ours), None) => prop_assert!(ours.is_eof()),
            (ours, theirs) => prop_assert!(false, "{:?} {:?}", ours, theirs),
        }
    }

    /// The walk against the library once more: a record without an id counts as its content, in one order of keys.
    #[test]
    fn content_is_what_serde_json_reads_with_its_keys_sorted(record in object()) {
        let without: serde_json::Map<String, Value> =
            record.clone().into_iter().filter(|(key, _)| !["geoip", "asn", "useragent"].contains(&&key[..])).collect();
        let mut expected = String::new();
        write_sorted(&Value::Object(without), &mut expected);
        let Identity::Content(content) = event(&Value::Object(record).to_string()).identity().clone() else {
            return Err(TestCaseError::fail("an event without an id is its content"));
        };
        prop_assert_eq!(String::from_utf8(content).unwrap(), expected);
    }
}

proptest! {
    /// Blocks begin anywhere in a text, so its white space, escapes and the lengths of its strings are drawn at random.
    #[test]
    fn however_a_text_is_written_the_same_is_read(record in record(), seed in any::<u64>()) {
        let text = written(&record, &mut fastrand::Rng::with_seed(seed));
        let followed = [&text[..], b",\"\\"].concat();
        prop_assert_eq!(Fields::read(&followed).unwrap().1, text.len());

        let event = Event::parse(followed.into()).unwrap();
        let string = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let by = record.get("initiated_by");
        let actor = string(by.and_then(|by| by.get("id"))).or_else(|| string(by.and_then(|by| by.get("username"))));
        prop_assert_eq!(event.id().map(str::to_owned), string(record.get("id")));
        prop_assert_eq!(event.service().map(str::to_owned), string(record.get("service")));
        prop_assert_eq!(event.actor().map(str::to_owned), actor);
        if let Identity::Content(content) = event.identity() {
            let enrichment = |key: &str| ["geoip", "asn", "useragent"].contains(&key);
            let without = record.into_iter().filter(|(key, _)| !enrichment(key)).collect();
            let mut expected = String::new();
            write_sorted(&Value::Object(without), &mut expected);
            prop_assert_eq!(String::from_utf8(content).unwrap(), expected);
        }
    }

    #[test]
    fn a_text_that_is_cut_goes_on_and_one_that_is_damaged_is_judged_as_by_serde_json(
        record in record(), seed in any::<u64>(),
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let text = written(&record, &mut random);
        let begin = text.iter().position(|byte| *byte == b'{').unwrap() + 1;
        let near_the_end = text.len().saturating_sub(70).max(begin)..text.len();
        let anywhere: Vec<usize> = (0..50).map(|_| random.usize(begin..=text.len() - 1)).collect();
        for end in near_the_end.chain(anywhere.iter().copied()) {
            prop_assert!(Fields::read(&text[..end]).unwrap_err().is_eof(), "cut at {}", end);
        }
        for at in anywhere {
            let mut damaged = text.clone();
            let tokens = b"{}[]\",:\\ 0-1.eEtfnu\nx\0\t\x1f";
            damaged[at] = if random.bool() { random.u8(..) } else { tokens[random.usize(..tokens.len())] };
            judged_alike(&damaged).map_err(|why| TestCaseError::fail(format!("{} at {at}: {why}", damaged[at])))?;
        }
    }
}

/// Both read the same object, or neither does; neither looks at the encoding or a number's size.
fn judged_alike(text: &[u8]) -> Result<(), String> {
    let mut library = serde_json::Deserializer::from_slice(text).into_iter::<serde::de::IgnoredAny>();
    let ours = Fields::read(text);
    match (&ours, library.next()) {
        (Ok((_, end)), Some(Ok(_))) if *end == library.byte_offset() => Ok(()),
        // The library wants four bytes before it looks whether they are digits.
        (Err(ours), Some(Err(theirs))) if ours.is_eof() == theirs.is_eof() || ours.to_string().contains("four") => {
            Ok(())
        }
        (_, theirs) => Err(format!("{ours:?}, by the library {theirs:?}")),
    }
}

/// `record` with white space between all tokens, and characters written as escapes or not.
fn written(record: &serde_json::Map<String, Value>, random: &mut fastrand::Rng) -> Vec<u8> {
    let mut out = vec![b' '; random.usize(..64)];
    write_loosely(&Value::Object(record.clone()), random, &mut out);
    out
}

fn write_loosely(value: &Value, random: &mut fastrand::Rng, out: &mut Vec<u8>) {
    let blanks = |random: &mut fastrand::Rng, out: &mut Vec<u8>| {
        let count = if random.u8(..) == 0 { 70 } else { [0, 0, 0, 1, 2][random.usize(..5)] };
        out.extend((0..count).map(|_| b" \n\r\t"[random.usize(..4)]));
    };
    let brackets = match value {
        Value::Object(_) => b"{}",
        Value::Array(_) => b"[]",
        Value::String(text) => return write_text(text, random, out),
        leaf => return out.extend_from_slice(leaf.to_string().as_bytes()),
    };
    let entries = value.as_object().into_iter().flatten().map(|(key, value)| (Some(key), value));
    let elements = value.as_array().into_iter().flatten().map(|value| (None, value));
    out.push(brackets[0]);
    for (place, (key, value)) in entries.chain(elements).enumerate() {
        if place > 0 {
            out.push(b',');
        }
        blanks(random, out);
        if let Some(key) = key {
            write_text(key, random, out);
            blanks(random, out);
            out.push(b':');
            blanks(random, out);
        }
        write_loosely(value, random, out);
        blanks(random, out);
    }
    blanks(random, out);
    out.push(brackets[1]);
}

fn write_text(text: &str, random: &mut fastrand::Rng, out: &mut Vec<u8>) {
    let often = random.u8(..) < 30;
    out.push(b'"');
    for character in text.chars() {
        if often && random.bool() {
            let units =
                character.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
            out.extend_from_slice(units.as_bytes());
        } else {
            let plain = Value::from(character.to_string()).to_string();
            out.extend_from_slice(&plain.as_bytes()[1..plain.len() - 1]);
        }
    }
    out.push(b'"');
}

/// Any object: the keys that are read and others, strings up to several blocks long, those made of backslashes, and
/// brackets deeper than a word has bits.
fn record() -> impl Strategy<Value = serde_json::Map<String, Value>> {
    let text =
        || prop_oneof!["[a-zé]{0,12}", "[a-z ]{0,300}", "[a-z\"😀 :,{}]{0,150}", "[\\\\]{0,90}", "[\\\\\"\n]{0,12}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    let key = move || prop_oneof!["(id|service|initiated_by|username|geoip)", text()];
    let entries = move |value: BoxedStrategy<Value>| {
        prop::collection::btree_map(key(), value, 0..6).prop_map(|entries| entries.into_iter().collect())
    };
    let value = leaf.prop_recursive(6, 60, 6, move |value| {
        prop_oneof![
            prop::collection::vec(value.clone(), 0..6).prop_map(Value::from),
            entries(value).prop_map(Value::Object),
        ]
    });
    let nested = (value.clone(), prop::collection::vec(any::<bool>(), 0..150)).prop_map(|(value, brackets)| {
        brackets.into_iter().fold(value, |inner, is_object| match is_object {
            true => Value::Object([("a".to_owned(), inner)].into_iter().collect()),
            false => Value::from(vec![Value::Null, inner]),
        })
    });
    // Keys are sorted to a depth only, so what is deeper stands where it doesn't count.
    (entries(value.boxed()), nested).prop_map(|(mut record, nested)| {
        record.insert("useragent".to_owned(), nested);
        record
    })
}

#[test]
fn an_empty_object_is_read_without_what_follows_it() {
    let page = [b"{}".repeat(200_000), b"\"".to_vec()].concat();
    let begun = std::time::Instant::now();
    let mut at = 0;
    while page[at] == b'{' {
        at += Fields::read(&page[at..]).unwrap().1;
    }
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "each has looked at all that follow");
}

/// Any object without an `id`; keys and texts that need escapes among them.
fn object() -> impl Strategy<Value = serde_json::Map<String, Value>> {
    let text = prop_oneof!["[a-c]{1,3}", "[a\"\\\\\n/é😀]{0,4}", Just("geoip".to_owned())];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text.clone().prop_map(Value::from)
    ];
    let keys = text.clone();
    let value = leaf.prop_recursive(4, 40, 5, move |inner| {
        let object = prop::collection::btree_map(keys.clone(), inner.clone(), 0..5);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            object.prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    });
    prop::collection::btree_map(text, value, 0..6).prop_map(|entries| entries.into_iter().collect())
}

fn write_sorted(value: &Value, out: &mut String) {
    match value {
        Value::Object(entries) => {
            out.push('{');
            for (key, value) in entries {
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write_sorted(value, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(values) => {
            out.push('[');
            for value in values {
                write_sorted(value, out);
                out.push(',');
            }
            out.push(']');
        }
        leaf => out.push_str(&leaf.to_string()),
    }
}
