//! The chart's schema and README come from the comments of its values, so that neither can know others.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::CHART;
use crate::reference::check_file;
use crate::reference::schema::{Secrets, of_configuration};
use crate::yaml;

/// What is written above a value.
#[derive(Default)]
struct Comment {
    text: String,
    /// What a line `@schema` adds to the type of the default.
    schema: Map<String, Value>,
    /// By `@whole`: what is below is one value, and not described key by key.
    whole: bool,
}

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(CHART).join(name)).unwrap()
}

/// Each value's comment, by its path (`image.tag`), and the paths in the file's order.
fn comments(text: &str) -> (BTreeMap<String, Comment>, Vec<String>) {
    let (mut comments, mut order) = (BTreeMap::new(), Vec::new());
    let (mut above, mut open) = (Comment::default(), Vec::<(usize, &str)>::new());
    for line in text.lines() {
        let content = line.trim_start();
        let indent = line.len() - content.len();
        if let Some(comment) = content.strip_prefix('#') {
            above.add(comment.trim());
        } else if let Some((key, _)) = content.split_once(':').filter(|_| !content.starts_with('-')) {
            open.retain(|(outer, _)| *outer < indent);
            open.push((indent, key));
            let path = open.iter().map(|(_, key)| *key).collect::<Vec<_>>().join(".");
            comments.insert(path.clone(), std::mem::take(&mut above));
            order.push(path);
        } else {
            above = Comment::default();
        }
    }
    (comments, order)
}

impl Comment {
    fn add(&mut self, line: &str) {
        let schema = line.strip_prefix("@schema ").or_else(|| line.strip_prefix("@whole "));
        match schema {
            Some(schema) => {
                self.whole = line.starts_with("@whole");
                self.schema = serde_json::from_str(schema).unwrap_or_else(|error| panic!("{schema}: {error}"));
            }
            None if self.text.is_empty() => self.text = line.to_owned(),
            None => self.text.extend([" ", line]),
        }
    }
}

/// Whether the value is described as one.
fn is_leaf(value: &Value, comment: &Comment) -> bool {
    comment.whole || value.as_object().is_none_or(Map::is_empty)
}

/// A value's schema: the type of its default, its comment, and what `@schema` adds.
fn schema(path: &str, value: &Value, comments: &BTreeMap<String, Comment>) -> Value {
    let comment = &comments[path];
    assert!(!comment.text.is_empty() || !is_leaf(value, comment), "{path} has no comment");
    if comment.schema.get("$ref").is_some() {
        let mut config = of_configuration(Secrets::Files);
        config["description"] = comment.text.clone().into();
        return config;
    }
    let mut schema = match value {
        Value::Null => json!({}),
        Value::Bool(_) => json!({"type": "boolean"}),
        Value::Number(_) => json!({"type": "integer"}),
        Value::String(_) => json!({"type": "string"}),
        Value::Array(_) => json!({"type": "array"}),
        Value::Object(_) if is_leaf(value, comment) => json!({"type": "object"}),
        Value::Object(map) => properties(map, &format!("{path}."), comments),
    };
    let fields = schema.as_object_mut().expect("a schema is an object");
    if !comment.text.is_empty() {
        fields.insert("description".into(), comment.text.clone().into());
    }
    fields.extend(comment.schema.clone());
    schema
}

fn properties(map: &Map<String, Value>, prefix: &str, comments: &BTreeMap<String, Comment>) -> Value {
    let known: Map<String, Value> =
        map.iter().map(|(key, value)| (key.clone(), schema(&format!("{prefix}{key}"), value, comments))).collect();
    json!({"type": "object", "additionalProperties": false, "properties": known})
}

/// What two values have to do with each other: the second door of what `templates/_guards.tpl` refuses as the third.
fn rules() -> Value {
    let config = |schema: Value| json!({"properties": {"config": {"properties": schema}}});
    let exactly_once = json!({"required": ["type"], "properties": {
        "type": {"const": "kafka"}, "delivery": {"not": {"const": "at_least_once"}}}});
    let state = |of_type| config(json!({"state": {"properties": {"type": {"const": of_type}}}}));
    let loopback = json!({"pattern": "^(127\\.|\\[::1\\])"});
    json!([
        {
            "if": config(json!({"sinks": {"contains": exactly_once}})),
            "then": state("kafka"),
            "else": {"allOf": [state("sqlite"), {"properties": {"replicaCount": {"maximum": 1}}}]},
        },
        config(json!({"server": {"properties": {"listen": {"not": loopback}}}})),
        config(json!({"page": {
            "if": {"required": ["listen"], "properties": {"listen": {"not": loopback}}},
            "then": {"required": ["token"]},
        }})),
        {"properties": {"metrics": {"not": {"properties": {
            "serviceMonitor": {"properties": {"enabled": {"const": true}}},
            "podMonitor": {"properties": {"enabled": {"const": true}}},
        }}}}},
    ])
}

#[test]
fn the_schema_of_the_values_is_made_from_their_comments_and_from_the_configuration() {
    let text = read("values.yaml");
    let Value::Object(values) = yaml::document(&text) else { panic!("values are a map") };
    let (comments, _) = comments(&text);
    let mut schema = properties(&values, "", &comments);
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema["$comment"] = "Made from values.yaml and src/config by `make chart-docs`".into();
    // A parent chart's condition arrives here too.
    schema["properties"]["enabled"] =
        json!({"description": "For the condition of a parent chart; means nothing here."});
    schema["allOf"] = rules();
    check_file(&format!("{CHART}/values.schema.json"), &(serde_json::to_string_pretty(&schema).unwrap() + "\n"));
}

/// Between these lines the README is made.
const BEGIN: &str = "<!-- The table is made from values.yaml by `make chart-docs`. -->\n";
const END: &str = "<!-- End of the table. -->\n";

#[test]
fn the_readme_lists_exactly_the_values() {
    let (text, readme) = (read("values.yaml"), read("README.md"));
    let values = yaml::document(&text);
    let (comments, order) = comments(&text);
    let mut table = String::from("\n| value | default | meaning |\n|---|---|---|\n");
    let mut whole: Option<&str> = None;
    for path in &order {
        let inside = whole.is_some_and(|outer| path.starts_with(&format!("{outer}.")));
        let value = path.split('.').fold(&values, |value, key| &value[key]);
        if inside || !is_leaf(value, &comments[path]) {
            continue;
        }
        whole = Some(path);
        writeln!(table, "| `{path}` | `{value}` | {} |", comments[path].text.replace('|', "\\|")).unwrap();
    }
    let (before, rest) = readme.split_once(BEGIN).expect("the line before the table");
    let (_, after) = rest.split_once(END).expect("the line after the table");
    check_file(&format!("{CHART}/README.md"), &format!("{before}{BEGIN}{table}\n{END}{after}"));
}
