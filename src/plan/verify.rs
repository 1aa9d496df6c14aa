//! Verification: comparing what was read with the API again, and settling what differs by reading it.
//!
//! What is due is counted. Where the count is not what the API has shown us, the range is read again: whole where it
//! fits a page, else the minutes that `/events/interval` says differ, else halves of it. At the last age everything is
//! read once more and compared event by event. A window that was first read after its last age is counted at once.
//!
//! # Invariants
//! Pure. Nothing loops: each range is asked about once for each age, and what a read does not settle stays
//! [`Mark::Unsettled`] until the next one. A range is [`Mark::Verified`] only where nothing that was delivered was missing
//! from what the API showed. Nothing here is stored but marks: after a crash what had none is due again.

use std::ops::Range;
use std::time::Duration;

use crate::clock::Time;
use crate::ledger::{Coverage, Ledger, Mark, Minute, instant, minute_of};
use crate::plan::boundary::Boundary;
use crate::plan::due::{Ages, NothingDue};
use crate::plan::read::Reading;
use crate::plan::sightings::Shown;
use crate::plan::task::{Piece, Task};

/// What was not shown at the last age is read so often in all, each time this much later.
const TRIES: u8 = 3;
const TRY_AGAIN: Duration = Duration::from_secs(86_400);
/// What can't be read now, as all else may not be, is read so much later.
const PUT_OFF: Duration = Duration::from_secs(3_600);
/// The longest range that is counted as one.
const DAY: Duration = Duration::from_secs(86_400);
const MINUTE: Duration = Duration::from_secs(60);
/// How long verification rests after a failed request, at least and at most.
const REST: Range<Duration> = Duration::from_secs(5)..Duration::from_secs(300);

/// What to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Count(Range<Time>),
    /// How many events each minute holds.
    Minutes(Range<Time>),
    Read {
        range: Range<Time>,
        reading: Reading,
    },
}

/// One stream's verification.
#[derive(Debug)]
pub struct Verify {
    ages: Ages,
    /// Configured; else learned.
    retention: Option<Duration>,
    /// Events of a page.
    page: u64,
    boundary: Boundary,
    /// What is still to be looked at, the next one last.
    work: Vec<Piece>,
    nothing_due: Option<NothingDue>,
    asked: Option<Piece>,
    /// After counting it is reading's turn.
    counted_last: bool,
    resting_until: Time,
    failures: u32,
    /// The age of the oldest time of which a gap's division counted any event.
    oldest_counted: Duration,
    /// [`Ledger::oldest_shown`] when unprovable time was last looked through.
    looked_through: Duration,
    /// Silence that is read again and has not been yet.
    reopened: Coverage,
}

impl Verify {
    pub fn new(ages: Ages, retention: Option<Duration>, page_size: u32) -> Verify {
        Verify {
            ages,
            retention,
            page: u64::from(page_size),
            boundary: Boundary::default(),
            work: Vec::new(),
            nothing_due: None,
            asked: None,
            counted_last: false,
            resting_until: Time::MIN,
            failures: 0,
            oldest_counted: Duration::ZERO,
            looked_through: Duration::ZERO,
            reopened: Coverage::default(),
        }
    }

    pub fn ages(&self) -> &Ages {
        &self.ages
    }

    pub fn boundary(&mut self) -> &mut Boundary {
        &mut self.boundary
    }

    /// How far back the API can be asked, as far as is known.
    pub fn retention(&self, ledger: &Ledger) -> Duration {
        ledger.retention(self.retention)
    }

    /// The API counts events of that age.
    pub fn api_holds(&mut self, age: Duration) {
        self.oldest_counted = self.oldest_counted.max(age);
    }

    /// What is asked next; none where nothing is due or a failure is rested from.
    pub fn next(&mut self, ledger: &mut Ledger, now: Time) -> Option<Step> {
        if self.is_resting(now) {
            return None;
        }
        if self.asked.is_none() {
            self.asked = Some(match self.work.pop() {
                Some(piece) => piece,
                None => self.due(ledger, now)?,
            });
        }
        let Piece { range, task } = self.asked.clone()?;
        Some(match task {
            Task::Count { .. } | Task::Recount { .. } | Task::Confirm { .. } => {
                Step::Count(self.boundary.bounded(range))
            }
            Task::Probe => Step::Count(range),
            Task::Locate { .. } => Step::Minutes(range),
            Task::Settle { .. } => Step::Read { range, reading: Reading::Settle },
            Task::Compare { .. } | Task::Witnessed { .. } => Step::Read { range, reading: Reading::Compare },
            Task::Witness { .. } => Step::Read { range, reading: Reading::Witness },
        })
    }

    /// Whether anything is due, or under way.
    pub fn owes(&self, ledger: &Ledger, now: Time) -> bool {
        self.asked.is_some()
            || !self.work.is_empty()
            || ledger.has_shown_any()
                && (self.ages.due_to_count(ledger, now).is_some() || self.ages.due_to_read(ledger, now).is_some())
    }

    fn due(&mut self, ledger: &mut Ledger, now: Time) -> Option<Piece> {
        // Silence from the start on may as well be a licence that was never there.
        if !ledger.has_shown_any() || self.nothing_due.is_some_and(|nothing| nothing.holds(ledger, now)) {
            return None;
        }
        self.mark_unprovable(ledger, now);
        let count = |verify: &Verify, ledger: &Ledger| {
            let (range, age) = verify.ages.due_to_count(ledger, now)?;
            Some(Piece { range, task: Task::Count { age } })
        };
        let read = |verify: &Verify, ledger: &Ledger| {
            let (range, tries) = verify.ages.due_to_read(ledger, now)?;
            Some(Piece { range: verify.begin_of(range, ledger), task: Task::Compare { tries } })
        };
        let piece = if self.counted_last {
            read(self, ledger).or_else(|| count(self, ledger))
        } else {
            count(self, ledger).or_else(|| read(self, ledger))
        };
        self.nothing_due = piece.is_none().then(|| self.ages.nothing_due(ledger, now));
        let piece = piece?;
        self.counted_last = matches!(piece.task, Task::Count { .. });
        Some(piece)
    }

    /// What is older than the API is known to keep proves nothing by being empty, or by having lost some. Where the API
    /// then shows older events, what held nothing is looked at after all.
    fn mark_unprovable(&mut self, ledger: &mut Ledger, now: Time) {
        let Some(last) = self.ages.last() else { return };
        let horizon = now - self.retention(ledger);
        if self.looked_through != ledger.oldest_shown() {
            self.looked_through = ledger.oldest_shown();
            let untold = |mark: Option<Mark>| mark == Some(Mark::Unprovable) || mark == Some(Mark::LOST);
            let again: Vec<_> = ledger.standing().parts(horizon..Time::MAX, untold).collect();
            again.into_iter().for_each(|range| ledger.look_again(range));
        }
        let limit = minute_of(horizon.min(now - last));
        let covered: Vec<_> = ledger.coverage().within(ledger.start()..instant(limit)).collect();
        covered.into_iter().for_each(|range| mark_open(ledger, range, Mark::Unprovable));
    }

    /// A gap's window was read to its end and showed so many records: where it is older than the last age, no later look
    /// would come, so it is counted at once. Minutes that were read in part come when they are whole.
    pub fn window_read(&mut self, ledger: &mut Ledger, range: Range<Time>, shown: u64, now: Time) {
        self.mark_lost(ledger, &range, now);
        let whole = range.start == range.start.floor(MINUTE) || range.start == ledger.start();
        let is_old = self.ages.last().is_some_and(|last| range.end <= now - last);
        if is_old && whole && range.end == range.end.floor(MINUTE) {
            let (range, shown) = self.with_neighbours(range, shown);
            self.work.push(Piece { range, task: Task::Confirm { shown } });
        }
    }

    /// Where windows are read faster than they are counted, those side by side are counted as one: their fingerprints
    /// are held until then. An empty one is by itself, since a neighbour's events don't prove that it was empty.
    fn with_neighbours(&mut self, mut range: Range<Time>, mut shown: u64) -> (Range<Time>, u64) {
        self.work.retain(|piece| {
            let Task::Confirm { shown: of_it } = piece.task else { return true };
            let both = range.start.min(piece.range.start)..range.end.max(piece.range.end);
            let are_beside = piece.range.end == range.start || range.end == piece.range.start;
            let are_one = are_beside && shown > 0 && of_it > 0 && both.end.since(both.start) <= DAY;
            if are_one {
                (range, shown) = (both, shown + of_it);
            }
            !are_one
        });
        (range, shown)
    }

    /// What was read only when the API had forgotten it, and held nothing then, is lost: marked with the read's own commit,
    /// so that no crash forgets it. Where the API has never shown anything, silence says nothing.
    fn mark_lost(&mut self, ledger: &mut Ledger, range: &Range<Time>, now: Time) {
        // Whatever was configured: what was shown was not forgotten.
        let retention = self.retention(ledger).max(ledger.oldest_shown());
        let to = range.end.min(now - retention).floor(MINUTE);
        // Up to the last event that was delivered it must have been read before, whatever the ledger still knows of that.
        let since = ledger.to_be_had(retention).max(ledger.last_event_before(to));
        let mut lost = Coverage::of([range.start.max(since).ceil(MINUTE)..to]);
        self.reopened.ranges().iter().for_each(|silence| lost.remove(silence.clone()));
        self.reopened.remove(range.clone());
        if ledger.has_shown_any() {
            lost.ranges().iter().for_each(|part| ledger.mark(part.clone(), Mark::LOST));
        }
    }

    /// It had been read, and is read again.
    pub fn reopened(&mut self, silence: Range<Time>) {
        self.reopened.add(silence);
    }

    /// The answer to [`Step::Count`].
    pub fn counted(&mut self, ledger: &mut Ledger, counted: u64, now: Time) {
        self.failures = 0;
        let Some(Piece { range, task }) = self.asked.take() else { return };
        match task {
            Task::Probe => self.boundary.probed(counted),
            Task::Confirm { shown } if shown == counted => match counted {
                0 => self.nothing_shown(ledger, range, 0, 0, now),
                _ => self.conclude(ledger, range, Mark::Verified, now),
            },
            Task::Confirm { shown } => {
                let piece = Piece { range: range.clone(), task: Task::Confirm { shown } };
                if self.probe_first(piece, now).is_err() {
                    // Its last age has passed, so it is compared event by event.
                    self.work.push(Piece { range, task: Task::Compare { tries: 0 } });
                }
            }
            Task::Count { age } => self.compare_count(ledger, range, age, counted, now),
            Task::Recount { age, shown } => settle(ledger, range, age, counted.saturating_sub(shown)),
            Task::Locate { .. }
            | Task::Settle { .. }
            | Task::Compare { .. }
            | Task::Witness { .. }
            | Task::Witnessed { .. } => {}
        }
    }

    /// The API shows nothing of `range`: that is so where it then shows other time as it did, and still nothing of this.
    /// What it counts says nothing of what it shows.
    fn nothing_shown(&mut self, ledger: &mut Ledger, range: Range<Time>, tries: u8, unseen: u64, now: Time) {
        let horizon = now - self.retention(ledger);
        match ledger.newest_hour(horizon..now).filter(|_| range.start >= horizon) {
            Some(hour) => {
                let task = Task::Witness { from: range.start, to: range.end, tries, unseen };
                self.work.push(Piece { range: hour, task });
            }
            None => self.conclude(ledger, range, Mark::Unprovable, now),
        }
    }

    /// `range` was compared once more, after `tries`, and of what had been delivered `unseen` events were not shown.
    fn compared(&self, ledger: &mut Ledger, range: Range<Time>, tries: u8, unseen: u64, now: Time) {
        let tries = tries + 1;
        let mark = match unseen {
            0 => Mark::Verified,
            events if tries >= TRIES => Mark::Gone { events },
            unseen => Mark::Doubted { tries, unseen, again: now + TRY_AGAIN },
        };
        self.conclude(ledger, range, mark, now);
    }

    /// Marks all of `range` that is not lost; what is lost stays so, but where something of it was shown after all. Time
    /// older than any that the API is known to hold is unprovable: it may have forgotten by now what an earlier process was
    /// shown of it and did not live to commit.
    fn conclude(&self, ledger: &mut Ledger, range: Range<Time>, mark: Mark, now: Time) {
        let held = self.retention(ledger).max(ledger.oldest_shown()).max(self.oldest_counted);
        let held_since = (now - held).ceil(MINUTE).clamp(range.start, range.end);
        for (part, mark) in [(range.start..held_since, Mark::Unprovable), (held_since..range.end, mark)] {
            let told = ledger.standing().parts(part.clone(), |own| own != Some(Mark::LOST));
            let lost = ledger.standing().parts(part, |own| own == Some(Mark::LOST));
            let shown = lost.filter(|part| ledger.shown(minutes(part)) > 0);
            let parts: Vec<_> = told.chain(shown).collect();
            parts.into_iter().for_each(|part| ledger.mark(part, mark));
        }
    }

    fn compare_count(&mut self, ledger: &mut Ledger, range: Range<Time>, age: Duration, counted: u64, now: Time) {
        let unsettled = |mark: Option<Mark>| matches!(mark, Some(Mark::Unsettled { .. }));
        let was_settled = !ledger.standing().any(range.clone(), unsettled);
        if was_settled && counted == ledger.shown(minutes(&range)) {
            return ledger.mark(range, Mark::Counted { age });
        }
        let Err(Piece { range, .. }) = self.probe_first(Piece { range, task: Task::Count { age } }, now) else {
            return;
        };
        let reads_whole = counted <= self.page || minutes(&range).count() <= 1;
        let task = if reads_whole { Task::Settle { age, counted } } else { Task::Locate { age, counted } };
        self.work.push(Piece { range, task });
    }

    /// The answer to [`Step::Minutes`]: the minutes that differ are read, the others are counted.
    pub fn minutes_counted(&mut self, ledger: &mut Ledger, buckets: &[(Time, u64)]) {
        self.failures = 0;
        let Some(Piece { range, task: Task::Locate { age, counted } }) = self.asked.take() else { return };
        let (within, few) = (minutes(&range), self.few());
        let mut counts = vec![0u64; within.clone().count()];
        for (start, events) in buckets {
            // A bucket may begin before the range, and with an inclusive end one lies behind it.
            let minute = minute_of(*start).max(within.start);
            if let Some(count) = counts.get_mut((minute - within.start) as usize) {
                *count = count.saturating_add(*events);
            }
        }
        let of_minute = |minute: Minute| instant(minute).max(range.start)..instant(minute + 1).min(range.end);
        let mut differing: Vec<(Range<Time>, u64)> = Vec::new();
        for (minute, count) in within.zip(counts) {
            let part = of_minute(minute);
            let unsettled = matches!(ledger.standing().at(part.start), Some(Mark::Unsettled { .. }));
            if count == ledger.shown(minute..minute + 1) && !unsettled {
                ledger.mark(part, Mark::Counted { age });
                continue;
            }
            match differing.last_mut() {
                Some((last, events)) if last.end == part.start && *events + count <= few => {
                    last.end = part.end;
                    *events += count;
                }
                _ => differing.push((part, count)),
            }
        }
        if differing.is_empty() && counted > ledger.shown(minutes(&range)) {
            // The count knows more than its own minutes do.
            let missing = counted - ledger.shown(minutes(&range));
            ledger.mark(range, Mark::Unsettled { age, missing });
        }
        let settle = |(range, counted)| Piece { range, task: Task::Settle { age, counted } };
        self.work.extend(differing.into_iter().rev().map(settle));
    }

    /// `/events/interval` is refused here: each half is counted by itself.
    pub fn minutes_refused(&mut self) {
        let Some(Piece { range, task: Task::Locate { age, .. } }) = self.asked.take() else { return };
        let all = minutes(&range);
        let middle = instant(all.start + (all.end - all.start) / 2).max(range.start);
        for half in [middle..range.end, range.start..middle] {
            self.work.push(Piece { range: half, task: Task::Count { age } });
        }
    }

    /// The read that was asked for has shown `range`, all of what it was asked for or its beginning; what it brought is in
    /// the ledger.
    pub fn range_read(&mut self, ledger: &mut Ledger, range: Range<Time>, shown: Shown, now: Time) {
        self.failures = 0;
        match self.asked.as_ref().map(|piece| piece.task) {
            Some(Task::Settle { age, counted }) => {
                // A count that was wrong once, or came from a replica ahead of the read's, is asked for once more.
                if counted > shown.records {
                    let task = Task::Recount { age, shown: shown.records };
                    return self.work.push(Piece { range, task });
                }
                settle(ledger, range, age, 0);
            }
            Some(Task::Compare { tries }) if shown.records == 0 => {
                self.nothing_shown(ledger, range, tries, shown.unseen, now);
            }
            Some(Task::Compare { tries } | Task::Witnessed { tries }) => {
                self.compared(ledger, range, tries, shown.unseen, now);
            }
            // However long the silence, it costs no try: it ends, or what it hides gets older than known retention.
            Some(Task::Witness { from, to, tries, unseen }) if shown.records == 0 => {
                mark_open(ledger, from..to, Mark::Doubted { tries, unseen, again: now + TRY_AGAIN });
            }
            Some(Task::Witness { from, to, tries, .. }) => {
                self.work.push(Piece { range: from..to, task: Task::Witnessed { tries } });
            }
            _ => {}
        }
    }

    /// The read came to its end.
    pub fn read_ended(&mut self) {
        self.asked = None;
    }

    /// The range of the read that was asked for can't be read: it is left as it is, and looked at again another day.
    pub fn unreadable(&mut self, ledger: &mut Ledger, range: Range<Time>, now: Time) {
        match self.asked.take().map(|piece| piece.task) {
            Some(Task::Settle { age, counted }) => {
                let missing = counted.saturating_sub(ledger.shown(minutes(&range)));
                ledger.mark(range, Mark::Unsettled { age, missing });
            }
            Some(Task::Witness { from, to, tries, unseen }) => {
                mark_open(ledger, from..to, Mark::Doubted { tries, unseen, again: now + PUT_OFF });
            }
            Some(Task::Compare { tries } | Task::Witnessed { tries }) if tries + 1 >= TRIES => {
                mark_open(ledger, range, Mark::Unprovable);
            }
            Some(Task::Compare { tries } | Task::Witnessed { tries }) => {
                let unseen = unseen(ledger, range.start);
                mark_open(ledger, range, Mark::Doubted { tries: tries + 1, unseen, again: now + TRY_AGAIN });
            }
            _ => {}
        }
    }

    /// The read that was asked for fails again and again, which costs no try.
    pub fn put_off(&mut self, ledger: &mut Ledger, range: Range<Time>, now: Time) {
        if let Some(Piece { task: Task::Compare { tries } | Task::Witnessed { tries }, .. }) = self.asked {
            self.asked = None;
            let unseen = unseen(ledger, range.start);
            return mark_open(ledger, range, Mark::Doubted { tries, unseen, again: now + PUT_OFF });
        }
        self.unreadable(ledger, range, now);
    }

    /// A request failed: verification rests, so that it costs the live edge nothing.
    pub fn failed(&mut self, now: Time) {
        self.failures += 1;
        self.resting_until = now + (REST.start * (1 << self.failures.min(6))).min(REST.end);
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    pub fn is_resting(&self, now: Time) -> bool {
        now < self.resting_until && self.resting_until <= now + REST.end
    }

    /// Forgets what is under way; what is due comes again.
    pub fn clear(&mut self) {
        self.work.clear();
        self.asked = None;
    }

    /// Where the API's end may be all that differs, it is found out before `piece` is looked at again.
    fn probe_first(&mut self, piece: Piece, now: Time) -> Result<(), Piece> {
        let Some(range) = self.boundary.probe(now) else { return Err(piece) };
        self.work.extend([piece, Piece { range, task: Task::Probe }]);
        Ok(())
    }

    /// As many whole minutes of `range` as showed few events, one at least.
    fn begin_of(&self, range: Range<Time>, ledger: &Ledger) -> Range<Time> {
        let mut room = self.few();
        let fits = |minute: &Minute| {
            let shown = ledger.shown(*minute..minute + 1);
            let fits = shown <= room;
            room = room.saturating_sub(shown);
            fits
        };
        let all = minutes(&range);
        let end = all.start + (all.clone().take_while(fits).count() as Minute).max(1);
        range.start..instant(end).min(range.end)
    }

    /// Events that are read as one window.
    fn few(&self) -> u64 {
        self.page * u64::from(super::WINDOW_PAGES)
    }
}

/// So many events are counted and not shown.
fn settle(ledger: &mut Ledger, range: Range<Time>, age: Duration, missing: u64) {
    ledger.mark(range, if missing == 0 { Mark::Counted { age } } else { Mark::Unsettled { age, missing } });
}

/// Marks what of `range` is not marked for good.
fn mark_open(ledger: &mut Ledger, range: Range<Time>, mark: Mark) {
    let open: Vec<_> = ledger.standing().parts(range, Mark::is_open).collect();
    open.into_iter().for_each(|part| ledger.mark(part, mark));
}

/// Of what was delivered, so much was not shown there by the last look.
fn unseen(ledger: &Ledger, at: Time) -> u64 {
    if let Some(Mark::Doubted { unseen, .. }) = ledger.standing().at(at) { unseen } else { 0 }
}

/// The minutes that `range` lies in.
fn minutes(range: &Range<Time>) -> Range<Minute> {
    minute_of(range.start)..minute_of(range.end.ceil(MINUTE))
}
