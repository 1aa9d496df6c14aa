//! Events as lines on standard output: handed over when written, which is no promise of whoever reads them.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::record::Record;
use crate::retry::Schedule;
use crate::sink::file::write_line;
use crate::sink::trouble::Trouble;
use crate::sink::{Error, Refused, Sink};

/// How long a write may block before we say that the reader doesn't read.
const STALL: Duration = Duration::from_secs(5);

/// Writes one event a line, as [`write_line`] does.
///
/// A delivery that is dropped half way may leave a line without its end in the pipe.
pub struct StdoutSink {
    out: Mutex<Arc<File>>,
    trouble: Trouble,
}

impl StdoutSink {
    /// The process's standard output.
    pub fn new() -> Result<StdoutSink, Error> {
        let own = io::stdout().as_fd().try_clone_to_owned();
        own.map(|fd| StdoutSink::to(fd.into()))
            .map_err(|fault| Error::Open { target: "standard output".into(), fault: fault.to_string() })
    }

    /// Any other pipe or terminal.
    pub fn to(out: File) -> StdoutSink {
        StdoutSink { out: Mutex::new(Arc::new(out)), trouble: Trouble::new("stdout") }
    }
}

#[async_trait]
impl Sink for StdoutSink {
    fn name(&self) -> &'static str {
        "stdout"
    }

    async fn deliver(&self, records: &[Record]) -> Result<Vec<Refused>, Error> {
        let out = self.out.lock().await;
        let mut lines = Vec::with_capacity(records.iter().map(|record| record.value.len() + 1).sum());
        for record in records {
            write_line(&mut lines, &record.value).expect("a vector takes all");
        }
        let lines = Arc::new(lines);
        let mut written = 0;
        let mut wait = self.trouble.wait();
        let mut pauses = Schedule::new(Duration::from_millis(10), Duration::from_secs(5));
        while written < lines.len() {
            let (now, result) = {
                let (out, lines) = (out.clone(), lines.clone());
                let mut write = spawn_blocking(move || write_from(&out, &lines, written));
                loop {
                    tokio::select! {
                        done = &mut write => break done.expect("writing doesn't panic"),
                        () = tokio::time::sleep(STALL) => wait.until("standard output takes nothing: what reads it has stopped reading"),
                    }
                }
            };
            if now > written {
                pauses.reset();
            }
            written = now;
            match result {
                Ok(()) => {}
                Err(fault) if heals(&fault) => {
                    let pause = pauses.pause();
                    // A reader that is a moment late is no trouble.
                    if pause > Duration::from_secs(1) {
                        wait.until(format!("standard output: {fault}; free space there, or let its reader go on"));
                    }
                    tokio::time::sleep(pause).await;
                }
                Err(source) => return Err(Error::Write { target: "standard output".into(), source }),
            }
        }
        wait.over();
        Ok(Vec::new())
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.text()
    }
}

/// Writes `lines` from the byte `at`; gives how far it came.
fn write_from(mut out: &File, lines: &[u8], mut at: usize) -> (usize, io::Result<()>) {
    while at < lines.len() {
        match out.write(&lines[at..]) {
            Ok(0) => return (at, Err(ErrorKind::WriteZero.into())),
            Ok(some) => at += some,
            Err(fault) if fault.kind() == ErrorKind::Interrupted => {}
            Err(fault) => return (at, Err(fault)),
        }
    }
    (at, Ok(()))
}

/// A pipe that doesn't block and is full, or a file on a full disk; a closed pipe never heals.
fn heals(fault: &io::Error) -> bool {
    matches!(fault.kind(), ErrorKind::WouldBlock | ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}
