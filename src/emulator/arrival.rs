//! Where events come from: a sequence that the seed fixes, whatever the steps in which the clock moves.

use super::options::Options;
use super::random::{Random, mix};
use super::record::Record;
use super::template::Catalog;
use super::time::{MILLISECOND, SECOND};

/// How far future-dated events are ahead (seen in the field: Sekoia 1.8.2).
const AHEAD: i64 = 7_200 * SECOND;

/// Makes one event after the other.
pub(super) struct Sequence {
    seed: u64,
    ties: f64,
    duplicates: f64,
    radius_repeats: f64,
    late_share: f64,
    late_max: u64,
    /// How many events there were.
    made: u32,
    last: Vec<Last>,
    started_at: i64,
    /// Nanoseconds from one arrival to the next; infinite where none arrive.
    spacing: f64,
    arrived: u64,
    /// Nothing comes any more.
    ended: bool,
}

/// What an organization's next event may refer to.
#[derive(Clone, Default)]
struct Last {
    millisecond: Option<i64>,
    /// The last RADIUS event: its identity and its time.
    radius: Option<(u32, i64)>,
}

/// A record and the number of its organization.
pub(super) type Arrival = (u32, Record);

impl Sequence {
    pub fn new(options: &Options, started_at: i64) -> Sequence {
        Sequence {
            seed: options.seed,
            ties: options.ties,
            duplicates: options.duplicates,
            radius_repeats: options.radius_repeats,
            late_share: options.late_share,
            late_max: (options.late_max.nanos() / MILLISECOND).max(0) as u64,
            made: 0,
            last: vec![Last::default(); options.organizations as usize],
            started_at,
            spacing: if options.rate > 0.0 { SECOND as f64 / options.rate } else { f64::INFINITY },
            arrived: 0,
            ended: false,
        }
    }

    /// The events that were there before the start: spread over the span, then the burst, then the future-dated.
    pub fn history(&mut self, options: &Options, catalog: &Catalog, into: &mut impl FnMut(Arrival)) {
        let span = options.span.nanos();
        let spacing = span as f64 / f64::from(options.events.max(1));
        for n in 0..options.events {
            let from = (f64::from(n) * spacing) as i64;
            let within = Random::new(self.seed ^ 0x6869_7374, n.into()).below(spacing as u64) as i64;
            self.make(catalog, self.started_at - span + from + within, into);
        }
        // A whole second, so that events without a fraction fall into the millisecond too.
        let middle = (self.started_at - span / 2).div_euclid(SECOND) * SECOND;
        for _ in 0..options.burst {
            self.make_within(catalog, middle, into);
        }
        for n in 0..options.future {
            self.make_ahead(catalog, self.started_at + AHEAD + i64::from(n) * MILLISECOND, into);
        }
    }

    /// When the next event comes by itself.
    pub fn next_arrival(&self) -> i64 {
        if self.ended {
            return i64::MAX;
        }
        let within = Random::new(self.seed ^ 0x6c69_7665, self.arrived).unit();
        let after = (self.arrived as f64 + within) * self.spacing;
        if after.is_finite() { self.started_at.saturating_add(after as i64) } else { i64::MAX }
    }

    /// From here on nothing comes by itself.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// All that comes up to `now`.
    pub fn arrive(&mut self, now: i64, catalog: &Catalog, into: &mut impl FnMut(Arrival)) {
        loop {
            let arrival = self.next_arrival();
            if arrival > now || self.made == u32::MAX {
                return;
            }
            self.arrived += 1;
            self.make(catalog, arrival, into);
        }
    }

    /// An event that happens at `arrival`, or in the millisecond of its organization's last one.
    fn make(&mut self, catalog: &Catalog, arrival: i64, into: &mut impl FnMut(Arrival)) {
        let (mut random, template, organization) = self.draw(catalog);
        let precision = catalog.templates[usize::from(template)].precision;
        let last = self.last[organization as usize].millisecond;
        let tied = last.filter(|_| random.share(self.ties) && precision < SECOND);
        let nanos = match tied {
            Some(millisecond) => millisecond * MILLISECOND + random.below(MILLISECOND as u64) as i64,
            None => arrival,
        };
        let nanos = nanos.div_euclid(precision) * precision;
        let is_late = self.late_max > 0 && random.share(self.late_share);
        let late = if is_late { 1 + random.below(self.late_max) as i64 } else { 0 };
        let visible = milliseconds_up(arrival.max(nanos)) + late;
        self.store(catalog, organization, template, nanos, visible, &mut random, into);
    }

    /// An event of the first organization somewhere within the millisecond that begins at `begin`.
    fn make_within(&mut self, catalog: &Catalog, begin: i64, into: &mut impl FnMut(Arrival)) {
        let (mut random, template, _) = self.draw(catalog);
        let precision = catalog.templates[usize::from(template)].precision;
        let nanos = (begin + random.below(MILLISECOND as u64) as i64).div_euclid(precision) * precision;
        self.store(catalog, 0, template, nanos, milliseconds_up(begin) + 1, &mut random, into);
    }

    /// An event stamped `ahead` that is visible from the start.
    fn make_ahead(&mut self, catalog: &Catalog, ahead: i64, into: &mut impl FnMut(Arrival)) {
        let (mut random, template, organization) = self.draw(catalog);
        let precision = catalog.templates[usize::from(template)].precision;
        let nanos = ahead.div_euclid(precision) * precision;
        let visible = self.started_at.div_euclid(MILLISECOND);
        self.store(catalog, organization, template, nanos, visible, &mut random, into);
    }

    fn draw(&self, catalog: &Catalog) -> (Random, u16, u32) {
        let mut random = Random::new(self.seed, self.made.into());
        let template = catalog.draw(self.made, &mut random);
        let organization = random.below(self.last.len() as u64) as u32;
        (random, template, organization)
    }

    #[expect(clippy::too_many_arguments, reason = "a record's columns")]
    fn store(
        &mut self,
        catalog: &Catalog,
        organization: u32,
        template: u16,
        nanos: i64,
        visible_ms: i64,
        random: &mut Random,
        into: &mut impl FnMut(Arrival),
    ) {
        let radius = catalog.templates[usize::from(template)].service == "radius";
        let last = &mut self.last[organization as usize];
        let repeated = last.radius.filter(|(_, at)| radius && random.share(self.radius_repeats) && *at < nanos);
        let identity = repeated.map_or(self.made, |(identity, _)| identity);
        if radius && last.radius.is_none_or(|(_, at)| at < nanos) {
            last.radius = Some((identity, nanos));
        }
        last.millisecond = Some(nanos.div_euclid(MILLISECOND));
        let opaque = mix(self.seed ^ mix((u64::from(self.made) << 2) | 1)) >> 4;
        let record = Record { nanos, opaque, visible_ms, identity, template, copy: false };
        into((organization, record));
        if random.share(self.duplicates) {
            let opaque = mix(self.seed ^ mix((u64::from(self.made) << 2) | 3)) >> 4;
            into((organization, Record { opaque, copy: true, ..record }));
        }
        self.made += 1;
    }
}

fn milliseconds_up(nanos: i64) -> i64 {
    nanos.div_euclid(MILLISECOND) + i64::from(nanos.rem_euclid(MILLISECOND) != 0)
}
