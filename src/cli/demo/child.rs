//! jumpstream as a process of the demo's own, with its status page.
//!
//! # Invariants
//! Signals nobody but its own child, and the child does not outlive the demo, however that ends.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{self, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use super::Error;
use super::play::until;
use crate::telemetry::status::State;

/// How long an orderly end may take: more than jumpstream gives itself.
const END: Duration = Duration::from_secs(15);
/// So many lines of its log say why it ended.
const LAST: usize = 5;
/// How long its page may take to answer.
const ANSWER: Duration = Duration::from_secs(1);

/// `jumpstream run`; killed when it is dropped.
pub(super) struct Child {
    process: process::Child,
    /// Kills it where the demo itself is killed.
    watcher: Option<process::Child>,
    said: Arc<Mutex<Said>>,
}

/// What its log told.
#[derive(Default)]
struct Said {
    /// `host:port` of its status page.
    page: Option<String>,
    /// The last few lines.
    last: VecDeque<String>,
}

/// As much of `/status` as is shown.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Status {
    state: String,
    reasons: Vec<String>,
    streams: Vec<Stream>,
}

#[derive(Debug, Clone, Deserialize)]
struct Stream {
    state: String,
    reason: Option<String>,
    covered_share: f64,
}

impl Child {
    pub fn start(config: &Path) -> Result<Child, Error> {
        let program = std::env::current_exe().map_err(Error::Child)?;
        let mut command = Command::new(program);
        command.arg("run").arg("--config").arg(config);
        // No variable of ours or of a proxy reaches it; a group of its own keeps it from a Ctrl-C that is meant for us.
        command.env_clear().process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().map_err(Error::Child)?;
        let watcher = watch(process.id());
        let said = Arc::new(Mutex::new(Said::default()));
        if let Some(log) = process.stderr.take() {
            let said = said.clone();
            // It ends with the log.
            std::thread::spawn(move || listen(log, &said));
        }
        Ok(Child { process, watcher, said })
    }

    /// Where its status page is, once it has said so.
    pub fn page(&self) -> Option<String> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).page.clone()
    }

    /// Its last words, where it has ended by itself.
    pub fn last_words(&mut self) -> Option<String> {
        let status = self.process.try_wait().ok()??;
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        Some(said.last.iter().fold(status.to_string(), |text, line| text + "\n  " + line))
    }

    /// SIGSTOP: it stands still, whatever it was doing.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill(self) {
        drop(self);
    }

    /// SIGTERM, and SIGKILL where that isn't heeded.
    pub async fn stop(self) {
        self.signal(Signal::TERM);
        let child = Mutex::new(self);
        until(END, || child.lock().unwrap_or_else(PoisonError::into_inner).last_words().is_some()).await;
    }

    fn signal(&self, signal: Signal) {
        // It may have ended.
        let _ = kill_process(Pid::from_child(&self.process), signal);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // First of all, lest it kill whoever gets the number next.
        end(self.watcher.take());
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn end(process: Option<process::Child>) {
    if let Some(mut process) = process {
        let _ = process.kill();
        let _ = process.wait();
    }
}

/// A shell that waits for the end of a pipe whose other end only this process holds: a `kill -9` runs no destructor.
/// Where there is no shell, that alone is not provided for.
fn watch(id: u32) -> Option<process::Child> {
    let mut command = Command::new("sh");
    command.args(["-c", "read -r _; kill -9 \"$0\"", &id.to_string()]).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
}

fn listen(log: ChildStderr, said: &Mutex<Said>) {
    for line in BufReader::new(log).lines().map_while(Result::ok) {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, page)) = line.split_once("listening").and_then(|(_, rest)| rest.split_once("page=")) {
            said.page = page.split_whitespace().next().map(str::to_owned);
        }
        said.last.push_back(line);
        if said.last.len() > LAST {
            said.last.pop_front();
        }
    }
}

/// For the page, which is on loopback and speaks no TLS.
pub(super) fn client() -> Result<reqwest::Client, Error> {
    // An error means that there is a provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().http1_only().tls_certs_only([]).build().map_err(Error::Page)
}

impl Status {
    /// Asks a child's page; none where it does not answer.
    pub async fn ask(client: &reqwest::Client, page: &str) -> Option<Status> {
        let asked = client.get(format!("http://{page}/status")).timeout(ANSWER).send();
        serde_json::from_slice(&asked.await.ok()?.bytes().await.ok()?).ok()
    }

    /// The part of the day that has been read; none before its ledger is.
    pub fn covered(&self) -> Option<f64> {
        self.streams.first().filter(|stream| stream.state != "starting").map(|stream| stream.covered_share)
    }

    pub fn is_live(&self) -> bool {
        self.streams.first().is_some_and(|stream| stream.state == "live")
    }

    /// What it waits for.
    pub fn trouble(&self) -> Option<(State, String)> {
        let first = self.reasons.first().cloned();
        match self.state.as_str() {
            "ready" => None,
            "degraded" => {
                let stream = self.streams.first();
                let state =
                    stream.filter(|stream| stream.state == "blocked").map_or(State::Waiting, |_| State::Blocked);
                Some((state, stream.and_then(|stream| stream.reason.clone()).or(first)?))
            }
            _ => Some((State::Starting, first.map_or("starting".to_owned(), |reason| format!("starting: {reason}")))),
        }
    }
}
