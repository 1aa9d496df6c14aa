//! One seed's run: the loop of `stream.rs` step by step, a store and a sink that may die at any of them, the oracle.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use fastrand::Rng;
use jumpstream::clock::{ServerClock, Time};
use jumpstream::ledger::{Checkpoint, FingerprintKey, Ledger};
use jumpstream::plan::read::PageEnd;
use jumpstream::plan::{Ages, Ask, Asked, PageAsk, Plan, Settings, Taken, Ticket};

use super::api::{self, Answer, Api, Cursors, Manner};
use super::minutes;
use super::tally::Tally;

/// Records and the checkpoint they bring us to, with what the API had shown by then.
#[derive(Debug, Default)]
struct Batch {
    numbers: Vec<usize>,
    checkpoint: Option<Checkpoint>,
    owed: BTreeSet<usize>,
}

struct Run {
    seed: u64,
    rng: Rng,
    api: Api,
    now: Time,
    began: Time,
    /// This run's faults are over: it only has to catch up.
    calm: bool,
    transactional: bool,
    settings: Settings,
    start: Time,
    store: Option<Checkpoint>,
    sink: BTreeMap<usize, u64>,
    may_repeat: BTreeMap<usize, u64>,
    in_flight: Option<Batch>,
    /// What committed reads were shown.
    owed: BTreeSet<usize>,
    tally: Tally,
}

/// An answer, as the API gave it when it was asked.
enum Came {
    Interval(Option<Vec<(Time, u64)>>),
    Page {
        ask: PageAsk,
        /// When its read was begun.
        asked_at: Time,
        sent_at: Time,
        answer: Answer,
    },
}

/// Why a life of the process ended.
enum End {
    Crash,
    Abort,
    CaughtUp,
}

pub fn run(seed: u64) -> Tally {
    let mut run = Run::new(seed);
    let end_of_trouble = run.now + minutes(run.rng.u64(5..25));
    loop {
        match run.live(end_of_trouble) {
            End::Abort => run.tally.aborts += 1,
            End::CaughtUp => break,
            End::Crash => {
                run.tally.crashes += 1;
                let away = match run.rng.u8(..10) {
                    0 => Duration::from_secs(run.rng.u64(..3 * 86_400)),
                    1..=3 => minutes(run.rng.u64(5..30)),
                    _ => Duration::from_secs(run.rng.u64(..120)),
                };
                run.tally.restarts_behind += u64::from(away > minutes(5));
                run.now = run.now + away;
            }
        }
    }
    run.judge()
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut rng = Rng::with_seed(seed);
        let began =
            Time::parse("2026-03-02T08:00:00Z").expect("an instant") + Duration::from_millis(rng.u64(..86_400_000));
        let cursors = match rng.u8(..12) {
            0 => Cursors::Absent,
            1 => Cursors::Repeated,
            _ => Cursors::Given,
        };
        // A wrong Date and a wrong wall clock together are outside the promise.
        let (date_error, wall_error) =
            *rng.choice(&[(0, 0), (0, 0), (3_600, 0), (-3_600, 0), (300, 0), (0, 3_600), (0, -3_600)]).expect("one");
        let manner = Manner {
            end_inclusive: rng.bool(),
            limit_header: rng.u8(..4) > 0 || cursors != Cursors::Given,
            cursors,
            intervals: rng.u8(..4) > 0,
            refresh: Duration::from_secs(if rng.bool() { 0 } else { rng.u64(..6) }),
            date_error,
            wall_error,
            outliers: if wall_error != 0 || rng.bool() { 0 } else { rng.u64(4..20) },
            faults: if rng.bool() { 0 } else { rng.u64(5..50) },
            spells: if (date_error, wall_error) == (0, 0) { spells(began, &mut rng) } else { Vec::new() },
            ..Manner::faithful()
        };
        let page_size = if cursors == Cursors::Given { rng.u32(1..40) } else { rng.u32(30..60) };
        // What is found by comparing again, another simulation shows.
        let (windows, ages, retention) = (rng.usize(1..5), Ages::of([]), None);
        let settings = Settings { interval: Duration::from_secs(rng.u64(5..40)), page_size, windows, ages, retention };
        let start = began - Duration::from_secs(*rng.choice(&[0, 60, 3_600, 86_400]).expect("one"));
        let held = populate(start, began, &manner, &mut rng);
        Run {
            seed,
            api: Api::new(held, manner, page_size),
            now: began,
            began,
            calm: false,
            transactional: rng.bool(),
            settings,
            start,
            store: None,
            sink: BTreeMap::new(),
            may_repeat: BTreeMap::new(),
            in_flight: None,
            owed: BTreeSet::new(),
            tally: Tally { runs: 1, ..Tally::default() },
            rng,
        }
    }

    /// One life of the process, from reading the store to its end.
    fn live(&mut self, end_of_trouble: Time) -> End {
        let mut clock = ServerClock::default();
        self.tally.misled += u64::from(self.api.manner.spells.iter().any(|(spell, _)| spell.contains(&self.now)));
        let mut ledger = match &self.store {
            Some(stored) => Ledger::open(stored.clone()),
            None => Ledger::begin(FingerprintKey([7; 16]), self.server_time(&mut clock), self.start),
        };
        let mut plan = Plan::new(self.settings.clone());
        let mut batch = Batch::default();
        // When each read under way was begun.
        let mut asked_at = BTreeMap::new();
        let mut air = Vec::new();
        let mut calm_polls = 0;
        for _step in 0..200_000 {
            self.calm = self.now > end_of_trouble;
            if !self.calm && self.rng.u16(..300) == 0 {
                self.crash(batch);
                return End::Crash;
            }
            if self.rng.u16(..100) == 0 && self.api.manner.cursors == Cursors::Given {
                self.api.highest_limit = self.rng.u32(1..=self.settings.page_size);
            }
            let server_now = self.server_time(&mut clock);
            plan.check_edge(&mut ledger, server_now.max(self.wall()));
            let ask = plan.next(&mut ledger, server_now);
            if let Ask::Page(PageAsk { cursor: None, .. }) = ask {
                asked_at.insert(plan.asked(), self.now);
            }
            let landed = match ask {
                Ask::Wait { until } if air.is_empty() || self.rng.bool() => {
                    let idle = ledger.gaps().is_empty() && self.calm;
                    calm_polls = if idle { calm_polls + 1 } else { 0 };
                    if calm_polls > 4 {
                        batch.checkpoint = Some(ledger.checkpoint());
                        let done = self.submit(batch) && self.settle();
                        assert!(done, "seed {}: a calm commit failed", self.seed);
                        return End::CaughtUp;
                    }
                    self.now = self.now + until.since(server_now).max(Duration::from_millis(1));
                    continue;
                }
                Ask::Wait { .. } => self.land(&mut air, &mut plan),
                ask => {
                    let polling = plan.is_polling();
                    let came = self.request(ask, &asked_at, &clock, &plan);
                    if polling || self.rng.u8(..4) == 0 {
                        Some(came)
                    } else {
                        air.push((plan.send_off(), came));
                        if self.rng.bool() { self.land(&mut air, &mut plan) } else { None }
                    }
                }
            };
            let Some(came) = landed else { continue };
            let Some(goes_on) = self.take(came, &mut clock, &mut ledger, &mut plan, &mut batch) else {
                return End::Abort;
            };
            if !goes_on {
                let believed = clock.now(self.uptime(), self.wall()).expect("a clock that was wrong");
                clock.reset(self.wall(), self.uptime());
                let corrected = self.server_time(&mut clock);
                plan.cut_back(&mut ledger, believed, corrected);
                self.tally.clock_resets += 1;
                self.now = self.now + Duration::from_secs(1);
            }
        }
        panic!("seed {}: the loop does not come to rest: {:?} {plan:?}", self.seed, self.api.manner);
    }

    /// Any of the answers that have come; none where nobody wants it any more.
    fn land(&mut self, air: &mut Vec<(Ticket, Came)>, plan: &mut Plan) -> Option<Came> {
        let (ticket, came) = air.swap_remove(self.rng.usize(..air.len()));
        self.tally.overtaken += u64::from(!air.is_empty());
        plan.answered(ticket).then_some(came)
    }

    /// What the API answers at this moment.
    fn request(&mut self, ask: Ask, asked_at: &BTreeMap<Asked, Time>, clock: &ServerClock, plan: &Plan) -> Came {
        match ask {
            Ask::Interval { range, unit } => Came::Interval(self.api.interval(range.start, range.end, unit, self.now)),
            Ask::Page(ask) => {
                let sent_at = clock.now(self.uptime(), self.wall()).expect("a sample");
                if self.calm {
                    self.api.manner.faults = 0;
                }
                let answer = self.api.events(&ask, self.now, &mut self.rng);
                Came::Page { ask, asked_at: asked_at[&plan.asked()], sent_at, answer }
            }
            Ask::Count { .. } | Ask::Wait { .. } => unreachable!("nothing is compared again"),
        }
    }

    /// Takes an answer in: none when a commit failed, false when the API called our time the future.
    fn take(
        &mut self,
        came: Came,
        clock: &mut ServerClock,
        ledger: &mut Ledger,
        plan: &mut Plan,
        batch: &mut Batch,
    ) -> Option<bool> {
        self.now = self.now + self.latency();
        let (ask, asked_at, sent_at, answer) = match came {
            Came::Interval(Some(buckets)) => {
                plan.interval_read(ledger, &buckets, self.now);
                return Some(true);
            }
            Came::Interval(None) => {
                plan.interval_refused();
                return Some(true);
            }
            Came::Page { ask, asked_at, sent_at, answer } => (ask, asked_at, sent_at, answer),
        };
        let date = self.api.date(self.now, &mut self.rng);
        clock.sample(date, self.uptime(), self.wall());
        let page = match answer {
            Answer::FutureStart => return Some(false),
            Answer::Failed => {
                if self.rng.u8(..5) == 0 {
                    plan.abandon_read(sent_at);
                }
                return Some(true);
            }
            Answer::Cut(places) => return self.admit(&places, ledger, plan, batch, sent_at).then_some(true),
            Answer::Page(page) => page,
        };
        if !self.admit(&page.places, ledger, plan, batch, sent_at) {
            return None;
        }
        let polling = plan.is_polling();
        let covered = ledger.coverage().clone();
        let end = PageEnd { limit: page.limit, elements: page.places.len() as u32, cursor: page.cursor, sent_at };
        plan.page_read(ledger, end, sent_at);
        // A poll that could not be paged takes coverage back instead.
        let grew =
            ledger.coverage() != &covered && covered.ranges().iter().all(|range| ledger.coverage().covers(range));
        let poll_ended = polling && !plan.is_polling() && grew;
        for held in &self.api.held {
            let shown = held.visible_at + self.api.manner.refresh <= asked_at && held.time >= self.start;
            let by_poll = poll_ended && held.time >= ask.from && ask.to.is_none_or(|to| held.time < to);
            let by_window = !covered.contains(held.time) && ledger.coverage().contains(held.time);
            if shown && (by_poll || by_window && !polling) {
                batch.owed.insert(held.number);
            }
        }
        if !plan.is_polling() || self.rng.bool() {
            let passed = clock.surely_passed(self.uptime(), self.wall()).min(ledger.edge());
            passed.inspect(|passed| ledger.forget_settled(*passed, *passed));
            batch.checkpoint = Some(ledger.checkpoint());
            let full = std::mem::take(batch);
            return self.submit(full).then_some(true);
        }
        Some(true)
    }

    /// False when a commit failed.
    fn admit(&mut self, places: &[usize], ledger: &mut Ledger, plan: &mut Plan, batch: &mut Batch, now: Time) -> bool {
        for place in places {
            let held = &self.api.held[*place];
            if let Taken::New(delivery) = plan.admit(ledger, &held.event, now) {
                self.tally.late += u64::from(delivery == jumpstream::record::Delivery::Late);
                batch.numbers.push(held.number);
            }
            if batch.numbers.len() > 16 {
                batch.checkpoint = Some(ledger.checkpoint());
                let full = std::mem::take(batch);
                if !self.submit(full) {
                    return false;
                }
            }
        }
        true
    }

    /// Lets the batch before come to its end and sends this one off: false when the one before failed.
    fn submit(&mut self, batch: Batch) -> bool {
        let settled = self.settle();
        if settled {
            self.in_flight = Some(batch);
        }
        settled
    }

    fn settle(&mut self) -> bool {
        let Some(batch) = self.in_flight.take() else { return true };
        if !self.calm && self.rng.u8(..60) == 0 {
            self.tear(batch, false);
            return false;
        }
        self.deliver(&batch.numbers);
        self.fold(batch);
        true
    }

    /// Dies with a batch gathered and another in flight.
    fn crash(&mut self, _gathered: Batch) {
        if let Some(batch) = self.in_flight.take() {
            let committed = self.rng.bool();
            self.tear(batch, committed);
        }
    }

    /// A commit that was cut short: whole or not at all in a transaction, else any part of the records alone.
    fn tear(&mut self, batch: Batch, committed: bool) {
        if committed {
            self.deliver(&batch.numbers);
            self.fold(batch);
        } else if !self.transactional {
            let reached = self.rng.usize(..=batch.numbers.len());
            self.deliver(&batch.numbers[..reached]);
            for number in &batch.numbers[..reached] {
                *self.may_repeat.entry(*number).or_default() += 1;
            }
        }
    }

    fn deliver(&mut self, numbers: &[usize]) {
        for number in numbers {
            *self.sink.entry(*number).or_default() += 1;
        }
    }

    fn fold(&mut self, batch: Batch) {
        self.owed.extend(batch.owed);
        match (&mut self.store, batch.checkpoint) {
            (Some(stored), Some(checkpoint)) => stored.fold(checkpoint),
            (store, checkpoint) => *store = store.take().or(checkpoint),
        }
    }

    /// The server's time as the client believes it; asks for a `Date` where it has none.
    fn server_time(&mut self, clock: &mut ServerClock) -> Time {
        loop {
            if let Some(now) = clock.now(self.uptime(), self.wall()) {
                return now;
            }
            let date = self.api.date(self.now, &mut self.rng);
            clock.sample(date, self.uptime(), self.wall());
        }
    }

    /// Our own wall clock, which may be wrong as well.
    fn wall(&self) -> Time {
        Time::from_nanos(self.now.as_nanos() + self.api.manner.wall_error * 1_000_000_000)
    }

    fn uptime(&self) -> Duration {
        self.now.since(self.began)
    }

    fn latency(&mut self) -> Duration {
        Duration::from_millis(if self.rng.u8(..50) == 0 { self.rng.u64(..20_000) } else { self.rng.u64(1..400) })
    }

    fn judge(self) -> Tally {
        let seed = self.seed;
        let stored = self.store.expect("a checkpoint");
        let edge = stored.edge.expect("an edge");
        let note = format!("seed {seed}, {:?}, {:?}, began {}", self.api.manner, self.settings, self.began);
        for number in &self.owed {
            assert!(self.sink.contains_key(number), "{note}: event {number} was shown and is lost");
        }
        let gaps = stored.coverage.gaps(self.start..edge);
        assert!(gaps.is_empty(), "{note}: gaps stay: {gaps:?}");
        let mut known = BTreeSet::new();
        for held in &self.api.held {
            known.insert(held.number);
            let prompt = held.visible_at + self.api.manner.refresh <= held.time + Duration::from_secs(8);
            // The newest may still have been on its way to the last replica when the last poll looked.
            let wanted = held.time >= self.start && held.time < edge - minutes(1);
            let delivered = self.sink.get(&held.number).copied().unwrap_or(0);
            assert!(!prompt || !wanted || delivered > 0, "{note}: event {} at {} is lost", held.number, held.time);
            assert!(held.time >= self.start || delivered == 0, "{note}: event {} lies before the start", held.number);
            let allowed = 1 + self.may_repeat.get(&held.number).copied().unwrap_or(0);
            assert!(delivered <= allowed, "{note}: event {} came {delivered} times", held.number);
        }
        assert!(self.sink.keys().all(|number| known.contains(number)));
        let total: u64 = stored.hours.values().map(|hour| hour.events).sum();
        // What a poll brought from behind the edge just before a crash may be in the sink alone.
        let ahead =
            self.api.held.iter().filter(|held| held.time >= edge && self.sink.contains_key(&held.number)).count();
        let unstored = self.sink.len().checked_sub(total as usize);
        assert!(unstored.is_some_and(|unstored| unstored <= ahead), "{note}: the hours' totals: {total}");
        Tally {
            events: self.sink.len() as u64,
            requests: self.api.requests,
            repeats: self.sink.values().filter(|count| **count > 1).count() as u64,
            ..self.tally
        }
    }
}

/// Minutes in which every `Date` is days off, one way or the other.
fn spells(began: Time, rng: &mut Rng) -> Vec<(Range<Time>, i64)> {
    let spell = |rng: &mut Rng| {
        let from = began + Duration::from_secs(rng.u64(..25 * 60));
        let days = rng.i64(1..15) * if rng.u8(..3) == 0 { -1 } else { 1 };
        (from..from + Duration::from_secs(rng.u64(5..600)), days * 86_400)
    };
    (0..rng.usize(..4)).map(|_| spell(rng)).collect()
}

/// A day before the start to after the last poll: quiet stretches, busy ones, ties, duplicates, late and future events.
fn populate(start: Time, began: Time, manner: &Manner, rng: &mut Rng) -> Vec<api::Held> {
    let mut held = Vec::new();
    let end = began + minutes(60);
    let (most_ties, dense) =
        if manner.cursors == Cursors::Given { (30, rng.u64(200..20_000)) } else { (5, rng.u64(800..20_000)) };
    let mut time = start - minutes(3);
    while time < end && held.len() < 4_000 {
        let sparse = if time < began - minutes(10) { 60 } else { 1 };
        time = (time + Duration::from_micros(rng.u64(1..dense * sparse * 1_000))).min(end);
        for _ in 0..if rng.u8(..30) == 0 { rng.usize(1..most_ties) } else { 1 } {
            let late = match rng.u8(..20) {
                0 => Duration::from_secs(rng.u64(..55)),
                1..=5 => Duration::from_millis(rng.u64(..8_000)),
                _ => Duration::ZERO,
            };
            let at = match rng.u8(..150) {
                0 => time + minutes(rng.u64(3..120)),
                _ => time + Duration::from_nanos(rng.u64(..1_000_000)),
            };
            let event = api::hold(held.len(), at, time + late, rng);
            if rng.u8(..40) == 0 {
                held.push(api::hold_again(&event, rng));
            }
            held.push(event);
        }
    }
    held
}
