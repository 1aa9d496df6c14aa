//! Where a stream belongs: the same on every machine and in every release, and evenly.

use std::collections::BTreeMap;

use jumpstream::ledger::StreamKey;
use jumpstream::store::kafka::Layout;

use crate::random::seeds;

fn partition_of(organization: &str, service: &str, partitions: u32) -> u32 {
    let stream = StreamKey { organization: organization.to_owned(), service: service.to_owned() };
    Layout::of(partitions).partition(&stream)
}

#[test]
fn the_hash_is_the_one_that_its_name_promises() {
    // From an implementation of its own, which gives the authors' vector. Two moduli without a common factor tell
    // other hashes apart.
    let vectors = [
        ("5f0000000000000000000001", "all", 0xcc99_e6c7_0553_550e_u64),
        ("5f0000000000000000000001", "sso", 0x8bc3_d42f_edcf_9092),
        ("5f0000000000000000000002", "all", 0x278e_7027_f0d7_403e),
        ("", "", 0x8b5a_0baa_49fb_c58d),
    ];
    for (organization, service, hash) in vectors {
        for partitions in [1, 8, 24, u32::MAX] {
            let wanted = (hash % u64::from(partitions)) as u32;
            assert_eq!(partition_of(organization, service, partitions), wanted, "{organization}/{service}");
        }
    }
}

#[test]
fn where_the_organization_ends_and_the_service_begins_counts() {
    assert_ne!(partition_of("ab", "c", u32::MAX), partition_of("a", "bc", u32::MAX));
}

/// Organizations as JumpCloud numbers them: the second of their creation, a machine, a counter.
fn organizations(count: usize, random: &mut fastrand::Rng) -> Vec<String> {
    let mut second = random.u32(0x5a00_0000..0x6000_0000);
    (0..count)
        .map(|_| {
            second += random.u32(..100_000);
            format!("{second:08x}{:010x}{:06x}", random.u64(..1 << 40), random.u32(..1 << 24))
        })
        .collect()
}

/// Streams of the replica that has most of them ÷ a fair share, where the group gives out partitions by their number.
fn worst_share(organizations: &[String], partitions: u32, replicas: u32) -> f64 {
    let mut streams = BTreeMap::new();
    for organization in organizations {
        *streams.entry(partition_of(organization, "all", partitions) % replicas).or_insert(0) += 1;
    }
    let largest: i32 = streams.into_values().max().unwrap();
    f64::from(largest) * f64::from(replicas) / organizations.len() as f64
}

#[test]
fn streams_spread_evenly_over_replicas() {
    let seed = seeds(1, 1).next().unwrap();
    let mut random = fastrand::Rng::with_seed(seed);
    for partitions in [8, 12, 24, 48] {
        for count in [10, 100, 1_000] {
            let mut worst: Vec<f64> =
                (0..400).map(|_| worst_share(&organizations(count, &mut random), partitions, 3)).collect();
            worst.sort_by(f64::total_cmp);
            let (median, p95) = (worst[200], worst[380]);
            println!(
                "{partitions} partitions, 3 replicas, {count} organizations: worst share {median:.2}, p95 {p95:.2}"
            );
            // What even chances give: a share's own excess, and the luck of the draw (three standard deviations).
            let inherent = f64::from(partitions.div_ceil(3) * 3) / f64::from(partitions);
            assert!(median < inherent * (1.0 + 3.0 * (2.0 / count as f64).sqrt()), "{partitions}, {count}: {median}");
        }
    }
}
