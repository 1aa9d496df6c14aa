//! Between fetching and committing: kills between pages, and commits slower than polls.

use std::io::Read as _;
use std::process::Stdio;
use std::time::Duration;

use jumpstream::clock;
use jumpstream::emulator::Options;

use super::{catch_up_and_compare, emulate, event, eventually, insert, nothing, requests};
use crate::process::tally::Tally;
use crate::process::{EVENTS, Home, Settings};

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_pages_resends_nothing_and_loses_nothing() {
    let latency = "30ms".parse().unwrap();
    let emulator = emulate(Options { latency, ..nothing() }).await;
    let minute = (emulator.now() - jiff::SignedDuration::from_hours(1)).as_second() / 60 * 60;
    // One minute is one window, whatever it holds.
    let at = |number: i64| jiff::Timestamp::from_millisecond(minute * 1_000 + number * 20).unwrap().to_string();
    insert(&emulator, (0..3_000).map(|number| event(&format!("{number}"), &at(number)))).await;
    // A live poll would commit what the window has brought so far, and so would the end of another window.
    let poll = "{interval: 1h, start: 2h, page_size: 100, windows: 1}";
    let home = Home::new(Settings { poll, ..Settings::of(&emulator) });
    let mut process = home.start(&[]);
    eventually("ten of thirty pages are read", async || {
        let pages = requests(&emulator).await.iter().filter(|request| request["count"] == 100).count();
        (pages >= 10).then_some(())
    })
    .await;
    process.kill();
    assert_eq!(home.lines(EVENTS).len(), 0, "the window had come to its end before the kill");
    home.configure(Settings { poll: "{interval: 1s, start: 2h, page_size: 100}", ..Settings::of(&emulator) });
    catch_up_and_compare(&emulator, &home, 3_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_commit_and_a_fast_poll_bring_no_duplicates() {
    let emulator = emulate(Options { events: 2_000, rate: 300.0, ..nothing() }).await;
    let home = Home::new(Settings { sinks: "[{type: stdout}]", ..Settings::of(&emulator) });
    let mut process = home.start_into(Stdio::piped(), &[]);
    let mut pipe = process.stdout();
    // Slower than the events come, for several poll intervals; then as fast as it goes.
    let reader = std::thread::spawn(move || {
        let slow_until = clock::uptime() + Duration::from_secs(8);
        let (mut text, mut some) = (Vec::new(), vec![0; 16 << 10]);
        loop {
            match pipe.read(&mut some).unwrap() {
                0 => return text,
                length => text.extend_from_slice(&some[..length]),
            }
            if clock::uptime() < slow_until {
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    });
    let slowest = eventually("a commit has taken several poll intervals", async || {
        let slow = process.metric("jumpstream_commit_duration_seconds_sum", &[]).await;
        (slow > 4.0).then_some(slow)
    })
    .await;
    process.ready().await;
    process.stop().await;
    let mut all = String::from_utf8(reader.join().unwrap()).unwrap();
    let until = emulator.now();
    home.catch_up().await;
    all.push_str(&home.lines("stdout-1").join("\n"));
    let wanted = emulator.truth(Some(until));
    let tally = Tally::of(&wanted, &emulator.truth(None), all.lines());
    assert_eq!(tally, Tally { true_events: wanted.len(), lost: 0, repeated: 0, foreign: 0 }, "{slowest}");
}
