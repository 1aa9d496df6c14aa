//! The configuration's JSON Schema, for editors and for the chart, made from the tables that the reader uses.
//!
//! It says what a schema can say: keys, types, bounds, choices. What needs two keys at once is the reader's.

use jumpstream::config;
use jumpstream::config::key::{Key, Kind, Presence, Variant};
use serde_json::{Map, Value, json};

/// Where secrets may be kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    Anywhere,
    /// Mounted, as the chart does it; never in a variable.
    Files,
}

/// Of the whole file.
pub fn of_configuration(secrets: Secrets) -> Value {
    object(config::KEYS, secrets)
}

/// What isn't built yet is left out: the schema refuses it as the reader does.
fn object(keys: &[Key], secrets: Secrets) -> Value {
    let built = keys.iter().filter(|key| key.not_yet.is_none());
    let properties: Map<String, Value> =
        built.clone().map(|key| (key.name.to_owned(), property(key, secrets))).collect();
    let required: Vec<_> = built
        .filter(|key| matches!(key.presence, Presence::Required | Presence::RequiredSince(_)))
        .map(|key| key.name)
        .collect();
    json!({"type": "object", "additionalProperties": false, "properties": properties, "required": required})
}

fn property(key: &Key, secrets: Secrets) -> Value {
    let mut schema = of_kind(key.kind, secrets);
    schema["description"] = match key.presence {
        Presence::Optional(left_out) => format!("{} Left out: {left_out}.", key.meaning).into(),
        _ => key.meaning.into(),
    };
    if let Presence::Default(text) = key.presence {
        schema["default"] = default(key.kind, text);
    }
    schema
}

fn default(kind: Kind, text: &str) -> Value {
    match kind {
        Kind::Texts => text.split(',').filter(|text| !text.is_empty()).collect(),
        Kind::Flag | Kind::Integer { .. } | Kind::Number { .. } => text.parse().expect("a number or a flag is JSON"),
        _ => text.into(),
    }
}

fn of_kind(kind: Kind, secrets: Secrets) -> Value {
    let text = || json!({"type": "string", "minLength": 1});
    match kind {
        Kind::Text | Kind::Start | Kind::Input | Kind::Output => text(),
        Kind::Texts => json!({"type": "array", "items": text()}),
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Integer { least, most } => json!({"type": "integer", "minimum": least, "maximum": most}),
        Kind::Number { least, most } => json!({"type": "number", "minimum": least, "maximum": most}),
        // A unit, at least; the rest is the reader's.
        Kind::Duration { .. } => json!({"type": "string", "pattern": "[A-Za-z:]"}),
        Kind::Size { .. } => json!({"type": ["string", "integer"], "pattern": "^[0-9]+ *(B|kB|[KMG]B|[KMG]iB)?$"}),
        Kind::Choice(choices) => {
            let built = choices.iter().filter(|choice| choice.not_yet.is_none()).map(|choice| choice.name);
            json!({"enum": built.collect::<Vec<_>>()})
        }
        Kind::Address => json!({"type": "string", "pattern": "^.+:[0-9]{1,5}$"}),
        Kind::Url => json!({"type": "string", "pattern": "^https?://"}),
        Kind::Secret => secret(kind.tables()[0].1, secrets),
        Kind::Properties => {
            json!({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}})
        }
        Kind::Section(keys) => object(keys, secrets),
        Kind::Sections(keys) => json!({"type": "array", "minItems": 1, "items": object(keys, secrets)}),
        Kind::Variant(variants) => of_type(variants, secrets),
        Kind::Variants(variants) => json!({"type": "array", "minItems": 1, "items": of_type(variants, secrets)}),
    }
}

fn secret(keys: &[Key], secrets: Secrets) -> Value {
    let mut schema = object(keys, secrets);
    if secrets == Secrets::Files {
        let properties = schema["properties"].as_object_mut().expect("of an object");
        properties.retain(|name, _| name == "file");
    }
    // Either place, and only one.
    schema["minProperties"] = 1.into();
    schema["maxProperties"] = 1.into();
    schema
}

/// By `if` and `then`, so that a fault is told of the type that was meant, and not once for each of the others.
fn of_type(variants: &[Variant], secrets: Secrets) -> Value {
    let of_type = &variants[0].keys[0];
    let mut rules: Vec<Value> = built(variants)
        .map(|variant| {
            let when = json!({"required": ["type"], "properties": {"type": {"const": variant.name}}});
            json!({"if": when, "then": object(variant.keys, secrets)})
        })
        .collect();
    let mut required = vec!["type"];
    if !matches!(of_type.presence, Presence::Required) {
        // Its default depends on other sections, so any of the types' keys may be written.
        required.clear();
        let all: Vec<Key> = built(variants).flat_map(|variant| variant.keys).copied().collect();
        rules.push(json!({"if": {"not": {"required": ["type"]}}, "then": object(&all, secrets)}));
    }
    let mut kind = of_kind(of_type.kind, secrets);
    kind["description"] = of_type.meaning.into();
    json!({"type": "object", "required": required, "properties": {"type": kind}, "allOf": rules})
}

/// The types that this release has.
fn built(variants: &[Variant]) -> impl Iterator<Item = &Variant> {
    let Kind::Choice(types) = variants[0].keys[0].kind else { panic!("the first key of a variant is its type") };
    variants.iter().filter(|variant| types.iter().any(|one| one.name == variant.name && one.not_yet.is_none()))
}

/// As it is published: one file for editors, which is also embedded in the chart's own schema.
pub fn page() -> String {
    let mut schema = of_configuration(Secrets::Anywhere);
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema["title"] = "The configuration of jumpstream".into();
    schema["$comment"] = "Made from the tables in src/config: UPDATE_DOCS=1 cargo test --test it reference".into();
    serde_json::to_string_pretty(&schema).expect("a schema is JSON") + "\n"
}

/// The tables below a key, without those of types that aren't built yet.
fn tables(kind: Kind) -> Vec<&'static [Key]> {
    match kind {
        Kind::Variant(variants) | Kind::Variants(variants) => built(variants).map(|variant| variant.keys).collect(),
        _ => kind.tables().into_iter().map(|(_, keys)| keys).collect(),
    }
}

#[test]
fn every_key_that_is_built_has_its_place_in_the_schema_and_no_other() {
    let page = page();
    let (mut names, mut open) = (0, vec![config::KEYS]);
    while let Some(keys) = open.pop() {
        for key in keys.iter().filter(|key| key.not_yet.is_none()) {
            assert!(page.contains(&format!("\"{}\": {{", key.name)), "{} is missing", key.name);
            names += 1;
            open.extend(tables(key.kind));
        }
    }
    assert!(names > 40, "{names} keys");
    let later = config::KEYS.iter().flat_map(|key| tables(key.kind)).flatten().filter(|key| key.not_yet.is_some());
    for key in later {
        assert!(!page.contains(&format!("\"{}\"", key.name)), "{} isn't built yet", key.name);
    }
}
