//! One seed's run: a stream's loop over ninety days, with crashes, and the oracle.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use fastrand::Rng;
use jumpstream::clock::Time;
use jumpstream::ledger::{Checkpoint, FingerprintKey, Ledger, Mark};
use jumpstream::plan::read::PageEnd;
use jumpstream::plan::{Ages, Ask, CheckFailure, Plan, Settings, Taken, Ticket};

use super::tally::Tally;
use super::{days, hours};
use crate::simulation::api::{self, Answer, Api, Held, Manner};

pub(super) struct Run {
    seed: u64,
    rng: Rng,
    pub api: Api,
    pub now: Time,
    pub end: Time,
    last_age: Duration,
    pub settings: Settings,
    pub start: Time,
    /// Each start, and since when it has been wanted.
    pub wanted: Vec<(Time, Time)>,
    /// The API answers nothing then, or we are down.
    pub outages: Vec<Range<Time>>,
    /// One step in so many is a life's last; none where it is 0.
    deaths: u16,
    store: Option<Checkpoint>,
    sink: BTreeMap<usize, u64>,
    /// Gathered and not committed.
    batch: Vec<usize>,
    /// Every event that any page showed since the stream began.
    shown: BTreeSet<usize>,
    /// Places of those that were found late, and when.
    pub found: Vec<(usize, Time)>,
    pub tally: Tally,
}

/// An answer, as the API gave it when it was asked.
pub(super) enum Came {
    Failed { interval: bool },
    Count(u64),
    Interval { sent_at: Time, buckets: Option<Vec<(Time, u64)>> },
    Page { sent_at: Time, answer: Answer },
}

/// What a life of the process has in memory of one organization.
pub(super) struct Life {
    plan: Plan,
    ledger: Ledger,
    air: Vec<(Ticket, Came)>,
    steps: u32,
}

pub(super) enum Step {
    Goes,
    Dies,
    /// Nothing will come any more.
    Over,
}

impl Run {
    pub fn new(seed: u64) -> Run {
        let mut rng = Rng::with_seed(seed);
        let began = Time::parse("2026-03-02T08:00:00Z").unwrap() + Duration::from_millis(rng.u64(..86_400_000));
        let end = began + days(90);
        let ages = match rng.u8(..4) {
            0 => vec![hours(2), days(8)],
            1 => vec![days(8)],
            _ => vec![hours(1), hours(6), days(1), days(2), days(8)],
        };
        let settings = Settings {
            interval: Duration::from_secs(rng.u64(600..7_200)),
            page_size: rng.u32(3..60),
            windows: rng.usize(1..5),
            ages: Ages::of(ages),
            retention: None,
        };
        let some = |rng: &mut Rng, most: usize, longest: u64| -> Vec<Range<Time>> {
            let one = |rng: &mut Rng| {
                let from = began + Duration::from_secs(rng.u64(..90 * 86_400));
                from..from + Duration::from_secs(rng.u64(60..longest))
            };
            (0..rng.usize(..=most)).map(|_| one(rng)).collect()
        };
        let lapses = if rng.u8(..3) == 0 { some(&mut rng, 2, 6 * 86_400) } else { Vec::new() };
        let lies: Vec<_> = some(&mut rng, 4, 2 * 86_400);
        let lies = lies.into_iter().map(|when| (when, *rng.choice(&[-3, -1, 1, 2, 500]).unwrap())).collect();
        let manner = Manner {
            end_inclusive: rng.bool(),
            intervals: rng.u8(..4) > 0,
            refresh: Duration::from_secs(if rng.bool() { 0 } else { rng.u64(..6) }),
            faults: if rng.bool() { 0 } else { rng.u64(20..200) },
            lapses,
            lies,
            retention: days(*rng.choice(&[15, 30, 90]).unwrap()),
            ..Manner::faithful()
        };
        let start = began - hours(*rng.choice(&[0, 1, 24, 20 * 24]).unwrap());
        let outages = some(&mut rng, 3, 3 * 86_400);
        let held = populate(start - days(10), end, &mut rng);
        let api = Api::new(held, manner, settings.page_size);
        Run { outages, deaths: 2_000, rng, ..Run::untroubled(seed, settings, api, start..began, end) }
    }

    /// One that lives from the second of these times until `end`, and has the API always; its coverage begins at the first.
    pub fn untroubled(seed: u64, settings: Settings, api: Api, wanted: Range<Time>, end: Time) -> Run {
        Run {
            seed,
            rng: Rng::with_seed(seed),
            api,
            now: wanted.end,
            end,
            last_age: settings.ages.last().expect("something is compared"),
            settings,
            start: wanted.start,
            wanted: vec![(wanted.start, wanted.end)],
            outages: Vec::new(),
            deaths: 0,
            store: None,
            sink: BTreeMap::new(),
            batch: Vec::new(),
            shown: BTreeSet::new(),
            found: Vec::new(),
            tally: Tally { runs: 1, ..Tally::default() },
        }
    }

    pub fn begin(&mut self) -> Life {
        self.batch.clear();
        let mut ledger = match &self.store {
            Some(stored) => Ledger::open(stored.clone()),
            None => Ledger::begin(FingerprintKey([7; 16]), self.now, self.start),
        };
        ledger.move_start(self.start);
        Life { plan: Plan::new(self.settings.clone()), ledger, air: Vec::new(), steps: 0 }
    }

    pub fn step(&mut self, life: &mut Life) -> Step {
        let Life { plan, ledger, air, steps } = life;
        *steps += 1;
        assert!(*steps < 400_000, "seed {}: no rest at {}: {:?} {plan:?}", self.seed, self.now, self.api.manner);
        // Ages of eight days and three tries a day apart, beyond the last event's.
        let over = self.end + days(13);
        let calm = self.now > self.end;
        if !calm && self.deaths > 0 && self.rng.u16(..self.deaths) == 0 {
            return Step::Dies;
        }
        let answers = calm || !self.outages.iter().any(|outage| outage.contains(&self.now));
        let ask = plan.next(ledger, self.now);
        if matches!(ask, Ask::Wait { .. }) && air.is_empty() && !plan.rests(self.now) && self.rng.u8(..8) == 0 {
            // As seen without what it remembers of its last look.
            assert!(plan.has_settled(ledger, self.now), "seed {}: something is due at {}", self.seed, self.now);
        }
        let landed = match ask {
            Ask::Wait { until } if air.is_empty() || self.rng.bool() => {
                let over = self.now > over && plan.has_settled(ledger, self.now) && ledger.gaps().is_empty();
                self.commit(ledger);
                if over {
                    return Step::Over;
                }
                self.now = self.now + until.since(self.now).max(Duration::from_millis(1));
                None
            }
            Ask::Wait { .. } => self.land(air, plan),
            ask => {
                let polling = plan.is_polling();
                self.tally.polls += u64::from(polling);
                self.tally.counts += u64::from(matches!(ask, Ask::Count { .. }));
                self.tally.compared_pages += u64::from(plan.is_checking() && matches!(ask, Ask::Page(_)));
                let came = self.request(ask, answers);
                if polling || self.rng.u8(..4) == 0 {
                    Some(came)
                } else {
                    air.push((plan.send_off(), came));
                    if self.rng.bool() { self.land(air, plan) } else { None }
                }
            }
        };
        if let Some(came) = landed {
            self.take(came, plan, ledger);
        }
        Step::Goes
    }

    /// Any of the answers that have come; none where nobody wants it any more.
    fn land(&mut self, air: &mut Vec<(Ticket, Came)>, plan: &mut Plan) -> Option<Came> {
        let (ticket, came) = air.swap_remove(self.rng.usize(..air.len()));
        self.tally.overtaken += u64::from(!air.is_empty());
        plan.answered(ticket).then_some(came)
    }

    /// What the API answers at this moment.
    fn request(&mut self, ask: Ask, answers: bool) -> Came {
        let interval = matches!(ask, Ask::Interval { .. });
        if !answers || self.api.fails(&mut self.rng) {
            self.tally.outages += u64::from(!answers);
            self.tally.failures += u64::from(answers);
            return Came::Failed { interval };
        }
        match ask {
            Ask::Count { range } => {
                let lies = self.api.manner.lies.iter().any(|(when, _)| when.contains(&self.now));
                self.tally.lies += u64::from(lies);
                Came::Count(self.api.count(range.start, range.end, self.now))
            }
            Ask::Interval { range, unit } => {
                let buckets = self.api.interval(range.start, range.end, unit, self.now);
                Came::Interval { sent_at: self.now, buckets }
            }
            Ask::Page(ask) => Came::Page { sent_at: self.now, answer: self.api.events(&ask, self.now, &mut self.rng) },
            Ask::Wait { .. } => unreachable!("no request"),
        }
    }

    /// As the stream's loop takes a failed request.
    fn fail(&mut self, interval: bool, plan: &mut Plan, ledger: &mut Ledger) {
        let sent_at = self.now;
        self.now = self.now + Duration::from_secs(self.rng.u64(1..600));
        if plan.is_checking() {
            let failure = match self.rng.u8(..20) {
                0 => CheckFailure::Refused,
                1 => CheckFailure::Garbled,
                _ => CheckFailure::Passing,
            };
            plan.check_failed(ledger, sent_at, failure);
        } else if interval || self.rng.u8(..5) == 0 {
            plan.abandon_read(sent_at);
        }
    }

    fn take(&mut self, came: Came, plan: &mut Plan, ledger: &mut Ledger) {
        if let Came::Failed { interval } = came {
            return self.fail(interval, plan, ledger);
        }
        self.now = self.now + self.latency();
        match came {
            Came::Failed { .. } => {}
            Came::Count(events) => plan.count_read(ledger, events, self.now),
            Came::Interval { sent_at, buckets: Some(buckets) } => plan.interval_read(ledger, &buckets, sent_at),
            Came::Interval { buckets: None, .. } => plan.interval_refused(),
            Came::Page { sent_at, answer } => self.page(answer, sent_at, plan, ledger),
        }
    }

    fn page(&mut self, answer: Answer, sent_at: Time, plan: &mut Plan, ledger: &mut Ledger) {
        let (places, end) = match answer {
            Answer::FutureStart => unreachable!("the clock is right"),
            Answer::Failed => return self.fail(false, plan, ledger),
            Answer::Cut(places) => (places, None),
            Answer::Page(page) => {
                let elements = page.places.len() as u32;
                (page.places, Some(PageEnd { limit: page.limit, elements, cursor: page.cursor, sent_at }))
            }
        };
        for place in places {
            let held = &self.api.held[place];
            if held.time >= self.start {
                self.shown.insert(held.number);
            }
            if let Taken::New(delivery) = plan.admit(ledger, &held.event, sent_at) {
                if delivery == jumpstream::record::Delivery::Late {
                    self.tally.late += 1;
                    self.found.push((place, sent_at));
                }
                self.batch.push(held.number);
            }
        }
        if let Some(end) = end {
            plan.page_read(ledger, end, self.now);
        }
        if self.rng.bool() {
            self.commit(ledger);
        }
    }

    /// Records and checkpoint in one.
    fn commit(&mut self, ledger: &mut Ledger) {
        if !ledger.has_changed() {
            return;
        }
        let passed = ledger.edge().map_or(self.now, |edge| edge.min(self.now));
        ledger.forget_settled(passed - self.last_age, passed);
        let checkpoint = ledger.checkpoint();
        for (_, mark) in checkpoint.standing.ranges() {
            self.tally.unsettled += u64::from(matches!(mark, Mark::Unsettled { .. }));
            self.tally.doubted += u64::from(matches!(mark, Mark::Doubted { .. }));
        }
        for number in self.batch.drain(..) {
            *self.sink.entry(number).or_default() += 1;
        }
        match &mut self.store {
            Some(stored) => stored.fold(checkpoint),
            store => *store = Some(checkpoint),
        }
    }

    fn latency(&mut self) -> Duration {
        Duration::from_millis(self.rng.u64(1..400))
    }

    pub fn judge(self) -> Tally {
        let stored = self.store.as_ref().unwrap();
        let edge = stored.edge.unwrap();
        let note = format!("seed {}, {:?}, {:?}", self.seed, self.api.manner, self.settings);
        let gaps = stored.coverage.gaps(self.start..edge);
        assert!(gaps.is_empty(), "{note}: gaps stay: {gaps:?}");
        for (number, times) in &self.sink {
            assert_eq!(*times, 1, "{note}: event {number} came {times} times");
        }
        for held in &self.api.held {
            let delivered = self.sink.contains_key(&held.number);
            assert!(held.time >= self.start || !delivered, "{note}: event {} lies before the start", held.number);
            if held.time >= self.start && held.time < self.end && self.was_visible(held) {
                let Held { number, time, visible_at, .. } = held;
                let standing = stored.standing.at(*time);
                assert!(delivered, "{note}: event {number} at {time}, visible at {visible_at}, is lost: {standing:?}");
            }
            let lost = stored.standing.at(held.time) == Some(Mark::LOST);
            assert!(
                !lost || !delivered,
                "{note}: event {} at {} was delivered, and is called lost",
                held.number,
                held.time
            );
            let verified = stored.standing.at(held.time) == Some(Mark::Verified);
            // What is removed may be so before it is read again after a death.
            let lacked = verified && held.gone_at == Time::MAX && self.shown.contains(&held.number) && !delivered;
            assert!(
                !lacked,
                "{note}: event {} at {} was shown, and its time is called verified",
                held.number, held.time
            );
        }
        let total: u64 = stored.hours.values().map(|hour| hour.events).sum();
        let old = self.sink.len() as u64;
        // Totals of more than a hundred days ago are dropped.
        assert!(total <= old, "{note}: the hours' totals: {total} of {old}");
        let mut tally = self.tally;
        tally.events = old;
        tally.requests = self.api.requests;
        tally.lapses = self.api.manner.lapses.len() as u64;
        tally.removed = self.api.held.iter().filter(|held| held.gone_at < self.end).count() as u64;
        for (range, mark) in stored.standing.ranges() {
            let days = range.end.since(range.start).as_secs() / 86_400;
            match mark {
                Mark::Verified => tally.verified_days += days,
                mark if *mark == Mark::LOST => tally.lost += 1,
                Mark::Gone { .. } => tally.gone += 1,
                Mark::Unprovable => tally.unprovable += 1,
                Mark::Counted { .. } | Mark::Unsettled { .. } | Mark::Doubted { .. } => {}
            }
        }
        tally
    }

    /// What comparing may cost: 900 requests a day, three for each page of events, four for each minute that the API counted
    /// differently at one time and another.
    pub fn judge_requests(&self) {
        let days = self.end.since(self.api.held[0].time).as_secs() / 86_400 + 14;
        let pages = self.api.held.len() as u64 / u64::from(self.settings.page_size) + days;
        let minute = |held: &Held| held.time.as_secs() / 60;
        let differs = |held: &&Held| {
            held.visible_at > held.time.ceil(Duration::from_secs(60))
                || held.gone_at < Time::MAX
                || held.time > held.visible_at
        };
        let minutes: BTreeSet<i64> = self.api.held.iter().filter(differs).map(minute).collect();
        let most = days * 900 + pages * 3 + minutes.len() as u64 * 4;
        let others = self.api.requests - self.tally.polls;
        let note = format!("seed {}, {:?}, {:?}", self.seed, self.api.manner, self.settings);
        assert!(
            others <= most,
            "{note}: {others} requests besides polls in {days} days, {pages} pages, {} minutes",
            minutes.len()
        );
    }

    /// Whether the API showed it for a while in which we were sure to look: it became visible before its last age, and was
    /// to be seen when that came.
    fn was_visible(&self, held: &Held) -> bool {
        let wanted = self.wanted.iter().find(|(start, _)| *start <= held.time).expect("a start before it");
        let last = wanted.1.max(held.time + self.last_age);
        let surely = |time: Time| {
            let slack = days(1) + hours(6);
            let down =
                |ranges: &[Range<Time>]| ranges.iter().any(|range| range.start < time + slack && time < range.end);
            !down(&self.outages) && !down(&self.api.manner.lapses) && self.api.shows(held, time)
        };
        held.visible_at + hours(1) < last && surely(last) && self.api.shows(held, last + days(1) + hours(6))
    }
}

/// Quiet weeks and busy hours, ties, events and duplicates that are removed, future dates, and late events as they were
/// measured: 80 % within an hour, 95 % within a day, 99.8 % within two, all within seven.
fn populate(from: Time, to: Time, rng: &mut Rng) -> Vec<Held> {
    let mut held = Vec::new();
    let mut time = from;
    let (apart, late_share) = (rng.u64(600..14_400), rng.u64(5..60));
    while time < to && held.len() < 3_000 {
        let pause = match rng.u16(..200) {
            0 => rng.u64(..4 * 86_400),
            1..=20 => rng.u64(..8 * apart),
            _ => rng.u64(..apart / 2),
        };
        time = time + Duration::from_secs(pause) + Duration::from_millis(rng.u64(..1_000));
        let burst = if rng.u8(..40) == 0 { rng.usize(1..40) } else { 1 };
        for _ in 0..burst {
            let late = if rng.u64(..100) < late_share { lateness(rng) } else { Duration::from_secs(rng.u64(..4)) };
            let at = match rng.u8(..200) {
                0 => time + Duration::from_secs(rng.u64(300..7_200)),
                _ => time + Duration::from_micros(rng.u64(..5_000)),
            };
            let at = if rng.u8(..8) == 0 { at.floor(Duration::from_secs(60)) } else { at };
            let mut event = api::hold(held.len(), at, time + late, rng);
            if rng.u8(..) == 0 {
                event.gone_at = event.visible_at + Duration::from_secs(rng.u64(..10 * 86_400));
            }
            if rng.u8(..30) == 0 {
                let mut again = api::hold_again(&event, rng);
                if rng.bool() {
                    again.gone_at = again.visible_at + Duration::from_secs(rng.u64(..10 * 86_400));
                }
                held.push(again);
            }
            held.push(event);
        }
    }
    held
}

pub(super) fn lateness(rng: &mut Rng) -> Duration {
    let (from, to) = match rng.u16(..1_000) {
        ..800 => (5, 3_600),
        800..950 => (3_600, 86_400),
        950..998 => (86_400, 2 * 86_400),
        _ => (2 * 86_400, 7 * 86_400),
    };
    Duration::from_secs(rng.u64(from..to))
}
