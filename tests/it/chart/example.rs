//! The examples in `ci/`, and every configuration that a document shows, are taken by Helm and by Kubernetes' own schemas.

use std::path::{Path, PathBuf};
use std::process::Command;

use jumpstream::config::Config;

use super::{CHART, FILE, Helm, KAFKA};
use crate::docs;
use crate::tool;

/// Names and texts of the examples.
fn examples() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(CHART).join("ci");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let text = |path: PathBuf| {
        (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(&path).unwrap())
    };
    let examples: Vec<_> = paths.into_iter().map(text).collect();
    assert!(examples.len() >= 5, "{} examples", examples.len());
    examples
}

#[test]
fn every_example_passes_the_strict_lint() {
    let Some(helm) = Helm::find("helm lint") else { return };
    for (name, values) in examples() {
        let output = tool::run(Command::new(&helm.0).args(["lint", "--strict", CHART, "--values", "-"]), &values);
        assert!(output.status.success(), "{name}: {}", tool::said(&output));
    }
}

#[test]
fn every_example_configures_jumpstream_without_a_fault_or_warning() {
    let Some(helm) = Helm::find("examples' configurations") else { return };
    for (name, values) in examples() {
        let manifests = helm.render(&values, &[]);
        let text = manifests.one("ConfigMap")["data"]["jumpstream.yaml"].as_str().unwrap();
        let (_, warnings) = Config::parse(&name, text, &Default::default()).unwrap_or_else(|faults| panic!("{faults}"));
        assert!(warnings.is_empty(), "{name}: {warnings:?}");
    }
}

#[test]
fn what_is_rendered_is_valid_by_the_schemas_of_kubernetes_and_of_the_prometheus_operator() {
    let Some(helm) = Helm::find("schemas of Kubernetes") else { return };
    let Some(kubeconform) = tool::find("kubeconform", "schemas of Kubernetes") else { return };
    let schemas = tool::folder().join("schemas");
    if !schemas.join("complete.json").is_file() {
        return tool::skip("schemas of Kubernetes: they are missing; run scripts/tools");
    }
    let location = format!("{}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json", schemas.display());
    let all = "metrics: {podMonitor: {enabled: true, interval: 30s}, prometheusRule: {enabled: true}}\n\
               nodeSelector: {a: b}\ntolerations: [{operator: Exists}]\npriorityClassName: high\n\
               env: [{name: HTTPS_PROXY, value: \"http://proxy:3128\"}]\nimagePullSecrets: [{name: pull}]\n";
    let service = "metrics: {serviceMonitor: {enabled: true, interval: 30s, labels: {release: prometheus}}}\n";
    let own = [KAFKA, FILE].map(|values| [format!("{values}{all}"), format!("{values}{service}")]).concat();
    let mut texts: Vec<(String, String)> = own.into_iter().map(|values| ("a test's own".to_owned(), values)).collect();
    texts.extend(examples());
    let validate = |manifests: &str| {
        // Kinds of others, whose schemas nobody brings.
        let others = "ExternalSecret,SecretStore,Certificate,KafkaUser,KafkaTopic";
        let arguments = ["-strict", "-summary", "-skip", others, "-schema-location", &location];
        tool::run(Command::new(&kubeconform).args(arguments), manifests)
    };
    for (name, values) in texts {
        let manifests = helm.template(&values, &[]).unwrap_or_else(|said| panic!("{name}: {said}"));
        let output = validate(&manifests);
        assert!(output.status.success(), "{name}: {}\n{manifests}", tool::said(&output));
    }
    // It would see a key that isn't one, and a value of another type.
    let sound = helm.template(&format!("{KAFKA}{all}"), &[]).unwrap();
    for (from, to) in
        [("replicas: 2", "replicaz: 2"), ("replicas: 2", "replicas: two"), ("interval: 30s", "every: 30s")]
    {
        assert!(sound.contains(from), "{from}");
        let output = validate(&sound.replace(from, to));
        assert!(!output.status.success(), "{to} is taken: {}", tool::said(&output));
    }
}

/// The reader takes them by a test of its own (`docs::every_configuration_that_is_shown_is_sound`).
#[test]
fn the_schema_takes_every_configuration_that_a_document_shows() {
    let Some(helm) = Helm::find("documents' configurations") else { return };
    let configurations = docs::configurations();
    assert!(configurations.len() >= 5, "{}", configurations.len());
    for (path, text) in configurations.iter().filter(|(_, text)| !text.contains("env:")) {
        let indented: String = text.lines().map(|line| format!("  {line}\n")).collect();
        if let Err(said) = helm.template(&format!("config:\n{indented}"), &[]) {
            // The chart's own rules go further: mounts, listeners, volumes. A fault of the schema is what is looked for.
            let of_schema =
                said.contains("additional propert") || said.contains("values don't meet the specifications");
            let ours = ["/config/server/listen", "/config/state"].iter().any(|place| said.contains(place));
            assert!(!of_schema || ours, "{}: {said}\n{text}", path.display());
        }
    }
}

/// Whole values that a document shows, as a block `yaml title=values.yaml`.
#[test]
fn all_values_that_a_document_shows_are_taken_by_the_chart() {
    let Some(helm) = Helm::find("documents' values") else { return };
    let shown = docs::values();
    assert!(shown.len() >= 2, "{}", shown.len());
    for (path, values) in shown {
        if let Err(said) = helm.template(&values, &[]) {
            panic!("{}: {said}\n{values}", path.display());
        }
    }
}
