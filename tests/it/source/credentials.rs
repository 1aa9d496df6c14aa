//! The key: read again when its file changes, tried once more after a 401, never shown.

use std::time::Duration;

use jumpstream::source::{Class, Client, Error, KeySource};

use super::server::{Part, Seen, Server, answer};
use super::{Fixture, KEY, options, query};

/// Takes `valid` only.
async fn taking(valid: &'static str) -> Server {
    Server::start(move |_, request: &Seen| {
        let ok = request.headers["x-api-key"] == valid;
        let refused = format!(r#"{{"message":"key {} is not valid"}}"#, request.headers["x-api-key"]);
        vec![Part::Say(if ok { answer(200, &[], r#"{"count":1}"#) } else { answer(401, &[], refused) })]
    })
    .await
}

#[tokio::test]
async fn a_changed_key_is_tried_at_once_after_a_401() {
    let server = taking("new").await;
    let fixture = Fixture::new(&server);
    fixture.client.count(None, &query()).await.unwrap_err();
    std::fs::write(fixture.key.path(), "new").unwrap();
    // Within the two seconds in which the file is believed: the 401 makes it look again.
    assert_eq!(fixture.client.count(None, &query()).await.unwrap(), 1);
    assert_eq!(fixture.outcomes(), [("count", "unauthorized"), ("count", "unauthorized"), ("count", "ok")]);
}

#[tokio::test]
async fn an_unchanged_key_is_not_tried_twice() {
    let server = taking("new").await;
    let fixture = Fixture::new(&server);
    let error = fixture.client.count(None, &query()).await.unwrap_err();
    assert_eq!((error.class(), error.label()), (Class::Credential, "unauthorized"));
    assert!(error.to_string().contains("write a valid key to its file"), "{error}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn the_next_request_uses_a_changed_file_also_through_swapped_links() {
    let server = Server::saying(answer(200, &[], r#"{"count":1}"#)).await;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    // As Kubernetes mounts a secret: api-key -> ..data/api-key, ..data -> a directory that is replaced.
    for (version, key) in [("v1", "one"), ("v2", "two")] {
        std::fs::create_dir(path(version)).unwrap();
        std::fs::write(path(version).join("api-key"), key).unwrap();
    }
    std::os::unix::fs::symlink("v1", path("..data")).unwrap();
    std::os::unix::fs::symlink("..data/api-key", path("api-key")).unwrap();
    let fixture = Fixture::with(&server, |options| options.key = KeySource::File(path("api-key")));
    fixture.client.count(None, &query()).await.unwrap();
    std::os::unix::fs::symlink("v2", path("..new")).unwrap();
    std::fs::rename(path("..new"), path("..data")).unwrap();
    let used = || server.seen().last().unwrap().headers["x-api-key"].clone();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while used() != "two" {
        assert!(std::time::Instant::now() < deadline, "the new key is never used");
        fixture.client.count(None, &query()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn waiting_for_another_key_ends_when_it_is_written() {
    let server = taking("new").await;
    let fixture = Fixture::new(&server);
    fixture.client.count(None, &query()).await.unwrap_err();
    let waiting = tokio::spawn({
        let client = fixture.client.clone();
        async move { client.credential_changed().await }
    });
    // The same key written again is no other key.
    std::fs::write(fixture.key.path(), format!("  {KEY} \n\n")).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished());
    std::fs::write(fixture.key.path(), "new").unwrap();
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("the change is never seen").unwrap();
    assert_eq!(fixture.client.count(None, &query()).await.unwrap(), 1);
}

#[tokio::test]
async fn a_key_written_before_the_wait_begins_ends_it_at_once() {
    let server = taking("new").await;
    let fixture = Fixture::new(&server);
    fixture.client.count(None, &query()).await.unwrap_err();
    std::fs::write(fixture.key.path(), "new").unwrap();
    tokio::time::timeout(Duration::from_secs(20), fixture.client.credential_changed()).await.unwrap();
}

#[tokio::test]
async fn a_key_that_cannot_be_read_names_the_place_and_the_remedy() {
    let server = taking("new").await;
    let directory = tempfile::tempdir().unwrap();
    let file = |text: Option<&[u8]>| {
        let path = directory.path().join("api-key");
        let _ = std::fs::remove_file(&path);
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        KeySource::File(path)
    };
    for text in [None, Some(&b""[..]), Some(b" \n"), Some(b"two words"), Some("schlüssel".as_bytes()), Some(b"\xff")] {
        let key = file(text);
        let error = Fixture::with(&server, |options| options.key = key).error().await;
        assert_eq!((error.class(), error.label()), (Class::Credential, "credential"));
        let message = error.to_string();
        assert!(message.contains("api-key") && message.contains("put the account's API key there"), "{message}");
        assert!(!message.contains("words") && !message.contains("schl"), "{message}");
    }
    let unset = KeySource::Env("JUMPSTREAM_TEST_UNSET".to_owned());
    let message = Fixture::with(&server, |options| options.key = unset).error().await.to_string();
    assert!(message.contains("JUMPSTREAM_TEST_UNSET") && message.contains("start again"), "{message}");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn the_key_is_shown_by_nothing() {
    let server = taking("new").await;
    let (options, key) = options(&server);
    let client = Client::new(options.clone()).unwrap();
    let echoed = client.events(None, &query()).await.unwrap_err();
    assert!(matches!(&echoed, Error::Unauthorized { message, .. } if message.contains("[the key]")), "{echoed}");
    std::fs::write(key.path(), "new").unwrap();
    let page = client.events(None, &query()).await.unwrap();
    for text in [
        format!("{options:?}"),
        format!("{client:?}"),
        format!("{echoed:?} {echoed}"),
        format!("{page:?}"),
        format!("{:?} {}", options.key, options.key),
    ] {
        assert!(!text.contains(KEY) && !text.contains("\"new\""), "{text}");
    }
}

#[tokio::test]
async fn a_pipe_in_the_keys_place_is_told_and_not_waited_for() {
    let server = taking("new").await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api-key");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let fixture = Fixture::with(&server, |options| options.key = KeySource::File(path));
    let error = tokio::time::timeout(Duration::from_secs(20), fixture.error()).await.unwrap();
    assert!(error.to_string().contains("no regular file"), "{error}");
}
