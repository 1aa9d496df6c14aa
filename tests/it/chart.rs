//! The Helm chart: its schema and README are made from its values, and what it renders is what it promises.
//!
//! # Invariants
//! Needs `helm`, but no cluster: `make e2e-kubernetes` has one.

mod example;
mod refusal;
mod rendered;
mod values;

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::{tool, yaml};

/// The smallest values: exactly once into Kafka.
pub const KAFKA: &str = "\
config:
  accounts: [{api_key: {file: /run/secrets/jumpcloud/api-key}}]
  sinks: [{type: kafka, brokers: [\"kafka:9092\"], topic: jumpcloud.events}]
secrets: {jumpcloud: {secretName: jumpcloud}}
";

/// The same into a file, so with a database.
pub const FILE: &str = "\
config:
  accounts: [{api_key: {file: /run/secrets/jumpcloud/api-key}}]
  sinks: [{type: file, path: events.ndjson}]
secrets: {jumpcloud: {secretName: jumpcloud}}
";

pub const CHART: &str = "charts/jumpstream";

/// Helm, or none after saying that `test` is skipped.
struct Helm(PathBuf);

impl Helm {
    fn find(test: &str) -> Option<Helm> {
        tool::find("helm", test).map(Helm)
    }

    /// Renders the chart as release `r` in the namespace `n`; else what Helm says.
    fn template(&self, values: &str, further: &[&str]) -> Result<String, String> {
        let mut command = Command::new(&self.0);
        command.args(["template", "r", CHART, "--namespace", "n", "--values", "-"]).args(further);
        let output = tool::run(&mut command, values);
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap()),
            false => Err(tool::said(&output)),
        }
    }

    #[track_caller]
    fn render(&self, values: &str, further: &[&str]) -> Manifests {
        let text = self.template(values, further).unwrap_or_else(|said| panic!("{said}\n{values}"));
        Manifests(yaml::documents(&text))
    }
}

/// What was rendered.
struct Manifests(Vec<Value>);

impl Manifests {
    fn kinds(&self) -> Vec<&str> {
        self.0.iter().map(|object| object["kind"].as_str().unwrap()).collect()
    }

    /// The only one of its kind.
    #[track_caller]
    fn one(&self, kind: &str) -> &Value {
        let mut found = self.0.iter().filter(|object| object["kind"] == kind);
        let one = found.next().unwrap_or_else(|| panic!("no {kind} among {:?}", self.kinds()));
        assert!(found.next().is_none(), "several of {kind}");
        one
    }

    /// The workload's pods.
    #[track_caller]
    fn pods(&self) -> &Value {
        let workload =
            self.0.iter().find(|object| ["Deployment", "StatefulSet"].contains(&object["kind"].as_str().unwrap()));
        &workload.expect("a workload")["spec"]["template"]
    }
}
