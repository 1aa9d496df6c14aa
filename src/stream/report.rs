//! What a stream tells the outside: metrics, its status, and one line where its state changes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::{self, Time};
use crate::control::Watch;
use crate::control::blindness::{Losses, Reach, Reason};
use crate::event::Event;
use crate::ledger::{Ledger, Summary, length};
use crate::plan::{Ages, Aside, Plan};
use crate::record::{DeadLetter, Delivery, Record};
use crate::source::{Class, Error as SourceError, Purpose};
use crate::stream::causes;
use crate::stream::lateness::Tally;
use crate::telemetry::metrics::{self, AccountMetrics, Metrics, OrganizationMetrics, SinkMetrics, StreamMetrics};
use crate::telemetry::status::{Compared, Gap, LedgerSize, State, StreamStatus};

/// Where a stream's figures go.
pub struct Telemetry {
    pub metrics: Metrics,
    pub account: AccountMetrics,
    /// The account's, shared by its streams.
    pub faults: Faults,
    pub organization: OrganizationMetrics,
    pub sinks: Vec<SinkMetrics>,
    pub status: watch::Sender<StreamStatus>,
    /// Up to where everything since the start is covered and committed; none while there are gaps.
    pub covered: watch::Sender<Option<Time>>,
    /// None where no control records are wanted.
    pub watch: Option<Watch>,
}

/// The faults that an account's streams meet at this moment: one that they share is one line of the log.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<BTreeMap<String, usize>>>);

impl Faults {
    /// One more stream meets it; whether it is the first.
    fn enter(&self, fault: &str) -> bool {
        let mut met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let streams = met.entry(fault.to_owned()).or_default();
        *streams += 1;
        *streams == 1
    }

    fn leave(&self, fault: &str) {
        let mut met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(streams) = met.get_mut(fault) {
            *streams -= 1;
            if *streams == 0 {
                met.remove(fault);
            }
        }
    }
}

/// What a commit brings: told only once it is durable.
pub(super) struct Milestone {
    delivered: [u64; Delivery::ALL.len()],
    newest: Option<Time>,
    edge: Option<Time>,
    covered: Option<Time>,
    gap_events: u64,
    /// What the control records are made of, with what is newly lost; none where none are wanted.
    reach: Option<(Reach, Vec<Range<Time>>)>,
}

/// One stream's reporting.
pub(super) struct Report {
    metrics: Metrics,
    account: AccountMetrics,
    faults: Faults,
    /// The account's fault that this stream meets.
    met: Option<String>,
    organization: OrganizationMetrics,
    sinks: Vec<SinkMetrics>,
    gauges: StreamMetrics,
    sender: watch::Sender<StreamStatus>,
    covered: watch::Sender<Option<Time>>,
    watch: Option<Watch>,
    status: StreamStatus,
    read: u64,
    known: u64,
    /// New events of gaps.
    of_gaps: u64,
    /// Since when gaps have been read in one go.
    gaps_since: Option<Duration>,
    /// Our wall clock stands in for the API's.
    undated: bool,
    lateness: Tally,
    /// [`clock::uptime`] of the beginning.
    begun: Duration,
    losses: Losses,
}

const UNDATED: &str = "the API's answers carry no usable Date: this machine's clock counts instead, less a minute; see that no proxy drops or garbles that header, and that this clock is right";

fn told(aside: Aside) -> &'static str {
    match aside {
        Aside::Unpageable => {
            "one millisecond holds more events than a page and the API gives no usable cursor; raise poll.page_size, and see that no proxy drops the X-Search_after header"
        }
        Aside::Unreadable => {
            "the API's answers for some time are never whole or no JSON; they are tried again every 15 min, report it to JumpCloud"
        }
        Aside::Refused => {
            "the API refuses to show some time, while it shows other; see the plan's licence and retention, or move poll.start behind it with a state of its own"
        }
    }
}

impl Report {
    pub fn new(telemetry: &Telemetry, ages: &Ages) -> Report {
        Report {
            metrics: telemetry.metrics.clone(),
            account: telemetry.account.clone(),
            faults: telemetry.faults.clone(),
            met: None,
            organization: telemetry.organization.clone(),
            sinks: telemetry.sinks.clone(),
            gauges: telemetry.organization.stream(),
            sender: telemetry.status.clone(),
            covered: telemetry.covered.clone(),
            watch: telemetry.watch.clone(),
            status: telemetry.status.borrow().clone(),
            read: 0,
            known: 0,
            of_gaps: 0,
            gaps_since: None,
            undated: false,
            lateness: Tally::begin(ages, clock::wall()),
            begun: clock::uptime(),
            losses: Losses::default(),
        }
    }

    pub fn opened(&mut self, ledger: &Ledger, now: Time) {
        self.losses = Losses::of(ledger);
        self.watch.iter().for_each(|watch| watch.opened(ledger, now));
        self.status.start = Some(ledger.start());
        // What an earlier process lost, it said.
        self.status.compared.lost_seconds = ledger.summary().lost.as_secs();
        tracing::info!(
            organization = self.status.organization, service = self.status.service,
            start = %ledger.start(), edge = ledger.edge().map(tracing::field::display),
            "stream opened"
        );
        self.publish();
    }

    pub fn read_one(&mut self) {
        self.read += 1;
    }

    pub fn known(&mut self) {
        self.known += 1;
    }

    /// Of a read for `purpose`.
    pub fn admitted(&mut self, event: &Event, delivery: Delivery, now: Time, purpose: Purpose) {
        self.of_gaps += u64::from(purpose != Purpose::Live);
        let (Some(time), Delivery::Live | Delivery::Late) = (event.time(), delivery) else { return };
        let late = now.since(time);
        self.metrics.lateness(event.service(), late);
        match (purpose, delivery) {
            (Purpose::Live, Delivery::Live) => self.lateness.live(),
            (Purpose::Live, _) => self.lateness.within_overlap(),
            (Purpose::Verification, _) => self.lateness.beyond_overlap(late),
            // So late were we, not the event.
            (Purpose::Gap, _) => {}
        }
    }

    /// The figures of a batch that is about to be committed.
    pub fn milestone(&mut self, records: &[Record], ledger: &Ledger, settled: bool) -> Milestone {
        self.organization.read(std::mem::take(&mut self.read));
        let known = std::mem::take(&mut self.known);
        self.organization.duplicates(known);
        self.status.duplicates += known;
        let mut delivered = [0; Delivery::ALL.len()];
        let mut newest = None;
        for record in records {
            delivered[record.delivery as usize] += 1;
            newest = newest.max(record.event.time());
        }
        let gap_events = std::mem::take(&mut self.of_gaps);
        let covered = ledger.edge().filter(|_| ledger.gaps().is_empty() && settled);
        self.watch.iter().for_each(Watch::committing);
        let reach = self.watch.as_ref().map(|_| (Reach::of(ledger), self.losses.news(ledger)));
        Milestone { delivered, newest, edge: ledger.edge(), covered, gap_events, reach }
    }

    pub fn committed(&mut self, milestone: Milestone, dead: &[DeadLetter], now: Time) {
        for delivery in Delivery::ALL {
            let count = milestone.delivered[delivery as usize];
            self.sinks.iter().for_each(|sink| sink.delivered(delivery, count));
            match delivery {
                Delivery::Live => self.status.delivered.live += count,
                Delivery::Late => self.status.delivered.late += count,
                Delivery::Backfill => self.status.delivered.backfill += count,
                Delivery::Replay => {}
            }
        }
        for letter in dead {
            self.organization.dead_letter(letter.reason);
            tracing::warn!(
                organization = self.status.organization,
                reason = letter.reason.as_str(),
                bytes = letter.size,
                "an event went to the dead letters: {}",
                letter.explanation
            );
        }
        self.status.dead_letters += dead.len() as u64;
        self.status.gap_events_read += milestone.gap_events;
        if let Some(newest) = milestone.newest {
            self.gauges.saw(newest);
        }
        self.edge(milestone.edge, milestone.covered, now);
        if let (Some(watch), Some((reach, lost))) = (&self.watch, milestone.reach) {
            watch.lost(&lost);
            watch.reached(reach, now);
        }
        self.publish();
    }

    /// What is known of the reading itself. `settled`: nothing that was admitted waits to be committed, so that the
    /// edge in memory is as good as the stored one.
    pub fn reading(&mut self, ledger: &Ledger, plan: &Plan, now: Time, settled: bool) {
        if settled {
            let caught_up = ledger.gaps().is_empty() && plan.has_settled(ledger, now);
            let covered = self.covered.borrow().and(ledger.edge()).filter(|_| caught_up);
            self.edge(ledger.edge(), covered, now);
            self.watch.iter().for_each(|watch| watch.reached(Reach::of(ledger), now));
        }
        let gaps = ledger.gaps();
        let missing = length(&gaps);
        let wanted = ledger.edge().unwrap_or(now).since(ledger.start());
        let stuck = gaps.iter().filter_map(|gap| plan.aside(gap)).max();
        self.status.covered_share = match wanted.as_secs_f64() {
            wanted if wanted > 0.0 && ledger.edge().is_some() => 1.0 - missing.as_secs_f64() / wanted,
            _ => 0.0,
        };
        self.status.gap_seconds = missing.as_secs_f64();
        self.status.set_gaps(gaps.iter().map(|gap| Gap {
            from: gap.start,
            to: gap.end,
            reason: plan.aside(gap).map_or("unread", Aside::as_str).into(),
            cause: ledger.cause(gap),
        }));
        self.status.overlap_seconds = plan.overlap().as_secs_f64();
        self.status.ledger =
            LedgerSize { fingerprints: ledger.fingerprints() as u64, bytes: ledger.fingerprints() as u64 * 8 };
        let watched = clock::uptime().saturating_sub(self.begun);
        self.status.lateness = Some(self.lateness.lateness(watched, plan.retention(ledger)));
        self.compared(ledger, plan, now);
        self.pace(&gaps, plan);
        self.gauges.set_gap(missing);
        let reason = stuck.map(told).or(self.undated.then_some(UNDATED)).map(str::to_owned);
        self.state(if gaps.is_empty() { State::Live } else { State::Reading }, reason);
    }

    /// How far what was read has been compared with the API, and how long what was not read is still to be had.
    fn compared(&mut self, ledger: &Ledger, plan: &Plan, now: Time) {
        let Summary { counted_until, verified_until, missing, gone, doubted, unsettled, unprovable, lost } =
            ledger.summary();
        let retention = plan.retention(ledger);
        let retention_left = ledger.retention_left(retention, now);
        let past = length(&ledger.past_retention(retention, now));
        self.tell_loss(past, lost, retention);
        self.status.compared = Compared {
            counted_until,
            verified_until,
            missing_events: missing,
            doubted_events: doubted,
            gone_events: gone,
            unsettled_seconds: unsettled.as_secs(),
            unprovable_seconds: unprovable.as_secs(),
            retention_seconds: retention.as_secs(),
            retention_left_seconds: retention_left.as_secs(),
            past_retention_seconds: past.as_secs(),
            lost_seconds: lost.as_secs(),
        };
        self.gauges.set_compared(metrics::Compared { counted_until, verified_until, missing, retention_left, lost });
    }

    /// Once when time that was not read begins to be older than the API keeps, and once for all that is lost by it.
    fn tell_loss(&self, past: Duration, lost: Duration, retention: Duration) {
        let (organization, service) = (&self.status.organization, &self.status.service);
        let (past_seconds, lost_seconds, kept_days) = (past.as_secs(), lost.as_secs(), retention.as_secs() / 86_400);
        let told = &self.status.compared;
        if past_seconds > 0 && told.past_retention_seconds == 0 {
            tracing::error!(
                organization,
                service,
                past_seconds,
                kept_days,
                "time that has not been read is older than the API is known to keep; it may have forgotten it"
            );
        }
        if lost_seconds > told.lost_seconds {
            tracing::error!(
                organization,
                service,
                lost_seconds,
                kept_days,
                "time was read only when the API had forgotten it, as far as is known; what it held is lost, see jumpstream status"
            );
        }
    }

    /// Events a second and what is left, over the gaps read in one go.
    fn pace(&mut self, gaps: &[std::ops::Range<Time>], plan: &Plan) {
        let status = &mut self.status;
        if gaps.is_empty() {
            self.gaps_since = None;
            (status.events_per_second, status.seconds_left, status.gap_events_expected) = (0.0, None, None);
            return;
        }
        let uptime = clock::uptime();
        let begun = *self.gaps_since.get_or_insert_with(|| {
            status.gap_events_read = 0;
            uptime
        });
        let (seconds, read) = ((uptime - begun).as_secs_f64(), status.gap_events_read);
        status.gap_events_expected = plan.expected().map(|left| left.saturating_add(read));
        if seconds > 0.5 {
            let rate = read as f64 / seconds;
            status.events_per_second = rate;
            status.seconds_left = plan.expected().filter(|_| rate > 0.0).map(|left| left as f64 / rate);
        }
    }

    /// `now` is the server's, so that no wrong clock of ours shows as lag.
    fn edge(&mut self, edge: Option<Time>, covered: Option<Time>, now: Time) {
        let Some(edge) = edge else { return };
        self.status.edge = Some(edge);
        self.status.lag_seconds = Some(now.since(edge).as_secs_f64());
        self.gauges.set_edge(edge, now);
        self.covered.send_if_modified(|own| std::mem::replace(own, covered) != covered);
    }

    /// A request failed.
    pub fn trouble(&mut self, error: &SourceError) {
        if matches!(error, SourceError::Unauthorized { .. } | SourceError::Credential(_)) {
            self.account.set_credential_valid(false);
        }
        let state = match error.class() {
            Class::Retry { .. } | Class::FutureStart => State::Waiting,
            Class::Credential | Class::Refused => State::Blocked,
        };
        self.note(Some(causes::reason(error)));
        let of_organization = matches!(
            error,
            SourceError::Forbidden { .. } | SourceError::Unlicensed { .. } | SourceError::BadRequest { .. }
        );
        self.turn(state, Some(error.to_string()), !of_organization);
    }

    /// The key has changed and sees other organizations than this stream's.
    pub fn foreign_key(&mut self) {
        self.note(Some(Reason::KeyRefused));
        let reason = "the key belongs to another organization than this stream's ledger; give back a key of this one, or set organizations".to_owned();
        self.state(State::Blocked, Some(reason));
    }

    /// A page has brought no whole event for at least so long.
    pub fn stalled(&mut self, silence: Duration) {
        self.note(Some(Reason::ApiFailing));
        let reason =
            format!("a page has brought no whole event for over {silence:?}; look at the network and any proxy");
        self.state(State::Waiting, Some(reason));
    }

    /// Answers come without a usable `Date`; `given_up`: our wall clock stands in for the API's.
    pub fn undated(&mut self, undated: bool, given_up: bool) {
        if undated && !given_up {
            self.state(
                State::Waiting,
                Some(
                    "the API's answers carry no usable Date; see that no proxy drops or garbles that header".to_owned(),
                ),
            );
        }
        self.undated = undated && given_up;
    }

    /// The ledger's edge lies in the future of every clock.
    pub fn impossible_edge(&mut self, edge: Time, ledger: &Ledger) {
        let (organization, service) = (&self.status.organization, &self.status.service);
        let back_to = ledger.edge().map(tracing::field::display);
        tracing::warn!(organization, service, %edge, back_to, "an edge in the future was once believed; what was read since its last trace is read again");
    }

    /// A request succeeded.
    pub fn healed(&mut self) {
        self.account.set_credential_valid(true);
        self.note(None);
        if matches!(self.status.state, State::Waiting | State::Blocked) {
            self.state(State::Reading, None);
        }
    }

    pub fn ended(&mut self, ended: &Result<(), super::Error>) {
        let reason = ended.as_ref().err().map(|error| format!("stopped: {error}"));
        self.note(ended.as_ref().err().map(|_| Reason::Stopped));
        self.state(State::Stopped, reason);
    }

    /// What would make the stream blind.
    fn note(&self, trouble: Option<Reason>) {
        self.watch.iter().for_each(|watch| watch.trouble(trouble));
    }

    fn state(&mut self, state: State, reason: Option<String>) {
        self.turn(state, reason, false);
    }

    /// One line a change, never one a page; of a fault `of_account`, never one a stream.
    fn turn(&mut self, state: State, reason: Option<String>, of_account: bool) {
        let changed = self.status.state != state || self.status.reason != reason;
        if changed {
            let first = self.meet(reason.clone().filter(|_| of_account));
            let (organization, service) = (&self.status.organization, &self.status.service);
            match &reason {
                Some(reason) if of_account => {
                    if first {
                        tracing::warn!(account = self.status.account, state = state.as_str(), "{reason}");
                    }
                }
                Some(reason) => tracing::warn!(organization, service, state = state.as_str(), "{reason}"),
                None => tracing::info!(organization, service, "stream {}", state.as_str()),
            }
            if self.status.state != state {
                self.status.since = clock::wall();
            }
            self.gauges.set_degraded(reason.is_some());
            (self.status.state, self.status.reason) = (state, reason);
        }
        self.publish();
    }

    /// Notes the account's fault that this stream meets, if any; whether no other stream had met it.
    fn meet(&mut self, fault: Option<String>) -> bool {
        if self.met == fault {
            return false;
        }
        let first = fault.as_ref().is_some_and(|fault| self.faults.enter(fault));
        if let Some(left) = std::mem::replace(&mut self.met, fault) {
            self.faults.leave(&left);
        }
        first
    }

    fn publish(&mut self) {
        self.status.as_of = clock::uptime();
        self.sender.send_replace(self.status.clone());
    }
}
