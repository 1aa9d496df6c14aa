//! Which partition a stream belongs to, and a replica's part of what all share. Pure; every release must agree on it.

use std::num::NonZeroU32;

use siphasher::sip::SipHasher24;

/// Names [`partition_of`]: kept in the ledger topic, since another hash would look for a stream elsewhere.
pub const HASH: &str = "siphash-2-4";

/// The partition that a stream belongs to: SipHash-2-4 (Aumasson and Bernstein 2012) under a key of 16 zero bytes over
/// `organization ‖ 0 ‖ service` (UTF-8), modulo `partitions`.
///
/// | organization | service | SipHash-2-4 | of 8 |
/// |---|---|---|---|
/// | `5f0000000000000000000001` | `all` | `cc99e6c70553550e` | 6 |
/// | `5f0000000000000000000001` | `sso` | `8bc3d42fedcf9092` | 2 |
/// | (empty) | (empty) | `8b5a0baa49fbc58d` | 5 |
pub fn partition_of(organization: &str, service: &str, partitions: NonZeroU32) -> u32 {
    let key = [organization.as_bytes(), &[0], service.as_bytes()].concat();
    let hash = SipHasher24::new_with_keys(0, 0).hash(&key);
    (hash % u64::from(partitions.get())) as u32
}

/// A replica's part of an account's request limit, in the limit's unit: its streams ÷ all streams of that account.
/// The parts of all replicas make up the limit, since no stream has two owners.
pub fn share(limit: f64, own_streams: usize, all_streams: usize) -> f64 {
    limit * own_streams.min(all_streams) as f64 / all_streams.max(1) as f64
}
