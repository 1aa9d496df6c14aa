//! By RELP: each message is acknowledged by the receiver itself, and a session that is lost costs a window at most.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jumpstream::record::Reason;
use jumpstream::record::syslog::Oversize;
use jumpstream::sink::Sink as _;
use jumpstream::sink::syslog::SyslogSink;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::authority::{Authority, Oddity};
use super::{assert_all_there, awkward_records, deliver, id, lines, record, records, settings, text};
use crate::random::seeds;
use crate::sink::eventually;

/// What a server does, decided anew for each connection.
#[derive(Debug, Clone, Default)]
pub struct Habits {
    /// Ends the session once it has read so many messages, the last of which it doesn't acknowledge.
    messages: Option<usize>,
    /// Takes part of the bytes of the next message too.
    cuts: bool,
    /// Gives answers in another order within what it has read at once.
    shuffles: Option<u64>,
    /// Ids that it refuses, and how often.
    refuses: HashMap<String, usize>,
    refuses_all: bool,
    /// Ends with a hint.
    says_goodbye: bool,
    /// Answers nothing after the session is open.
    silent: bool,
    /// What it answers to `open`.
    answer: Option<&'static str>,
}

pub struct Server {
    pub port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Acknowledged ones.
    messages: Mutex<Vec<Vec<u8>>>,
    /// Of the next connections, last first; the last one stays.
    habits: Mutex<Vec<Habits>>,
    sessions: AtomicUsize,
    closed: AtomicUsize,
    most_in_flight: AtomicUsize,
}

impl Server {
    pub async fn start(habits: Vec<Habits>) -> Server {
        Server::with(habits, None).await
    }

    async fn with(mut habits: Vec<Habits>, tls: Option<TlsAcceptor>) -> Server {
        habits.reverse();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State { habits: Mutex::new(habits), ..State::default() });
        let serving = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.sessions.fetch_add(1, Ordering::SeqCst);
                let habits = {
                    let mut habits = serving.habits.lock().unwrap();
                    if habits.len() > 1 { habits.pop().unwrap() } else { habits.first().cloned().unwrap_or_default() }
                };
                let (state, tls) = (serving.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => state.serve(tls.accept(stream).await.unwrap(), habits).await,
                        None => state.serve(stream, habits).await,
                    }
                });
            }
        });
        Server { port, state }
    }

    pub fn address(&self) -> String {
        format!("relp://127.0.0.1:{}", self.port)
    }

    /// Sessions that were closed in order.
    pub fn closed(&self) -> usize {
        self.state.closed.load(Ordering::SeqCst)
    }

    pub fn messages(&self) -> Vec<Vec<u8>> {
        self.state.messages.lock().unwrap().clone()
    }

    fn sessions(&self) -> usize {
        self.state.sessions.load(Ordering::SeqCst)
    }
}

impl State {
    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S, habits: Habits) {
        let (mut inbox, mut expected, mut taken) = (Vec::new(), 1, 0);
        let mut random = fastrand::Rng::with_seed(habits.shuffles.unwrap_or_default());
        loop {
            let mut answers: Vec<String> = Vec::new();
            while let Some((number, command, data)) = frame(&mut inbox) {
                assert_eq!(number, expected, "numbers count on");
                expected += 1;
                match command.as_str() {
                    "open" => {
                        assert!(
                            number == 1 && data.starts_with(b"relp_version="),
                            "{}",
                            String::from_utf8_lossy(&data)
                        );
                        let offers = "200 OK\nrelp_version=0\nrelp_software=test,1\ncommands=syslog";
                        answers.push(response(number, habits.answer.unwrap_or(offers)));
                    }
                    "syslog" if habits.silent => {}
                    "syslog" => {
                        taken += 1;
                        if habits.messages.is_some_and(|most| taken > most) {
                            if habits.says_goodbye {
                                let _ = stream.write_all(b"0 serverclose 0\n").await;
                            }
                            return;
                        }
                        answers.push(response(number, self.take(data, &habits)));
                    }
                    "close" => {
                        self.closed.fetch_add(1, Ordering::SeqCst);
                        let _ = stream.write_all(response(number, "200 OK").as_bytes()).await;
                        let _ = stream.shutdown().await;
                        return;
                    }
                    other => panic!("command {other}"),
                }
            }
            self.most_in_flight.fetch_max(answers.len(), Ordering::SeqCst);
            if habits.shuffles.is_some() {
                random.shuffle(&mut answers);
            }
            if stream.write_all(answers.concat().as_bytes()).await.is_err() {
                return;
            }
            if habits.cuts && habits.messages == Some(taken) && !inbox.is_empty() {
                return;
            }
            // All that has come at once, so that what is in flight is seen.
            inbox.reserve(64 << 10);
            match stream.read_buf(&mut inbox).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    fn take(&self, message: Vec<u8>, habits: &Habits) -> &'static str {
        let mut lists = self.habits.lock().unwrap();
        let left = lists.first_mut().and_then(|habits| habits.refuses.get_mut(&id(&message)));
        if habits.refuses_all {
            return "500 the disk is full";
        }
        if let Some(left) = left.filter(|left| **left > 0) {
            *left -= 1;
            return "500 this one not";
        }
        self.messages.lock().unwrap().push(message);
        "200 OK"
    }
}

fn response(number: u32, data: &str) -> String {
    format!("{number} rsp {} {data}\n", data.len())
}

/// The first whole frame.
fn frame(inbox: &mut Vec<u8>) -> Option<(u32, String, Vec<u8>)> {
    let mut words = inbox.splitn(4, |byte| [b' ', b'\n'].contains(byte));
    let (number, command, length) = (words.next()?, words.next()?, words.next()?);
    words.next()?;
    let head = number.len() + command.len() + length.len() + 2;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (number, command, length) =
        (text(number).parse().unwrap(), text(command), text(length).parse::<usize>().unwrap());
    let end = if length == 0 { head } else { head + 1 + length };
    if inbox.len() <= end {
        return None;
    }
    assert_eq!(inbox[end], b'\n', "a frame ends with a line's end");
    let data = inbox[end - length..end].to_vec();
    inbox.drain(..=end);
    Some((number, command, data))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_is_acknowledged_in_one_session_which_is_closed_in_order() {
    let server = Server::start(vec![]).await;
    let sink = SyslogSink::new(settings(&[&server.address()]));
    for round in 0..3 {
        assert_eq!(deliver(&sink, &records(round * 1_000..round * 1_000 + 1_000, 500)).await, []);
        // Nothing has to be waited for: what is delivered is there.
        assert_eq!(server.messages().len(), round * 1_000 + 1_000);
    }
    assert_all_there(&server.messages(), 0..3_000);
    sink.close().await;
    assert_eq!((server.sessions(), server.closed()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_awkward_byte_arrives_as_it_was_sent() {
    for seed in seeds(2, 50) {
        let server = Server::start(vec![]).await;
        let records = awkward_records(&mut fastrand::Rng::with_seed(seed), 300, 130_000);
        assert_eq!(deliver(&SyslogSink::new(settings(&[&server.address()])), &records).await, [], "seed {seed}");
        let texts: Vec<Vec<u8>> = server.messages().iter().map(|message| text(message).to_vec()).collect();
        assert!(texts == lines(&records), "seed {seed}: a text differs");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_the_window_is_in_flight() {
    for window in [1, 7, 128] {
        let server = Server::start(vec![]).await;
        let mut settings = settings(&[&server.address()]);
        settings.window = window;
        assert_eq!(deliver(&SyslogSink::new(settings), &records(0..500, 10)).await, []);
        assert!(server.state.most_in_flight.load(Ordering::SeqCst) <= window);
        assert_all_there(&server.messages(), 0..500);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_works_within_tls_too() {
    let authority = Authority::new();
    let server = Server::with(vec![], Some(authority.acceptor("localhost", Oddity::None, None))).await;
    let mut settings = settings(&[&format!("relp+tls://localhost:{}", server.port)]);
    settings.tls.ca = Some(authority.ca());
    let sink = SyslogSink::new(settings);
    assert_eq!(deliver(&sink, &records(0..2_000, 500)).await, []);
    assert_all_there(&server.messages(), 0..2_000);
    sink.close().await;
    assert_eq!(server.closed(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_lost_at_any_message_lose_nothing_and_repeat_nothing_acknowledged() {
    for seed in seeds(6, 1_000) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut habits: Vec<Habits> = (0..random.usize(0..12))
            .map(|_| Habits {
                messages: Some(random.usize(0..300)),
                cuts: random.bool(),
                shuffles: random.bool().then(|| random.u64(..)),
                says_goodbye: random.bool(),
                ..Habits::default()
            })
            .collect();
        habits.push(Habits { shuffles: Some(seed), ..Habits::default() });
        let server = Server::start(habits).await;
        let mut settings = settings(&[&server.address()]);
        settings.window = random.usize(1..200);
        let window = settings.window;
        let sink = SyslogSink::new(settings);
        for batch in 0..4 {
            assert_eq!(deliver(&sink, &records(batch * 250..batch * 250 + 250, random.usize(0..1_000))).await, []);
            let ids: std::collections::HashSet<String> = server.messages().iter().map(|message| id(message)).collect();
            assert_eq!(ids.len(), batch * 250 + 250, "seed {seed}: what is delivered is there");
        }
        let received = server.messages();
        assert_all_there(&received, 0..1_000);
        // Of a session only what was read and whose answer was lost comes again.
        let repeats = received.len() - 1_000;
        assert!(
            repeats <= (server.sessions() - 1) * window,
            "seed {seed}: {repeats} in {} sessions",
            server.sessions()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_refused_three_times_is_a_dead_letter_and_the_others_go_on() {
    let refuses = HashMap::from([("3".to_owned(), usize::MAX), ("7".to_owned(), 2)]);
    let server = Server::start(vec![Habits { refuses, ..Habits::default() }]).await;
    let refused = deliver(&SyslogSink::new(settings(&[&server.address()])), &records(0..10, 10)).await;
    assert_eq!((refused.len(), refused[0].index, refused[0].reason), (1, 3, Reason::Refused));
    assert!(refused[0].explanation.contains("500 this one not"), "{refused:?}");
    let mut received: Vec<String> = server.messages().iter().map(|message| id(message)).collect();
    received.sort();
    assert_eq!(received, ["0", "1", "2", "4", "5", "6", "7", "8", "9"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_refuses_everything_is_waited_for() {
    let server = Server::start(vec![Habits { refuses_all: true, ..Habits::default() }]).await;
    let sink = Arc::new(SyslogSink::new(settings(&[&server.address()])));
    let delivering = sink.clone();
    let delivery = tokio::spawn(async move { delivering.deliver(&records(0..100, 10)).await });
    let trouble = eventually("it is said", || sink.trouble()).await;
    assert!(trouble.contains("refuses every message (`500 the disk is full`)"), "{trouble}");
    assert!(!delivery.is_finished());
    delivery.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_acknowledges_nothing_is_said_and_then_asked_anew() {
    let silent = Habits { silent: true, ..Habits::default() };
    let server = Server::start(vec![silent, Habits::default()]).await;
    let mut settings = settings(&[&server.address()]);
    settings.deadlines.give_up = Duration::from_secs(2);
    let sink = Arc::new(SyslogSink::new(settings));
    let delivering = sink.clone();
    let delivery = tokio::spawn(async move { deliver(&delivering, &records(0..10, 10)).await });
    let trouble = eventually("it is said", || sink.trouble()).await;
    assert!(trouble.contains("acknowledges nothing"), "{trouble}");
    assert_eq!(delivery.await.unwrap(), []);
    assert_eq!((server.sessions(), sink.trouble()), (2, None));
    assert_all_there(&server.messages(), 0..10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_ends_each_session_at_one_message_is_told_from_one_that_restarts() {
    let server = Server::start(vec![Habits { messages: Some(0), ..Habits::default() }]).await;
    let sink = Arc::new(SyslogSink::new(settings(&[&server.address()])));
    let delivering = sink.clone();
    let batch = records(77..78, 100);
    let delivery = tokio::spawn(async move { delivering.deliver(&batch).await });
    let names = |trouble: String| trouble.contains("before it acknowledges event 77").then_some(trouble);
    let trouble = eventually("it is said", || sink.trouble().and_then(names)).await;
    assert!(trouble.contains("; its limit may be lower"), "{trouble}");
    delivery.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_refused_is_said() {
    for (answer, said) in [
        ("500 not you", "refuses a RELP session (`500 not you`)"),
        ("200 OK\nrelp_version=0\ncommands=eventlog", "takes no `syslog` command"),
    ] {
        let server = Server::start(vec![Habits { answer: Some(answer), ..Habits::default() }]).await;
        let sink = Arc::new(SyslogSink::new(settings(&[&server.address()])));
        let delivering = sink.clone();
        let delivery = tokio::spawn(async move { delivering.deliver(&records(0..1, 10)).await });
        let trouble = eventually("it is said", || sink.trouble()).await;
        assert!(trouble.contains(said), "{trouble}");
        delivery.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_in_parts_is_delivered_when_each_part_is() {
    let habits = Habits { messages: Some(5), ..Habits::default() };
    let server = Server::start(vec![habits.clone(), habits, Habits::default()]).await;
    let mut settings = settings(&[&server.address()]);
    settings.format.oversize = Oversize::Split;
    settings.max_message_bytes = 1_000;
    settings.window = 4;
    let json = format!(r#"{{"id":"large","x":"{}"}}"#, "y".repeat(8_000));
    assert_eq!(deliver(&SyslogSink::new(settings), &[record(json.clone())]).await, []);
    let mut parts = std::collections::BTreeMap::new();
    for message in server.messages() {
        let part: serde_json::Value = serde_json::from_slice(text(&message)).unwrap();
        parts.insert(part["part"].as_u64().unwrap(), part["data"].as_str().unwrap().to_owned());
    }
    assert_eq!(parts.into_values().collect::<String>(), json);
}
