//! The ledgers in a compacted Kafka topic beside an exactly-once sink: its entries, how they fold, which are written.

pub mod book;
pub mod fold;
pub mod format;
