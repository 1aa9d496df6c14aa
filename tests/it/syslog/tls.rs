//! By TLS: names and authorities are checked, clients show their certificates, files are read again, and leaving is said.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jumpstream::sink::Sink as _;
use jumpstream::sink::syslog::{Settings, SyslogSink};

use super::authority::{Authority, Oddity};
use super::receiver::{Ends, Fate, Receiver};
use super::{assert_all_there, deliver, records, settings};
use crate::sink::eventually;

fn to(receiver: &Receiver, ca: PathBuf) -> Settings {
    let mut settings = settings(&[&format!("tls://localhost:{}", receiver.port)]);
    settings.tls.ca = Some(ca);
    settings
}

async fn received(receiver: &Receiver, count: usize) -> Vec<Vec<u8>> {
    eventually("all is read", || Some(receiver.messages()).filter(|all| all.len() >= count)).await
}

/// What is said while a delivery waits.
async fn trouble(mut settings: Settings) -> String {
    // A receiver on a loaded machine takes its time to refuse.
    settings.deadlines.probation = Duration::from_secs(10);
    let sink = Arc::new(SyslogSink::new(settings));
    let delivering = sink.clone();
    let delivery = tokio::spawn(async move { delivering.deliver(&records(0..1, 10)).await });
    let trouble = eventually("the trouble is said", || sink.trouble()).await;
    assert!(!delivery.is_finished(), "nothing is handed over meanwhile");
    delivery.abort();
    trouble
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_arrives_and_leaving_is_said() {
    let authority = Authority::new();
    let receiver = Receiver::with(0, Ends::Counted, Some(authority.acceptor("localhost", Oddity::None, None))).await;
    let sink = SyslogSink::new(to(&receiver, authority.ca()));
    assert_eq!(deliver(&sink, &records(0..3_000, 500)).await, []);
    sink.close().await;
    assert_all_there(&received(&receiver, 3_000).await, 0..3_000);
    assert!(eventually("it has ended", || receiver.endings().first().copied()).await, "close_notify was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_in_mid_batch_costs_nothing() {
    let authority = Authority::new();
    let receiver = Receiver::with(0, Ends::Counted, Some(authority.acceptor("localhost", Oddity::None, None))).await;
    receiver.fates(&[Fate::CloseAfter(1), Fate::ResetAfter(100_000), Fate::CloseAfter(1_000_000)]);
    let sink = SyslogSink::new(to(&receiver, authority.ca()));
    assert_eq!(deliver(&sink, &records(0..2_000, 500)).await, []);
    sink.close().await;
    let last = |all: &Vec<Vec<u8>>| all.last().is_some_and(|message| super::id(message) == "1999");
    assert_all_there(&eventually("all is read", || Some(receiver.messages()).filter(last)).await, 0..2_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_wrong_is_said_with_its_remedy() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    for (name, oddity, ca, said) in [
        ("localhost", Oddity::Expired, &authority, "its certificate has expired; renew"),
        ("localhost", Oddity::NotYet, &authority, "its certificate is not valid yet; set this machine's clock"),
        ("siem.example.com", Oddity::None, &authority, "its certificate is not for `localhost`; correct the address"),
        ("localhost", Oddity::None, &stranger, "signed by nobody whom we trust; write `tls: {ca: …}`"),
    ] {
        let receiver = Receiver::with(0, Ends::Counted, Some(authority.acceptor(name, oddity, None))).await;
        let found = trouble(to(&receiver, ca.ca())).await;
        assert!(found.contains(said), "{found}");
        assert_eq!(receiver.messages().len(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_name_is_accepted_where_it_is_written() {
    let authority = Authority::new();
    let acceptor = authority.acceptor("siem.example.com", Oddity::None, None);
    let receiver = Receiver::with(0, Ends::Counted, Some(acceptor)).await;
    let mut settings = to(&receiver, authority.ca());
    settings.tls.server_name = Some("siem.example.com".into());
    let sink = SyslogSink::new(settings);
    deliver(&sink, &records(0..1, 10)).await;
    received(&receiver, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_wants_a_certificate_gets_it_and_one_that_misses_or_distrusts_it_loses_nothing() {
    let (authority, clients, stranger) = (Authority::new(), Authority::new(), Authority::new());
    let acceptor = authority.acceptor("localhost", Oddity::None, Some(&clients));
    let receiver = Receiver::with(0, Ends::Counted, Some(acceptor)).await;
    let found = trouble(to(&receiver, authority.ca())).await;
    assert!(found.contains("it wants a certificate of ours: write `tls: {certificate"), "{found}");
    let mut settings = to(&receiver, authority.ca());
    settings.tls.client = Some(stranger.client());
    let found = trouble(settings.clone()).await;
    assert!(found.contains("the receiver refuses TLS with us"), "{found}");
    assert_eq!(receiver.messages().len(), 0);
    settings.tls.client = Some(clients.client());
    let sink = SyslogSink::new(settings);
    deliver(&sink, &records(0..10, 10)).await;
    assert_all_there(&received(&receiver, 10).await, 0..10);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_change_are_read_again_without_a_restart() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let acceptor = authority.acceptor("localhost", Oddity::None, Some(&clients));
    let receiver = Receiver::with(0, Ends::Counted, Some(acceptor)).await;
    let mut settings = to(&receiver, authority.ca());
    settings.tls.client = Some(clients.client());
    let sink = SyslogSink::new(settings);
    deliver(&sink, &records(0..1, 10)).await;
    assert_eq!(receiver.connections(), 1);
    clients.client();
    let mut number = 1;
    let deadline = tokio::time::Instant::now() + crate::sink::DEADLINE;
    while receiver.connections() < 2 {
        assert!(tokio::time::Instant::now() < deadline, "the files were not read again");
        deliver(&sink, &records(number..number + 1, 10)).await;
        number += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let all = received(&receiver, number).await;
    assert_eq!(all.len(), number, "nothing came twice");
    assert_all_there(&all, 0..number);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_holds_nothing_of_use_is_said_and_read_again() {
    let authority = Authority::new();
    let receiver = Receiver::with(0, Ends::Counted, Some(authority.acceptor("localhost", Oddity::None, None))).await;
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, "no certificate").unwrap();
    let sink = Arc::new(SyslogSink::new(to(&receiver, ca.clone())));
    let delivering = sink.clone();
    let delivery = tokio::spawn(async move { deliver(&delivering, &records(0..1, 10)).await });
    let trouble = eventually("it is said", || sink.trouble()).await;
    assert!(trouble.contains("ca.pem doesn't hold certificates in PEM"), "{trouble}");
    std::fs::copy(authority.ca(), &ca).unwrap();
    assert_eq!(delivery.await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_whose_certificate_becomes_wrong_is_turned_away_until_it_is_right_again() {
    let authority = Authority::new();
    let right = || Some(authority.acceptor("localhost", Oddity::None, None));
    let mut receiver = Receiver::with(0, Ends::Counted, right()).await;
    let port = receiver.port;
    let sink = Arc::new(SyslogSink::new(to(&receiver, authority.ca())));
    let mut first = 0;
    for (name, oddity, said) in [
        ("localhost", Oddity::Expired, "its certificate has expired"),
        ("siem.example.com", Oddity::None, "its certificate is not for `localhost`"),
    ] {
        deliver(&sink, &records(first..first + 10, 100)).await;
        received(&receiver, 10).await;
        receiver.stop().await;
        let wrong = Receiver::with(port, Ends::Counted, Some(authority.acceptor(name, oddity, None))).await;
        let delivering = sink.clone();
        let batch = records(first + 10..first + 20, 100);
        let delivery = tokio::spawn(async move { deliver(&delivering, &batch).await });
        eventually("it is said", || sink.trouble().filter(|trouble| trouble.contains(said))).await;
        assert_eq!(wrong.stop().await, Vec::<Vec<u8>>::new());
        receiver = Receiver::with(port, Ends::Counted, right()).await;
        assert_eq!(delivery.await.unwrap(), []);
        assert_eq!(sink.trouble(), None);
        assert_all_there(&received(&receiver, 10).await, first + 10..first + 20);
        receiver.stop().await;
        receiver = Receiver::with(port, Ends::Counted, right()).await;
        first += 20;
    }
}
