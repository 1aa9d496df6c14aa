//! Files that must not be one and the same: what is written, what is read, and the configuration itself.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::fault::Place;
use super::read::{Input, Reader};

/// A file by all that can be known of it.
struct Known<'a> {
    /// None for the configuration itself.
    named: Option<&'a Input>,
    path: PathBuf,
    inode: Option<(u64, u64)>,
}

impl Known<'_> {
    fn is(&self, other: &Known<'_>) -> bool {
        self.path == other.path || self.inode.is_some() && self.inode == other.inode
    }

    fn key(&self) -> &str {
        self.named.map_or("", |named| &named.key)
    }
}

/// Notes each file that is written and is another one as well, whatever names they have.
pub(super) fn look(configuration: &Path, inputs: &[Input], reader: &Reader) {
    let outputs = reader.outputs.take();
    let written: Vec<Known> = outputs.iter().map(known).collect();
    let read = inputs.iter().map(known).chain([Known { named: None, ..known_at(configuration) }]);
    let read: Vec<Known> = read.collect();
    for (index, output) in written.iter().enumerate() {
        let other = written[..index].iter().chain(&read).find(|other| output.is(other) && other.key() != output.key());
        if let Some(other) = other {
            refuse(output, other, reader);
        }
    }
}

fn refuse(output: &Known<'_>, other: &Known<'_>, reader: &Reader) {
    let what = match other.key() {
        "" => "the configuration itself".to_owned(),
        key => format!("the file of {key}"),
    };
    let place = output.named.map_or(Place::Whole, |named| named.place.clone());
    reader.fault(
        place,
        output.key(),
        format!("this is {what} as well"),
        "give it a file of its own, or both are destroyed",
    );
}

fn known(input: &Input) -> Known<'_> {
    Known { named: Some(input), ..known_at(&input.path) }
}

fn known_at<'a>(path: &Path) -> Known<'a> {
    let inode = std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    Known { named: None, path: real(path), inode }
}

/// The path without links; of a file that is still to be made, its folder's.
fn real(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let made = || Some(std::fs::canonicalize(folder).ok()?.join(path.file_name()?));
    std::fs::canonicalize(path).ok().or_else(made).unwrap_or_else(|| path.to_owned())
}
