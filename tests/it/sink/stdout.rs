//! Standard output, shown on a pipe.

use std::io::{Read as _, Write as _};

use jumpstream::sink::stdout::StdoutSink;
use jumpstream::sink::{Error, Sink as _};

use super::{DEADLINE, eventually, record, records};

fn pipe() -> (std::io::PipeReader, std::fs::File) {
    let (reader, writer) = std::io::pipe().unwrap();
    (reader, std::os::fd::OwnedFd::from(writer).into())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_a_line() {
    let (mut reader, writer) = pipe();
    let sink = StdoutSink::to(writer);
    let read = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| text)
    });
    // More than a pipe holds, so that writes are short.
    let records = records(0..5_000);
    sink.deliver(&records).await.unwrap();
    sink.deliver(&[record("{\r\n  \"id\": 1\n}")]).await.unwrap();
    drop(sink);
    let text = read.await.unwrap().unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5_001);
    for (line, record) in lines.iter().zip(&records) {
        assert_eq!(line.as_bytes(), record.value);
    }
    assert_eq!(lines[5_000], "{    \"id\": 1 }");
}

#[tokio::test]
async fn a_closed_pipe_is_fatal_and_says_so() {
    let (reader, writer) = pipe();
    drop(reader);
    let error = StdoutSink::to(writer).deliver(&records(0..1)).await.unwrap_err();
    assert!(matches!(&error, Error::Write { source, .. } if source.kind() == std::io::ErrorKind::BrokenPipe));
    assert!(error.to_string().contains("what reads it has gone"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_is_waited_for_and_told() {
    let (mut reader, mut writer) = pipe();
    // Fills the pipe, whose reader sleeps.
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    let mut filled = 0;
    while let Ok(some) = writer.write(&[b'.'; 4096]) {
        filled += some;
    }
    let sink = std::sync::Arc::new(StdoutSink::to(writer));
    let delivery = tokio::spawn({
        let sink = sink.clone();
        async move { sink.deliver(&records(0..3)).await }
    });
    eventually("the trouble", || sink.trouble()).await;
    let mut bytes = vec![0; filled];
    reader.read_exact(&mut bytes).unwrap();
    tokio::time::timeout(DEADLINE, delivery).await.unwrap().unwrap().unwrap();
    assert_eq!(sink.trouble(), None);
    drop(sink);
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert_eq!(rest.lines().count(), 3);
}
