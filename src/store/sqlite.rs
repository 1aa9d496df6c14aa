//! The ledgers in one SQLite file: a thread of its own does the work, one transaction a save.
//!
//! # Invariants
//! Calls take effect in the order they were made. What heals (a full disk, a busy file) is waited for; what does
//! not is an [`Error`]. While a [`SqliteStore`] lives no other process can open the file to write: the lock beside
//! it belongs to the kernel, which releases it however the process ends. Never deletes a file. Never writes into a file
//! that is no longer the one at its path.

mod lock;
mod look;
mod rows;
mod schema;

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode, ffi};
use tokio::sync::oneshot;

use crate::ledger::{Checkpoint, StreamKey};
use crate::retry::Schedule;
use crate::store::{Error, Store};

use lock::Lock;
pub use lock::{FileSystem, file_system};
pub use look::Look;

/// The pauses between tries while the file can't be written.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// While nothing is asked, how often we look whether the file is still there.
const LOOK: Duration = Duration::from_secs(2);

/// Ledgers in a SQLite file.
///
/// # Cancellation
/// Dropping the future of `save` may leave the checkpoint saved or not, whole in both cases; one that waits for the
/// disk is given up. Dropping the store waits for the transaction in progress.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    trouble: Trouble,
    /// None only while the store is being dropped.
    work: Option<Work>,
    /// Released last, when the thread has closed the file.
    _lock: Lock,
}

/// What reaches the thread.
#[derive(Debug)]
struct Work {
    requests: mpsc::Sender<Request>,
    /// Never sent on: its end wakes a thread that waits for the disk.
    _alive: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

#[derive(Debug)]
enum Request {
    Load(StreamKey, oneshot::Sender<Result<Option<Checkpoint>, Error>>),
    Save(StreamKey, Box<Checkpoint>, oneshot::Sender<Result<(), Error>>),
}

impl SqliteStore {
    /// Opens the file at `path` for this process alone, and makes it where it does not exist.
    ///
    /// A file that can't be written for a cause that heals is opened all the same: calls wait and
    /// [`Store::trouble`] says why. Blocks for as long as the disk takes.
    pub fn open(path: &Path) -> Result<SqliteStore, Error> {
        let path = &lock::resolve(path);
        let mut lock = Lock::take(path)?;
        create(path).map_err(|source| Error::File { path: text(path), source })?;
        lock.hold(path)?;
        let found = Found::at(path);
        let trouble = Trouble::default();
        let connection = match schema::connect(path) {
            Ok(connection) => {
                restrict(path).map_err(|source| Error::File { path: text(path), source })?;
                Some(connection)
            }
            Err(fault) if fault.heals() => {
                trouble.begin(path, &fault);
                None
            }
            Err(fault) => return Err(fault.into_error(path, None)),
        };
        let (requests, inbox) = mpsc::channel();
        let (alive, ended) = mpsc::channel();
        let found = Found { log: Found::at(path).log, ..found };
        let worker = Worker { path: path.to_owned(), connection, found, trouble: trouble.clone(), ended };
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || worker.run(inbox))
            .map_err(|source| Error::File { path: text(path), source })?;
        let work = Some(Work { requests, _alive: alive, thread });
        Ok(SqliteStore { path: path.to_owned(), trouble, work, _lock: lock })
    }

    /// Opens the file at `path` to read it beside the process that writes it: takes no lock and changes nothing.
    pub fn open_read_only(path: &Path) -> Result<Reader, Error> {
        std::fs::metadata(path).map_err(|source| Error::File { path: text(path), source })?;
        let connection = schema::connect_to_read(path).map_err(|fault| fault.into_error(path, None))?;
        Ok(Reader { path: path.to_owned(), connection })
    }

    /// Looks at the file at `path` without touching it: takes no lock, opens nothing to write and creates nothing.
    ///
    /// # Errors
    /// What [`Self::open`] would refuse, as far as that can be seen from outside.
    pub fn look(path: &Path) -> Result<Look, Error> {
        look::look(path)
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Request) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        if let Some(work) = &self.work {
            // A thread that has ended drops the reply, which the answer tells.
            let _ = work.requests.send(request(reply));
        }
        answer.await.unwrap_or_else(|_| {
            let source = io::Error::other("the store's thread has ended; restart jumpstream");
            Err(Error::File { path: text(&self.path), source })
        })
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn load(&self, stream: &StreamKey) -> Result<Option<Checkpoint>, Error> {
        self.ask(|reply| Request::Load(stream.clone(), reply)).await
    }

    async fn save(&self, stream: &StreamKey, checkpoint: &Checkpoint) -> Result<(), Error> {
        self.ask(|reply| Request::Save(stream.clone(), Box::new(checkpoint.clone()), reply)).await
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.said()
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        if let Some(Work { requests, _alive, thread }) = self.work.take() {
            drop((requests, _alive));
            // A panic of the thread has already been printed, and there is no one here to give it to.
            let _ = thread.join();
        }
    }
}

/// Reads ledgers beside the process that writes them. Its calls block.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    connection: Connection,
}

impl Reader {
    /// Every stream that was ever saved, in order.
    pub fn streams(&self) -> Result<Vec<StreamKey>, Error> {
        rows::streams(&self.connection).map_err(|fault| fault.into_error(&self.path, None))
    }

    /// As [`Store::load`].
    pub fn load(&self, stream: &StreamKey) -> Result<Option<Checkpoint>, Error> {
        rows::load(&self.connection, stream).map_err(|fault| fault.into_error(&self.path, Some(stream)))
    }
}

/// Which file stands at a path, and which log beside it: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    file: Option<(u64, u64)>,
    log: Option<(u64, u64)>,
}

impl Found {
    fn at(path: &Path) -> Found {
        let identity = |path: &Path| std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
        Found { file: identity(path), log: identity(&lock::beside(path, "-wal")) }
    }
}

/// The thread that owns the connection.
struct Worker {
    path: PathBuf,
    /// None until the file could be opened, and after an input or output error.
    connection: Option<Connection>,
    /// What stood there when it was opened.
    found: Found,
    trouble: Trouble,
    ended: mpsc::Receiver<()>,
}

impl Worker {
    fn run(mut self, requests: mpsc::Receiver<Request>) {
        loop {
            match requests.recv_timeout(LOOK) {
                Ok(Request::Load(stream, reply)) => self.answer(&stream, reply, |file| rows::load(file, &stream)),
                Ok(Request::Save(stream, checkpoint, reply)) => {
                    self.answer(&stream, reply, |file| rows::save(file, &stream, &checkpoint))
                }
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if self.unmoved().is_err() {
            // Closing it would remove the log at the path, which is not ours any more.
            std::mem::forget(self.connection.take());
        }
    }

    /// While nothing is asked: whether the file is still there.
    fn look(&mut self) {
        match self.unmoved() {
            Err(fault) => self.trouble.begin(&self.path, &fault),
            Ok(()) if self.connection.is_some() => self.trouble.end(&self.path),
            Ok(()) => {}
        }
    }

    /// Whether what we opened still stands at the path: what is written into a file that nobody finds is lost.
    fn unmoved(&mut self) -> Result<(), Fault> {
        let now = Found::at(&self.path);
        // SQLite makes the log when it first needs it.
        self.found.log = self.found.log.or(now.log);
        if now == self.found || self.connection.is_none() && now.file == self.found.file {
            Ok(())
        } else {
            Err(Fault::Gone)
        }
    }

    /// Tries until it works, can't work, or nobody waits for it any more.
    fn answer<T>(
        &mut self,
        stream: &StreamKey,
        reply: oneshot::Sender<Result<T, Error>>,
        work: impl Fn(&mut Connection) -> Result<T, Fault>,
    ) {
        let mut schedule = Schedule::new(FIRST_PAUSE, LONGEST_PAUSE);
        while !reply.is_closed() {
            match self.connected().and_then(&work) {
                Err(fault) if fault.heals() => {
                    self.trouble.begin(&self.path, &fault);
                    if !fault.is_busy() && !matches!(fault, Fault::Gone) {
                        // What an input or output error left behind in the connection is not trusted.
                        self.connection = None;
                    }
                    if self.ended.recv_timeout(schedule.pause()) == Err(RecvTimeoutError::Disconnected) {
                        return;
                    }
                }
                result => {
                    self.trouble.end(&self.path);
                    let result = result.map_err(|fault| fault.into_error(&self.path, Some(stream)));
                    let _ = reply.send(result);
                    return;
                }
            }
        }
    }

    fn connected(&mut self) -> Result<&mut Connection, Fault> {
        self.unmoved()?;
        match &mut self.connection {
            Some(connection) => Ok(connection),
            empty => {
                let connection = schema::connect(&self.path)?;
                self.found.log = Found::at(&self.path).log;
                Ok(empty.insert(connection))
            }
        }
    }
}

/// What the store waits for, if anything.
#[derive(Debug, Clone, Default)]
struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    fn begin(&self, path: &Path, fault: &Fault) {
        let sentence = format!("the state database {} can't be written ({fault}); waiting", path.display());
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.as_ref() != Some(&sentence) {
            tracing::warn!("{sentence}");
            *said = Some(sentence);
        }
    }

    fn end(&self, path: &Path) {
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            tracing::info!("the state database {} can be written again", path.display());
        }
    }

    fn said(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What one try ran into.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(
        "it was moved away or deleted while we run: put it back with the -wal file beside it, or restart jumpstream, which then begins anew without it"
    )]
    Gone,
    /// A value that no release writes.
    #[error("{0}")]
    Damaged(String),
    /// Not a file of ours.
    #[error("{0}")]
    Foreign(String),
    /// Of a later format.
    #[error("format {0} is newer than this release")]
    Newer(u32),
}

impl Fault {
    fn code(&self) -> Option<ErrorCode> {
        match self {
            Fault::Sqlite(error) => error.sqlite_error_code(),
            _ => None,
        }
    }

    fn is_busy(&self) -> bool {
        matches!(self.code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
    }

    /// Whether the same call may work later with nothing changed by us.
    fn heals(&self) -> bool {
        // The file under our hands was moved away: what is written now, nobody finds.
        let moved = matches!(
            self,
            Fault::Sqlite(rusqlite::Error::SqliteFailure(ffi::Error { extended_code, .. }, _))
                if *extended_code == ffi::SQLITE_READONLY_DBMOVED
        );
        let heals = matches!(
            self.code(),
            Some(
                ErrorCode::DiskFull
                    | ErrorCode::SystemIoFailure
                    | ErrorCode::CannotOpen
                    | ErrorCode::ReadOnly
                    | ErrorCode::OutOfMemory
            )
        );
        self.is_busy() || matches!(self, Fault::Gone) || (heals && !moved)
    }

    fn into_error(self, path: &Path, stream: Option<&StreamKey>) -> Error {
        let path = text(path);
        let damaged = |why: String| {
            let stream = stream.map_or_else(|| "every stream".into(), StreamKey::to_string);
            Error::Damaged { path: path.clone(), stream, why }
        };
        match self {
            Fault::Damaged(why) => damaged(why),
            Fault::Gone => Error::File { path, source: io::Error::other(Fault::Gone.to_string()) },
            Fault::Foreign(why) => Error::File { path, source: io::Error::new(io::ErrorKind::InvalidData, why) },
            Fault::Newer(found) => Error::NewerFormat { path, found, known: schema::FORMAT },
            Fault::Sqlite(source) => match (&source, source.sqlite_error_code()) {
                (_, Some(ErrorCode::DatabaseCorrupt))
                | (rusqlite::Error::InvalidColumnType(..) | rusqlite::Error::IntegralValueOutOfRange(..), _) => {
                    damaged(source.to_string())
                }
                _ => Error::Sqlite { path, source },
            },
        }
    }
}

/// Makes the file, readable by nobody else; SQLite gives the files beside it the same rights.
fn create(path: &Path) -> io::Result<()> {
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).to_owned();
    options.open(path)?.sync_all()?;
    // A file is not found again after a power cut before its folder is on the disk too.
    std::fs::File::open(lock::folder(path))?.sync_all()
}

/// Takes the rights of others away from a file that is known to be ours.
fn restrict(path: &Path) -> io::Result<()> {
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o7700))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
