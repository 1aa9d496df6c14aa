//! Beside Kubernetes: the systemd unit is confined and fits its configuration, and so does the compose file.

use std::path::Path;
use std::process::Command;

use jumpstream::config::Config;

use crate::{docs, tool, yaml};

const UNIT: &str = "deploy/systemd/jumpstream.service";

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The values of a unit's key.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

#[test]
fn the_unit_is_sound_and_exposed_less_than_one_point_five() {
    let Some(analyze) = tool::find("systemd-analyze", "the unit") else { return };
    let analyze = || Command::new(&analyze);
    let security = tool::run(analyze().args(["security", "--offline=true", "--no-pager", "--threshold=15", UNIT]), "");
    let said = tool::said(&security);
    assert!(security.status.success(), "{said}");
    println!("{}", said.lines().rfind(|line| line.contains("exposure level")).unwrap_or_default());
    // A unit without its confinement is seen.
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("jumpstream.service");
    std::fs::write(&copy, read(UNIT).replace("ProtectSystem=strict", "").replace("DynamicUser=yes", "")).unwrap();
    let bare = tool::run(analyze().args(["security", "--offline=true", "--no-pager", "--threshold=15"]).arg(&copy), "");
    assert!(!bare.status.success(), "{}", tool::said(&bare));
    // The binary need not be installed here.
    std::fs::write(&copy, read(UNIT).replace("ExecStart=/usr/local/bin/jumpstream", "ExecStart=/bin/sh")).unwrap();
    let verify = tool::run(analyze().args(["verify", "--man=no"]).arg(&copy), "");
    assert!(verify.status.success() && verify.stderr.is_empty(), "{}", tool::said(&verify));
}

#[test]
fn the_unit_loads_the_credentials_that_its_configuration_names() {
    let (unit, text) = (read(UNIT), read("deploy/systemd/jumpstream.yaml"));
    Config::parse("jumpstream.yaml", &text, &Default::default()).unwrap_or_else(|faults| panic!("{faults}"));
    let loaded: Vec<_> =
        values(&unit, "LoadCredential").into_iter().map(|value| value.split_once(':').unwrap().0).collect();
    let folder = "/run/credentials/jumpstream.service/";
    let named: Vec<_> = text.split(folder).skip(1).map(|rest| rest.split(['}', '\n']).next().unwrap()).collect();
    assert_eq!(loaded, named);
    assert!(values(&unit, "ExecStart")[0].ends_with("--config /etc/jumpstream/jumpstream.yaml"));
    assert_eq!(values(&unit, "RestartPreventExitStatus"), ["78 2"]);
    // The drain's 12 s; see `chart::rendered`.
    assert!(values(&unit, "TimeoutStopSec")[0].parse::<u64>().unwrap() > 22);
}

#[test]
fn the_unit_leaves_what_the_program_asks_the_kernel_for() {
    let unit = read(UNIT);
    // A syslog sink asks what a receiver's kernel has, by sock_diag: unanswered, a batch counts too early.
    assert!(read("src/sink/syslog/kernel.rs").contains("AF_NETLINK"));
    assert!(values(&unit, "RestrictAddressFamilies")[0].split(' ').any(|family| family == "AF_NETLINK"));
    // Of /proc there are only processes; /proc/locks, which says whose a database is, is missed by nobody.
    assert_eq!(values(&unit, "ProcSubset"), ["pid"]);
    let hidden = |path: &str| !path.starts_with("/proc/self/") && path != "/proc/locks";
    let mut paths = Vec::new();
    docs::collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "rs", &mut paths);
    assert!(paths.len() > 100, "{} files", paths.len());
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let named = text.split('"').filter(|piece| piece.starts_with("/proc/"));
        let hidden: Vec<_> = named.filter(|path| hidden(path)).collect();
        assert!(hidden.is_empty(), "{}: {hidden:?} can't be read under {UNIT}", path.display());
    }
}

#[test]
fn the_compose_file_fits_its_configuration_this_release_and_the_kafka_of_the_tests() {
    let compose = yaml::document(&read("deploy/compose/compose.yaml"));
    let text = read("deploy/compose/jumpstream.yaml");
    let (config, warnings) = Config::parse("jumpstream.yaml", &text, &Default::default()).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    let services = compose["services"].as_object().unwrap();
    let image = concat!("jumpstream:", env!("CARGO_PKG_VERSION"));
    let (_, kafka) =
        read("scripts/services").split_once("KAFKA_VERSION=").map(|(a, b)| (a.len(), b.to_owned())).unwrap();
    let kafka = format!("apache/kafka:{}", kafka.lines().next().unwrap());
    for (name, service) in services {
        let wanted = if ["api", "jumpstream"].contains(&name.as_str()) { image } else { kafka.as_str() };
        assert_eq!(service["image"], wanted, "{name}");
    }
    let jumpstream::config::Sink::Kafka(sink) = &config.sinks[0] else { panic!("a Kafka sink") };
    let advertised = services["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"].as_str().unwrap();
    assert!(advertised.ends_with(&sink.brokers[0]), "{advertised}");
    let consumer = services["consumer"]["command"].to_string();
    assert!(consumer.contains(&format!("--topic={}", sink.topic)) && consumer.contains("read_committed"), "{consumer}");
    let listen = services["api"]["command"].to_string();
    assert!(listen.contains("0.0.0.0:7001") && text.contains("http://api:7001"), "{listen}");
}
