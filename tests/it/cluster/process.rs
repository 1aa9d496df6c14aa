//! Members in processes of their own, which can be killed and frozen: nobody waits long for the dead, and a sleeper
//! that wakes has no say in what others own by now.
//!
//! The other process is this test binary once more, told by `JUMPSTREAM_TEST_MEMBER` to be a member.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jumpstream::clock;
use rustix::process::{Pid, Signal, kill_process};

use super::replica::{Group, Replica, print};
use crate::kafka::Kafka;
use crate::process::eventually;

const MEMBER: &str = "JUMPSTREAM_TEST_MEMBER";
const TEST: &str = "cluster::process::a_member_in_a_process_of_its_own_owns_and_leaves";

/// A member in another process; killed when dropped.
struct Process {
    child: Child,
    input: Option<ChildStdin>,
    said: Arc<Mutex<Vec<String>>>,
}

impl Process {
    fn start(group: &Group, number: usize) -> Process {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", TEST, "--nocapture", "--test-threads=1"])
            .env(MEMBER, format!("{} {} {}", group.bootstrap, group.topic, group.name))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let (heard, history) = (said.clone(), group.history.clone());
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                match line.split_whitespace().collect::<Vec<_>>()[..] {
                    ["member", "owns", partition] => history.record(number, partition.parse().unwrap(), true),
                    ["member", "frees", partition] => history.record(number, partition.parse().unwrap(), false),
                    _ => {}
                }
                heard.lock().unwrap().push(line);
            }
        });
        let input = child.stdin.take();
        Process { child, input, said }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Heard when it reads again, if it sleeps.
    fn ask_to_confirm(&mut self, partition: u32) {
        writeln!(self.input.as_mut().unwrap(), "{partition}").unwrap();
    }

    async fn says(&self, line: &str) {
        eventually(&format!("it says {line:?}"), async || {
            self.said.lock().unwrap().iter().any(|each| each == line).then_some(())
        })
        .await;
    }

    async fn ends(&mut self) {
        self.input = None;
        let status = eventually("the process ends", async || self.child.try_wait().unwrap()).await;
        assert!(status.success(), "{status}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The other process: a replica that says what it owns and confirms what it is asked, until its input ends.
async fn be_a_member(told: &str) {
    let [bootstrap, topic, name] = told.split(' ').collect::<Vec<_>>()[..] else { panic!("{told}") };
    let group = Group {
        bootstrap: bootstrap.to_owned(),
        topic: topic.to_owned(),
        name: name.to_owned(),
        partitions: 0,
        history: Arc::default(),
    };
    let replica = Replica::start(group.options(), |partition, owns| {
        println!("\nmember {} {partition}", if owns { "owns" } else { "frees" });
    });
    let (questions, mut asked) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let _ = questions.send(line.parse::<u32>().unwrap());
        }
    });
    while let Some(partition) = asked.recv().await {
        let answer = replica.membership.confirm(partition).await;
        println!("\nconfirms {partition}: {}", answer.is_ok());
    }
    replica.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_in_a_process_of_its_own_owns_and_leaves() {
    if let Ok(told) = std::env::var(MEMBER) {
        return be_a_member(&told).await;
    }
    let Some(kafka) = Kafka::shared("a member in a process of its own").await else { return };
    let group = Group::new(kafka, 2).await;
    let mut process = Process::start(&group, 0);
    group.shared_by(&[0]).await;
    process.ask_to_confirm(1);
    process.says("confirms 1: true").await;
    process.ends().await;
    assert!(group.history.owners().values().all(|of| of.is_empty()), "it let go of all");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_member_owned_is_owned_again_when_its_session_ends() {
    let Some(kafka) = Kafka::shared("a killed member").await else { return };
    let group = Group::new(kafka, 8).await;
    let process = Process::start(&group, 0);
    let others = [1, 2].map(|number| group.replica(number));
    group.shared_by(&[0, 1, 2]).await;
    process.signal(Signal::KILL);
    let begin = clock::uptime();
    group.history.died(0);
    group.shared_by(&[1, 2]).await;
    let times = group.history.times_without_owner(begin);
    print("one of three is killed", &times);
    assert!(times.last().is_some_and(|worst| *worst < Duration::from_secs(15)), "{times:?}");
    group.history.assert_never_twice();
    for replica in others {
        replica.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_wakes_after_its_session_confirms_nothing_and_comes_back() {
    let Some(kafka) = Kafka::shared("a frozen member").await else { return };
    let group = Group::new(kafka, 8).await;
    let mut process = Process::start(&group, 0);
    let other = group.replica(1);
    group.shared_by(&[0, 1]).await;
    let its: Vec<u32> =
        group.history.owners().into_iter().filter(|(_, of)| of.contains(&0)).map(|(partition, _)| partition).collect();
    process.signal(Signal::STOP);
    let begin = clock::uptime();
    group.owned_by(1, 8).await;
    println!("what a frozen member owned has another owner after {:.1?}", clock::uptime() - begin);
    for partition in &its {
        process.ask_to_confirm(*partition);
    }
    let woken = clock::uptime();
    process.signal(Signal::CONT);
    for partition in &its {
        process.says(&format!("confirms {partition}: false")).await;
        process.says(&format!("member frees {partition}")).await;
    }
    println!("it knew {:.1?} after it woke", clock::uptime() - woken);
    group.shared_by(&[0, 1]).await;
    let said = process.said.lock().unwrap().clone();
    assert!(!said.iter().any(|line| line.starts_with("confirms") && line.ends_with("true")), "{said:?}");
    process.ends().await;
    other.leave().await;
}
