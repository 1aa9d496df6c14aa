//! Commit with model sinks and stores: in which order things become final, and what a failure or crash leaves behind.

mod causes;
mod crash;
mod stream;
mod world;

use std::sync::Arc;

use jumpstream::commit::{Batch, Burial, Error, Route, commit};
use jumpstream::record::{DeadLetter, Delivery, Reason};
use jumpstream::sink;
use world::{Act, World, checkpoint, key, record};

fn route(world: &Arc<World>, sinks: usize, dead_letters: bool, transaction: bool) -> Route {
    Route {
        sinks: (0..sinks).map(|place| world.sink(place)).collect(),
        dead_letters: dead_letters.then(|| Burial::Before(world.dead_letters())),
        store: world.store(),
        transaction: transaction.then(|| world.transaction()),
    }
}

fn batch(events: &[u64]) -> Batch {
    Batch {
        records: events.iter().map(|event| record(*event)).collect(),
        dead: Vec::new(),
        checkpoint: checkpoint(events),
    }
}

fn too_large() -> DeadLetter {
    let explanation = "the event has 99 bytes".to_owned();
    DeadLetter { reason: Reason::TooLarge, size: 99, ..DeadLetter::of(&record(99), Reason::TooLarge, explanation) }
}

#[tokio::test]
async fn the_checkpoint_comes_after_every_sink_and_the_dead_letters() {
    for transaction in [false, true] {
        let world = World::new();
        world.refuse(1, 8);
        let last = if transaction { Act::Transacted } else { Act::Saved };
        let route = route(&world, 2, true, transaction);
        let dead = commit(&route, &key(), Batch { dead: vec![too_large()], ..batch(&[7, 8, 9]) }).await.unwrap();
        assert_eq!(world.acts(), [Act::Delivered(0), Act::Delivered(1), Act::Buried, last]);
        assert_eq!(dead.len(), 2);
        assert_eq!((world.log(0), world.log(1)), (vec![7, 8, 9], vec![7, 9]));
        assert_eq!(world.saved(), [7, 8, 9], "a refused event is dealt with: it is never read again");
    }
}

#[tokio::test]
async fn a_checkpoint_alone_buries_nothing() {
    let world = World::new();
    commit(&route(&world, 1, true, false), &key(), batch(&[])).await.unwrap();
    assert_eq!(world.acts(), [Act::Delivered(0), Act::Saved]);
}

#[tokio::test]
async fn a_failure_at_any_step_leaves_the_checkpoint_unsaved() {
    for transaction in [false, true] {
        let steps = 4;
        for failing in 0..steps {
            let world = World::new();
            world.refuse(0, 8);
            world.fail_at(failing);
            let ended = commit(&route(&world, 2, true, transaction), &key(), batch(&[7, 8])).await;
            assert!(ended.is_err(), "step {failing}");
            assert_eq!(world.saved(), [0u64; 0], "step {failing}");
            assert_eq!(world.acts().len(), failing, "nothing is done behind a failure, and nothing is tried twice");
        }
        let world = World::new();
        world.refuse(0, 8);
        world.fail_at(steps);
        commit(&route(&world, 2, true, transaction), &key(), batch(&[7, 8])).await.expect("there is no fifth step");
    }
}

#[tokio::test]
async fn a_refused_record_becomes_a_dead_letter_whole() {
    let world = World::new();
    world.refuse(0, 8);
    let dead = commit(&route(&world, 1, true, false), &key(), batch(&[7, 8])).await.unwrap();
    let [letter] = world.buried().try_into().expect("one letter");
    let record = record(8);
    assert_eq!(letter.value, record.value);
    assert_eq!(letter.size, record.value.len() as u64);
    assert_eq!((letter.reason, letter.explanation.as_str()), (Reason::Refused, "the model refuses 8"));
    let headers: Vec<(&str, String)> = record.headers().map(|(name, value)| (name, value.into_owned())).collect();
    assert_eq!(letter.headers, headers);
    assert!(headers.contains(&("delivery", Delivery::Live.as_str().to_owned())), "{headers:?}");
    let all: Vec<&str> = letter.all_headers().map(|(name, _)| name).collect();
    assert_eq!(all[headers.len()..], ["dead-letter-reason", "dead-letter-explanation", "event-size"]);
    assert_eq!(dead.len(), 1);
}

#[tokio::test]
async fn without_dead_letters_a_refused_record_is_an_error_that_says_so() {
    let world = World::new();
    world.refuse(0, 8);
    let error = commit(&route(&world, 1, false, false), &key(), batch(&[7, 8])).await.unwrap_err();
    assert!(matches!(error, Error::Sink(sink::Error::NoDeadLetter { .. })));
    let text = error.to_string();
    assert!(text.contains("the model refuses 8") && text.contains("dead_letter"), "{text}");
    assert_eq!(world.saved(), [0u64; 0]);
}
