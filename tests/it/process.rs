//! The real program as a child process, in a folder of its own, against an emulator whose truth is at hand.
//!
//! # Invariants
//! Signals only its own children, and leaves none behind. What a child says is kept in files, a pair for each start,
//! so that a test that fails can be looked into and one that greps sees all.

pub mod tally;

use std::cell::Cell;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jumpstream::clock;
use jumpstream::emulator::{self, Emulator, Options};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Generous: a test that waits so long has failed, and the machine may be busy.
pub const DEADLINE: Duration = Duration::from_secs(90);

const RUN: &[&str] = &["run", "--config", "c.yaml"];

/// Where a file sink writes, in the [`Home`].
pub const EVENTS: &str = "events.ndjson";

/// Asks until there is something to give.
///
/// # Panics
/// After [`DEADLINE`].
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = clock::uptime() + DEADLINE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(clock::uptime() < deadline, "waited {DEADLINE:?} in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// An emulator on a free port.
pub async fn emulate(options: Options) -> Emulator {
    emulator::start(options).await.unwrap()
}

/// A client for loopback: no proxy, whatever the environment says.
pub fn client() -> reqwest::Client {
    // A second installation is refused, and nothing is lost by that.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// Posts to the emulator's `/_emulator/` endpoints.
pub async fn steer(emulator: &Emulator, path: &str, body: impl ToString) {
    let url = format!("{}/_emulator/{path}", emulator.url());
    let answer = client().post(url).body(body.to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}: {}", answer.text().await.unwrap());
}

/// Puts events into the emulator, each its text.
pub async fn insert(emulator: &Emulator, events: impl IntoIterator<Item = String>) {
    let lines: Vec<String> = events.into_iter().map(|event| format!("{{\"event\":{event}}}\n")).collect();
    steer(emulator, "events", lines.concat()).await;
}

/// What the emulator was asked, oldest first.
pub async fn requests(emulator: &Emulator) -> Vec<Value> {
    let text = client().get(format!("{}/_emulator/requests", emulator.url())).send().await.unwrap();
    text.text().await.unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// From now on the emulator answers as it should.
pub async fn heal(emulator: &Emulator) {
    let faults = client().post(format!("{}/_emulator/faults", emulator.url())).body(r#"{"clear":true}"#);
    faults.send().await.unwrap().error_for_status().unwrap();
}

/// What the configuration says beyond the defaults of these tests.
pub struct Settings<'a> {
    pub endpoint: String,
    /// Further keys of the account, each begun by a comma.
    pub account: &'a str,
    pub poll: &'a str,
    pub sinks: &'a str,
    /// Further lines.
    pub more: &'a str,
}

impl Settings<'_> {
    pub fn of(emulator: &Emulator) -> Settings<'static> {
        Settings::at(emulator.url())
    }

    pub fn at(endpoint: String) -> Settings<'static> {
        Settings {
            endpoint,
            account: "",
            poll: "{interval: 1s, start: 24h}",
            sinks: "[{type: file, path: events.ndjson}]",
            more: "",
        }
    }
}

/// A folder with a configuration, a key, and all that the processes started in it write.
pub struct Home {
    folder: tempfile::TempDir,
    starts: Cell<u32>,
}

impl Home {
    /// With the emulator's own key.
    pub fn new(settings: Settings<'_>) -> Home {
        let home = Home { folder: tempfile::tempdir().unwrap(), starts: Cell::new(0) };
        home.write("key", "jca_emulator");
        home.configure(settings);
        home
    }

    /// Replaces the configuration.
    pub fn configure(&self, Settings { endpoint, account, poll, sinks, more }: Settings<'_>) {
        let text = format!(
            "accounts: [{{endpoint: \"{endpoint}\", api_key: {{file: key}}, requests_per_second: 1000{account}}}]\n\
             poll: {poll}\nsinks: {sinks}\nserver: {{listen: \"127.0.0.1:0\"}}\npage: {{listen: \"127.0.0.1:0\"}}\n{more}"
        );
        self.write("c.yaml", text);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// For this user alone, as secrets are to be.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).unwrap();
        self.set_mode(name, 0o600);
    }

    /// Lets every user read it.
    pub fn open_to_all(&self, name: &str) {
        self.set_mode(name, 0o644);
    }

    fn set_mode(&self, name: &str, mode: u32) {
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The whole lines of a file, or none where it is missing.
    pub fn lines(&self, name: &str) -> Vec<String> {
        let text = std::fs::read(self.path(name)).unwrap_or_default();
        let text = String::from_utf8(text).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    /// All that its processes wrote to standard error so far.
    pub fn logs(&self) -> String {
        let logs = (0..self.starts.get()).map(|number| self.path(&format!("stderr-{number}")));
        logs.map(|log| String::from_utf8_lossy(&std::fs::read(log).unwrap()).into_owned()).collect()
    }

    /// `jumpstream run --config c.yaml` and `arguments`.
    pub fn start(&self, arguments: &[&str]) -> Process {
        let stdout = self.path(&format!("stdout-{}", self.starts.get()));
        let file = std::fs::File::create(stdout).unwrap();
        self.start_into(file.into(), arguments)
    }

    /// A process that stands still when it passes the fail point `point` for the `count`th time, until there is a file
    /// `go`.
    pub fn start_failing(&self, point: &str, count: u32) -> Process {
        self.spawn(Stdio::null(), RUN, Some(format!("{point}:{count}:{}", self.path("go").display())))
    }

    /// The same with another standard output.
    pub fn start_into(&self, stdout: Stdio, arguments: &[&str]) -> Process {
        self.spawn(stdout, &[RUN, arguments].concat(), None)
    }

    /// Another command with the configuration.
    pub fn start_command(&self, command: &[&str]) -> Process {
        self.spawn(Stdio::null(), &[command, &["--config", "c.yaml"]].concat(), None)
    }

    /// Another command with the configuration, as [`Self::start_failing`].
    pub fn command_failing(&self, command: &[&str], point: &str, count: u32) -> Process {
        let command = [command, &["--config", "c.yaml"]].concat();
        self.spawn(Stdio::null(), &command, Some(format!("{point}:{count}:{}", self.path("go").display())))
    }

    /// Runs another command with the configuration to its end: its exit code, and what it wrote to standard output and
    /// standard error.
    pub async fn command(&self, command: &[&str]) -> (i32, String, String) {
        let stdout = self.path(&format!("stdout-{}", self.starts.get()));
        let file = std::fs::File::create(&stdout).unwrap();
        let mut process = self.spawn(file.into(), &[command, &["--config", "c.yaml"]].concat(), None);
        let code = process.ended().await;
        (code, std::fs::read_to_string(stdout).unwrap(), process.log())
    }

    /// As [`Self::start`], with the file `hosts` of this folder in the place of `/etc/hosts`, for this process alone.
    /// Written anew, it counts at the next look.
    pub fn start_with_hosts(&self, hosts: &str) -> Process {
        let mut command = Command::new("unshare");
        command.arg("--mount");
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        command.args(["sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""]);
        command.arg(self.path(hosts)).arg(env!("CARGO_BIN_EXE_jumpstream"));
        self.spawn_by(command, Stdio::null(), RUN, None)
    }

    fn spawn(&self, stdout: Stdio, arguments: &[&str], fail_point: Option<String>) -> Process {
        self.spawn_by(Command::new(env!("CARGO_BIN_EXE_jumpstream")), stdout, arguments, fail_point)
    }

    fn spawn_by(&self, mut command: Command, stdout: Stdio, arguments: &[&str], fail_point: Option<String>) -> Process {
        let number = self.starts.replace(self.starts.get() + 1);
        let log = self.path(&format!("stderr-{number}"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy().to_lowercase();
            if text.starts_with("jumpstream_") || text.ends_with("_proxy") {
                command.env_remove(name);
            }
        }
        command.envs(fail_point.map(|point| ("JUMPSTREAM_FAIL_POINT", point)));
        command.current_dir(self.folder.path()).args(arguments);
        command.stdin(Stdio::null()).stdout(stdout).stderr(std::fs::File::create(&log).unwrap());
        Process { child: command.spawn().expect("the program starts"), log, client: client() }
    }

    /// Runs until caught up; gives what it logged.
    ///
    /// # Panics
    /// Where it doesn't end with 0.
    pub async fn catch_up(&self) -> String {
        let mut process = self.start(&["--until-caught-up", "--timeout", "10m"]);
        let code = process.ended().await;
        assert_eq!(code, 0, "{}", process.log());
        process.log()
    }
}

/// A child; killed when dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
    client: reqwest::Client,
}

impl Process {
    /// All that it wrote to standard error so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    /// How many lines of the log hold `text`.
    pub fn count(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }

    /// Waits until the log holds `text`; gives the line.
    pub async fn said(&mut self, text: &str) -> String {
        let found = |log: &str| log.lines().find(|line| line.contains(text)).map(str::to_owned);
        let deadline = clock::uptime() + DEADLINE;
        loop {
            // Looked at first: what is written before the end is there after it.
            let ended = self.child.try_wait().unwrap();
            let log = self.log();
            if let Some(line) = found(&log) {
                return line;
            }
            assert!(ended.is_none(), "it ended with {ended:?} and never said {text:?}:\n{log}");
            assert!(clock::uptime() < deadline, "it never said {text:?}:\n{log}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until it listens and gives the address, of `server` or of `page`.
    async fn address(&mut self, of: &str) -> String {
        let line = self.said("listening server=").await;
        let (_, rest) = line.split_once(&format!("{of}=")).unwrap();
        rest.split_whitespace().next().unwrap().to_owned()
    }

    async fn ask(&mut self, of: &str, path: &str) -> reqwest::Response {
        let url = format!("http://{}{path}", self.address(of).await);
        self.client.get(url).send().await.unwrap()
    }

    /// `/readyz`: its status, `state` and `reasons`.
    pub async fn readiness(&mut self) -> Readiness {
        let answer = self.ask("server", "/readyz").await;
        let status = answer.status().as_u16();
        let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        let reasons = body["reasons"].as_array().unwrap().iter().map(|reason| reason.as_str().unwrap().to_owned());
        Readiness { status, state: body["state"].as_str().unwrap().to_owned(), reasons: reasons.collect() }
    }

    /// Waits until `/readyz` is 200 and `degraded`, one of the reasons holding `text`.
    pub async fn degraded(&mut self, text: &str) -> Readiness {
        eventually(&format!("/readyz says {text:?}"), async || {
            let now = self.readiness().await;
            let says = now.status == 200 && now.state == "degraded" && now.reasons.iter().any(|own| own.contains(text));
            says.then_some(now)
        })
        .await
    }

    /// Waits until `/readyz` is 200 and `ready`.
    pub async fn ready(&mut self) {
        eventually("it is ready", async || {
            let now = self.readiness().await;
            (now.status == 200 && now.state == "ready").then_some(())
        })
        .await;
    }

    pub async fn metrics(&mut self) -> String {
        self.ask("server", "/metrics").await.text().await.unwrap()
    }

    /// The sum of a metric's samples whose labels hold all of `labels`.
    pub async fn metric(&mut self, name: &str, labels: &[&str]) -> f64 {
        let metrics = self.metrics().await;
        let samples = metrics.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        let samples = samples.filter(|line| labels.iter().all(|label| line.contains(label)));
        samples.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// Waits until as many requests have ended so.
    pub async fn requests(&mut self, outcome: &str, count: f64) {
        let label = format!("outcome=\"{outcome}\"");
        eventually(&format!("{count} requests are {outcome}"), async || {
            (self.metric("jumpstream_source_requests_total", &[&label]).await >= count).then_some(())
        })
        .await;
    }

    pub async fn status(&mut self) -> Value {
        serde_json::from_slice(&self.ask("page", "/status").await.bytes().await.unwrap()).unwrap()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`; returns when it is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub async fn kill_and_forget(mut self) {
        self.kill();
    }

    pub async fn stop_and_forget(self) {
        self.stop().await;
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// SIGSTOP: it stands still, whatever it was doing.
    pub fn freeze(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).unwrap();
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn stdout(&mut self) -> std::process::ChildStdout {
        self.child.stdout.take().expect("started with a pipe")
    }

    /// Waits for its end; gives the exit code.
    pub async fn ended(&mut self) -> i32 {
        let child = &mut self.child;
        let ended = eventually("it ends", async || child.try_wait().unwrap());
        ended.await.code().expect("no signal ended it")
    }

    /// Ends it as a service manager does.
    ///
    /// # Panics
    /// Where it doesn't end with 0.
    pub async fn stop(mut self) -> String {
        self.said("listening").await;
        self.terminate();
        let code = self.ended().await;
        assert_eq!(code, 0, "{}", self.log());
        self.log()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("what {} holds:\n{}", self.log.display(), self.log());
        }
    }
}

/// What `/readyz` says.
#[derive(Debug)]
pub struct Readiness {
    pub status: u16,
    pub state: String,
    pub reasons: Vec<String>,
}
