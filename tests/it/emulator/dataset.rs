//! What the emulator holds: the truth is what paging shows, a seed is a data set, and the events look real.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use jumpstream::emulator::{Options, Truth};
use serde_json::{Value, json};

use super::{NOW, api, everything, json_of, options, sha256, with};

/// The hashes of the truth, in the order of their text; a multiset, so that a repeat would show.
fn hashes(truth: &[Truth], organization: &str) -> Vec<String> {
    let mut hashes: Vec<_> =
        truth.iter().filter(|line| line.organization == organization).map(|line| line.sha256.clone()).collect();
    hashes.sort();
    hashes
}

#[tokio::test]
async fn paging_over_everything_gives_the_truth() {
    for (page_size, events, burst) in [(1, 40, 7), (7, 300, 50), (999, 4_000, 2_500), (10_000, 9_000, 12_000)] {
        let awkward = Options {
            events,
            burst,
            ties: 0.3,
            duplicates: 0.05,
            radius_repeats: 0.5,
            future: 9,
            organizations: 2,
            ..options()
        };
        let api = api(awkward).await;
        let truth = api.emulator.truth(None);
        assert_eq!(truth.len() as u32, events + burst + 9);
        let mut records = 0;
        for organization in api.emulator.organizations() {
            let query = with(everything(), json!({ "limit": page_size }));
            let shown = api.read(query, Some(&organization)).await;
            records += shown.len();
            let mut distinct: Vec<_> = shown.iter().collect::<HashSet<_>>().into_iter().map(|e| sha256(e)).collect();
            distinct.sort();
            assert_eq!(distinct, hashes(&truth, &organization), "page size {page_size}");
        }
        assert_eq!(records, api.emulator.records(), "every record once, page size {page_size}");
        assert!(records > truth.len(), "some are stored twice");
    }
}

#[tokio::test]
async fn the_truth_names_each_event_once() {
    let api = api(Options { duplicates: 0.5, radius_repeats: 0.5, ..options() }).await;
    let truth = api.emulator.truth(None);
    let identities: HashSet<_> = truth.iter().map(|line| (&line.id, &line.timestamp)).collect();
    assert_eq!(identities.len(), truth.len());
    let ids: HashSet<_> = truth.iter().map(|line| &line.id).collect();
    assert!(ids.len() < truth.len(), "RADIUS ids repeat under other timestamps");
}

#[tokio::test]
async fn the_truth_over_http_is_the_truth_in_process() {
    let api = api(Options { events: 1_700, organizations: 3, ..options() }).await;
    let lines =
        |truth: &[Truth]| truth.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect::<String>();
    let truth = api.emulator.truth(None);
    assert_eq!(api.look("truth").await, lines(&truth));
    let second = &api.emulator.organizations()[1];
    let own: Vec<_> = truth.iter().filter(|line| line.organization == *second).cloned().collect();
    assert_eq!(api.look(&format!("truth?organization={second}")).await, lines(&own));
    let until = "2026-03-02T00:00:00Z".parse().unwrap();
    let until = lines(&api.emulator.truth(Some(until)));
    assert_eq!(api.look("truth?until=2026-03-02T00:00:00Z").await, until);
    assert!(until.len() < lines(&truth).len());
}

#[tokio::test]
async fn a_seed_is_a_data_set() {
    let seeded = |seed| Options { seed, events: 500, ties: 0.2, duplicates: 0.1, burst: 20, future: 3, ..options() };
    let (first, again, other) = (api(seeded(7)).await, api(seeded(7)).await, api(seeded(8)).await);
    let text = first.read(everything(), None).await;
    assert_eq!(text, again.read(everything(), None).await);
    assert_ne!(text, other.read(everything(), None).await);
}

#[tokio::test]
async fn a_clock_set_forward_by_days_yields_the_days_events() {
    let live =
        || Options { events: 0, rate: 0.02, ties: 0.1, late_share: 0.2, late_max: "2h".parse().unwrap(), ..options() };
    let (at_once, in_steps) = (api(live()).await, api(live()).await);
    at_once.control("clock", json!({ "advance": "3d" })).await;
    for _ in 0..72 {
        in_steps.emulator.advance(Duration::from_secs(3_600));
        in_steps.count(everything()).await;
    }
    let until = Some("2026-03-05T12:00:00Z".parse().unwrap());
    let truth = at_once.emulator.truth(until);
    assert_eq!(truth, in_steps.emulator.truth(until));
    let expected = 3.0 * 86_400.0 * 0.02;
    assert!((truth.len() as f64 - expected).abs() < expected / 10.0, "{} events", truth.len());
}

#[tokio::test]
async fn late_events_appear_when_they_are_due() {
    let late = Options { events: 2_000, late_share: 0.3, late_max: "6h".parse().unwrap(), ..options() };
    let api = api(late).await;
    let mut seen = api.count(everything()).await;
    assert!(seen < 2_000, "some aren't visible yet");
    let mut waited = 0;
    while seen < 2_000 {
        api.emulator.advance(Duration::from_secs(1_800));
        waited += 1;
        let more = api.count(everything()).await;
        assert_eq!(more, api.emulator.truth(None).len() as u64);
        assert!(more >= seen && waited <= 13, "{seen} then {more} after {waited} half-hours");
        seen = more;
    }
    let delays: Vec<_> = api.emulator.truth(None).iter().map(lateness).collect();
    let share = delays.iter().filter(|delay| **delay > 60.0).count() as f64 / 2_000.0;
    assert!((0.2..0.4).contains(&share), "{share} are late");
    assert!(delays.iter().all(|delay| (0.0..=6.0 * 3_600.0 + 2.0).contains(delay)));
}

fn lateness(line: &Truth) -> f64 {
    let instant = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
    instant(&line.visible_at).duration_since(instant(&line.timestamp)).as_secs_f64()
}

#[tokio::test]
async fn future_dated_events_are_shown_where_no_end_is_asked() {
    let api = api(Options { events: 100, future: 5, ..options() }).await;
    assert_eq!(api.count(everything()).await, 105);
    assert_eq!(api.count(with(everything(), json!({ "end_time": NOW }))).await, 100);
    assert_eq!(api.emulator.truth(None).iter().filter(|line| line.future).count(), 5);
}

#[tokio::test]
async fn events_older_than_the_retention_are_silently_gone() {
    let api = api(Options { events: 2_400, retention: "12h".parse().unwrap(), ..options() }).await;
    let kept = api.count(everything()).await;
    assert!((1_100..1_300).contains(&kept), "{kept}");
    assert_eq!(api.read(everything(), None).await.len() as u64, kept);
    api.emulator.advance(Duration::from_secs(13 * 3_600));
    assert_eq!(api.count(everything()).await, 0);
}

#[tokio::test]
async fn replicas_disagree_by_their_refresh() {
    let replicated = Options { events: 0, rate: 1.0, replicas: 3, refresh: "30s".parse().unwrap(), ..options() };
    let api = api(replicated).await;
    api.emulator.advance(Duration::from_secs(100));
    let mut counts = BTreeSet::new();
    for _ in 0..3 {
        counts.insert(api.count(everything()).await);
    }
    let (least, most) = (*counts.first().unwrap(), *counts.last().unwrap());
    assert_eq!(counts.len(), 3);
    assert!((17..=23).contains(&(most - least)), "{counts:?}");
}

#[tokio::test]
async fn counts_and_intervals_agree_with_the_events() {
    let api = api(Options { events: 3_000, ties: 0.2, duplicates: 0.1, burst: 100, ..options() }).await;
    let events = api.read(everything(), None).await;
    let times: Vec<i64> = events
        .iter()
        .map(|event| {
            let event: Value = serde_json::from_str(event).unwrap();
            event["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_nanosecond() as i64
        })
        .collect();
    assert_eq!(api.count(everything()).await, times.len() as u64);
    // An edge within a millisecond, and one on an event.
    let on_event = jiff::Timestamp::from_nanosecond(times[times.len() / 2].into()).unwrap().to_string();
    for (from, to) in [("2026-03-01T20:00:00.0000005Z", "2026-03-02T00:00:00Z"), ("2026-03-01T20:00:00Z", &on_event)] {
        let nanos = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_nanosecond() as i64;
        let expected = times.iter().filter(|time| (nanos(from)..nanos(to)).contains(time)).count();
        let range = json!({ "service": ["all"], "start_time": from, "end_time": to });
        assert_eq!(api.count(range).await, expected as u64);
    }
    for (unit, value, width) in [("m", "1", 60), ("m", "15", 900), ("h", "1", 3_600), ("d", "1", 86_400)] {
        let ask = json!({ "interval_unit": unit, "interval_value": value, "timezone": "+0000", "start_time": "2026-03-01T00:00:00Z" });
        let answer = json_of(api.post("/events/interval", with(everything(), ask)).await).await;
        let shown: BTreeMap<i64, u64> = (answer["buckets"].as_array().unwrap().iter())
            .map(|bucket| (bucket["key"].as_i64().unwrap(), bucket["doc_count"].as_u64().unwrap()))
            .filter(|(_, count)| *count > 0)
            .collect();
        let mut expected: BTreeMap<i64, u64> = BTreeMap::new();
        let from_1_march = times.iter().map(|time| time.div_euclid(1_000_000_000));
        from_1_march.for_each(|second| *expected.entry(second.div_euclid(width) * width * 1_000).or_default() += 1);
        assert_eq!(shown, expected, "{value}{unit}");
    }
}

#[tokio::test]
async fn events_look_like_those_of_a_real_tenant() {
    let api = api(Options { events: 20_000, ..options() }).await;
    let events = api.read(with(everything(), json!({ "limit": 10_000 })), None).await;
    let sizes: Vec<_> = events.iter().map(String::len).collect();
    let mean = sizes.iter().sum::<usize>() / sizes.len();
    assert!((1_000..=1_400).contains(&mean), "mean {mean}");
    assert!(*sizes.iter().min().unwrap() >= 300, "min {:?}", sizes.iter().min());
    assert!((70_000..=520_000).contains(sizes.iter().max().unwrap()), "max {:?}", sizes.iter().max());

    let parsed: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let texts = |name: &str| -> BTreeSet<&str> { parsed.iter().filter_map(|event| event[name].as_str()).collect() };
    assert!(texts("service").len() >= 15, "{:?}", texts("service"));
    assert!(texts("event_type").len() >= 200, "{}", texts("event_type").len());
    assert!(events.iter().any(|event| !event.is_ascii()));
    assert!(events.iter().any(|event| event.contains("\\u0007")));
    assert!(parsed.iter().any(|event| event["success"].is_null() && event.get("success").is_some()));
    assert!(parsed.iter().any(|event| event.get("success").is_none()));
    let digits: BTreeSet<usize> = texts("timestamp").iter().map(|text| fraction(text).len()).collect();
    assert_eq!(digits, (0..=9).collect());
    assert!(texts("timestamp").iter().all(|text| !fraction(text).ends_with('0')));
}

fn fraction(timestamp: &str) -> &str {
    timestamp.split_once('.').map_or("", |(_, fraction)| fraction.strip_suffix('Z').unwrap())
}

#[tokio::test]
async fn ids_have_the_forms_of_real_ones() {
    let api = api(options()).await;
    for event in api.page(with(everything(), json!({ "limit": 10_000 }))).await {
        let (id, stamp) = (event["id"].as_str().unwrap(), event["timestamp"].as_str().unwrap());
        if event["service"] == "radius" {
            let upper = id.chars().all(|digit| digit == '-' || digit.is_ascii_digit() || digit.is_ascii_uppercase());
            assert!(upper && id.len() == 36 && id.as_bytes()[14] == b'3', "{id}");
        } else {
            let second = stamp.parse::<jiff::Timestamp>().unwrap().as_nanosecond().div_euclid(1_000_000_000);
            assert!(id.len() == 24 && id.starts_with(&format!("{second:08x}")), "{id} at {stamp}");
        }
    }
}

#[tokio::test]
async fn incompressible_events_have_the_same_sizes_and_compress_badly() {
    let plain = api(Options { events: 2_000, ..options() }).await;
    let noisy = api(Options { events: 2_000, incompressible: true, ..options() }).await;
    let join = |events: Vec<String>| events.join("\n");
    let (plain, noisy) = (join(plain.read(everything(), None).await), join(noisy.read(everything(), None).await));
    let ratio = noisy.len() as f64 / plain.len() as f64;
    assert!((0.9..1.1).contains(&ratio), "{} against {} bytes", noisy.len(), plain.len());
    assert!(gzipped(&plain) < 0.35, "{}", gzipped(&plain));
    assert!(gzipped(&noisy) > 0.6, "{}", gzipped(&noisy));
}

fn gzipped(text: &str) -> f64 {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap().len() as f64 / text.len() as f64
}
