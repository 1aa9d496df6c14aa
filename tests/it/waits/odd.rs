//! An API whose answers are odd: each oddity is told, and holds up nothing that can be had.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use jumpstream::clock::{self, Time};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;

use super::{delivered, once};
use crate::process::{EVENTS, Home, Process, Settings, emulate, eventually};
use crate::source::server::{Part, Server, answer};

const ORGANIZATION: &str = "5f00000000000000000000aa";
const MINUTES: u64 = 180;
const POLL: &str = "{interval: 1s, start: 4h}";
const DEAD: &str = "dead_letter: {file: dead.ndjson}\n";

/// What was asked of `/events`, and the events that an honest API would show.
struct Asked {
    from: Time,
    to: Time,
    events: Vec<String>,
}

impl Asked {
    fn holds(&self, time: Time) -> bool {
        self.from <= time && time < self.to
    }
}

/// An event a minute up to two minutes before `began`; `twist` answers instead where it gives something.
async fn model(began: Time, dated: bool, twist: impl Fn(&Asked) -> Option<Vec<u8>> + Send + Sync + 'static) -> Server {
    Server::start(move |_, seen| {
        let seconds = Duration::from_secs(clock::wall().as_secs() as u64);
        let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + seconds);
        let dates: Vec<(&str, &str)> = if dated { vec![("Date", &date)] } else { Vec::new() };
        let say = |status, headers: &[(&str, &str)], body: &[u8]| {
            vec![Part::Say(answer(status, &[&dates, headers].concat(), body))]
        };
        if seen.line.starts_with("GET") {
            let body = format!("{{\"results\":[{{\"_id\":\"{ORGANIZATION}\"}}],\"totalCount\":1}}");
            return say(200, &[], body.as_bytes());
        }
        if !seen.line.contains("/events HTTP") {
            return say(404, &[], b"");
        }
        let query: Value = serde_json::from_str(&seen.body).unwrap();
        let time = |name: &str| query[name].as_str().and_then(Time::parse);
        let (from, to) = (time("start_time").unwrap(), time("end_time").unwrap_or(Time::MAX));
        let held = (2..MINUTES).rev().map(|minute| (minute, began - Duration::from_secs(60 * minute)));
        let shown = held.filter(|(_, time)| from <= *time && *time < to);
        let event = |(minute, time)| format!("{{\"id\":\"{minute}\",\"timestamp\":\"{time}\"}}");
        let asked = Asked { from, to, events: shown.map(event).collect() };
        match twist(&asked) {
            Some(bytes) if bytes.starts_with(b"HTTP") => vec![Part::Say(bytes)],
            Some(body) => say(200, &[("X-Limit", "10000")], &body),
            None => say(200, &[("X-Limit", "10000")], format!("[{}]", asked.events.join(",")).as_bytes()),
        }
    })
    .await
}

async fn gap_reason(process: &mut Process) -> String {
    let status = process.status().await;
    let gaps = status["streams"][0]["gaps"].as_array().cloned().unwrap_or_default();
    gaps.iter().map(|gap| gap["reason"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(",")
}

fn home(server: &Server) -> Home {
    Home::new(Settings { poll: POLL, more: DEAD, ..Settings::at(server.url()) })
}

#[tokio::test(flavor = "multi_thread")]
async fn something_malformed_among_events_is_a_dead_letter_once_and_holds_up_nothing() {
    let began = clock::wall();
    let poison = began - Duration::from_secs(3_600);
    let bad = "{\"id\":\"p\",\"m\":\"a\ttab\"}";
    for bad in [bad, "null"] {
        let server = model(began, true, move |asked| {
            let with = |mut events: Vec<String>| {
                events.push(bad.to_owned());
                format!("[{}]", events.join(",")).into_bytes()
            };
            asked.holds(poison).then(|| with(asked.events.clone()))
        })
        .await;
        let home = home(&server);
        let mut process = home.start(&[]);
        delivered(&home, MINUTES as usize - 2).await;
        process.said("an event went to the dead letters").await;
        process.ready().await;
        // Its window is read once; what polls show of it is known.
        process.requests("ok", 12.0).await;
        once(&process, "an event went to the dead letters");
        let [letter] = &home.lines("dead.ndjson")[..] else { panic!("one letter") };
        let letter: Value = serde_json::from_str(letter).unwrap();
        assert_eq!(letter["reason"], "malformed");
        assert_eq!(letter["text"].as_str().or(letter["event"].as_str().or(Some("null"))), Some(bad), "{letter}");
        process.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn something_malformed_that_only_a_comparison_meets_is_a_dead_letter_too() {
    let began = clock::wall();
    let poison = began - Duration::from_secs(3_600);
    let bad = "{\"id\":\"p\",\"m\":\"a\ttab\"}";
    let is_visible = Arc::new(AtomicBool::new(false));
    let shows = Arc::clone(&is_visible);
    let server = model(began, true, move |asked| {
        let events = asked.events.iter().cloned().chain([bad.to_owned()]).collect::<Vec<_>>();
        (asked.holds(poison) && shows.load(Ordering::Relaxed)).then(|| format!("[{}]", events.join(",")).into_bytes())
    })
    .await;
    // All that the gap holds has reached the last age, and as the model refuses counts it is read once more.
    let home = Home::new(Settings {
        poll: POLL,
        more: &format!("{DEAD}verify: {{after: [1m]}}\n"),
        ..Settings::at(server.url())
    });
    let mut process = home.start(&[]);
    delivered(&home, MINUTES as usize - 2).await;
    is_visible.store(true, Ordering::Relaxed);
    // Before the third try comparing rests for 10, 20 and 40 s.
    tokio::time::sleep(Duration::from_secs(60)).await;
    process.said("an event went to the dead letters").await;
    assert_eq!(home.lines("dead.ndjson").len(), 1);
    assert_eq!(home.lines(EVENTS).len(), MINUTES as usize - 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_never_whole_stays_a_gap_that_is_said_and_older_events_come() {
    let began = clock::wall();
    let poison = began - Duration::from_secs(3_630);
    let server = model(began, true, move |asked| asked.holds(poison).then(|| b"[{\"m\":\"a\"b\"}".to_vec())).await;
    let home = home(&server);
    let mut process = home.start(&[]);
    delivered(&home, MINUTES as usize - 2).await;
    process.degraded("never whole").await;
    eventually("the gap has its reason", async || (gap_reason(&mut process).await == "unpageable").then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_stays_a_gap_that_is_said_and_newer_events_come() {
    let began = clock::wall();
    let licensed = began - Duration::from_secs(3_630);
    let server =
        model(began, true, move |asked| (asked.from < licensed).then(|| answer(402, &[], "{\"message\":\"no\"}")))
            .await;
    let home = home(&server);
    let mut process = home.start(&[]);
    process.degraded("refuses to show some time").await;
    eventually("the gap has its reason", async || (gap_reason(&mut process).await == "refused").then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_among_other_failures_sets_nothing_aside() {
    let began = clock::wall();
    let past = began - Duration::from_secs(1_800);
    let asked_for = AtomicU32::new(0);
    let server = model(began, true, move |asked| match asked.from < past {
        true => match asked_for.fetch_add(1, Ordering::Relaxed) {
            // Polls succeed meanwhile.
            0..3 => Some(answer(503, &[("Retry-After", "2")], b"")),
            3 => Some(answer(302, &[("Location", "/elsewhere")], b"")),
            _ => None,
        },
        false => None,
    })
    .await;
    let home = home(&server);
    let mut process = home.start(&[]);
    delivered(&home, MINUTES as usize - 2).await;
    process.ready().await;
    once(&process, "redirects to /elsewhere (302)");
    assert_eq!(process.count("refuses to show some time"), 0, "{}", process.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_date_it_is_said_and_our_own_clock_counts() {
    let server = model(clock::wall(), false, |_| None).await;
    let home = home(&server);
    let mut process = home.start(&[]);
    process.said("carry no usable Date").await;
    delivered(&home, MINUTES as usize - 2).await;
    process.degraded("this machine's clock counts instead").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_on_file_sizes_is_waited_for_like_a_full_disk() {
    let options =
        jumpstream::emulator::Options { events: 200, span: "1h".parse().unwrap(), rate: 100.0, ..Default::default() };
    let emulator = emulate(options).await;
    let home = Home::new(Settings::of(&emulator));
    let mut process = home.start(&[]);
    delivered(&home, 200).await;
    let pid = Pid::from_raw(process.id() as i32);
    prlimit(pid, Resource::Fsize, Rlimit { current: Some(100_000), maximum: None }).unwrap();
    process.degraded("File too large").await;
    assert!(process.is_running());
    let before = home.lines(EVENTS).len();
    prlimit(pid, Resource::Fsize, Rlimit { current: None, maximum: None }).unwrap();
    delivered(&home, before + 100).await;
    process.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_drips_is_said_while_it_drips() {
    let server = Server::start(|_, seen| {
        if seen.line.starts_with("GET") {
            let seconds = Duration::from_secs(clock::wall().as_secs() as u64);
            let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + seconds);
            let body = format!("{{\"results\":[{{\"_id\":\"{ORGANIZATION}\"}}],\"totalCount\":1}}");
            return vec![Part::Say(answer(200, &[("Date", &date)], body))];
        }
        let head = Part::Say(b"HTTP/1.1 200 X\r\ncontent-length: 9999\r\n\r\n[".to_vec());
        let drip = || [Part::Pause(Duration::from_secs(2)), Part::Say(b" ".to_vec())];
        std::iter::once(head).chain((0..60).flat_map(|_| drip())).collect()
    })
    .await;
    let home = home(&server);
    let mut process = home.start(&[]);
    process.degraded("no whole event for over 30s").await;
    once(&process, "no whole event");
}
