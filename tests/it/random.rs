//! Seeds: every random test takes its own from here, prints it, and reruns from `JUMPSTREAM_SEED`.

/// The one seed that was asked for.
pub fn chosen_seed() -> Option<u64> {
    std::env::var("JUMPSTREAM_SEED").ok().map(|seed| seed.parse().expect("JUMPSTREAM_SEED must be a number"))
}

/// Whether the long proofs run in full.
pub fn is_prove() -> bool {
    std::env::var_os("JUMPSTREAM_PROVE").is_some_and(|value| value == "1")
}

/// `sample` seeds, or `all` of them under `make prove`; a run's first one is random and printed.
pub fn seeds(sample: u64, all: u64) -> impl Iterator<Item = u64> {
    let (first, count) = match chosen_seed() {
        Some(seed) => (seed, 1),
        None => (u64::from(fastrand::u32(..)), if is_prove() { all } else { sample }),
    };
    println!("seeds {first}..{}; rerun one with JUMPSTREAM_SEED=…", first + count);
    first..first + count
}
