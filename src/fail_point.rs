//! Places where a test may stop the process, to kill it there.
//!
//! Compiled into debug builds only: what is released has none.

/// Where `JUMPSTREAM_FAIL_POINT` is this point's name and a count (`committed:3`), the process says so on standard error
/// when it comes by for that time, and stands still until it is killed.
#[macro_export]
macro_rules! fail_point {
    ($name:literal) => {
        #[cfg(debug_assertions)]
        $crate::fail_point::pass($name);
    };
}

/// The name and the count that are waited for, and how often the point was passed.
#[cfg(debug_assertions)]
static WANTED: std::sync::LazyLock<Option<(String, u32)>> = std::sync::LazyLock::new(|| {
    let wanted = std::env::var("JUMPSTREAM_FAIL_POINT").ok()?;
    let (name, count) = wanted.split_once(':').unwrap_or((&wanted, "1"));
    Some((name.to_owned(), count.parse().ok()?))
});

#[cfg(debug_assertions)]
static PASSED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

/// What [`fail_point!`](crate::fail_point) does.
#[cfg(debug_assertions)]
#[expect(clippy::print_stderr, reason = "the test that kills us waits for it")]
pub fn pass(name: &str) {
    use std::sync::atomic::Ordering;
    let Some((wanted, count)) = &*WANTED else { return };
    if wanted == name && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *count {
        eprintln!("fail point {name}");
        // Every thread goes on but this one: a process that is only slow here is the harder case.
        loop {
            std::thread::park();
        }
    }
}
