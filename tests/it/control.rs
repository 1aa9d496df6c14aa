//! Control records: what is told of blind streams is true, comes in turns, and holds up nothing.

mod blindness;
mod run;
mod topic;
mod writing;

use serde_json::Value;

/// The records of a type.
fn of_type<'a>(records: &'a [Value], kind: &str) -> Vec<&'a Value> {
    records.iter().filter(|record| record["type"] == kind).collect()
}

/// A record's instant.
fn instant(record: &Value, name: &str) -> jiff::Timestamp {
    record[name].as_str().unwrap_or_else(|| panic!("no {name} in {record}")).parse().unwrap()
}
