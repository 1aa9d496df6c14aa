//! Containers of the tests' own: started at a fixed address, killed, started again, and removed however the test process ends.
//!
//! # Invariants
//! Knows nothing of what runs inside. A container's name is with the reaper before the container exists.

use std::collections::BTreeSet;
use std::future::Future;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use testcontainers::bollard::query_parameters::KillContainerOptionsBuilder;
use testcontainers::core::client::docker_client_instance;
use testcontainers::core::{ExecCommand, IntoContainerPort as _, Mount};
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{ContainerAsync, ContainerRequest, CopyTargetOptions, GenericImage, ImageExt as _};
use tokio::runtime::Runtime;

/// Docker is spoken to on one runtime: a connection dies with the runtime it was opened on, and every test has its own.
static DOCKER: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime for Docker")
});

/// Takes a closure, since testcontainers has futures that may not change threads.
async fn on_docker<F, T>(work: impl FnOnce() -> F + Send + 'static) -> T
where
    F: Future<Output = T>,
    T: Send + 'static,
{
    let done = tokio::task::spawn_blocking(move || DOCKER.block_on(work())).await;
    done.unwrap_or_else(|failure| std::panic::resume_unwind(failure.into_panic()))
}

/// The image of `service` that `variable` names, or none after saying why `test` is skipped.
///
/// # Panics
/// Without an image, where `JUMPSTREAM_TEST_REQUIRE_SERVICES=1`.
pub fn image_or_skip(variable: &str, service: &str, test: &str) -> Option<String> {
    if let Some(image) = std::env::var(variable).ok().filter(|image| !image.is_empty()) {
        return Some(image);
    }
    let missing =
        format!("{test}: no Docker with an image of {service}; run scripts/services, then `. target/services.env`");
    assert!(std::env::var("JUMPSTREAM_TEST_REQUIRE_SERVICES").as_deref() != Ok("1"), "{missing}");
    #[expect(clippy::explicit_write, reason = "the harness keeps what eprintln! says in a test that passes to itself")]
    writeln!(std::io::stderr(), "SKIPPED {missing}").unwrap();
    None
}

/// What to start. A port has the same number inside the container and on this machine's loopback address.
#[derive(Clone, Default)]
pub struct Plan {
    /// A local tag, `name:tag`.
    pub image: String,
    pub command: Vec<String>,
    pub environment: Vec<(&'static str, String)>,
    /// Path inside the container and content.
    pub files: Vec<(&'static str, String)>,
    pub ports: Vec<u16>,
    /// A network, made if need be, and the name by which the others in it know this one.
    pub network: Option<(String, String)>,
    /// A folder inside the container that is a disk of so many bytes, in memory: it lives as long as the process does.
    pub disk: Option<(&'static str, u64)>,
    /// This machine's own network instead of one behind the engine's forwarder, which would take a connection's bytes
    /// and acknowledge them whatever becomes of the container. Needs no ports.
    pub on_our_network: bool,
    /// A folder of this machine and where the container has it.
    pub shared: Option<(PathBuf, &'static str)>,
}

impl Plan {
    fn request(&self, name: &str) -> ContainerRequest<GenericImage> {
        let (image, tag) = self.image.rsplit_once(':').unwrap_or((&self.image, "latest"));
        let mut request = GenericImage::new(image, tag)
            .with_cmd(self.command.clone())
            .with_container_name(name)
            .with_label("jumpstream-test", "true")
            .with_host_config_modifier(|host| {
                for binding in host.port_bindings.iter_mut().flat_map(|all| all.values_mut()).flatten().flatten() {
                    binding.host_ip = Some("127.0.0.1".to_owned());
                }
            });
        for (key, value) in &self.environment {
            request = request.with_env_var(*key, value);
        }
        for (path, content) in &self.files {
            request =
                request.with_copy_to(CopyTargetOptions::new(*path).with_mode(0o644), content.clone().into_bytes());
        }
        for port in &self.ports {
            request = request.with_mapped_port(*port, port.tcp());
        }
        if let Some((network, _)) = &self.network {
            request = request.with_network(network);
        }
        if self.on_our_network {
            request = request.with_network("host");
        }
        if let Some((own, theirs)) = &self.shared {
            request = request.with_mount(Mount::bind_mount(own.to_string_lossy(), *theirs));
        }
        if let Some((folder, bytes)) = self.disk {
            request = request.with_mount(Mount::tmpfs_mount(folder).with_size_bytes(bytes as i64));
        }
        request
    }
}

/// A container; removed when dropped.
pub struct Container(Arc<ContainerAsync<GenericImage>>);

impl Container {
    /// Starts it, and returns before what runs inside is ready. Fails where Docker refuses, as for a taken port.
    pub async fn start(plan: &Plan) -> Result<Container, String> {
        let name = plan.network.as_ref().map_or_else(unique_name, |(_, name)| name.clone());
        for each in plan.network.iter().map(|(network, _)| network).chain([&name]) {
            remove_when_this_process_ends(each);
        }
        let request = plan.request(&name);
        match on_docker(|| async { request.start().await }).await {
            Ok(container) => Ok(Container(Arc::new(container))),
            Err(error) => Err(error.to_string()),
        }
    }

    /// `kill -9`; returns when it is gone.
    pub async fn kill(&self) {
        self.end("SIGKILL").await;
    }

    /// SIGTERM; returns when it has ended.
    pub async fn terminate(&self) {
        self.end("SIGTERM").await;
    }

    async fn end(&self, signal: &'static str) {
        let container = self.0.clone();
        on_docker(move || async move {
            let docker = docker_client_instance().await.unwrap();
            let signal = KillContainerOptionsBuilder::new().signal(signal).build();
            docker.kill_container(container.id(), Some(signal)).await.unwrap();
            while container.is_running().await.unwrap() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Starts one that has ended with the files that it had.
    pub async fn start_again(&self) {
        let container = self.0.clone();
        on_docker(move || async move { container.start().await.unwrap() }).await;
    }

    /// Freezes it: connections stay open, nothing is answered.
    pub async fn pause(&self) {
        let container = self.0.clone();
        on_docker(move || async move {
            let mut tries = 1;
            // On a busy machine the kernel does not always freeze it at once.
            while let Err(error) = container.pause().await {
                assert!(tries < 20, "pausing: {error}");
                tries += 1;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        })
        .await;
    }

    /// Lets a paused one go on.
    pub async fn unpause(&self) {
        let container = self.0.clone();
        on_docker(move || async move { container.unpause().await.unwrap() }).await;
    }

    pub async fn is_running(&self) -> bool {
        let container = self.0.clone();
        on_docker(move || async move { container.is_running().await.unwrap() }).await
    }

    /// Runs a command inside and gives what it wrote to its standard output; it must succeed.
    pub async fn run(&self, command: Vec<String>) -> String {
        let container = self.0.clone();
        on_docker(move || async move {
            let mut output = container.exec(ExecCommand::new(command)).await.unwrap();
            let text = output.stdout_to_vec().await.unwrap();
            let complaints = output.stderr_to_vec().await.unwrap();
            let code = output.exit_code().await.unwrap();
            assert_eq!(code, Some(0), "the command failed: {}", String::from_utf8_lossy(&complaints));
            String::from_utf8(text).unwrap()
        })
        .await
    }

    /// All that it wrote so far.
    pub async fn log(&self) -> String {
        let container = self.0.clone();
        let bytes = on_docker(move || async move {
            let mut bytes = container.stdout_to_vec().await.unwrap();
            bytes.extend(container.stderr_to_vec().await.unwrap());
            bytes
        })
        .await;
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Container {
    /// Does not wait: what is not gone when the process ends is the reaper's.
    fn drop(&mut self) {
        let container = self.0.clone();
        DOCKER.spawn(async move { drop(container) });
    }
}

/// A name for a container or a network.
pub fn unique_name() -> String {
    format!("jumpstream-test-{}-{:08x}", std::process::id(), getrandom::u32().unwrap())
}

/// Ports that are free now, below those that the system hands to outgoing connections: so a killed broker finds its own
/// again. Nobody else of this process is given them: until a server listens, they would seem free to another test too.
pub fn free_ports<const N: usize>() -> [u16; N] {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap();
    let first = 20_000 + (getrandom::u32().unwrap() % 10_000) as u16;
    let is_free = |port: &u16| !given.contains(port) && TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut free = (first..32_000).filter(is_free);
    let ports = [(); N].map(|()| free.next().expect("ports from 20000 to 32000 are all taken"));
    given.extend(ports);
    ports
}

/// Has a container, or a network, removed when this process ends: by return, by panic or by `kill -9`.
///
/// A static is never dropped and a signal runs no destructor, so a child waits for the end of a pipe whose other end
/// only this process holds. It removes twice, since a container may be under way. A process group of its own keeps it
/// from the signals that are meant for us.
#[expect(clippy::zombie_processes, reason = "it ends after us")]
fn remove_when_this_process_ends(name: &str) {
    use std::os::unix::process::CommandExt as _;
    static REAPER: LazyLock<Mutex<ChildStdin>> = LazyLock::new(|| {
        let child = Command::new("sh")
            .args([
                "-c",
                "names=$(cat); docker rm --force --volumes $names; sleep 2; docker rm --force --volumes $names; \
                 docker network rm $names",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("starting the shell that removes the containers");
        Mutex::new(child.stdin.expect("piped"))
    });
    writeln!(REAPER.lock().unwrap(), "{name}").expect("the reaper lives as long as we do");
}
