//! Control records on their way out: queued, bounded, counted, and never waited for.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jumpstream::clock::{self, Time};
use jumpstream::control::blindness::{Reach, Reason, Settings};
use jumpstream::control::queue::MOST;
use jumpstream::control::{Control, Options, Watch};
use jumpstream::ledger::{FingerprintKey, Ledger, StreamKey};
use jumpstream::record;
use jumpstream::sink::{ControlRecord, ControlRecords, Refused};
use jumpstream::telemetry::metrics::Metrics;
use serde_json::Value;
use tokio::sync::watch;

use super::{instant, of_type};

/// Takes records while its gate is open.
struct Receiver {
    gate: watch::Sender<bool>,
    records: Mutex<Vec<Value>>,
    /// Whether it refuses all that it is given.
    refuses: bool,
}

impl Receiver {
    fn new(open: bool, refuses: bool) -> Arc<Receiver> {
        Arc::new(Receiver { gate: watch::Sender::new(open), records: Mutex::default(), refuses })
    }

    fn records(&self) -> Vec<Value> {
        self.records.lock().unwrap().clone()
    }
}

#[async_trait]
impl ControlRecords for Receiver {
    async fn write(&self, records: &[ControlRecord]) -> Vec<Refused> {
        self.gate.subscribe().wait_for(|open| *open).await.unwrap();
        if self.refuses {
            let refused =
                |index| Refused { index, reason: record::Reason::Refused, explanation: "not today".to_owned() };
            return (0..records.len()).map(refused).collect();
        }
        let values = records.iter().map(|record| serde_json::from_slice(&record.value).unwrap());
        self.records.lock().unwrap().extend(values);
        Vec::new()
    }

    fn trouble(&self) -> Option<String> {
        None
    }
}

/// A control with its tasks, and one stream of it.
struct Stage {
    control: Control,
    metrics: Metrics,
    receiver: Arc<Receiver>,
    /// The server's time at the beginning.
    begun: Time,
    _tasks: tokio::task::JoinSet<()>,
}

impl Stage {
    fn set(receiver: Arc<Receiver>) -> Stage {
        let metrics = Metrics::new();
        let settings = Settings { threshold: Duration::from_secs(300), overlap: Duration::from_secs(60) };
        let control = Control::new(Options { replica: "host/1".to_owned(), settings, metrics: metrics.clone() });
        let mut tasks = tokio::task::JoinSet::new();
        let (kept, written, records) = (control.clone(), control.clone(), receiver.clone());
        tasks.spawn(async move { kept.keep().await });
        tasks.spawn(async move { written.write(&*records).await });
        let begun = Time::parse("2026-09-01T10:00:00Z").unwrap();
        Stage { control, metrics, receiver, begun, _tasks: tasks }
    }

    /// Watches a stream by a server's clock that passes as ours does.
    fn watch(&self) -> Watch {
        let (begun, uptime) = (self.begun, clock::uptime());
        let stream = StreamKey { organization: "5f00000000000000000000aa".to_owned(), service: "all".to_owned() };
        self.control.watch(stream, Box::new(move || Some(begun + (clock::uptime() - uptime))))
    }

    /// A stream whose edge is two seconds old.
    fn opened(&self) -> Watch {
        let watch = self.watch();
        let mut ledger = Ledger::begin(FingerprintKey([7; 16]), self.begun - Duration::from_secs(3_600), self.begun);
        ledger.advance_edge(self.edge());
        watch.opened(&ledger, self.begun);
        watch
    }

    fn edge(&self) -> Time {
        self.begun - Duration::from_secs(2)
    }

    fn dropped(&self, kind: &str) -> f64 {
        let series = format!("jumpstream_control_dropped_total{{type=\"{kind}\"}} ");
        let metrics = self.metrics.render();
        metrics.lines().find_map(|line| line.strip_prefix(&series)).map_or(0.0, |value| value.parse().unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_stands_still_is_seen_and_a_commit_that_does_not_end_is_the_sinks() {
    let stage = Stage::set(Receiver::new(true, false));
    let watch = stage.opened();
    watch.committing();
    tokio::time::sleep(Duration::from_secs(290)).await;
    assert!(of_type(&stage.receiver.records(), "gap.opened").is_empty());
    tokio::time::sleep(Duration::from_secs(20)).await;
    let records = stage.receiver.records();
    let [opened] = of_type(&records, "gap.opened")[..] else { panic!("{records:?}") };
    let expected = serde_json::json!({
        "v": 1, "type": "gap.opened", "id": "gap.opened/5f00000000000000000000aa/all/2026-09-01T09:59:58Z",
        "at": opened["at"], "organization": "5f00000000000000000000aa", "service": "all",
        "from": "2026-09-01T09:59:58Z", "reason": "sink_blocked",
    });
    assert_eq!(*opened, expected);
    let heartbeats = of_type(&records, "heartbeat");
    assert_eq!(heartbeats.len(), 6, "at once, and every minute: {heartbeats:?}");
    let counts = |heartbeat: &Value| ["streams", "blind", "starting"].map(|name| heartbeat[name].as_u64().unwrap());
    assert_eq!((counts(heartbeats[4]), counts(heartbeats[5])), ([1, 0, 0], [1, 1, 0]));
    assert_eq!(heartbeats[5]["replica"], "host/1");
    // It comes to its end after all, and brings the present.
    let now = stage.begun + Duration::from_secs(310);
    watch.reached(Reach { edge: now, gaps: Vec::new() }, now);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let records = stage.receiver.records();
    let [closed] = of_type(&records, "gap.closed")[..] else { panic!("{records:?}") };
    assert_eq!((closed["from"].as_str(), closed["reason"].as_str()), (opened["from"].as_str(), Some("sink_blocked")));
    assert_eq!(instant(closed, "to"), "2026-09-01T10:05:10Z".parse().unwrap());
}

#[tokio::test(start_paused = true)]
async fn what_the_stream_waits_for_is_the_reason_where_nothing_is_being_committed() {
    let stage = Stage::set(Receiver::new(true, false));
    let watch = stage.opened();
    let starting = stage.watch();
    watch.trouble(Some(Reason::Throttled));
    tokio::time::sleep(Duration::from_secs(361)).await;
    let records = stage.receiver.records();
    let [opened] = of_type(&records, "gap.opened")[..] else { panic!("{records:?}") };
    assert_eq!(opened["reason"], "throttled");
    let last = *of_type(&records, "heartbeat").last().unwrap();
    assert_eq!((&last["streams"], &last["blind"], &last["starting"]), (&2.into(), &1.into(), &1.into()));
    // Streams that have left are counted no more.
    drop((watch, starting));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(of_type(&stage.receiver.records(), "heartbeat").last().unwrap()["streams"], 0);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_does_not_take_them_holds_up_nothing_and_costs_the_oldest_heartbeats_first() {
    let stage = Stage::set(Receiver::new(false, false));
    let watch = stage.opened();
    tokio::time::sleep(Duration::from_secs(61)).await;
    let second = |number: usize| stage.begun + Duration::from_secs(number as u64);
    // Some have been taken and wait with the receiver; none of these calls can wait.
    for number in 0..MOST + 10 {
        watch.lost(&[second(number)..second(number + 1)]);
    }
    let heartbeats = stage.dropped("heartbeat");
    assert!(heartbeats >= 1.0, "{heartbeats}");
    assert_eq!(heartbeats + stage.dropped("loss"), excess(&stage));
    stage.receiver.gate.send_replace(true);
    tokio::time::timeout(Duration::from_secs(5), stage.control.written()).await.expect("all is written");
    let records = stage.receiver.records();
    let losses = of_type(&records, "loss");
    assert_eq!(losses.len() as f64, (MOST + 10) as f64 - stage.dropped("loss"));
    assert_eq!(instant(losses[losses.len() - 1], "from").to_string(), second(MOST + 9).to_string());
}

/// What did not fit, of all that was told so far: two heartbeats and the losses.
fn excess(stage: &Stage) -> f64 {
    (2 + MOST + 10 - stage.control.waiting()) as f64
}

#[tokio::test(start_paused = true)]
async fn what_the_receiver_refuses_is_counted_and_left() {
    let stage = Stage::set(Receiver::new(true, true));
    stage.opened().lost(&[stage.edge()..stage.begun]);
    tokio::time::timeout(Duration::from_secs(5), stage.control.written()).await.expect("nothing waits");
    assert_eq!(stage.dropped("loss"), 1.0);
}
