//! When what was delivered is compared with the API again: `verify`, known but not built yet.

use super::key::{Key, Kind, Presence};

pub(super) const KEYS: &[Key] = &[Key::new(
    "after",
    Kind::Texts,
    Presence::Default("2m,15m,1h,6h,24h,48h,8d"),
    "The ages at which a range is compared with the API: the last one reads, the others count.",
    "[2m, 15m, 1h, 6h, 24h, 48h, 8d]",
)];
