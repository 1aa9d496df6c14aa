//! The alerts: each fires on series that call for it, none on a quiet night or a restart, and each has a runbook.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use jumpstream::telemetry::metrics::table::TABLE;
use serde_json::Value;

use crate::{tool, yaml};

const RULES: &str = "charts/jumpstream/files/alerts.yaml";
const RUNBOOKS: &str = "docs/operating/monitoring.md";
/// The chart makes this one, from the organizations that the configuration names.
const OF_THE_CHART: &str = "JumpstreamOrganizationMissing";

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn rules() -> Vec<Value> {
    let file = yaml::document(&read(RULES));
    let rules = file["groups"][0]["rules"].as_array().unwrap().clone();
    assert!(rules.len() >= 10, "{} alerts", rules.len());
    rules
}

fn name(rule: &Value) -> &str {
    rule["alert"].as_str().unwrap()
}

/// The files of promtool's unit tests.
fn series() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/alerts");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// A case of promtool's tests.
struct Case {
    /// `each.yaml` or `ordinary.yaml`.
    file: String,
    night: String,
    alert: String,
    fires: bool,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for path in series() {
        let file = yaml::document(&std::fs::read_to_string(&path).unwrap());
        for test in file["tests"].as_array().unwrap() {
            cases.extend(test["alert_rule_test"].as_array().unwrap().iter().map(|case| Case {
                file: path.file_name().unwrap().to_string_lossy().into_owned(),
                night: test["name"].as_str().unwrap().to_owned(),
                alert: case["alertname"].as_str().unwrap().to_owned(),
                fires: case["exp_alerts"].as_array().is_some_and(|alerts| !alerts.is_empty()),
            }));
        }
    }
    cases
}

#[test]
fn every_alert_fires_on_its_series_and_on_no_other() {
    let Some(promtool) = tool::find("promtool", "alerts") else { return };
    let check = tool::run(Command::new(&promtool).args(["check", "rules", RULES]), "");
    assert!(check.status.success(), "{}", tool::said(&check));
    let test = tool::run(Command::new(&promtool).args(["test", "rules"]).args(series()), "");
    assert!(test.status.success(), "{}", tool::said(&test));
}

#[test]
fn every_alert_has_series_on_which_it_fires_and_stays_silent_in_every_ordinary_night() {
    let cases = cases();
    for rule in &rules() {
        let alert = name(rule);
        let of = |file: &str| cases.iter().filter(|case| case.alert == alert && case.file == file).collect::<Vec<_>>();
        let own = of("each.yaml");
        assert!(own.iter().any(|case| case.fires), "{alert} is never seen to fire");
        assert!(own.iter().any(|case| !case.fires), "{alert} has no near miss");
        let ordinary = of("ordinary.yaml");
        let nights: BTreeSet<&str> = ordinary.iter().map(|case| case.night.as_str()).collect();
        assert!(nights.len() >= 3, "{alert}: an idle night, a rolling restart, a broker's restart: {nights:?}");
        assert!(ordinary.iter().all(|case| !case.fires), "{alert} fires in an ordinary night");
    }
    let fire = cases.iter().filter(|case| case.fires).count();
    println!("{} alerts, {} cases, {fire} of them fire", rules().len(), cases.len());
}

#[test]
fn every_alert_asks_only_for_metrics_that_exist_and_for_one_job() {
    let known: BTreeSet<&str> = TABLE.iter().map(|metric| metric.name).collect();
    for rule in rules() {
        let expression = rule["expr"].as_str().unwrap();
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let metrics: Vec<_> =
            words.filter(|word| word.starts_with("jumpstream_") || word.starts_with("process_")).collect();
        for metric in &metrics {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| metric.strip_suffix(end)).unwrap_or(metric);
            assert!(known.contains(base), "{}: there is no metric {metric}", name(&rule));
            assert!(
                expression.contains(&format!("{metric}{{job=\"jumpstream\"")),
                "{}: {metric} of any job",
                name(&rule)
            );
        }
        assert!(!metrics.is_empty() || expression.contains("up{job=\"jumpstream\"}"), "{expression}");
        for part in [&rule["labels"]["severity"], &rule["annotations"]["summary"], &rule["annotations"]["description"]]
        {
            assert!(part.as_str().is_some_and(|text| text.len() > 3), "{}: {rule}", name(&rule));
        }
    }
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let page = read(RUNBOOKS);
    let runbooks: BTreeSet<&str> = page.lines().filter_map(|line| line.strip_prefix("### Jumpstream")).collect();
    let rules = rules();
    let names = rules.iter().map(name).chain([OF_THE_CHART]);
    let alerts: BTreeSet<&str> = names.map(|name| name.strip_prefix("Jumpstream").unwrap()).collect();
    assert_eq!(alerts, runbooks, "{RULES} and the headings of {RUNBOOKS}");
    assert!(read("charts/jumpstream/templates/prometheusrule.yaml").contains(OF_THE_CHART));
    // Back from the runbook: each says how urgent its alert is.
    for rule in &rules {
        let (_, runbook) = page.split_once(&format!("### {}\n", name(rule))).unwrap();
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(runbook.trim_start().starts_with(&format!("*{severity}")), "{} is {severity}", name(rule));
    }
}
