//! The rows of a syslog sink: each of its receivers, and what it does with a message of the largest size.

use crate::app::syslog_settings;
use crate::config::{self, Config};
use crate::record::syslog::Oversize;
use crate::sink::syslog::{Inspection, Settings, SyslogSink, TEST_TYPE, inspect};

use super::{Row, WITHIN};

/// Connects to every receiver; sends one message where `test` says so, and else nothing.
pub(super) async fn rows(sink: &config::Syslog, config: &Config, test: bool) -> Vec<Row> {
    let mut settings = syslog_settings(sink);
    // So that each step says itself that it took too long.
    settings.deadlines.connect = WITHIN / 4;
    settings.deadlines.handshake = WITHIN / 3;
    let mut rows: Vec<Row> = inspect(&settings, WITHIN).await.into_iter().map(receiver).collect();
    rows.extend(size(sink, config));
    if test {
        rows.push(message(settings).await);
    }
    rows
}

fn receiver(inspection: Inspection) -> Row {
    let name = format!("syslog {}", inspection.address);
    match inspection.found {
        Ok(found) => Row::green(&name, found),
        Err((finding, remedy)) => Row::red(&name, finding, remedy),
    }
}

/// Whether the largest event fits; none where it does, or comes in another form.
fn size(sink: &config::Syslog, config: &Config) -> Option<Row> {
    let (most, largest) = (sink.max_message_bytes, config.poll.max_event_bytes);
    if sink.oversize != Oversize::DeadLetter || most as u64 > largest {
        return None;
    }
    let takes = format!("a frame has at most {most} bytes (max_message_bytes)");
    Some(match &config.dead_letter {
        Some(_) => Row::yellow(
            "message size",
            format!("{takes}; a larger event (at most {largest}) becomes a dead letter"),
            "raise it here and at the receiver, write `oversize: shrink` or `split`, or leave it so",
        ),
        None => Row::red(
            "message size",
            format!("{takes}; a larger event (at most {largest}) would stop its stream, for there is no dead_letter"),
            "write `dead_letter: {file: dead.ndjson}`, or `oversize: shrink` or `split`",
        ),
    })
}

async fn message(settings: Settings) -> Row {
    let name = "test message";
    let most = settings.max_message_bytes;
    match SyslogSink::test(settings, WITHIN).await {
        Ok(()) => Row::green(
            name,
            format!(
                "one of {most} bytes was sent: look for event-type {TEST_TYPE} at the receiver; it is whole if it ends with `\"end\":true}}`"
            ),
        ),
        Err((finding, remedy)) => Row::red(name, finding, remedy),
    }
}
