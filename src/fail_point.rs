//! Places where a test may stop the process, to kill it there.
//!
//! Compiled into debug builds only: what is released has none.

/// Where `JUMPSTREAM_FAIL_POINT` is this point's name, a count and a path (`committed:3:/tmp/go`), the process says so on
/// standard error when it comes by for that time, and stands still until it is killed or the file is there.
#[macro_export]
macro_rules! fail_point {
    ($name:literal) => {
        #[cfg(debug_assertions)]
        $crate::fail_point::pass($name);
    };
}

/// The name and the count that are waited for, and the file that ends the wait.
#[cfg(debug_assertions)]
static WANTED: std::sync::LazyLock<Option<(String, u32, std::path::PathBuf)>> = std::sync::LazyLock::new(|| {
    let wanted = std::env::var("JUMPSTREAM_FAIL_POINT").ok()?;
    let mut parts = wanted.splitn(3, ':');
    Some((parts.next()?.to_owned(), parts.next()?.parse().ok()?, parts.next()?.into()))
});

/// How often the point was passed.
#[cfg(debug_assertions)]
static PASSED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

/// What [`fail_point!`](crate::fail_point) does.
#[cfg(debug_assertions)]
#[expect(clippy::print_stderr, reason = "the test that kills us waits for it")]
pub fn pass(name: &str) {
    use std::sync::atomic::Ordering;
    let Some((wanted, count, go)) = &*WANTED else { return };
    if wanted == name && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *count {
        eprintln!("fail point {name}");
        // Every thread goes on but this one: a process that is only slow here is the harder case.
        while !go.exists() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}
