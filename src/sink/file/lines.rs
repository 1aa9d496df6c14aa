//! A file of whole lines: opened, repaired, appended to, followed through rotation.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use memchr::memrchr;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use super::write_line;

/// Large enough that a batch takes few system calls, small enough to be no part of the memory budget.
const BUFFER: usize = 256 * 1024;

/// The file and what is known to be good of it.
pub(super) struct Lines {
    path: PathBuf,
    file: File,
    /// A failed write left bytes behind this length which could not be cut off yet.
    whole: Option<u64>,
}

impl Lines {
    pub(super) fn open(path: &Path) -> io::Result<Lines> {
        Ok(Lines { path: path.into(), file: open(path)?, whole: None })
    }

    /// Appends one line a value; when it fails none of them is left.
    pub(super) fn append(&mut self, values: &[Bytes]) -> io::Result<()> {
        self.cut()?;
        self.follow()?;
        let before = self.file.metadata()?.len();
        let written = write(&self.file, values);
        if written.is_err() {
            self.whole = Some(before);
            // What failed is said by the write's own error; a cut that fails too is tried again first of all.
            let _ = self.cut();
        }
        written
    }

    /// Cuts off what a failed write left.
    fn cut(&mut self) -> io::Result<()> {
        if let Some(length) = self.whole {
            // A rotation by copy and truncate may have made it shorter meanwhile; never longer again.
            if self.file.metadata()?.len() > length {
                self.file.set_len(length)?;
                self.file.sync_data()?;
            }
            self.whole = None;
        }
        Ok(())
    }

    /// Opens the path anew where it no longer names our file: renamed or removed by a rotation.
    fn follow(&mut self) -> io::Result<()> {
        let ours = self.file.metadata()?;
        let same = match fs::metadata(&self.path) {
            Ok(there) => (there.dev(), there.ino()) == (ours.dev(), ours.ino()),
            Err(fault) if fault.kind() == ErrorKind::NotFound => false,
            Err(fault) => return Err(fault),
        };
        if !same {
            self.file = open(&self.path)?;
            tracing::info!(path = %self.path.display(), "rotated: opened anew");
        }
        Ok(())
    }
}

fn write(file: &File, values: &[Bytes]) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER, file);
    let written = values.iter().try_for_each(|value| write_line(&mut out, value)).and_then(|()| out.flush());
    // Taken apart, because a dropped BufWriter would write the rest of a batch that is about to be cut off.
    let _ = out.into_parts();
    written?;
    file.sync_data()
}

/// Opens or creates the file, takes its lock and cuts off a torn last line.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // Non-blocking, so that a FIFO is told as one instead of waiting for its other end.
    options.read(true).append(true).mode(0o600).custom_flags(OFlags::NONBLOCK.bits() as i32);
    let (file, created) = match options.open(path) {
        Ok(file) => (file, false),
        Err(fault) if fault.kind() == ErrorKind::NotFound => (options.create(true).open(path).map_err(explain)?, true),
        Err(fault) => return Err(explain(fault)),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file; name one, or use the stdout sink for a pipe"));
    }
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            return Err(io::Error::other(
                "another process or sink writes to it (see fuser or lsof); give each its own",
            ));
        }
        Err(fault) => return Err(fault.into()),
    }
    if created {
        sync_directory(path)?;
    } else if metadata.mode() & 0o077 != 0 {
        tracing::warn!(
            path = %path.display(), mode = format_args!("{:o}", metadata.mode() & 0o777),
            "the file is open to other users of this machine; events are personal data: chmod 0600"
        );
    }
    repair(&file, path)?;
    Ok(file)
}

fn explain(fault: io::Error) -> io::Error {
    let remedy = match fault.kind() {
        ErrorKind::IsADirectory => "it is a directory: name a file in it",
        ErrorKind::NotFound | ErrorKind::NotADirectory => "its directory doesn't exist: create it, or correct the path",
        ErrorKind::PermissionDenied => "let the user that runs jumpstream write it and its directory",
        _ => return fault,
    };
    io::Error::new(fault.kind(), format!("{fault}; {remedy}"))
}

/// A new name is durable only when its directory is (fsync(2)).
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

/// Cuts off what stands behind the last line's end: a crash tore it, so it was never acknowledged, and will be
/// delivered again. That is why no copy is kept. What doesn't look like ours is left alone.
fn repair(file: &File, path: &Path) -> io::Result<()> {
    let length = file.metadata()?.len();
    let whole = end_of_last_line(file, length)?;
    if whole < length {
        if !is_torn_by_us(file, whole, length)? {
            return Err(io::Error::other(
                "it ends without a line's end, in something that jumpstream did not write; name a file of its own, or end this one with a newline if events are to be appended to it",
            ));
        }
        tracing::warn!(path = %path.display(), bytes = length - whole, "cut off a torn last line");
        file.set_len(whole)?;
        file.sync_data()?;
    }
    Ok(())
}

/// Whether the rest from `whole` on is a torn event or dead letter behind another one, or behind nothing; or what a
/// power cut makes of one, zeros.
fn is_torn_by_us(file: &File, whole: u64, length: u64) -> io::Result<bool> {
    let byte = |at: u64| {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).map(|()| byte[0])
    };
    let mut head = vec![0; (length - whole).min(64) as usize];
    file.read_exact_at(&mut head, whole)?;
    let zeros = head.iter().all(|byte| *byte == 0);
    let object = match head.split_first() {
        Some((b'{', rest)) => rest.trim_ascii_start().first().is_none_or(|byte| *byte == b'"'),
        _ => false,
    };
    if whole > 0 {
        return Ok((object || zeros) && byte(end_of_last_line(file, whole - 1)?)? == b'{');
    }
    // One whole object alone is more likely another program's file.
    Ok(object && byte(length - 1)? != b'}')
}

/// The length up to and with the last line's end; zero where there is none.
fn end_of_last_line(file: &File, length: u64) -> io::Result<u64> {
    let mut buffer = vec![0; 64 * 1024];
    let mut end = length;
    while end > 0 {
        let from = end.saturating_sub(buffer.len() as u64);
        let chunk = &mut buffer[..(end - from) as usize];
        file.read_exact_at(chunk, from)?;
        if let Some(at) = memrchr(b'\n', chunk) {
            return Ok(from + at as u64 + 1);
        }
        end = from;
    }
    Ok(0)
}
