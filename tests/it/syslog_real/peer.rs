//! A wrong peer is told with the remedy, and waited for: never a hang without a word, and nothing counts as delivered.

use super::certificate::Flaw;
use super::impostor::{impostor, mute};
use super::receiver::{Door, PLAIN, Receiver, Server};
use super::way::Way;
use super::{awkward, deliver, open};
use crate::process::eventually;

/// How the sink speaks, to whom, and what it must say.
struct Wrong {
    speaks: Door,
    port: u16,
    /// One of these is a part of it.
    says: &'static [&'static str],
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_peer_is_told_with_the_remedy_and_the_right_one_heals_it() {
    let Some(receiver) = Receiver::start(Server::Rsyslog, "wrong peers", PLAIN).await else { return };
    let authority = &receiver.authority;
    let expired = impostor(&authority.flawed(Flaw::Expired)).await;
    let other = impostor(&authority.flawed(Flaw::OtherName)).await;
    let stranger = impostor(&super::certificate::Authority::new().server()).await;
    let silent = mute().await;
    let of = |door| receiver.port(door);
    let wrong = [
        Wrong { speaks: Door::Tls, port: of(Door::Tcp), says: &["tcp://"] },
        Wrong { speaks: Door::RelpTls, port: of(Door::Relp), says: &["relp://"] },
        Wrong { speaks: Door::Relp, port: of(Door::Tcp), says: &["tcp://", "RELP"] },
        Wrong { speaks: Door::Relp, port: of(Door::RelpTls), says: &["relp+tls://"] },
        Wrong { speaks: Door::Relp, port: silent, says: &["RELP"] },
        Wrong { speaks: Door::Tls, port: silent, says: &["tcp://", "TLS"] },
        Wrong { speaks: Door::Tls, port: of(Door::MutualTls), says: &["certificate"] },
        Wrong { speaks: Door::Tls, port: expired, says: &["expired"] },
        Wrong { speaks: Door::RelpTls, port: expired, says: &["expired"] },
        Wrong { speaks: Door::Tls, port: other, says: &["server_name"] },
        Wrong { speaks: Door::Tls, port: stranger, says: &["tls: {ca:"] },
    ];
    let mut rng = fastrand::Rng::with_seed(1);
    for (number, Wrong { speaks, port, says }) in wrong.into_iter().enumerate() {
        let way = Way::to(port).await;
        let sink = open(&receiver.sink_at(speaks, way.port(), ""));
        let record = awkward::event(number, 300, &mut rng);
        let delivery = deliver(&*sink, std::slice::from_ref(&record));
        tokio::pin!(delivery);
        let told = eventually("the wrong peer is told", async || {
            sink.trouble().filter(|text| says.iter().any(|part| text.contains(part)))
        });
        let text = tokio::select! {
            refused = &mut delivery => panic!("{speaks:?} to {port}: it counts as delivered ({refused:?})"),
            text = told => text,
        };
        println!("{speaks:?}, a wrong peer: {text}");
        // The right one takes its place.
        way.lead(of(speaks));
        assert_eq!(delivery.await, []);
        // A plain receiver takes what others say for text, so its lines can't be counted.
        eventually("the event is received", async || {
            receiver.received().0.iter().any(|got| got.text == awkward::line(&record)).then_some(())
        })
        .await;
        assert_eq!(sink.trouble(), None);
    }
}

/// Both say nothing of it: they close, and their log says why.
#[tokio::test(flavor = "multi_thread")]
async fn plain_text_to_a_tls_port_is_told_when_the_peer_closes() {
    for server in [Server::SyslogNg, Server::Rsyslog] {
        let Some(receiver) = Receiver::start(server, "plain text to TLS", PLAIN).await else { return };
        let sink = open(&receiver.sink_at(Door::Tcp, receiver.port(Door::Tls), ""));
        let batch = [awkward::event(1, 300, &mut fastrand::Rng::with_seed(2))];
        let told = eventually("the peer's TLS is told", async || sink.trouble().filter(|text| text.contains("tls://")));
        tokio::select! {
            refused = deliver(&*sink, &batch) => panic!("{server:?}: it counts as delivered ({refused:?})"),
            text = told => println!("{server:?}: plain text to TLS: {text}"),
        }
    }
}
