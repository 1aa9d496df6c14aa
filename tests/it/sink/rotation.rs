//! Credentials that are replaced while all goes well: a new producer takes them up between two commits.

use std::path::Path;
use std::time::Duration;

use jumpstream::sink::Sink as _;
use jumpstream::sink::kafka::{
    KafkaSink, Lost, Mechanism, Outcome, Outgoing, Password, Sasl, Settings, Tls, Topics, Transactions,
};

use super::proxy::Proxy;
use super::{DEADLINE, records, settings};
use crate::kafka::certificate::Certificates;
use crate::kafka::{Kafka, Listener, unique};

fn sasl(user: &str, password: &Path) -> Option<Sasl> {
    let (username, password) = (user.to_owned(), Password::File(password.into()));
    Some(Sasl::Password { mechanism: Mechanism::ScramSha512, username, password })
}

/// Delivers until a new producer has connected, and once more; nothing is ever waited for.
async fn deliver_until_renewed(sink: &KafkaSink, proxy: &Proxy, mut delivered: usize) -> usize {
    let (before, deadline) = (proxy.accepted(), tokio::time::Instant::now() + DEADLINE);
    let mut renewed = false;
    while !renewed {
        renewed = proxy.accepted() > before;
        assert!(tokio::time::Instant::now() < deadline, "no new producer");
        let batch = records(delivered..delivered + 10);
        assert_eq!(tokio::time::timeout(DEADLINE, sink.deliver(&batch)).await.unwrap().unwrap(), []);
        assert_eq!(sink.trouble(), None);
        delivered += 10;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    delivered
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_password_is_taken_up_while_events_flow() {
    let Some(kafka) = Kafka::shared("a replaced password").await else { return };
    let (topic, user) = (unique("rotation"), unique("user"));
    kafka.create_topic(&topic, 1, &[]).await;
    kafka.set_password(&user, "first").await;
    let password = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(password.path(), "first").unwrap();
    let proxy = Proxy::before(&kafka.bootstrap_of(Listener::Sasl)).await;
    let settings = Settings { sasl: sasl(&user, password.path()), ..settings(&proxy.address(), &topic) };
    let sink = KafkaSink::new(settings).unwrap();
    let batch = records(0..10);
    assert_eq!(sink.deliver(&batch).await.unwrap(), []);
    kafka.set_password(&user, "second").await;
    std::fs::write(password.path(), "second").unwrap();
    let delivered = deliver_until_renewed(&sink, &proxy, 10).await;
    assert_eq!(kafka.read_all(&topic).await.len(), delivered, "lost or repeated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_certificate_is_taken_up_and_half_of_one_is_not() {
    let Some(kafka) = Kafka::shared("a replaced certificate").await else { return };
    let topic = unique("rotation");
    kafka.create_topic(&topic, 1, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    std::fs::copy(kafka.certificates().client_certificate(), &certificate).unwrap();
    std::fs::copy(kafka.certificates().client_key(), &key).unwrap();
    let proxy = Proxy::blind(&kafka.bootstrap_of(Listener::MutualTls)).await;
    let tls =
        Tls { ca: Some(kafka.certificates().ca()), certificate: Some(certificate.clone()), key: Some(key.clone()) };
    let sink = KafkaSink::new(Settings { tls: Some(tls), ..settings(&proxy.address(), &topic) }).unwrap();
    let batch = records(0..10);
    assert_eq!(sink.deliver(&batch).await.unwrap(), []);
    // A key that is not the certificate's: the old producer goes on.
    std::fs::copy(Certificates::generate().client_key(), &key).unwrap();
    let before = proxy.accepted();
    let mut delivered = 10;
    let until = tokio::time::Instant::now() + Duration::from_secs(12);
    while tokio::time::Instant::now() < until {
        let batch = records(delivered..delivered + 10);
        assert_eq!(tokio::time::timeout(DEADLINE, sink.deliver(&batch)).await.unwrap().unwrap(), []);
        assert_eq!(sink.trouble(), None);
        delivered += 10;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(proxy.accepted(), before, "a producer with half of a certificate");
    // The same authority signs another one.
    let next = kafka.certificates().next_client();
    std::fs::copy(next.0, &certificate).unwrap();
    std::fs::copy(next.1, &key).unwrap();
    let delivered = deliver_until_renewed(&sink, &proxy, delivered).await;
    assert_eq!(kafka.read_all(&topic).await.len(), delivered, "lost or repeated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transactional_producer_gives_way_to_one_with_the_new_password() {
    let Some(kafka) = Kafka::shared("a replaced password, transactions").await else { return };
    let (topic, user) = (unique("rotation"), unique("user"));
    kafka.create_topic(&topic, 1, &[]).await;
    kafka.set_password(&user, "first").await;
    let password = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(password.path(), "first").unwrap();
    let broker = kafka.bootstrap_of(Listener::Sasl);
    let settings = Settings { sasl: sasl(&user, password.path()), ..settings(&broker, &topic) };
    let owner = Transactions::new(Topics::new(settings), unique("rotation"), vec![topic.clone()]).unwrap();
    owner.open(DEADLINE).await.unwrap();
    let commit = || owner.commit(1, |_| Outgoing::to(topic.as_str(), None, Some(b"event")));
    assert_eq!(commit().await, Ok(Outcome::Committed));
    kafka.set_password(&user, "second").await;
    std::fs::write(password.path(), "second").unwrap();
    let (mut committed, deadline) = (1, tokio::time::Instant::now() + DEADLINE);
    let lost = loop {
        assert!(tokio::time::Instant::now() < deadline, "the old producer goes on and on");
        match commit().await {
            Ok(outcome) => assert_eq!(outcome, Outcome::Committed),
            Err(lost) => break lost,
        }
        committed += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(matches!(&lost, Lost::Unknown { why, .. } if why.contains("credentials were replaced")), "{lost}");
    owner.open(DEADLINE).await.unwrap();
    assert_eq!(commit().await, Ok(Outcome::Committed));
    assert_eq!(kafka.read_all(&topic).await.len(), committed + 1);
}
