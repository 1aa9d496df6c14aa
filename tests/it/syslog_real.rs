//! A real rsyslog and a real syslog-ng: what they receive is what was sent, whatever happens to them and on the way.
//!
//! `scripts/services` provides the images and names them in `JUMPSTREAM_TEST_RSYSLOG_IMAGE` and
//! `JUMPSTREAM_TEST_SYSLOG_NG_IMAGE`; without them a test is skipped, aloud, and with
//! `JUMPSTREAM_TEST_REQUIRE_SERVICES=1` it fails. A test begins with
//! `let Some(receiver) = Receiver::start(Server::Rsyslog, "its name", PLAIN).await else { return };`.

mod awkward;
mod bytes;
mod certificate;
mod dns;
mod guide;
mod impostor;
mod peer;
mod policy;
pub mod receiver;
mod trouble;
mod uncommitted;
mod way;

use std::sync::Arc;
use std::time::Duration;

use jumpstream::app::syslog_settings;
use jumpstream::config::{self, Config, Environment};
use jumpstream::record::Record;
use jumpstream::sink::syslog::SyslogSink;
use jumpstream::sink::{Refused, Sink};

/// Generous: a receiver that is restarted on a busy machine takes its time, and so does a sink between two tries.
const DEADLINE: Duration = Duration::from_secs(180);

/// Delivers, and fails where that takes for ever.
async fn deliver(sink: &dyn Sink, records: &[Record]) -> Vec<Refused> {
    // Kept past the deadline, since a delivery that is dropped takes its trouble along.
    let mut delivery = sink.deliver(records);
    match tokio::time::timeout(DEADLINE, &mut delivery).await {
        Ok(refused) => refused.unwrap(),
        Err(_) => panic!("not delivered within {DEADLINE:?}; the sink says {:?}", sink.trouble()),
    }
}

/// The sink of a configuration's part: `{type: syslog, …}`.
fn open(sink: &str) -> Arc<dyn Sink> {
    open_all(&format!(
        "accounts: [{{region: us, api_key: {{file: key}}}}]\nsinks: [{sink}]\ndead_letter: {{file: dead}}\n"
    ))
}

/// The one sink of a whole configuration, with what it leaves to defaults.
fn open_all(text: &str) -> Arc<dyn Sink> {
    let (config, warnings) =
        Config::parse("test", text, &Environment::default()).unwrap_or_else(|faults| panic!("{faults}"));
    assert!(warnings.is_empty(), "{warnings:?}");
    match &config.sinks[..] {
        [config::Sink::Syslog(sink)] => Arc::new(SyslogSink::new(syslog_settings(sink))),
        _ => panic!("not one sink, of syslog: {text}"),
    }
}
