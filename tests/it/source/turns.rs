//! Whose turn it is under one rate limit.

use std::time::Duration;

use jumpstream::source::{IntervalQuery, IntervalUnit, Purpose};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::server::{Server, answer};
use super::{Fixture, query};

/// Two seconds' worth goes out at once; what comes after it waits for its turn.
const RATE: usize = 40;
const AT_ONCE: usize = 2 * RATE;

/// Polls want more than there is, and so do gaps; many of those who wait for a gap's turn go away before it comes.
#[tokio::test]
async fn those_who_go_away_do_not_cost_the_others_of_their_purpose_a_turn() {
    let server = Server::saying(answer(200, &[], r#"{"count":3}"#)).await;
    let fixture = Fixture::with(&server, |options| options.requests_per_second = RATE as f64);
    let (live, gap) = (fixture.client.clone(), fixture.client.asking_for(Purpose::Gap));
    let mut askers = JoinSet::new();
    for _ in 0..20 {
        let (live, gap, impatient) = (live.clone(), gap.clone(), gap.clone());
        askers.spawn(async move { while live.count(None, &query()).await.is_ok() {} });
        askers.spawn(async move { while gap.interval(None, &interval()).await.is_ok() {} });
        askers.spawn(async move {
            loop {
                let _ = timeout(Duration::from_millis(5), impatient.interval(None, &interval())).await;
            }
        });
    }
    let wanted = AT_ONCE + 3 * RATE;
    while fixture.outcomes().len() < wanted {
        assert!(askers.try_join_next().is_none(), "a request failed: {:?}", fixture.outcomes().last());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    askers.abort_all();
    let outcomes = fixture.outcomes();
    let judged = &outcomes[AT_ONCE..wanted];
    let gaps = judged.iter().filter(|(endpoint, _)| *endpoint == "interval").count();
    // Of 85 parts gaps have 25, while verification wants none of its 15.
    let share = gaps as f64 / judged.len() as f64;
    assert!((0.2..0.4).contains(&share), "gaps had {gaps} of {} turns", judged.len());
}

fn interval() -> IntervalQuery {
    let start = query().start;
    IntervalQuery {
        service: "all".to_owned(),
        start,
        end: start + Duration::from_secs(3_600),
        unit: IntervalUnit::Minute,
    }
}
