//! A look at the file from outside: opens nothing to write, takes no lock, and not even SQLite's.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::lock;
use super::schema;
use crate::store::Error;

/// What can be seen of a state without touching it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    pub exists: bool,
    /// Who holds the lock, as far as this system shows it: not a process of another container.
    pub holder: Option<String>,
}

/// SQLite's header (sqlite.org/fileformat2 §1.3) up to and with the application id.
const HEADER: usize = 72;
const MAGIC: &[u8] = b"SQLite format 3\0";

pub(super) fn look(path: &Path) -> Result<Look, Error> {
    let path = &lock::resolve(path);
    lock::refuse_network(path)?;
    let failed = |source| Error::File { path: path.display().to_string(), source };
    let exists = match File::open(path) {
        Ok(file) => {
            read(path, file)?;
            true
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(failed(error)),
    };
    Ok(Look { exists, holder: holder(&lock::lock_path(path)).or_else(|| holder(path)) })
}

/// Whether it is a ledger of ours that this release reads; an empty file is one that was never filled.
fn read(path: &Path, file: File) -> Result<(), Error> {
    let path = path.display().to_string();
    let mut header = Vec::new();
    if let Err(source) = file.take(HEADER as u64).read_to_end(&mut header) {
        return Err(Error::File { path, source });
    }
    if header.is_empty() {
        return Ok(());
    }
    let number = |at: usize| header.get(at..at + 4).and_then(|four| Some(u32::from_be_bytes(four.try_into().ok()?)));
    // What the log holds is not in the file yet, our id included.
    let logged = std::fs::metadata(format!("{path}-wal")).is_ok_and(|log| log.len() > 0);
    let ours = match number(68) {
        Some(0) => logged,
        id => id == Some(schema::APPLICATION_ID as u32),
    };
    if !header.starts_with(MAGIC) || !ours {
        let source = io::Error::other("is no state of jumpstream; give another state.path");
        return Err(Error::File { path, source });
    }
    match number(60) {
        Some(found) if found > schema::FORMAT => Err(Error::NewerFormat { path, found, known: schema::FORMAT }),
        _ => Ok(()),
    }
}

/// Who the kernel says holds an flock on the file (proc_locks(5)), in the words it left there.
fn holder(path: &Path) -> Option<String> {
    let file = File::open(path).ok()?;
    let inode = file.metadata().ok()?.ino().to_string();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let held = locks.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (kind, place) = (words.next(), words.nth(3));
        kind == Some("FLOCK") && place.and_then(|place| place.rsplit(':').next()) == Some(inode.as_str())
    });
    held.then(|| lock::holder(file))
}
