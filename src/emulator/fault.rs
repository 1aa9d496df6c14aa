//! Troubles: the kinds a request can fail in, and which request fails next.

use std::collections::{BTreeMap, VecDeque};

use clap::ValueEnum;
use serde::Deserialize;

use super::random::Random;

/// How a request fails (insights-api §1.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Deserialize)]
#[value(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// 429 whose Retry-After is in seconds
    RateLimitedSeconds,
    /// 429 whose Retry-After is an HTTP date
    RateLimitedDate,
    /// 429 without Retry-After
    RateLimited,
    /// 500
    InternalError,
    /// 502 with an HTML page
    BadGateway,
    /// 503
    Unavailable,
    /// 504
    GatewayTimeout,
    /// The connection ends in the middle of the body
    CutBody,
    /// The body comes in small pieces, over --slow-body
    SlowBody,
    /// 200 with nothing in it
    EmptyBody,
    /// 302 to another path of this server
    Redirect,
    /// X-Result-Count disagrees with the array
    WrongCount,
    /// 401, though the key is right (never drawn at random unless named)
    Unauthorized,
    /// 402, as without a licence (never drawn at random unless named)
    PaymentRequired,
    /// 403, as without the role (never drawn at random unless named)
    Forbidden,
}

/// Those that pass by themselves; the others want somebody to act.
const PASSING: [Kind; 12] = [
    Kind::RateLimitedSeconds,
    Kind::RateLimitedDate,
    Kind::RateLimited,
    Kind::InternalError,
    Kind::BadGateway,
    Kind::Unavailable,
    Kind::GatewayTimeout,
    Kind::CutBody,
    Kind::SlowBody,
    Kind::EmptyBody,
    Kind::Redirect,
    Kind::WrongCount,
];

/// Which requests fail, and how.
pub(super) struct Faults {
    share: f64,
    kinds: Vec<Kind>,
    /// Faults that were ordered, before any that is drawn.
    ordered: VecDeque<Order>,
    random: Random,
    /// How many requests each kind has struck.
    struck: BTreeMap<Kind, u64>,
}

struct Order {
    kind: Kind,
    count: u32,
    path: Option<String>,
}

/// What `POST /_emulator/faults` may say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    /// Forget all orders and set the share to 0, before anything else.
    #[serde(default)]
    clear: bool,
    share: Option<f64>,
    /// Those to draw from; empty is all that pass by themselves.
    kinds: Option<Vec<Kind>>,
    /// This kind for the next `count` requests (1), of those whose path ends with `path` (any).
    kind: Option<Kind>,
    count: Option<u32>,
    path: Option<String>,
}

impl Faults {
    pub fn new(seed: u64, share: f64, kinds: Vec<Kind>) -> Faults {
        Faults {
            share,
            kinds,
            ordered: VecDeque::new(),
            random: Random::new(seed, 0x6661_756c),
            struck: BTreeMap::new(),
        }
    }

    pub fn change(&mut self, change: Change) {
        if change.clear {
            self.ordered.clear();
            self.share = 0.0;
        }
        self.share = change.share.unwrap_or(self.share);
        self.kinds = change.kinds.unwrap_or_else(|| std::mem::take(&mut self.kinds));
        if let Some(kind) = change.kind {
            self.ordered.push_back(Order { kind, count: change.count.unwrap_or(1), path: change.path });
        }
    }

    /// The next request fails in this way.
    pub fn order(&mut self, kind: Kind) {
        self.ordered.push_back(Order { kind, count: 1, path: None });
    }

    pub fn struck(&self) -> BTreeMap<Kind, u64> {
        self.struck.clone()
    }

    /// What goes wrong with the next request, which asks for `path`.
    pub fn draw(&mut self, path: &str) -> Option<Kind> {
        let kind = self.choose(path)?;
        *self.struck.entry(kind).or_default() += 1;
        Some(kind)
    }

    fn choose(&mut self, path: &str) -> Option<Kind> {
        self.ordered.retain(|order| order.count > 0);
        let fits = |order: &&mut Order| {
            order.path.as_deref().is_none_or(|wanted| path.ends_with(wanted)) && order.kind.suits(path)
        };
        if let Some(order) = self.ordered.iter_mut().find(fits) {
            order.count -= 1;
            return Some(order.kind);
        }
        if self.share <= 0.0 || !self.random.share(self.share) {
            return None;
        }
        let kinds = if self.kinds.is_empty() { &PASSING } else { self.kinds.as_slice() };
        Some(self.random.pick(kinds)).filter(|kind| kind.suits(path))
    }
}

impl Kind {
    /// Only a page has a count header that could disagree.
    fn suits(self, path: &str) -> bool {
        self != Kind::WrongCount || path.ends_with("/events")
    }
}
