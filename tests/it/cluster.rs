//! The cluster: where a stream belongs, whether loops turn, and replicas that share partitions through a real group.

mod broker;
mod expelled;
mod handover;
mod placement;
mod process;
mod pulse;
pub mod replica;
mod trouble;
