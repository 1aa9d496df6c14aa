//! The progress file: whose it is, who holds it, and what a crash or an outsider leaves of it.

use std::path::Path;

use jumpstream::clock::Time;
use jumpstream::ledger::{Coverage, StreamKey};
use jumpstream::replay::{Progress, ProgressError, Subject};
use jumpstream::store::Store as _;

fn time(text: &str) -> Time {
    Time::parse(text).unwrap()
}

fn range() -> std::ops::Range<Time> {
    time("2026-03-02T12:00:00Z")..time("2026-03-02T13:00:00Z")
}

fn subject() -> Subject {
    Subject {
        from: range().start.to_string(),
        to: range().end.to_string(),
        accounts: vec!["main at https://api.example.com".to_owned()],
        sinks: vec!["events.ndjson".to_owned()],
        streams: vec![stream().to_string()],
    }
}

fn stream() -> StreamKey {
    StreamKey { organization: "5f00000000000000000000aa".to_owned(), service: "all".to_owned() }
}

fn open(path: &Path, subject: Subject) -> Result<Progress, ProgressError> {
    Progress::open(path, subject, range())
}

/// To five minutes past, in nanoseconds.
fn five() -> Coverage {
    Coverage::of([range().start..time("2026-03-02T12:05:00.000000001Z")])
}

#[tokio::test]
async fn what_was_saved_is_there_after_a_restart_and_gone_when_all_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("progress.json");
    let progress = open(&path, subject()).unwrap();
    assert!(progress.load(&stream()).await.unwrap().is_none());
    progress.save(&stream(), &progress.checkpoint(&five())).await.unwrap();
    drop(progress);
    let progress = open(&path, subject()).unwrap();
    assert_eq!(progress.load(&stream()).await.unwrap().unwrap().coverage, five());
    assert_eq!(Progress::look(&path, &subject()).unwrap()[&stream().to_string()], five());
    progress.finish().unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    assert!(Progress::look(&path, &subject()).unwrap().is_empty());
}

#[tokio::test]
async fn another_replay_is_refused_and_told_in_what_it_differs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("progress.json");
    drop(open(&path, subject()).unwrap());
    let other = || vec!["another".to_owned()];
    let others = [
        (Subject { to: "2026-03-03T00:00:00Z".to_owned(), ..subject() }, "its range is 2026-03-02T12:00:00Z to"),
        (Subject { accounts: other(), ..subject() }, "its events come from main at https://api.example.com"),
        (Subject { sinks: other(), ..subject() }, "its events go to events.ndjson, but wanted is another"),
        (Subject { streams: other(), ..subject() }, "its streams are 5f00000000000000000000aa/all"),
    ];
    for (other, sentence) in others {
        let refused = open(&path, other.clone()).err().unwrap().to_string();
        for part in [sentence, "belongs to another replay", "--progress-file", "delete it to begin anew"] {
            assert!(refused.contains(part), "{refused}");
        }
        assert!(matches!(Progress::look(&path, &other), Err(ProgressError::Other { .. })));
    }
    open(&path, subject()).unwrap();
}

#[tokio::test]
async fn a_file_in_use_and_one_that_is_none_of_ours_are_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("progress.json");
    let progress = open(&path, subject()).unwrap();
    assert!(matches!(open(&path, subject()), Err(ProgressError::Held { .. })));
    // The lock goes along with what replaces the file.
    progress.save(&stream(), &progress.checkpoint(&five())).await.unwrap();
    assert!(matches!(open(&path, subject()), Err(ProgressError::Held { .. })));
    drop(progress);
    let whole = std::fs::read_to_string(&path).unwrap();
    let texts =
        ["", "{", "[]", "no JSON", &whole.replace("\"format\": 1", "\"format\": 2"), &whole.replace("12:05", "12:65")];
    for text in texts {
        std::fs::write(&path, text).unwrap();
        let refused = open(&path, subject()).err().unwrap();
        assert!(matches!(refused, ProgressError::Damaged { .. }), "{text}: {refused}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
    let nowhere = folder.path().join("absent/progress.json");
    assert!(matches!(open(&nowhere, subject()), Err(ProgressError::File { .. })));
}

#[tokio::test]
async fn a_crash_while_saving_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("progress.json");
    let progress = open(&path, subject()).unwrap();
    progress.save(&stream(), &progress.checkpoint(&five())).await.unwrap();
    drop(progress);
    std::fs::write(folder.path().join("progress.json.new"), "{\"format\":").unwrap();
    let progress = open(&path, subject()).unwrap();
    assert_eq!(progress.load(&stream()).await.unwrap().unwrap().coverage, five());
    progress.save(&stream(), &progress.checkpoint(&Coverage::of([range()]))).await.unwrap();
    assert_eq!(progress.load(&stream()).await.unwrap().unwrap().coverage, Coverage::of([range()]));
}
