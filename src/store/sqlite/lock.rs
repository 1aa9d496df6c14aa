//! The lock beside the database, and the file systems whose locks can't be trusted.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::clock;
use crate::store::Error;

/// So many links the kernel follows too.
const LINKS: u32 = 40;

/// An `flock` on `<path>.lock`: the kernel's, so it never outlives the process that holds it.
///
/// A file of its own, so that it can be told who holds it. The database itself is locked too, since it may have
/// several names; SQLite's own locks are POSIX locks, which don't meet these.
#[derive(Debug)]
#[expect(dead_code, reason = "holds the locks for as long as they are open")]
pub struct Lock {
    beside: File,
    /// Closed after SQLite has closed the file: closing any descriptor of it lets go of SQLite's locks.
    database: Option<File>,
}

impl Lock {
    /// Takes the lock of the database at `path`, or says who holds it.
    ///
    /// `path` leads through no link; see [`resolve`].
    pub fn take(path: &Path) -> Result<Lock, Error> {
        let at = |path: &Path| path.display().to_string();
        refuse_network(path)?;
        let beside = lock_path(path);
        let failed = |source| Error::File { path: at(&beside), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&beside).map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Locked { path: at(path), holder: holder(file) }),
            Err(errno) => return Err(failed(errno.into())),
        }
        // The text only helps people: on a full disk the lock holds without it.
        let _ = sign(&mut file);
        Ok(Lock { beside: file, database: None })
    }

    /// Locks the database itself, which exists by now, against those who know it by another name.
    pub fn hold(&mut self, path: &Path) -> Result<(), Error> {
        let at = || path.display().to_string();
        let file = File::open(path).map_err(|source| Error::File { path: at(), source })?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let holder = "another process, by another name of the same file".to_owned();
                return Err(Error::Locked { path: at(), holder });
            }
            Err(errno) => return Err(Error::File { path: at(), source: errno.into() }),
        }
        self.database = Some(file);
        Ok(())
    }
}

/// Writes who we are into the lock.
fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    writeln!(file, "process {} on host {host} since {}", std::process::id(), clock::wall())
}

/// What the process that holds the lock wrote into it.
pub(super) fn holder(file: File) -> String {
    let mut text = String::new();
    let read = file.take(300).read_to_string(&mut text);
    let text = text.trim();
    if read.is_ok() && text.starts_with("process ") && !text.contains(char::is_control) {
        text.to_owned()
    } else {
        "another process".to_owned()
    }
}

pub(super) fn lock_path(path: &Path) -> PathBuf {
    beside(path, ".lock")
}

/// The file beside `path` that SQLite or we call by its name and `suffix`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The path without links, so that all names of a file have one lock; also of one that is still to be made.
pub(super) fn resolve(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        if let Ok(real) = std::fs::canonicalize(&path) {
            return real;
        }
        match std::fs::read_link(&path) {
            Ok(target) => path = folder(&path).join(target),
            Err(_) => break,
        }
    }
    match (std::fs::canonicalize(folder(&path)), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path,
    }
}

/// The folder that `path` lies in.
pub fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

pub(super) fn refuse_network(path: &Path) -> Result<(), Error> {
    let folder = folder(path);
    let found = rustix::fs::statfs(folder).map_err(|errno| match errno {
        rustix::io::Errno::NOENT => {
            let remedy = format!(
                "the folder {} doesn't exist; create it, owned by the user that runs jumpstream, or change state.path",
                folder.display()
            );
            Error::File { path: path.display().to_string(), source: io::Error::new(io::ErrorKind::NotFound, remedy) }
        }
        errno => Error::File { path: folder.display().to_string(), source: errno.into() },
    })?;
    // The kernel's magic numbers have 32 bits; the field's width and sign differ between machines.
    match file_system(found.f_type as u32) {
        FileSystem::Local => Ok(()),
        FileSystem::Network(kind) => {
            Err(Error::NetworkFileSystem { path: path.display().to_string(), kind: kind.to_owned() })
        }
        FileSystem::Fuse => {
            tracing::warn!("{} lies on a FUSE file system; if that is a remote one, its locks can't be trusted", {
                path.display()
            });
            Ok(())
        }
    }
}

/// What a file system's magic number says of its locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    Local,
    /// Either: the number does not tell.
    Fuse,
    /// Its locks may be held on two machines at once.
    Network(&'static str),
}

/// The kind behind `f_type` of statfs(2) (the numbers stand in `linux/magic.h` and in each file system's source).
pub fn file_system(magic: u32) -> FileSystem {
    match magic {
        0x6969 => FileSystem::Network("NFS"),
        0x517B => FileSystem::Network("SMB"),
        0xFE53_4D42 => FileSystem::Network("SMB2"),
        0xFF53_4D42 => FileSystem::Network("CIFS"),
        0x0102_1997 => FileSystem::Network("9p"),
        0x00C3_6400 => FileSystem::Network("Ceph"),
        0x0BD0_0BD0 => FileSystem::Network("Lustre"),
        0x5346_414F | 0x6B41_4653 => FileSystem::Network("AFS"),
        0x7375_7245 => FileSystem::Network("Coda"),
        0x564C => FileSystem::Network("NCP"),
        0x4750_4653 => FileSystem::Network("GPFS"),
        0x1983_0326 => FileSystem::Network("BeeGFS"),
        0x6573_5546 => FileSystem::Fuse,
        _ => FileSystem::Local,
    }
}
