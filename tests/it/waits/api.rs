//! An API that refuses, can't be reached, or is wrong about the time.

use std::net::TcpListener;
use std::sync::Arc;

use jumpstream::emulator::{Emulator, Options};

use super::{assert_holds, delivered, once};
use crate::process::tally::Tally;
use crate::process::{EVENTS, Home, Settings, emulate, steer};

fn few() -> Options {
    Options { events: 200, span: "1h".parse().unwrap(), ..Options::default() }
}

/// Names the emulator's organizations, so that the stream itself meets the fault.
fn naming(emulator: &Emulator) -> String {
    format!(", organizations: [{}]", emulator.organizations().join(", "))
}

async fn catch_up_and_compare(emulator: &Emulator, home: &Home) {
    let until = emulator.now();
    home.catch_up().await;
    let wanted = emulator.truth(Some(until));
    let tally = Tally::of(&wanted, &emulator.truth(None), home.lines(EVENTS));
    assert_eq!(tally, Tally { true_events: wanted.len(), lost: 0, repeated: 0, foreign: 0 });
    assert!(!wanted.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_said_once_and_the_right_one_is_taken_without_a_restart() {
    let emulator = emulate(few()).await;
    for account in [String::new(), naming(&emulator)] {
        let home = Home::new(Settings { account: &account, ..Settings::of(&emulator) });
        home.write("key", "jca_wrong");
        let mut process = home.start(&[]);
        process.degraded("the api refuses the key (401)").await;
        process.requests("unauthorized", 4.0).await;
        let line = once(&process, "refuses the key (401)");
        assert_holds(&line, &["WARN", "write a valid key to its file, no restart is needed; check the region too"]);
        assert_eq!(process.metric("jumpstream_credential_valid", &["account=\"main\""]).await, 0.0);
        home.write("key", "jca_emulator");
        delivered(&home, 200).await;
        process.ready().await;
        assert_eq!(process.metric("jumpstream_credential_valid", &["account=\"main\""]).await, 1.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_revoked_at_once_and_replaced_later_costs_nothing() {
    let emulator = emulate(Options { rate: 50.0, ..few() }).await;
    let home = Home::new(Settings::of(&emulator));
    let mut process = home.start(&[]);
    delivered(&home, 200).await;
    emulator.rotate_key("jca_new");
    process.degraded("the api refuses the key (401)").await;
    process.requests("unauthorized", 3.0).await;
    once(&process, "refuses the key (401)");
    home.write("key", "jca_new");
    process.ready().await;
    process.stop().await;
    catch_up_and_compare(&emulator, &home).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_api_is_said_once_and_waited_for() {
    // Kept by nobody, until the emulator takes it.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let home = Home::new(Settings::at(format!("http://{address}")));
    let mut process = home.start(&[]);
    process.requests("unreachable", 4.0).await;
    let line = once(&process, "connecting to");
    assert_holds(&line, &[&format!("connecting to 127.0.0.1:{}", address.port()), "check the name, the network"]);
    let readiness = process.readiness().await;
    assert_eq!((readiness.status, readiness.state.as_str()), (503, "not_ready"), "{readiness:?}");
    let emulator = emulate(Options { listen: address, ..few() }).await;
    delivered(&home, 200).await;
    process.ready().await;
    process.stop().await;
    catch_up_and_compare(&emulator, &home).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_server_behind_https_is_said_once() {
    let emulator = emulate(few()).await;
    let home = Home::new(Settings::at(emulator.url().replace("http:", "https:")));
    let mut process = home.start(&[]);
    process.requests("tls", 4.0).await;
    assert_holds(&once(&process, "tls with"), &["check that the endpoint's certificate is valid", "ca-certificates"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_signed_is_said_once() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // It fails, which is the point.
            let _ = acceptor.accept(stream).await;
        }
    });
    let home = Home::new(Settings::at(format!("https://localhost:{port}")));
    let mut process = home.start(&[]);
    process.requests("tls", 4.0).await;
    assert_holds(&once(&process, "tls with"), &[&format!("localhost:{port}"), "SSL_CERT_FILE"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_licence_and_a_redirect_are_said_once_and_waited_for() {
    let cases = [
        ("payment_required", "unlicensed", "not licensed for this time or organization (402)", "check the plan"),
        (
            "redirect",
            "redirected",
            "the endpoint redirects to /redirected (302)",
            "set endpoint to the API's own address",
        ),
    ];
    for (kind, outcome, said, remedy) in cases {
        let emulator = emulate(Options { rate: 20.0, ..few() }).await;
        steer(&emulator, "faults", format!(r#"{{"kind":"{kind}","count":1000}}"#)).await;
        let account = naming(&emulator);
        let home = Home::new(Settings { account: &account, ..Settings::of(&emulator) });
        let mut process = home.start(&[]);
        process.degraded(said).await;
        process.requests(outcome, 3.0).await;
        assert_holds(&once(&process, said), &["WARN", remedy]);
        steer(&emulator, "faults", r#"{"clear":true}"#).await;
        delivered(&home, 200).await;
        process.ready().await;
        process.stop().await;
        catch_up_and_compare(&emulator, &home).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_that_alone_are_forbidden_hold_up_nothing_and_blame_no_key() {
    let emulator = emulate(Options { rate: 20.0, ..few() }).await;
    steer(&emulator, "faults", r#"{"kind":"forbidden","count":1000,"path":"/count"}"#).await;
    let account = naming(&emulator);
    // What lies before its start has reached the first age, so it is counted at once.
    let home =
        Home::new(Settings { account: &account, more: "verify: {after: [1m, 8d]}\n", ..Settings::of(&emulator) });
    let mut process = home.start(&[]);
    process.requests("forbidden", 2.0).await;
    process.ready().await;
    delivered(&home, 500).await;
    assert_eq!(process.count("(403)"), 0, "{}", process.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_the_key_is_one_line_however_many_organizations_it_serves() {
    let emulator = emulate(Options { organizations: 3, ..few() }).await;
    let account = naming(&emulator);
    let home = Home::new(Settings { account: &account, ..Settings::of(&emulator) });
    home.write("key", "jca_wrong");
    let mut process = home.start(&[]);
    let readiness = process.degraded("account main, 3 streams: the api refuses the key (401)").await;
    assert_eq!(readiness.reasons.len(), 1, "{readiness:?}");
    process.requests("unauthorized", 12.0).await;
    once(&process, "refuses the key (401)");
}

async fn an_hour_off(offset: &str) -> (Emulator, Home) {
    // Almost all of the 24 hours that are wanted, so that an age counted back from the wrong time shows.
    let span = "1430m".parse().unwrap();
    let emulator = emulate(Options { date_offset: offset.parse().unwrap(), rate: 20.0, span, ..few() }).await;
    let home = Home::new(Settings::of(&emulator));
    catch_up_and_compare(&emulator, &home).await;
    let mut process = home.start(&[]);
    // More than the nine that must agree before another time is believed.
    process.requests("ok", 25.0).await;
    assert_holds(&once(&process, "differ by more than 2 minutes"), &["WARN", "check this machine's"]);
    let log = process.stop().await;
    let future = log.lines().filter(|line| line.contains("start lies in its future")).count();
    assert!(future <= 1, "said {future} times:\n{log}");
    catch_up_and_compare(&emulator, &home).await;
    (emulator, home)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_an_hour_ahead_costs_nothing() {
    an_hour_off("1h").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_an_hour_behind_costs_nothing() {
    an_hour_off("-1h").await;
}
