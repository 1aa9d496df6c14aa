//! The rows of what is written to disk: the state, the file sinks, a dead-letter file.

use std::io;
use std::path::Path;

use rustix::fs::{Access, Mode, OFlags};
use rustix::io::Errno;

use super::{Row, halves};
use crate::store::sqlite::{Look, SqliteStore};

/// Looks at the state beside a running instance: opens nothing to write, takes no lock.
///
/// Says too who has it, if anybody.
pub(super) fn state(path: &Path) -> (Row, Option<String>) {
    let name = "state";
    let row = match SqliteStore::look(path) {
        Err(error) => {
            let (finding, remedy) = halves(&error.to_string());
            Row::red(name, finding, remedy)
        }
        Ok(Look { holder: Some(holder), .. }) => {
            let finding = format!("{} is in use by {holder}, which this check leaves alone", path.display());
            let remedy = "nothing, while that one is to run; another one wants a state.path of its own";
            return (Row::yellow(name, finding, remedy), Some(holder));
        }
        Ok(Look { exists: true, .. }) if writable(path).is_ok() => {
            Row::green(name, format!("{} is there and not in use", path.display()))
        }
        Ok(_) => file(name, path),
    };
    (row, None)
}

/// A file that is appended to, or made.
pub(super) fn file(name: &str, path: &Path) -> Row {
    let shown = path.display();
    match path.metadata() {
        Ok(found) if found.is_dir() => {
            Row::red(name, format!("{shown} is a directory"), "give the path of a file in it")
        }
        Ok(_) => match writable(path) {
            Ok(()) => Row::green(name, format!("{shown} can be written to")),
            Err(error) => refused(name, path, &error),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => match takes_files(folder(path)) {
            Ok(()) => Row::green(name, format!("{shown} is not there yet; it can be made")),
            Err(error) => refused(name, folder(path), &error),
        },
        Err(error) => refused(name, path, &error),
    }
}

fn refused(name: &str, path: &Path, error: &io::Error) -> Row {
    let remedy = "make the directory, or give it to the user that runs jumpstream; or correct the path";
    Row::red(name, format!("{} can't be written to: {error}", path.display()), remedy)
}

fn writable(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::access(path, Access::WRITE_OK)?)
}

/// Makes a file without a name, which nobody sees and which is gone at once. Rights alone don't tell: /proc has them.
fn takes_files(folder: &Path) -> io::Result<()> {
    match rustix::fs::open(folder, OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR) {
        Ok(_) => Ok(()),
        // The file system knows only files with names.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
            let path = folder.join(format!(".jumpstream-check-{}", std::process::id()));
            std::fs::OpenOptions::new().write(true).create_new(true).open(&path)?;
            std::fs::remove_file(path)
        }
        Err(errno) => Err(errno.into()),
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}
