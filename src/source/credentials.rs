//! The account's key: read from its file or variable, read again when the file changes.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::header::HeaderValue;
use rustix::fs::OFlags;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::AsyncReadExt as _;

use super::Error;
use crate::clock;

/// How long a file is believed before we look whether it changed.
const LOOK: Duration = Duration::from_secs(2);
/// How often a caller who waits for another key looks.
const WATCH: Duration = Duration::from_secs(1);
/// More than any key; a larger file is another file.
const LARGEST: u64 = 64 * 1024;

/// Where the key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// Watched, also through the links that Kubernetes swaps.
    File(PathBuf),
    /// An environment variable: read once, so that a change needs a restart.
    Env(String),
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeySource::File(path) => write!(f, "{}", path.display()),
            KeySource::Env(name) => write!(f, "the variable {name}"),
        }
    }
}

/// A key as a request carries it. Neither `Debug` nor `Display` shows it.
#[derive(Clone)]
pub(super) struct Key(SecretString);

impl Key {
    fn new(text: &str, source: &KeySource) -> Result<Key, Error> {
        let key = text.trim();
        let fault = |why: &str| Err(Error::Credential(format!("{source} {why}")));
        if key.is_empty() {
            return fault("is empty; put the account's API key there, and nothing else");
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return fault("holds more than one word of ASCII; put the account's API key there, and nothing else");
        }
        Ok(Key(key.into()))
    }

    pub(super) fn header(&self) -> HeaderValue {
        let mut value = HeaderValue::from_str(self.0.expose_secret()).expect("checked to be visible ASCII");
        value.set_sensitive(true);
        value
    }

    pub(super) fn is(&self, other: &Key) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }

    /// `text` without the key, should the API have sent it back.
    pub(super) fn remove_from(&self, text: &str) -> String {
        text.replace(self.0.expose_secret(), "[the key]")
    }
}

pub(super) struct Credential {
    source: KeySource,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    key: Option<Key>,
    /// The file as it was when the key was read.
    stamp: Option<Stamp>,
    looked: Option<Duration>,
    /// The key that the API refused last.
    refused: Option<Key>,
    /// How often the key was another one than before.
    changes: u64,
}

/// What changes when a file does, by a write, a rename or a swapped link: device, inode, length, and the times of
/// its content and of its entry.
type Stamp = [i64; 7];

impl Credential {
    pub(super) fn new(source: KeySource) -> Credential {
        Credential { source, state: Mutex::default() }
    }

    /// The key to use now; looks at the file where the last look is more than two seconds old.
    pub(super) async fn key(&self) -> Result<Key, Error> {
        let now = clock::uptime();
        {
            let state = self.state();
            let fresh = state.looked.is_some_and(|looked| now.saturating_sub(looked) < LOOK);
            if let (Some(key), true) = (&state.key, fresh || matches!(self.source, KeySource::Env(_))) {
                return Ok(key.clone());
            }
        }
        let stamp = self.stamp().await;
        {
            let mut state = self.state();
            if let (Some(key), true) = (&state.key, stamp.is_some() && stamp == state.stamp) {
                let key = key.clone();
                state.looked = Some(now);
                return Ok(key);
            }
        }
        self.read().await
    }

    /// Reads the key whether or not the file seems changed.
    pub(super) async fn read(&self) -> Result<Key, Error> {
        // The stamp first: a change between the two is then seen at the next look.
        let stamp = self.stamp().await;
        let key = match &self.source {
            KeySource::Env(name) => match std::env::var(name) {
                Ok(text) => Key::new(&text, &self.source)?,
                Err(_) => {
                    return Err(Error::Credential(format!(
                        "{} is not set, or is no text; set it to the account's API key and start again",
                        self.source
                    )));
                }
            },
            KeySource::File(path) => {
                let text = read_file(path).await.map_err(|error| {
                    Error::Credential(format!(
                        "{}: {error}; put the account's API key there, readable for this process",
                        self.source
                    ))
                })?;
                Key::new(&text, &self.source)?
            }
        };
        let mut state = self.state();
        if state.key.as_ref().is_some_and(|old| !old.is(&key)) {
            tracing::info!(source = %self.source, "the api key has changed");
            state.changes += 1;
        }
        (state.key, state.stamp, state.looked) = (Some(key.clone()), stamp, Some(clock::uptime()));
        Ok(key)
    }

    pub(super) fn changes(&self) -> u64 {
        self.state().changes
    }

    /// The API refused `key`: gives the one that stands there now, where it is another.
    pub(super) async fn replacement(&self, key: &Key) -> Option<Key> {
        self.refuse(key);
        self.read().await.ok().filter(|now| !now.is(key))
    }

    /// The API refused `key`.
    pub(super) fn refuse(&self, key: &Key) {
        self.state().refused = Some(key.clone());
    }

    /// What the operator can do about a refused key.
    pub(super) fn remedy(&self) -> &'static str {
        match self.source {
            KeySource::File(_) => "write a valid key to its file, no restart is needed; check the region too",
            KeySource::Env(_) => "set the variable to a valid key and start again; check the region too",
        }
    }

    /// Returns when the file holds another key than the one refused last (or, where none was, than the one read
    /// last). Never returns for a variable.
    pub(super) async fn changed(&self) {
        if matches!(self.source, KeySource::Env(_)) {
            return std::future::pending().await;
        }
        let before = {
            let state = self.state();
            state.refused.clone().or_else(|| state.key.clone())
        };
        loop {
            if self.key().await.is_ok_and(|now| before.as_ref().is_none_or(|before| !now.is(before))) {
                return;
            }
            tokio::time::sleep(WATCH).await;
        }
    }

    async fn stamp(&self) -> Option<Stamp> {
        let KeySource::File(path) = &self.source else { return None };
        let file = tokio::fs::metadata(path).await.ok()?;
        let (device, inode, length) = (file.dev() as i64, file.ino() as i64, file.size() as i64);
        Some([device, inode, length, file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()])
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read_file(path: &std::path::Path) -> std::io::Result<String> {
    let mut text = String::new();
    // Not blocking, so that a FIFO is told as one instead of waiting for its writer.
    let mut options = tokio::fs::OpenOptions::new();
    let file = options.read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path).await?;
    if !file.metadata().await?.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    file.take(LARGEST).read_to_string(&mut text).await?;
    Ok(text)
}
