//! When what was delivered is compared with the API again: `verify`.

use std::time::Duration;

use super::key::{Key, Kind, Presence};
use super::read::{Item, Section};
use super::value::{duration, shown};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// The API keeps events for 90 days (insights-api §1.11): a comparison that comes later has nothing to compare with.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);
/// Each age but the last is a request for each of its lengths.
const MOST: usize = 12;

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "after",
        Kind::Texts,
        Presence::Default("2m,15m,1h,6h,24h,48h,8d"),
        "The ages at which what was read is compared with the API: at each but the last it is counted, at the last it is \
         read once more and compared event by event. Whole minutes, 30 days at most, 12 of them at most. What becomes \
         visible later than the last one is not found.",
        "[2m, 15m, 1h, 6h, 24h, 48h, 8d]",
    ),
    Key::new(
        "retention",
        Kind::Duration { least: DAY, most: Duration::from_secs(366 * 86_400) },
        Presence::Optional("learned: 15 days, and more once older events were seen"),
        "How long JumpCloud keeps this plan's events. Older time proves nothing by being empty.",
        "90d",
    ),
];

/// When what was delivered is compared with the API again.
#[derive(Debug, Clone, PartialEq)]
pub struct Verify {
    /// At least one, ascending, whole minutes.
    pub after: Vec<Duration>,
    pub retention: Option<Duration>,
}

impl Verify {
    pub(super) fn section(section: &Section) -> Option<Verify> {
        let retention = section.node("retention").map(|_| section.duration("retention"));
        let ages: Vec<Option<Duration>> = section.items("after")?.iter().map(|item| age(section, item)).collect();
        let after: Vec<Duration> = ages.into_iter().collect::<Option<_>>()?;
        let problem = match () {
            () if after.is_empty() => "no age at all: what is late would never be found",
            () if after.len() > MOST => "more than twelve ages",
            () if !after.is_sorted_by(|age, next| age < next) => "ages that don't ascend",
            () => {
                return Some(Verify {
                    after,
                    retention: retention.map_or(Some(None), |retention| retention.map(Some))?,
                });
            }
        };
        section.fault("after", problem, "write it as in `after: [2m, 15m, 1h, 6h, 24h, 48h, 8d]`");
        None
    }
}

fn age(section: &Section, item: &Item) -> Option<Duration> {
    let whole = |age: &Duration| age.as_secs().is_multiple_of(60) && age.subsec_nanos() == 0;
    let age = duration(item.text).filter(|age| (MINUTE..=LONGEST).contains(age) && whole(age));
    if age.is_none() {
        let problem = format!("expected an age of whole minutes, 1m to 30d, found {}", shown(item.text));
        section.reader.refuse(item, problem, "write it as in `after: [2m, 1h, 8d]`");
    }
    age
}
