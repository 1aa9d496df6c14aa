//! What the templates make of values: the workload that fits the state, hardened pods, monitors, rules, policies.

use std::process::Command;

use serde_json::{Value, json};

use super::{FILE, Helm, KAFKA, Manifests};
use crate::tool;

/// Every pod that the chart makes: the replicas' and the test's.
fn pods(manifests: &Manifests) -> [&Value; 2] {
    [&manifests.pods()["spec"], &manifests.one("Pod")["spec"]]
}

#[test]
fn a_state_in_kafka_is_a_deployment_of_two_without_a_volume() {
    let Some(helm) = Helm::find("a state in Kafka") else { return };
    let manifests = helm.render(KAFKA, &[]);
    let deployment = &manifests.one("Deployment")["spec"];
    assert_eq!(deployment["replicas"], 2);
    assert_eq!(deployment["strategy"]["rollingUpdate"], json!({"maxSurge": 1, "maxUnavailable": 0}));
    assert_eq!(manifests.one("PodDisruptionBudget")["spec"]["maxUnavailable"], 1);
    assert_eq!(manifests.pods()["spec"]["topologySpreadConstraints"].as_array().unwrap().len(), 2);
    let volumes = manifests.pods()["spec"]["volumes"].as_array().unwrap();
    assert!(
        volumes.iter().all(|volume| volume.get("configMap").is_some() || volume.get("secret").is_some()),
        "{volumes:?}"
    );
    assert!(!manifests.kinds().contains(&"StatefulSet"));
}

#[test]
fn a_state_in_a_database_is_a_stateful_set_of_one_with_a_claim() {
    let Some(helm) = Helm::find("a state in a database") else { return };
    let at_least_once = KAFKA.replace("topic: jumpcloud.events", "topic: jumpcloud.events, delivery: at_least_once");
    for values in [FILE, &at_least_once] {
        let manifests = helm.render(values, &[]);
        let set = &manifests.one("StatefulSet")["spec"];
        assert_eq!(set["replicas"], 1);
        assert_eq!(set["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"], "1Gi");
        let container = &manifests.pods()["spec"]["containers"][0];
        assert_eq!(container["workingDir"], "/var/lib/jumpstream");
        let mounts = container["volumeMounts"].as_array().unwrap();
        assert!(mounts.contains(&json!({"name": "state", "mountPath": "/var/lib/jumpstream"})), "{mounts:?}");
        // A budget for a single replica would only keep its node from being drained.
        for absent in ["PodDisruptionBudget", "Deployment"] {
            assert!(!manifests.kinds().contains(&absent), "{absent}");
        }
        // The test has no claim, which may be on another node.
        let volumes = manifests.one("Pod")["spec"]["volumes"].as_array().unwrap();
        assert!(volumes.contains(&json!({"name": "state", "emptyDir": {}})), "{volumes:?}");
    }
    let existing = helm.render(FILE, &["--set", "persistence.existingClaim=mine"]);
    assert!(existing.one("StatefulSet")["spec"].get("volumeClaimTemplates").is_none());
    let claim = json!({"name": "state", "persistentVolumeClaim": {"claimName": "mine"}});
    assert!(existing.pods()["spec"]["volumes"].as_array().unwrap().contains(&claim));
}

#[test]
fn every_pod_meets_the_restricted_standard_and_asks_for_nothing_of_the_cluster() {
    let Some(helm) = Helm::find("restricted pods") else { return };
    for values in [KAFKA, FILE] {
        for pod in pods(&helm.render(values, &[])) {
            assert_eq!(pod["automountServiceAccountToken"], false);
            assert_eq!(pod["enableServiceLinks"], false);
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
            let security = &pod["containers"][0]["securityContext"];
            assert_eq!(security["readOnlyRootFilesystem"], true);
            assert_eq!(security["allowPrivilegeEscalation"], false);
            assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
        }
    }
}

#[test]
fn secrets_are_files_and_never_variables() {
    let Some(helm) = Helm::find("secrets as files") else { return };
    for pod in pods(&helm.render(KAFKA, &[])) {
        let secret = json!({"name": "secret-jumpcloud", "secret": {"secretName": "jumpcloud", "defaultMode": 0o440}});
        // YAML 1.1, which Kubernetes reads, knows 0440 as octal; our reader of YAML 1.2 as 440.
        let written = serde_json::to_string(&pod["volumes"]).unwrap().replace(":440", ":288");
        assert!(written.contains(&secret["secret"].to_string()), "{written}");
        assert!(pod["containers"][0].get("env").is_none() && pod["containers"][0].get("envFrom").is_none());
        let mount = json!({"name": "secret-jumpcloud", "mountPath": "/run/secrets/jumpcloud", "readOnly": true});
        assert!(pod["containers"][0]["volumeMounts"].as_array().unwrap().contains(&mount));
    }
}

#[test]
fn the_configuration_arrives_as_it_was_given_and_only_its_change_replaces_pods() {
    let Some(helm) = Helm::find("the configuration's way") else { return };
    let checksum = |values: &str, further: &[&str]| {
        helm.render(values, further).pods()["metadata"]["annotations"]["checksum/config"].clone()
    };
    let manifests = helm.render(&KAFKA.replace("topic:", "properties: {linger.ms: 5}, topic:"), &[]);
    let text = manifests.one("ConfigMap")["data"]["jumpstream.yaml"].as_str().unwrap().to_owned();
    let (config, warnings) = jumpstream::config::Config::parse("chart", &text, &Default::default()).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(config.server.listen.to_string(), "0.0.0.0:9464");
    assert!(matches!(config.sinks[..], [jumpstream::config::Sink::Kafka(_)]));

    let before = checksum(KAFKA, &[]);
    assert_eq!(before, checksum(KAFKA, &["--set", "secrets.jumpcloud.secretName=another"]), "secrets are watched");
    assert_ne!(before, checksum(&KAFKA.replace("jumpcloud.events", "others"), &[]));
}

#[test]
fn probes_ask_the_port_of_the_configuration_and_liveness_asks_no_other_part() {
    let Some(helm) = Helm::find("probes") else { return };
    let manifests = helm.render(&KAFKA.replace("config:\n", "config:\n  server: {listen: \"[::]:9000\"}\n"), &[]);
    let container = &manifests.pods()["spec"]["containers"][0];
    assert_eq!(container["ports"], json!([{"name": "metrics", "containerPort": 9000}]));
    assert_eq!(container["livenessProbe"]["httpGet"], json!({"path": "/livez", "port": "metrics"}));
    assert_eq!(container["startupProbe"]["httpGet"], json!({"path": "/livez", "port": "metrics"}));
    assert_eq!(container["readinessProbe"]["httpGet"], json!({"path": "/readyz", "port": "metrics"}));
    assert_eq!(manifests.one("Service")["spec"]["ports"][0]["port"], 9000);
}

#[test]
fn the_grace_period_is_above_the_drain_deadline_of_the_code() {
    let Some(helm) = Helm::find("the grace period") else { return };
    let app = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/app.rs")).unwrap();
    let deadline = app.split_once("const DRAIN: Duration = Duration::from_secs(").unwrap().1.split_once(')').unwrap().0;
    // The drain is given a fifth more before it is cut off.
    let drain = deadline.parse::<f64>().unwrap() * 1.2;
    let grace = helm.render(KAFKA, &[]).pods()["spec"]["terminationGracePeriodSeconds"].as_f64().unwrap();
    assert!(grace > drain + 10.0, "{grace} s of grace, {drain} s of drain");
    assert!(15.0 > drain, "the least that the schema and the guard allow");
}

#[test]
fn the_network_policy_lets_out_names_jumpcloud_and_what_the_configuration_names() {
    let Some(helm) = Helm::find("the network policy") else { return };
    let values =
        KAFKA.replace("kafka:9092", "kafka:9093").replace("{api_key", "{endpoint: \"https://proxy:8443\", api_key");
    let manifests = helm.render(&values, &["--set", "networkPolicy.sinkPorts={9094}"]);
    let egress = manifests.one("NetworkPolicy")["spec"]["egress"].as_array().unwrap();
    let ports = |rule: &Value| -> Vec<i64> {
        rule["ports"].as_array().unwrap().iter().map(|port| port["port"].as_i64().unwrap()).collect()
    };
    assert_eq!(egress.iter().map(ports).collect::<Vec<_>>(), [vec![53, 53], vec![443], vec![9093, 9094], vec![8443]]);
    let private = egress[1]["to"][0]["ipBlock"]["except"].as_array().unwrap();
    assert!(private.contains(&json!("10.0.0.0/8")) && private.contains(&json!("169.254.0.0/16")), "{private:?}");
    assert!(!helm.render(KAFKA, &["--set", "networkPolicy.enabled=false"]).kinds().contains(&"NetworkPolicy"));
}

#[test]
fn each_release_has_alerts_of_its_own_that_name_its_job_its_namespace_and_a_runbook() {
    let Some(helm) = Helm::find("alerts of a release") else { return };
    let set =
        ["--set", "metrics.prometheusRule.enabled=true", "--set", "metrics.prometheusRule.disabled={JumpstreamQuiet}"];
    let further = ["--set", "metrics.prometheusRule.alertLabels.team=soc", "--set", "metrics.podMonitor.enabled=true"];
    let manifests = helm.render(KAFKA, &[&set[..], &further[..]].concat());
    let rules = manifests.one("PrometheusRule")["spec"]["groups"][0]["rules"].as_array().unwrap();
    for rule in rules {
        let (name, expression) = (rule["alert"].as_str().unwrap(), rule["expr"].as_str().unwrap());
        let selectors = expression.matches("job=").count();
        assert!(
            selectors > 0 && selectors == expression.matches("job=\"r-jumpstream\",namespace=\"n\"").count(),
            "{expression}"
        );
        let runbook = rule["annotations"]["runbook_url"].as_str().unwrap();
        assert_eq!(runbook, format!("docs/operating/monitoring.md#{}", name.to_lowercase()));
        assert_eq!(rule["labels"]["team"], "soc", "{name}");
    }
    let names: Vec<_> = rules.iter().map(|rule| rule["alert"].as_str().unwrap()).collect();
    assert!(!names.contains(&"JumpstreamQuiet"));
    let job = &manifests.one("PodMonitor")["spec"]["podMetricsEndpoints"][0]["relabelings"][0];
    assert_eq!(*job, json!({"targetLabel": "job", "replacement": "r-jumpstream"}));
}

#[test]
fn an_organization_of_the_configuration_that_nobody_has_ever_read_is_told() {
    let test = "an organization that is missing";
    let (Some(helm), Some(promtool)) = (Helm::find(test), tool::find("promtool", test)) else { return };
    let organizations = "organizations: [5f00000000000000000000aa, 5f00000000000000000000AB], api_key";
    let set = ["--set", "metrics.prometheusRule.enabled=true"];
    let manifests = helm.render(&KAFKA.replace("api_key", organizations), &set);
    let groups = &manifests.one("PrometheusRule")["spec"];
    let rules = groups["groups"][0]["rules"].as_array().unwrap();
    let rule = rules.iter().find(|rule| rule["alert"] == "JumpstreamOrganizationMissing").unwrap();
    let missing = "5f00000000000000000000ab";
    let annotations = rule["annotations"].to_string().replace("{{ $labels.organization }}", missing);
    let series =
        "jumpstream_lag_seconds{job=\"r-jumpstream\",namespace=\"n\",organization=\"5f00000000000000000000aa\"}";
    let cases = json!({
        "rule_files": ["rules.yaml"],
        "tests": [{
            "interval": "1m",
            "input_series": [{"series": series, "values": "17x60"}],
            "alert_rule_test": [{
                "alertname": "JumpstreamOrganizationMissing",
                "eval_time": "30m",
                "exp_alerts": [{
                    "exp_labels": {"severity": "critical", "organization": missing, "job": "r-jumpstream", "namespace": "n"},
                    "exp_annotations": serde_json::from_str::<Value>(&annotations).unwrap(),
                }],
            }],
        }],
    });
    let folder = tempfile::tempdir().unwrap();
    // JSON is YAML.
    std::fs::write(folder.path().join("rules.yaml"), groups.to_string()).unwrap();
    std::fs::write(folder.path().join("cases.yaml"), cases.to_string()).unwrap();
    for (command, file) in [("check", "rules.yaml"), ("test", "cases.yaml")] {
        let output = tool::run(Command::new(&promtool).args([command, "rules"]).arg(folder.path().join(file)), "");
        assert!(output.status.success(), "{}", tool::said(&output));
    }
}

#[test]
fn an_image_is_named_by_registry_tag_or_digest() {
    let Some(helm) = Helm::find("the image's name") else { return };
    let image = |further: &[&str]| {
        helm.render(KAFKA, further).pods()["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
    };
    let digest = format!("sha256:{}", "ab".repeat(32));
    assert_eq!(image(&[]), concat!("jumpstream:", env!("CARGO_PKG_VERSION")));
    assert_eq!(image(&["--set", "image.registry=r.example.com,image.tag=x"]), "r.example.com/jumpstream:x");
    let both = format!("image.registry=r.example.com,global.imageRegistry=mirror,image.digest={digest}");
    assert_eq!(image(&["--set", &both]), format!("mirror/jumpstream@{digest}"));
}

#[test]
fn the_notes_say_which_secrets_are_waited_for_and_what_to_do_next() {
    let Some(helm) = Helm::find("the notes") else { return };
    // `helm template` leaves them out, so a manifest of the test's own brings them.
    let notes = "extraManifests:\n  - |\n    apiVersion: v1\n    kind: ConfigMap\n    metadata: {name: notes}\n    \
                 data: {notes: {{ include \"jumpstream/templates/NOTES.txt\" . | toJson }}}\n";
    for (values, workload) in [(KAFKA, "deployment/r-jumpstream"), (FILE, "statefulset/r-jumpstream")] {
        let manifests = helm.render(&format!("{values}{notes}"), &[]);
        let said = manifests.0.iter().find_map(|object| object["data"]["notes"].as_str()).unwrap();
        for part in ["jumpcloud (as /run/secrets/jumpcloud)", workload, "helm test r --namespace n", "9465:9465"] {
            assert!(said.contains(part), "{part}\n{said}");
        }
    }
}
