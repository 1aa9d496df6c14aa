//! Seeds: every random test takes its own from here, prints it, and reruns from `JUMPSTREAM_SEED`.

use std::io::Write as _;
use std::ops::AddAssign;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// The one seed that was asked for.
pub fn chosen_seed() -> Option<u64> {
    std::env::var("JUMPSTREAM_SEED").ok().map(|seed| seed.parse().expect("JUMPSTREAM_SEED must be a number"))
}

/// Whether the long proofs run in full.
pub fn is_prove() -> bool {
    std::env::var_os("JUMPSTREAM_PROVE").is_some_and(|value| value == "1")
}

/// What the runs of all seeds come to: one after the other in a sample, on every processor in a proof, which says each
/// minute how far it is.
pub fn sum<T>(seeds: impl Iterator<Item = u64> + Send, run: impl Fn(u64) -> T + Sync) -> T
where
    T: Default + AddAssign + Send,
{
    let processors = if is_prove() { std::thread::available_parallelism().map_or(1, usize::from) } else { 1 };
    let all = seeds.size_hint().0;
    let (seeds, total) = (Mutex::new(seeds), Mutex::new(T::default()));
    let said = Mutex::new(Instant::now());
    let work = || {
        let next = || {
            let mut seeds = seeds.lock().unwrap();
            Some((seeds.next()?, seeds.size_hint().0))
        };
        while let Some((seed, left)) = next() {
            let named = Named(seed);
            let outcome = run(seed);
            drop(named);
            *total.lock().unwrap() += outcome;
            let mut said = said.lock().unwrap();
            if is_prove() && said.elapsed() > MINUTE {
                *said = Instant::now();
                // Past the capture of tests' output, which is shown at their end.
                let _ = writeln!(std::io::stderr(), "{} of {all} seeds", all - left);
            }
        }
    };
    std::thread::scope(|scope| (0..processors).for_each(|_| drop(scope.spawn(work))));
    total.into_inner().unwrap()
}

/// A seed that is run: where that panics it is said at once, since in a proof the others go on for hours.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "seed {} failed", self.0);
        }
    }
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
