//! The image: made of the binary that is built already, it runs on a read-only root, without a capability, as nobody in particular.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;

use crate::tool;

const TAG: &str = "jumpstream-test/jumpstream:test";
const BINARY: &str = env!("CARGO_BIN_EXE_jumpstream");
/// What the container may not do, and what it may not write.
const CONFINED: &[&str] =
    &["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--label=jumpstream-test"];

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[track_caller]
fn output(command: &mut Command) -> String {
    let output = tool::run(command, "");
    assert!(output.status.success(), "{command:?}: {}", tool::said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The archive, made once for all tests.
fn archive() -> &'static Path {
    static ARCHIVE: LazyLock<PathBuf> = LazyLock::new(|| make(Path::new(env!("CARGO_TARGET_TMPDIR"))));
    &ARCHIVE
}

/// The archive, made anew.
fn make(folder: &Path) -> PathBuf {
    let archive = folder.join("jumpstream.tar");
    println!("{}", output(Command::new(project("scripts/image")).args([BINARY, TAG]).arg(&archive)));
    archive
}

/// The image's configuration.
fn config(archive: &Path) -> Value {
    let text = output(Command::new("tar").arg("-xOf").arg(archive).arg("config.json"));
    serde_json::from_str(&text).unwrap()
}

/// A container that goes with the test.
struct Started(String);

impl Drop for Started {
    fn drop(&mut self) {
        tool::run(Command::new("docker").args(["rm", "--force", &self.0]), "");
    }
}

#[test]
fn the_image_delivers_on_a_read_only_root_without_a_capability_and_without_the_network() {
    let test = "the image in Docker";
    let Some(docker) = tool::find("docker", test) else { return };
    let docker = || Command::new(&docker);
    if !tool::run(docker().arg("version"), "").status.success() {
        return tool::skip(&format!("{test}: no Docker engine answers; run scripts/services"));
    }
    let folder = tempfile::tempdir().unwrap();
    output(docker().args(["load", "--quiet", "--input"]).arg(archive()));
    let emulate = ["emulate", "--listen", "127.0.0.1:7001", "--events", "500", "--span", "1h"];
    let started = docker().args(["run", "--detach", "--network=none"]).args(CONFINED).arg(TAG).args(emulate).output();
    let emulator = Started(String::from_utf8(started.unwrap().stdout).unwrap().trim().to_owned());

    let text = "accounts: [{endpoint: \"http://127.0.0.1:7001\", api_key: {env: API_KEY}}]\n\
                poll: {interval: 1s}\nsinks: [{type: stdout}]\n";
    let file = folder.path().join("jumpstream.yaml");
    std::fs::write(&file, text).unwrap();
    readable(folder.path());
    let mount = format!("--volume={}:/etc/jumpstream/jumpstream.yaml:ro", file.display());
    let network = format!("--network=container:{}", emulator.0);
    let state = "--tmpfs=/var/lib/jumpstream:uid=65532,gid=65532,mode=0700";
    let run = ["run", "--config", "/etc/jumpstream/jumpstream.yaml", "--until-caught-up", "--timeout", "60s"];
    let mut command = docker();
    command
        .args(["run", "--rm", "--env=API_KEY=jca_emulator", &network, &mount, state])
        .args(CONFINED)
        .arg(TAG)
        .args(run);
    let events: BTreeSet<String> = output(&mut command).lines().map(str::to_owned).collect();
    assert_eq!(events.len(), 500);
}

/// For user 65532, who isn't us.
fn readable(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_image_holds_the_binary_its_libraries_authorities_and_nothing_that_runs_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archive();
    output(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(folder.path()).arg("layer.tar"));
    let listing = output(Command::new("tar").args(["-tvf"]).arg(folder.path().join("layer.tar")));
    let programs: Vec<&str> = listing.lines().filter(|line| line.contains("/bin/")).collect();
    assert!(programs.iter().all(|line| line.ends_with("/bin/jumpstream") || line.ends_with("/bin/")), "{programs:?}");
    for part in ["./etc/ssl/certs/ca-certificates.crt", "libc.so.6", "./usr/share/jumpstream/sbom.cdx.json"] {
        assert!(listing.contains(part), "{part}\n{listing}");
    }
    let sizes = listing.lines().filter(|line| !line.ends_with("/bin/jumpstream"));
    let beside: u64 = sizes.map(|line| line.split_whitespace().nth(2).unwrap().parse::<u64>().unwrap()).sum();
    assert!(beside < 10_000_000, "{beside} bytes beside the binary");
    // Nobody may write but to the folder of the state, which is a volume's place.
    let writable: Vec<&str> = listing.lines().filter(|line| line.contains("65532/65532")).collect();
    assert!(matches!(writable[..], [state] if state.ends_with("./var/lib/jumpstream/")), "{writable:?}");
    // Again, to the byte.
    let before = std::fs::read(archive).unwrap();
    assert!(before == std::fs::read(make(folder.path())).unwrap(), "the same binary makes another image");
}

#[test]
fn the_dockerfile_and_the_script_say_the_same_of_the_image() {
    let config = &config(archive())["config"];
    let dockerfile = std::fs::read_to_string(project("Dockerfile")).unwrap();
    let (_, last) = dockerfile.rsplit_once("\nFROM ").unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert!(last.contains(&format!("\nARG VERSION={version}\n")), "the version of Cargo.toml");
    assert_eq!(config["Labels"]["org.opencontainers.image.version"], version);
    let labels = config["Labels"].as_object().unwrap();
    assert!(labels.len() >= 5);
    for (name, value) in labels {
        let said = last.contains(&format!("{name}=\"{}\"", value.as_str().unwrap()))
            || last.contains(&format!("{name}=\"${{"));
        assert!(said, "the Dockerfile lacks {name}={value}");
    }
    assert!(last.contains(&format!("\nUSER {}\n", config["User"].as_str().unwrap())));
    assert!(last.contains(&format!("\nENTRYPOINT {}\n", config["Entrypoint"])));
    assert!(last.contains(&format!("\nWORKDIR {}\n", config["WorkingDir"].as_str().unwrap())));
    assert!(
        config["Env"]
            .as_array()
            .unwrap()
            .iter()
            .any(|variable| last.contains(&format!("\nENV {}\n", variable.as_str().unwrap())))
    );
}

#[test]
fn the_bill_of_materials_lists_what_is_linked_and_not_what_only_tests() {
    // Crates of other platforms are no part of the binary, nor on a machine that has only built it.
    let platform = format!("--filter-platform={}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata = output(Command::new(env!("CARGO")).args([
        "metadata",
        "--locked",
        "--offline",
        "--format-version=1",
        &platform,
    ]));
    let bill = || {
        let output = tool::run(Command::new(project("scripts/sbom")).arg("libc6=2.36"), &metadata);
        assert!(output.status.success(), "{}", tool::said(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let text = bill();
    assert_eq!(text, bill());
    let bill: Value = serde_json::from_str(&text).unwrap();
    let names: BTreeSet<&str> =
        bill["components"].as_array().unwrap().iter().map(|part| part["name"].as_str().unwrap()).collect();
    for linked in ["rdkafka", "rdkafka-sys", "openssl-sys", "tokio", "libsqlite3-sys", "libc6"] {
        assert!(names.contains(linked), "{linked} is missing");
    }
    for foreign in ["testcontainers", "proptest", "insta", "windows-sys", "jumpstream"] {
        assert!(!names.contains(foreign), "{foreign} is not linked");
    }
    assert_eq!(bill["metadata"]["component"]["version"], env!("CARGO_PKG_VERSION"));
    assert!(
        bill["components"]
            .as_array()
            .unwrap()
            .iter()
            .all(|part| part["name"] == "libc6" || part.get("licenses").is_some())
    );
}
