//! The raw format: an event's bytes exactly as the API sent them.

use std::sync::Arc;

use crate::clock::Time;
use crate::event::Event;
use crate::record::{Delivery, Record};

/// Shares the event's bytes; nothing is copied.
pub fn format(event: Event, delivery: Delivery, ingested_at: Time, organization: &Arc<str>) -> Record {
    Record { value: event.bytes().clone(), event, delivery, ingested_at, organization: organization.clone() }
}
