//! Events, dead letters and control records in files: one JSON object a line, durable when acknowledged.
//!
//! # Invariants
//! A line is whole or is not there: what a crash or a full disk cut is cut off before the next line is written.
//! Nothing is acknowledged before `fdatasync`. Never creates a directory, never removes or renames a file.
//!
//! # Cancellation
//! Dropping `deliver` or `bury` lets the write that is under way end by itself; the next one waits for it.

mod lines;

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use serde_json::value::RawValue;
use tokio::task::spawn_blocking;

use crate::record::{DeadLetter, Reason, Record, line};
use crate::retry::Schedule;
use crate::sink::trouble::{Trouble, Wait};
use crate::sink::{ControlRecord, ControlRecords, DeadLetters, Error, Refused, Sink};
use lines::Lines;

/// Appends one event a line.
pub struct FileSink(Appender);

/// Appends one dead letter a line: `reason`, `explanation`, `size`, `headers` and the `event`;
/// of an event that was cut, its `head` as text; of something malformed, all of it as `text`.
pub struct FileDeadLetters(Appender);

/// Appends one control record a line.
pub struct FileControlRecords(Appender);

impl FileSink {
    /// Opens the file, which is created with mode 0600 where it is missing, and cuts off a torn last line.
    /// Blocks for as long as the disk takes.
    pub fn open(path: &Path) -> Result<FileSink, Error> {
        Appender::open(path).map(FileSink)
    }
}

impl FileDeadLetters {
    /// As [`FileSink::open`].
    pub fn open(path: &Path) -> Result<FileDeadLetters, Error> {
        Appender::open(path).map(FileDeadLetters)
    }
}

impl FileControlRecords {
    /// As [`FileSink::open`].
    pub fn open(path: &Path) -> Result<FileControlRecords, Error> {
        Appender::open(path).map(FileControlRecords)
    }
}

#[async_trait]
impl Sink for FileSink {
    fn name(&self) -> &'static str {
        "file"
    }

    async fn deliver(&self, records: &[Record]) -> Result<Vec<Refused>, Error> {
        self.0.append(records.iter().map(|record| record.value.clone()).collect()).await;
        Ok(Vec::new())
    }

    fn trouble(&self) -> Option<String> {
        self.0.trouble.text()
    }
}

#[async_trait]
impl DeadLetters for FileDeadLetters {
    async fn bury(&self, letters: &[DeadLetter]) -> Result<(), Error> {
        let line = |letter| serde_json::to_vec(&Letter(letter)).expect("strings, a number and JSON are JSON").into();
        self.0.append(letters.iter().map(line).collect()).await;
        Ok(())
    }

    fn trouble(&self) -> Option<String> {
        self.0.trouble.text()
    }
}

#[async_trait]
impl ControlRecords for FileControlRecords {
    async fn write(&self, records: &[ControlRecord]) -> Vec<Refused> {
        self.0.append(records.iter().map(|record| record.value.clone()).collect()).await;
        Vec::new()
    }

    fn trouble(&self) -> Option<String> {
        self.0.trouble.text()
    }
}

/// Appends lines and waits for a disk that may heal.
struct Appender {
    target: String,
    lines: Arc<Mutex<Lines>>,
    trouble: Trouble,
}

impl Appender {
    fn open(path: &Path) -> Result<Appender, Error> {
        let target = path.display().to_string();
        let lines =
            Lines::open(path).map_err(|fault| Error::Open { target: target.clone(), fault: fault.to_string() })?;
        Ok(Appender { lines: Arc::new(Mutex::new(lines)), trouble: Trouble::new(format!("file {target}")), target })
    }

    async fn append(&self, values: Vec<Bytes>) {
        let values: Arc<[Bytes]> = values.into();
        let mut wait = self.trouble.wait();
        let mut pauses = Schedule::new(Duration::from_millis(100), Duration::from_secs(5));
        while let Err(fault) = self.try_append(values.clone(), &mut wait).await {
            wait.until(format!("writing to {}: {fault}; it goes on by itself once this is put right", self.target));
            tokio::time::sleep(pauses.pause()).await;
        }
        wait.over();
    }

    async fn try_append(&self, values: Arc<[Bytes]>, wait: &mut Wait<'_>) -> io::Result<()> {
        let lines = self.lines.clone();
        let mut write = spawn_blocking(move || lines.lock().unwrap_or_else(PoisonError::into_inner).append(&values));
        loop {
            tokio::select! {
                done = &mut write => return done.unwrap_or_else(|fault| Err(io::Error::other(fault))),
                () = tokio::time::sleep(Duration::from_secs(30)) => {
                    wait.until(format!("writing to {} takes over 30 s: look at its disk", self.target));
                }
            }
        }
    }
}

/// Writes `json` on one line, as [`line::write`] does, and the line's end.
pub fn write_line(out: &mut impl Write, json: &[u8]) -> io::Result<()> {
    line::write(out, json)?;
    out.write_all(b"\n")
}

/// A dead letter as its line.
struct Letter<'a>(&'a DeadLetter);

impl Serialize for Letter<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let letter = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("reason", letter.reason.as_str())?;
        map.serialize_entry("explanation", &letter.explanation)?;
        map.serialize_entry("size", &letter.size)?;
        map.serialize_entry("headers", &Headers(letter))?;
        let whole = (letter.reason != Reason::TooLarge)
            .then(|| serde_json::from_slice::<&RawValue>(&letter.value).ok())
            .flatten();
        match whole {
            Some(event) => map.serialize_entry("event", event)?,
            None if letter.reason == Reason::Malformed => {
                map.serialize_entry("text", &String::from_utf8_lossy(&letter.value))?;
            }
            // The cut may lie within a character, which is then shown as U+FFFD.
            None => map.serialize_entry("head", &String::from_utf8_lossy(&letter.value))?,
        }
        map.end()
    }
}

struct Headers<'a>(&'a DeadLetter);

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.headers.iter().map(|(name, value)| (*name, value)))
    }
}
