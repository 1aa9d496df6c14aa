//! What goes wrong around the real program: each is said once, with its remedy, and waited for, or ends it as told.

mod api;
mod ending;
mod odd;
mod oversized;
mod terminal;

use crate::process::{Home, Process};

/// The one line that says it.
///
/// # Panics
/// Where there are none or several.
#[track_caller]
fn once(process: &Process, text: &str) -> String {
    let log = process.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(text)).collect();
    let [line] = lines.as_slice() else { panic!("{text:?} is said {} times:\n{log}", lines.len()) };
    (*line).to_owned()
}

#[track_caller]
fn assert_holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

async fn delivered(home: &Home, count: usize) {
    use crate::process::{EVENTS, eventually};
    eventually(&format!("{count} events are delivered"), async || (home.lines(EVENTS).len() >= count).then_some(()))
        .await;
}
