//! How far a replay has come, in a file of its own: what it delivers again, and the time that is done.
//!
//! The file is replaced whole: what is new is written beside it, synced, and given its name. Whoever has it open for
//! writing holds its lock, so no two go on with one.
//!
//! # Invariants
//! Says nothing of a time before all that it showed is delivered. A crash leaves the old file or the new one.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::ops::Range;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::clock::Time;
use crate::ledger::{Checkpoint, Coverage, FingerprintKey, Ledger, StreamKey};
use crate::quote::quote;
use crate::retry::Schedule;
use crate::store::{self, Store};

const FORMAT: u32 = 1;
/// A thousand streams, each in a hundred pieces, are 6 MB.
const MOST_BYTES: u64 = 64 << 20;
const PAUSE: Range<Duration> = Duration::from_millis(200)..Duration::from_secs(5);

/// What a replay delivers again, from where and to where. Two that differ in it are two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    pub from: String,
    pub to: String,
    /// Where each account's API is.
    pub accounts: Vec<String>,
    pub sinks: Vec<String>,
    pub streams: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "progress file {path}: {source}; its folder must exist and be writable, or name another with --progress-file"
    )]
    File { path: String, source: io::Error },
    #[error(
        "progress file {path} is held by another replay that is at work; wait for it, or name another with --progress-file"
    )]
    Held { path: String },
    #[error(
        "progress file {path} is none that this jumpstream can read ({why}); name another with --progress-file, or delete it to begin anew"
    )]
    Damaged { path: String, why: String },
    #[error(
        "progress file {path} belongs to another replay: {what} {found}, but wanted is {wanted}; repeat the command that it was begun with to go on with that one, name another file with --progress-file, or delete it to begin anew"
    )]
    Other { path: String, what: &'static str, found: String, wanted: String },
}

/// The file, for as long as the replay is at work.
pub struct Progress {
    range: Range<Time>,
    state: Arc<Mutex<State>>,
}

struct State {
    path: PathBuf,
    /// Holds the lock.
    file: File,
    written: Written,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Written {
    format: u32,
    of: Subject,
    /// By stream: ranges, from and to.
    done: BTreeMap<String, Vec<[String; 2]>>,
}

impl Progress {
    /// Opens the file, or begins it where it is missing. Blocks for as long as the disk takes.
    pub fn open(path: &Path, of: Subject, range: Range<Time>) -> Result<Progress, Error> {
        let failed = |source| Error::File { path: path.display().to_string(), source };
        let state = match lock(path)? {
            Some(file) => {
                let written = read(path, &file)?;
                written.of.check(&of, path)?;
                State { path: path.to_owned(), file, written }
            }
            None => {
                let written = Written { format: FORMAT, of, done: BTreeMap::new() };
                let file = replace(path, &written).map_err(failed)?;
                State { path: path.to_owned(), file, written }
            }
        };
        Ok(Progress { range, state: Arc::new(Mutex::new(state)) })
    }

    /// What a replay that left this file has done; nothing where there is none. Changes nothing.
    pub fn look(path: &Path, of: &Subject) -> Result<BTreeMap<String, Coverage>, Error> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(source) => return Err(Error::File { path: path.display().to_string(), source }),
        };
        let written = read(path, &file)?;
        written.of.check(of, path)?;
        Ok(written.done.iter().map(|(stream, done)| (stream.clone(), coverage(done))).collect())
    }

    /// Takes the file away: all is done.
    pub fn finish(&self) -> Result<(), Error> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |source| Error::File { path: state.path.display().to_string(), source };
        fs::remove_file(&state.path).and_then(|()| sync_folder(&state.path)).map_err(failed)
    }

    /// A checkpoint of which nothing counts but its coverage.
    pub fn checkpoint(&self, done: &Coverage) -> Checkpoint {
        let mut ledger = Ledger::begin(FingerprintKey([0; 16]), self.range.start, self.range.start);
        done.ranges().iter().for_each(|range| ledger.cover(range.clone()));
        ledger.checkpoint()
    }
}

/// A replay commits as a stream does: first the events, then this.
#[async_trait]
impl Store for Progress {
    async fn load(&self, stream: &StreamKey) -> Result<Option<Checkpoint>, store::Error> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let done = state.written.done.get(&stream.to_string());
        Ok(done.map(|done| self.checkpoint(&coverage(done))))
    }

    async fn save(&self, stream: &StreamKey, checkpoint: &Checkpoint) -> Result<(), store::Error> {
        let text = |range: &Range<Time>| [range.start.to_string(), range.end.to_string()];
        let done: Vec<[String; 2]> = checkpoint.coverage.ranges().iter().map(text).collect();
        let (mut pauses, mut said) = (Schedule::new(PAUSE.start, PAUSE.end), String::new());
        loop {
            let (state, stream, done) = (self.state.clone(), stream.to_string(), done.clone());
            let saved = tokio::task::spawn_blocking(move || {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                state.written.done.insert(stream, done);
                state.file = replace(&state.path, &state.written)?;
                Ok(())
            });
            let fault = match saved.await.unwrap_or_else(|fault| Err(io::Error::other(fault))) {
                Ok(()) => return Ok(()),
                Err(fault) => fault.to_string(),
            };
            if fault != said {
                tracing::warn!(
                    "waiting: the progress file can't be written: {fault}; it goes on once this is put right"
                );
                said = fault;
            }
            tokio::time::sleep(pauses.pause()).await;
        }
    }

    /// What it waits for is in the log.
    fn trouble(&self) -> Option<String> {
        None
    }
}

impl Subject {
    /// Refuses another one, and says in what it differs.
    fn check(&self, wanted: &Subject, path: &Path) -> Result<(), Error> {
        let list = |texts: &[String]| texts.join(", ");
        let range = |of: &Subject| format!("{} to {}", of.from, of.to);
        let parts = [
            ("its range is", range(self), range(wanted)),
            ("its events come from", list(&self.accounts), list(&wanted.accounts)),
            ("its events go to", list(&self.sinks), list(&wanted.sinks)),
            ("its streams are", list(&self.streams), list(&wanted.streams)),
        ];
        match parts.into_iter().find(|(_, found, wanted)| found != wanted) {
            None => Ok(()),
            Some((what, found, wanted)) => Err(Error::Other {
                path: path.display().to_string(),
                what,
                found: quote(&found),
                wanted: quote(&wanted),
            }),
        }
    }
}

/// The file that stands at `path`, locked; none where there is none.
fn lock(path: &Path) -> Result<Option<File>, Error> {
    let failed = |source| Error::File { path: path.display().to_string(), source };
    loop {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed(source)),
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Held { path: path.display().to_string() }),
            Err(errno) => return Err(failed(errno.into())),
        }
        let ours = file.metadata().map_err(failed)?;
        // Else it was replaced or taken away in between.
        if fs::metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
            return Ok(Some(file));
        }
    }
}

fn read(path: &Path, file: &File) -> Result<Written, Error> {
    let damaged = |why: String| Error::Damaged { path: path.display().to_string(), why };
    let mut text = Vec::new();
    let read = file.take(MOST_BYTES).read_to_end(&mut text);
    read.map_err(|source| Error::File { path: path.display().to_string(), source })?;
    let written: Written = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    if written.format != FORMAT {
        return Err(damaged(format!("it has format {}, this one knows {FORMAT}", written.format)));
    }
    let sound = |[from, to]: &[String; 2]| Time::parse(from).is_some() && Time::parse(to).is_some();
    if !written.done.values().flatten().all(sound) {
        return Err(damaged("a time in it is none".to_owned()));
    }
    Ok(written)
}

fn coverage(done: &[[String; 2]]) -> Coverage {
    Coverage::of(done.iter().filter_map(|[from, to]| Some(Time::parse(from)?..Time::parse(to)?)))
}

/// Writes a new file beside the old one and gives it its name; gives it back with its lock, taken before it had the name.
fn replace(path: &Path, written: &Written) -> io::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    serde_json::to_writer_pretty(&mut file, written)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_folder(path)?;
    Ok(file)
}

/// A name is durable only when its folder is (fsync(2)).
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
