//! Whether loops turn: one that stands still is found, one that only waits is not.

use std::time::Duration;

use jumpstream::cluster::{STUCK, Watchdog};
use tokio::time::{sleep, timeout};

#[tokio::test(start_paused = true)]
async fn a_loop_that_stands_still_for_two_minutes_is_found() {
    let watchdog = Watchdog::default();
    let (beating, stuck) = (watchdog.listen(3), watchdog.listen(5));
    let begin = tokio::time::Instant::now();
    let found = tokio::select! {
        found = watchdog.stuck() => found,
        () = async { loop { sleep(Duration::from_secs(7)).await; beating.beat() } } => unreachable!("it beats for ever"),
    };
    assert_eq!(found, 5);
    let after = begin.elapsed();
    assert!((STUCK..STUCK + Duration::from_secs(6)).contains(&after), "{after:?}");
    drop(stuck);
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_beats_or_has_ended_is_left_alone() {
    let watchdog = Watchdog::default();
    let (beating, ended) = (watchdog.listen(0), watchdog.listen(1));
    drop(ended);
    let beats = async {
        loop {
            sleep(STUCK - Duration::from_secs(6)).await;
            beating.beat();
        }
    };
    tokio::select! {
        found = timeout(20 * STUCK, watchdog.stuck()) => assert!(found.is_err(), "{found:?} is no fault"),
        () = beats => unreachable!("it beats for ever"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_frozen_process_finds_nobody_guilty() {
    let watchdog = Watchdog::default();
    let pulse = watchdog.listen(0);
    let asked = timeout(Duration::from_secs(1), watchdog.stuck()).await;
    assert!(asked.is_err());
    // Nothing ran meanwhile, neither loops nor the watchdog.
    tokio::time::advance(10 * STUCK).await;
    let asked = timeout(Duration::from_secs(30), watchdog.stuck()).await;
    assert!(asked.is_err(), "{asked:?}");
    drop(pulse);
}
