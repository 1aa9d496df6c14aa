//! Brokers that die, hang and lose their answers in the midst of a transaction.

use super::super::proxy::{END_TRANSACTION, Mode, PRODUCE, Proxy};
use super::*;
use crate::sink::eventually;

/// Longer than records are sent for, shorter than the coordinator waits.
const LONG: Duration = Duration::from_secs(12);
/// Longer than the coordinator lets a transaction be open, and than it takes to notice.
const TOO_LONG: Duration = Duration::from_secs(20);
/// The coordinator looks for transactions that take too long so often, instead of every 10 s.
const STRICT: &str = "transaction.abort.timed.out.transaction.cleanup.interval.ms=500";

/// Commits, and where the producer is lost takes the id over and finds out whether it was: as an owner does.
async fn commit_somehow(place: &Place, kafka: &Kafka, owner: &Transactions, numbers: std::ops::Range<usize>) {
    for _ in 0..5 {
        match place.commit(owner, numbers.clone()).await {
            Ok(outcome) => return assert_eq!(outcome, Outcome::Committed),
            Err(lost) => {
                println!("lost: {lost}");
                while let Err(lost) = owner.open(DEADLINE).await {
                    assert!(matches!(lost, Lost::Away { .. }), "{lost}");
                }
                let (times, _) = place.committed(kafka).await;
                if times.contains_key(&value(numbers.start)) {
                    return;
                }
            }
        }
    }
    panic!("lost again and again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_asked_for_again_and_done_once() {
    let Some(kafka) = Kafka::shared("a lost answer to a commit").await else { return };
    let place = Place::make(kafka).await;
    let proxy = Proxy::before(&kafka.bootstrap()).await;
    let owner = place.owner(&proxy.address()).await;
    for then in [Mode::Open, Mode::Gone, Mode::Silent] {
        let (entries, first) = match then {
            Mode::Open => (1, 0),
            Mode::Gone => (2, 1_000),
            Mode::Silent => (3, 2_000),
        };
        proxy.lose(END_TRANSACTION, then);
        let (outcome, ()) = tokio::join!(place.commit(&owner, first..first + 1_000), async {
            eventually("the lost answer", || proxy.has_lost().then_some(())).await;
            if then != Mode::Open {
                eventually("the trouble", || owner.trouble()).await;
                proxy.set(Mode::Open);
            }
        });
        assert_eq!(outcome, Ok(Outcome::Committed), "{then:?}");
        place.holds(kafka, 0..first + 1_000, entries).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_whose_answers_are_lost_are_there_once_after_an_abort() {
    let Some(kafka) = Kafka::shared("lost answers to records").await else { return };
    let place = Place::make(kafka).await;
    let proxy = Proxy::before(&kafka.bootstrap()).await;
    let owner = place.owner(&proxy.address()).await;
    assert_eq!(place.commit(&owner, 0..1_000).await, Ok(Outcome::Committed));
    // Long enough for the records to time out and the transaction to be aborted and sent again, with numbers that the
    // broker must not take for those that it has.
    proxy.lose(PRODUCE, Mode::Gone);
    let ((), ()) = tokio::join!(commit_somehow(&place, kafka, &owner, 1_000..2_000), async {
        eventually("the lost answer", || proxy.has_lost().then_some(())).await;
        tokio::time::sleep(LONG).await;
        assert!(owner.trouble().is_some());
        proxy.set(Mode::Open);
    });
    assert_eq!(place.commit(&owner, 2_000..3_000).await, Ok(Outcome::Committed));
    place.holds(kafka, 0..3_000, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_amid_lost_answers_loses_no_other_record() {
    let Some(kafka) = Kafka::shared("a refusal amid lost answers").await else { return };
    let place = Place::make(kafka).await;
    let strict = unique("tx-strict");
    // Takes no record without a key.
    kafka.create_topic(&strict, 1, &[("cleanup.policy", "compact")]).await;
    let proxy = Proxy::before(&kafka.bootstrap()).await;
    // The refusal comes before the records are sent again whose answers were lost.
    let properties = BTreeMap::from(
        [("retry.backoff.ms", "1000"), ("reconnect.backoff.ms", "1")]
            .map(|(property, value)| (property.to_owned(), value.to_owned())),
    );
    let settings = Settings { properties, ..settings(&proxy.address(), &place.events) };
    let usual = vec![place.events.clone(), place.ledger.clone(), strict.clone()];
    let owner = Transactions::new(Topics::new(settings), &*place.id, usual).unwrap();
    owner.open(DEADLINE).await.unwrap();
    for round in 0..3 {
        let numbers = round * 100..(round + 1) * 100;
        let values: Vec<String> = numbers.clone().map(value).collect();
        let poisoned = |index| {
            if index < 101 {
                return place.message(&values, index);
            }
            let deadline = std::time::Instant::now() + DEADLINE;
            while !proxy.has_lost() {
                assert!(std::time::Instant::now() < deadline, "no record was answered");
                std::thread::sleep(Duration::from_millis(1));
            }
            Outgoing::to(strict.as_str(), None, Some(b"no key"))
        };
        proxy.lose(PRODUCE, Mode::Open);
        match owner.commit(102, poisoned).await {
            Ok(Outcome::Refused(refused)) => {
                assert_eq!(refused.iter().map(|each| each.index).collect::<Vec<_>>(), [101])
            }
            Ok(Outcome::Committed) => panic!("not refused"),
            Err(lost) => {
                println!("round {round}: {lost}");
                owner.open(DEADLINE).await.unwrap();
            }
        }
        // What the owner does with the rest.
        commit_somehow(&place, kafka, &owner, numbers).await;
        place.holds(kafka, 0..(round + 1) * 100, round + 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_in_the_midst_of_a_transaction_loses_and_repeats_nothing() {
    let Some(kafka) = Kafka::own("a killed broker, transactions", "").await else { return };
    let place = Place::make(&kafka).await;
    let owner = place.owner(&kafka.bootstrap()).await;
    assert_eq!(place.commit(&owner, 0..1_000).await, Ok(Outcome::Committed));
    kafka.kill().await;
    let ((), ()) = tokio::join!(commit_somehow(&place, &kafka, &owner, 1_000..9_000), async {
        let trouble = eventually("the trouble of a killed broker", || owner.trouble()).await;
        assert!(trouble.contains("no broker of"), "{trouble}");
        kafka.start_again().await;
    });
    kafka.pause().await;
    let ((), ()) = tokio::join!(commit_somehow(&place, &kafka, &owner, 9_000..19_000), async {
        eventually("the trouble of a hanging broker", || owner.trouble()).await;
        kafka.unpause().await;
    });
    assert_eq!(owner.trouble(), None);
    place.holds(&kafka, 0..19_000, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_longer_than_a_transaction_may_last_makes_no_wrong_commit() {
    let Some(kafka) = Kafka::own("an outage longer than a transaction", STRICT).await else { return };
    let place = Place::make(&kafka).await;
    let proxy = Proxy::before(&kafka.bootstrap()).await;
    let owner = place.owner(&proxy.address()).await;
    let mut first = 0;
    for kind in [PRODUCE, END_TRANSACTION] {
        proxy.lose(kind, Mode::Gone);
        let ((), ()) = tokio::join!(commit_somehow(&place, &kafka, &owner, first..first + 1_000), async {
            eventually("the lost answer", || proxy.has_lost().then_some(())).await;
            tokio::time::sleep(TOO_LONG).await;
            proxy.set(Mode::Open);
        });
        first += 1_000;
        place.holds(&kafka, 0..first, first / 1_000).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_slept_for_too_long_commits_nothing() {
    let Some(kafka) = Kafka::own("a sleeping owner", STRICT).await else { return };
    let place = Place::make(&kafka).await;
    let owner = place.owner(&kafka.bootstrap()).await;
    let values: Vec<String> = (0..2_000).map(value).collect();
    let message = |index: usize| {
        if index == 1_900 {
            // The whole process stands still, but for the client's threads.
            std::thread::sleep(TOO_LONG);
        }
        place.message(&values, index)
    };
    assert_eq!(owner.commit(2_001, message).await, Err(Lost::Fenced { id: place.id.clone() }));
    assert_eq!(place.committed(&kafka).await, (HashMap::new(), 0));
    assert!(owner.commit(2_001, |index| place.message(&values, index)).await.is_err());
    owner.open(DEADLINE).await.unwrap();
    assert_eq!(place.commit(&owner, 0..2_000).await, Ok(Outcome::Committed));
    place.holds(&kafka, 0..2_000, 1).await;
}
