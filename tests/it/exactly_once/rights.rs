//! The rights that `docs/integrating/kafka.md` lists are enough, on a broker that forbids everything else: the page's own
//! commands are what is run.

use jumpstream::emulator::Options;

use super::{Stage, assert_once, say};
use crate::kafka::{Kafka, Listener, PASSWORD, USER};
use crate::process::{Home, Settings, emulate, eventually};

const PAGE: &str = include_str!("../../../docs/integrating/kafka.md");

/// Nothing is allowed that no list allows; the test itself comes in by the plain listener.
const STRICT: &str = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:ANONYMOUS";

const EVENTS: &str = "jumpcloud.events";
const DEAD: &str = "jumpcloud.dead";

/// What the page's `acls` is called with for this user.
fn calls(user: &str) -> Vec<String> {
    let beginning = format!(
        "acls() {{ kafka-acls.sh --bootstrap-server localhost:9092 --add --allow-principal User:{user} \"$@\"; }}\n"
    );
    let block = PAGE.split("```sh\n").find(|block| block.starts_with(&beginning)).expect("the page has the block");
    let block = block.split("```").next().unwrap().replace("\\\n", " ");
    block.lines().filter_map(|line| line.strip_prefix("acls ")).map(str::to_owned).collect()
}

async fn allow(kafka: &Kafka, user: &str, calls: &[String]) {
    assert!(!calls.is_empty());
    for call in calls {
        kafka.allow(user, call).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_listed_rights_suffice_over_tls_and_scram_and_without_them_it_waits() {
    let Some(kafka) = Kafka::own("rights", STRICT).await else { return };
    kafka.create_topic(EVENTS, 3, &[("max.message.bytes", "20000")]).await;
    kafka.create_topic(DEAD, 1, &[]).await;
    let emulator = emulate(Options { events: 5_000, span: "1h".parse().unwrap(), ..Options::default() }).await;
    let home = Home::new(Settings::of(&emulator));
    home.write("password", PASSWORD);
    let (broker, ca) = (kafka.bootstrap_of(Listener::SaslTls), kafka.certificates().ca());
    home.configure(Settings {
        poll: "{interval: 1s, start: 2h}",
        sinks: &format!(
            "[{{type: kafka, brokers: [\"{broker}\"], topic: {EVENTS}, tls: {{ca: {}}}, sasl: {{mechanism: \
             SCRAM-SHA-512, username: {USER}, password: {{file: password}}}}}}]",
            ca.display()
        ),
        more: &format!("dead_letter: {{topic: {DEAD}}}\n"),
        ..Settings::of(&emulator)
    });
    let mut process = home.start(&[]);
    let refused = eventually("the refusal is said", async || {
        process.log().lines().find(|line| line.contains("jumpstream.ledger")).map(str::to_owned)
    });
    println!("without rights: {}", refused.await);
    assert_eq!(kafka.read_uncommitted(EVENTS).await.len(), 0);
    allow(&kafka, USER, &calls(USER)).await;
    process.ready().await;
    process.stop().await;
    home.catch_up().await;
    // A second start reads the ledger.
    home.catch_up().await;

    let stage = Stage { topic: EVENTS.to_owned(), ..Stage::at(kafka.bootstrap(), 8) };
    let (tally, uncommitted) = stage.tally_of(&[EVENTS, DEAD], &emulator, emulator.now()).await;
    say("the listed rights", &tally, uncommitted);
    assert_once(&tally);
    assert!(!kafka.read_all(DEAD).await.is_empty(), "no dead letter was written, so that right was not tried");

    // A consumer, by rights of its own.
    kafka.set_password("siem", PASSWORD).await;
    allow(&kafka, "siem", &calls("siem")).await;
    let read = kafka.console_consume_as("siem", EVENTS, 10).await;
    assert_eq!(read.len(), 10, "{read:?}");
}
