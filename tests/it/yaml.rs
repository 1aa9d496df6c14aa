//! YAML as JSON, for tests that look at rendered manifests, rules and units of other programs.
//!
//! # Invariants
//! Plain scalars have YAML 1.2's types. A key written twice ends the test: Helm would silently take one of the two.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// Every document that isn't empty.
#[track_caller]
pub fn documents(text: &str) -> Vec<Value> {
    let (mut documents, mut open) = (Vec::new(), Vec::<(Value, Option<String>)>::new());
    for event in Parser::new_from_str(text) {
        let (event, _) = event.unwrap_or_else(|error| panic!("this isn't YAML: {error}\n{text}"));
        let node = match event {
            Event::Scalar(text, style, ..) => scalar(&text, matches!(style, ScalarStyle::Plain)),
            Event::SequenceEnd | Event::MappingEnd => open.pop().expect("an end has a beginning").0,
            Event::SequenceStart(..) => {
                open.push((Value::Array(Vec::new()), None));
                continue;
            }
            Event::MappingStart(..) => {
                open.push((Value::Object(Map::new()), None));
                continue;
            }
            Event::Alias(_) => panic!("an alias:\n{text}"),
            _ => continue,
        };
        match open.last_mut() {
            None => documents.push(node),
            Some((Value::Array(list), _)) => list.push(node),
            Some((Value::Object(map), key)) => match key.take() {
                None => *key = Some(node.as_str().map_or_else(|| node.to_string(), str::to_owned)),
                Some(name) => assert!(map.insert(name.clone(), node).is_none(), "{name} is written twice:\n{text}"),
            },
            Some(_) => unreachable!("only lists and maps are open"),
        }
    }
    documents.retain(|document| !document.is_null());
    documents
}

/// The only document.
#[track_caller]
pub fn document(text: &str) -> Value {
    let mut documents = documents(text);
    assert_eq!(documents.len(), 1, "{text}");
    documents.remove(0)
}

fn scalar(text: &str, plain: bool) -> Value {
    match text {
        _ if !plain => text.into(),
        "" | "~" | "null" => Value::Null,
        "true" => true.into(),
        "false" => false.into(),
        _ => match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(number), _) => number.into(),
            (_, Ok(number)) if number.is_finite() && text.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
                number.into()
            }
            _ => text.into(),
        },
    }
}
