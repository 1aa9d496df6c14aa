//! Seeds: every random test takes its own from here, prints it, and reruns from `JUMPSTREAM_SEED`.

use std::ops::AddAssign;
use std::sync::Mutex;

/// The one seed that was asked for.
pub fn chosen_seed() -> Option<u64> {
    std::env::var("JUMPSTREAM_SEED").ok().map(|seed| seed.parse().expect("JUMPSTREAM_SEED must be a number"))
}

/// Whether the long proofs run in full.
pub fn is_prove() -> bool {
    std::env::var_os("JUMPSTREAM_PROVE").is_some_and(|value| value == "1")
}

/// What the runs of all seeds come to: one after the other in a sample, on every processor in a proof.
pub fn sum<T>(seeds: impl Iterator<Item = u64> + Send, run: impl Fn(u64) -> T + Sync) -> T
where
    T: Default + AddAssign + Send,
{
    let processors = if is_prove() { std::thread::available_parallelism().map_or(1, usize::from) } else { 1 };
    let (seeds, total) = (Mutex::new(seeds), Mutex::new(T::default()));
    let work = || {
        let next = || seeds.lock().unwrap().next();
        while let Some(seed) = next() {
            let outcome = run(seed);
            *total.lock().unwrap() += outcome;
        }
    };
    std::thread::scope(|scope| (0..processors).for_each(|_| drop(scope.spawn(work))));
    total.into_inner().unwrap()
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
