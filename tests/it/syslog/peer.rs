//! The wrong kind of receiver: what it is, and what to write for it, is said; nothing is lost and nothing hangs.

use std::sync::Arc;
use std::time::Duration;

use jumpstream::sink::Sink as _;
use jumpstream::sink::syslog::{Settings, SyslogSink};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::authority::{Authority, Oddity};
use super::{records, settings};
use crate::sink::eventually;

/// A server that does this with each connection.
async fn server<F: Future<Output = ()> + Send>(serve: impl Fn(TcpStream) -> F + Clone + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let serve = serve.clone();
            tokio::spawn(async move { serve(stream).await });
        }
    });
    port
}

/// Reads and says nothing, as a plain receiver does with what it doesn't understand.
async fn mute() -> u16 {
    server(|mut stream| async move {
        let mut buffer = [0; 1024];
        while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    })
    .await
}

/// As librelp's server: the first byte that is none of RELP's ends the session, with a hint.
async fn relp() -> u16 {
    server(|mut stream| async move {
        let mut buffer = [0; 256];
        let _ = stream.read(&mut buffer).await;
        let _ = stream.write_all(b"0 serverclose 0\n").await;
    })
    .await
}

async fn tls(authority: &Authority) -> u16 {
    let acceptor = authority.acceptor("localhost", Oddity::None, None);
    server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let mut buffer = [0; 1024];
                while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
            }
        }
    })
    .await
}

/// Closes at the first byte, as many do with what they don't understand.
async fn curt() -> u16 {
    server(|mut stream| async move {
        let mut buffer = [0; 16 << 10];
        let _ = stream.read(&mut buffer).await;
    })
    .await
}

async fn http() -> u16 {
    server(|mut stream| async move {
        let mut buffer = [0; 256];
        let _ = stream.read(&mut buffer).await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await
}

/// What is said, and that no batch was delivered to it.
async fn said(mut settings: Settings) -> String {
    // A receiver on a loaded machine takes its time to refuse.
    settings.deadlines.probation = Duration::from_secs(10);
    let sink = Arc::new(SyslogSink::new(settings));
    let delivering = sink.clone();
    let delivery = tokio::spawn(async move { delivering.deliver(&records(0..20, 100)).await });
    let trouble = eventually("it is said", || sink.trouble()).await;
    assert!(!delivery.is_finished(), "nothing was delivered: {trouble}");
    delivery.abort();
    trouble
}

#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_peer_is_named_with_what_to_write_for_it() {
    let authority = Authority::new();
    let (mute, relp, tls, http) = (mute().await, relp().await, tls(&authority).await, http().await);
    let curt = curt().await;
    for (address, finding, remedy) in [
        (
            format!("tcp://localhost:{tls}"),
            "speaks TLS, and we don't",
            format!("write `address: \"tls://localhost:{tls}\"`"),
        ),
        (format!("tcp://localhost:{relp}"), "speaks RELP", format!("write `address: \"relp://localhost:{relp}\"`")),
        (format!("tcp://localhost:{http}"), "speaks HTTP", "correct the port".into()),
        (format!("tcp://localhost:{curt}"), "", "write `tls://`, and if RELP, `relp://`".into()),
        (format!("tls://localhost:{curt}"), "in the midst of the TLS handshake", "write `tcp://`".into()),
        (format!("relp://localhost:{curt}"), "before it answers RELP's `open`", "write `relp+tls://`".into()),
        (format!("tls://localhost:{mute}"), "no answer in TLS within 3 s", "write `tcp://`".into()),
        (format!("tls://localhost:{relp}"), "doesn't speak TLS", "write `tcp://`".into()),
        (format!("tls://localhost:{http}"), "doesn't speak TLS", "write `tcp://`".into()),
        (format!("relp://localhost:{mute}"), "doesn't answer RELP's `open` within 3 s", "write `tcp://`".into()),
        (
            format!("relp://localhost:{tls}"),
            "speaks TLS, and we don't",
            format!("write `address: \"relp+tls://localhost:{tls}\"`"),
        ),
        (format!("relp://localhost:{http}"), "speaks HTTP", "correct the port".into()),
        (format!("relp+tls://localhost:{mute}"), "no answer in TLS within 3 s", "write `relp://`".into()),
        (format!("relp+tls://localhost:{relp}"), "doesn't speak TLS", "write `relp://`".into()),
        (format!("relp+tls://localhost:{tls}"), "doesn't answer RELP's `open` within 3 s", "write `tls://`".into()),
    ] {
        let mut settings = settings(&[&address]);
        settings.tls.ca = Some(authority.ca());
        let trouble = said(settings).await;
        let (found, better) = trouble.split_once("; ").unwrap_or_else(|| panic!("no remedy: {trouble}"));
        assert!(found.contains(finding), "{address}: {trouble}");
        assert!(better.contains(&remedy), "{address}: {trouble}");
    }
}
