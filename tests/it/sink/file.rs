//! Files: whole lines only, durable, followed through rotation, patient with a full disk.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use jumpstream::record::{DeadLetter, Reason, Record};
use jumpstream::sink::file::{FileDeadLetters, FileSink};
use jumpstream::sink::{DeadLetters as _, Error, Sink as _};
use tempfile::TempDir;

use super::{DEADLINE, eventually, record, records};

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.ndjson");
    (directory, path)
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn values(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8(record.value.to_vec()).unwrap()).collect()
}

fn fault(opened: Result<FileSink, Error>) -> String {
    let Err(error) = opened else { panic!("it opened") };
    assert_eq!(error.label(), "open");
    error.to_string()
}

#[tokio::test]
async fn a_new_file_is_for_its_owner_only_and_grows_by_lines() {
    let (_directory, path) = place();
    let sink = FileSink::open(&path).unwrap();
    let records = records(0..1_000);
    assert_eq!(sink.deliver(&records[..400]).await.unwrap(), []);
    assert_eq!(sink.deliver(&records[400..]).await.unwrap(), []);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(lines(&path), values(&records));
    assert_eq!(sink.trouble(), None);
}

#[tokio::test]
async fn an_event_of_many_lines_is_one_line_of_the_same_value() {
    let (_directory, path) = place();
    let pretty = "{\r\n  \"id\": \"1\",\n  \"text\": \"a\\nb\"\n}";
    FileSink::open(&path).unwrap().deliver(&[record(pretty)]).await.unwrap();
    let [line] = &lines(&path)[..] else { panic!("one line") };
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(value(line), value(pretty));
    assert_eq!(line.len(), pretty.len());
}

#[tokio::test]
async fn a_torn_last_line_is_cut_off_at_the_start() {
    // The second is longer than the stretch that is searched at once.
    let long = format!("{{ \"id\":\"{}", "x".repeat(200_000));
    for torn in ["{\"id\":\"to".to_owned(), "{".to_owned(), long] {
        for whole in ["", "{\"id\":\"whole\"}\n"] {
            let (_directory, path) = place();
            fs::write(&path, format!("{whole}{torn}")).unwrap();
            let sink = FileSink::open(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), whole);
            sink.deliver(&records(0..1)).await.unwrap();
            assert_eq!(lines(&path).len(), whole.lines().count() + 1);
        }
    }
}

#[tokio::test]
async fn an_event_that_lacks_only_its_line_end_and_the_zeros_of_a_power_cut_are_cut_off_behind_others() {
    for torn in ["{\"id\":\"a\"}".to_owned(), "\0".repeat(5_000)] {
        let (_directory, path) = place();
        fs::write(&path, format!("{{\"id\":\"whole\"}}\n{torn}")).unwrap();
        drop(FileSink::open(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"id\":\"whole\"}\n");
    }
}

#[tokio::test]
async fn a_file_that_is_not_ours_is_left_alone() {
    for foreign in [
        "jca_a_key_without_a_line_end",
        "accounts:\n- {a: b}",
        "{\"type\":\"service_account\"}",
        "{\n  \"pretty\": true\n}",
        "a log line\n{\"id\":\"to",
        "\0\0\0\0",
        "SQLite format 3\0",
    ] {
        let (_directory, path) = place();
        fs::write(&path, foreign).unwrap();
        let fault = fault(FileSink::open(&path));
        assert!(fault.contains("name a file of its own"), "{fault}");
        assert_eq!(fs::read_to_string(&path).unwrap(), foreign);
    }
}

#[tokio::test]
async fn a_rotated_file_is_opened_anew() {
    let (directory, path) = place();
    let sink = FileSink::open(&path).unwrap();
    let records = records(0..30);
    sink.deliver(&records[..10]).await.unwrap();
    let renamed = directory.path().join("events.ndjson.1");
    fs::rename(&path, &renamed).unwrap();
    sink.deliver(&records[10..20]).await.unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    fs::remove_file(&path).unwrap();
    sink.deliver(&records[20..]).await.unwrap();
    assert_eq!(lines(&renamed), values(&records[..10]));
    assert_eq!(lines(&path), values(&records[20..]));
}

#[tokio::test]
async fn a_file_that_was_copied_and_truncated_goes_on_at_its_beginning() {
    let (_directory, path) = place();
    let sink = FileSink::open(&path).unwrap();
    let records = records(0..20);
    sink.deliver(&records[..10]).await.unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    sink.deliver(&records[10..]).await.unwrap();
    assert_eq!(lines(&path), values(&records[10..]));
}

#[tokio::test]
async fn a_directory_that_went_away_is_waited_for() {
    let (directory, _) = place();
    let inner = directory.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let path = inner.join("events.ndjson");
    let sink = Arc::new(FileSink::open(&path).unwrap());
    fs::remove_dir_all(&inner).unwrap();
    let records = records(0..10);
    let delivery = tokio::spawn({
        let (sink, records) = (sink.clone(), records.clone());
        async move { sink.deliver(&records).await }
    });
    let trouble = eventually("the trouble", || sink.trouble()).await;
    assert!(trouble.contains("its directory doesn't exist"), "{trouble}");
    fs::create_dir(&inner).unwrap();
    tokio::time::timeout(DEADLINE, delivery).await.unwrap().unwrap().unwrap();
    assert_eq!(lines(&path), values(&records));
    assert_eq!(sink.trouble(), None);
}

#[test]
fn what_is_no_file_of_ours_is_refused_with_the_remedy() {
    let (directory, path) = place();
    assert!(fault(FileSink::open(directory.path())).contains("name a file in it"));
    assert!(fault(FileSink::open(&directory.path().join("none/events"))).contains("create it, or correct the path"));
    assert!(fault(FileSink::open(Path::new("/dev/null"))).contains("no regular file"));
    let _first = FileSink::open(&path).unwrap();
    assert!(fault(FileSink::open(&path)).contains("another process or sink writes to it"));
}

/// A file system of 1 MiB, where the tests may mount one.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<SmallDisk> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "jumpstream-test"])
            .arg(directory.path())
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then(|| SmallDisk(directory))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_waited_for_without_half_a_line() {
    let Some(disk) = SmallDisk::mount() else {
        assert!(std::env::var_os("CI").is_none(), "CI must be able to mount a small tmpfs for this test");
        return eprintln!("SKIPPED: a full disk: mounting a tmpfs needs root");
    };
    let path = disk.0.path().join("events.ndjson");
    let ballast = disk.0.path().join("ballast");
    let sink = Arc::new(FileSink::open(&path).unwrap());
    let records = records(0..4_000);
    sink.deliver(&records[..100]).await.unwrap();
    fs::write(&ballast, vec![0; 900_000]).unwrap();
    let delivery = tokio::spawn({
        let (sink, records) = (sink.clone(), records.clone());
        async move { sink.deliver(&records[100..]).await }
    });
    let trouble = eventually("the trouble", || sink.trouble()).await;
    assert!(trouble.contains("No space left"), "{trouble}");
    // Between two tries nothing of the batch is left.
    eventually("the batch is cut off", || (lines(&path) == values(&records[..100])).then_some(())).await;
    fs::remove_file(&ballast).unwrap();
    tokio::time::timeout(DEADLINE, delivery).await.unwrap().unwrap().unwrap();
    assert_eq!(lines(&path), values(&records));
    assert_eq!(sink.trouble(), None);
}

#[tokio::test]
async fn a_batch_is_synced_before_it_is_acknowledged() {
    // Seen from outside, by tracing a process of ours, where strace is there.
    let strace = Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success());
    if !strace {
        return eprintln!("SKIPPED: fdatasync before the acknowledgement: strace is missing");
    }
    let (directory, path) = place();
    let trace = directory.path().join("trace");
    let mut strace = Command::new("strace")
        .args(["-f", "-e", "trace=fdatasync,fsync", "-o"])
        .arg(&trace)
        .args(["-p", &std::process::id().to_string()])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let attached = |trace: &Path| fs::metadata(trace).is_ok().then_some(());
    eventually("strace is attached", || attached(&trace)).await;
    let sink = FileSink::open(&path).unwrap();
    let mut calls = 0;
    for batch in 0..3 {
        sink.deliver(&records(batch * 10..batch * 10 + 10)).await.unwrap();
        let before = calls;
        eventually("a sync was seen", || {
            calls = fs::read_to_string(&trace).unwrap().matches("fdatasync(").count();
            (calls > before).then_some(())
        })
        .await;
    }
    strace.kill().unwrap();
    strace.wait().unwrap();
}

#[tokio::test]
async fn a_dead_letter_is_a_line_with_its_reason_and_its_event() {
    let (_directory, path) = place();
    let letters = FileDeadLetters::open(&path).unwrap();
    let refused = record("{\n\"id\": \"1\",\"big\":\"\\u00e4\"}");
    let whole = DeadLetter::of(&refused, Reason::TooLargeForSink, "over the limit of 5 \"bytes\"".into());
    let head = "{\"id\":\"2\",\"text\":\"ä".as_bytes();
    let cut = DeadLetter {
        reason: Reason::TooLarge,
        explanation: "over max_event_bytes".into(),
        value: bytes::Bytes::copy_from_slice(&head[..head.len() - 1]),
        size: 20_000_000,
        headers: vec![("organization", "org-1".into())],
        organization: Arc::from("org-1"),
    };
    letters.bury(&[whole, cut]).await.unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let lines: Vec<serde_json::Value> = lines(&path).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        lines[0],
        serde_json::json!({
            "reason": "too_large_for_sink",
            "explanation": "over the limit of 5 \"bytes\"",
            "size": refused.value.len(),
            "headers": {
                "event-id": "1",
                "organization": "org-1",
                "delivery": "live",
                "ingested-at": refused.ingested_at.to_string(),
            },
            "event": {"id": "1", "big": "ä"},
        })
    );
    assert_eq!(
        lines[1],
        serde_json::json!({
            "reason": "too_large",
            "explanation": "over max_event_bytes",
            "size": 20_000_000,
            "headers": {"organization": "org-1"},
            "head": "{\"id\":\"2\",\"text\":\"\u{fffd}",
        })
    );
}
