//! A member that the coordinator has struck off behind its back believes in what it holds, and may take over nothing.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use jumpstream::cluster::{Change, Membership, NotOurs};
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::replica::Group;
use crate::kafka::Kafka;

const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_struck_off_confirms_nothing_and_comes_back() {
    let Some(kafka) = Kafka::shared("a member struck off").await else { return };
    let group = Group::new(kafka, 1).await;
    let (membership, mut changes) = Membership::join(group.options()).unwrap();
    assert_eq!(changes.recv().await, Some(Change::Assigned(vec![0])));
    assert_eq!(membership.confirm(0).await, Ok(()));

    let member = only_member(&group);
    strike_off(&group, &member);
    // It hears of it at its next heartbeat, up to half a second later, and is asked before.
    let refused = membership.confirm(0).await;
    println!("asked by one that was struck off, the coordinator says: {refused:?}");
    assert!(matches!(refused, Err(NotOurs::Refused { partition: 0, .. } | NotOurs::NotAssigned(0))), "{refused:?}");
    for change in [Change::Lost(vec![0]), Change::Assigned(vec![0])] {
        assert_eq!(tokio::time::timeout(DEADLINE, changes.recv()).await, Ok(Some(change)));
    }
    assert_ne!(only_member(&group), member);
    assert_eq!(membership.confirm(0).await, Ok(()));
    membership.leave().await;
}

fn only_member(group: &Group) -> String {
    let client: BaseConsumer = (group.options().client)().unwrap().create().unwrap();
    let list = client.fetch_group_list(Some(&group.name), DEADLINE).unwrap();
    let members: Vec<&str> = list.groups().iter().flat_map(|each| each.members()).map(|member| member.id()).collect();
    let [member] = members[..] else { panic!("{members:?}") };
    member.to_owned()
}

/// LeaveGroup (version 0) in another's name, which no client offers.
fn strike_off(group: &Group, member: &str) {
    let text = |text: &str| [&(text.len() as i16).to_be_bytes(), text.as_bytes()].concat();
    let (api, version, correlation) = (13_i16.to_be_bytes(), 0_i16.to_be_bytes(), 7_i32.to_be_bytes());
    let request = [&api, &version, &correlation[..], &text("a test"), &text(&group.name), &text(member)].concat();
    let mut broker = TcpStream::connect(&group.bootstrap).unwrap();
    broker.write_all(&[&(request.len() as i32).to_be_bytes(), &request[..]].concat()).unwrap();
    let mut answer = [0; 10];
    broker.read_exact(&mut answer).unwrap();
    assert_eq!((&answer[4..8], &answer[8..]), (&correlation[..], &[0, 0][..]), "an error code that is not 0");
}
