//! RELP's session by itself, without a socket: any chunking, any order of answers, sessions that end anywhere.

use std::collections::VecDeque;

use jumpstream::record::syslog::Format;
use jumpstream::sink::syslog::relp::batch::Batch;
use jumpstream::sink::syslog::relp::frame::{self, Frame, LAST};
use jumpstream::sink::syslog::relp::session::{Error, Session, Told};
use proptest::prelude::*;

use super::{format_settings, id, records};

fn cases() -> ProptestConfig {
    ProptestConfig { cases: if crate::random::is_prove() { 50_000 } else { 500 }, ..ProptestConfig::default() }
}

/// An open session with nothing in flight.
fn open(window: usize) -> Session {
    let mut session = Session::open(window, &mut Vec::new());
    session.receive(b"1 rsp 6 200 OK\n", |_| {}).unwrap();
    session
}

#[test]
fn nothing_is_sent_before_the_receiver_has_agreed() {
    let mut out = Vec::new();
    let mut session = Session::open(8, &mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(
        text.starts_with("1 open ") && text.contains(" relp_version=0\n") && text.ends_with("\ncommands=syslog\n"),
        "{text}"
    );
    assert!(!session.is_open() && !session.may_send());
    for byte in b"1 rsp 21 200 OK\nrelp_version=0\n" {
        assert!(!session.may_send());
        session.receive(&[*byte], |_| {}).unwrap();
    }
    assert!(session.is_open() && session.may_send());
}

#[test]
fn what_is_no_frame_is_told_at_once() {
    let fault = |text: &[u8]| Session::open(8, &mut Vec::new()).receive(text, |_| {}).unwrap_err();
    for text in [
        b"HTTP/1.1 400".as_slice(),
        b"\x15\x03\x03\x00\x02",
        b"<134>1",
        b"1234567890 rsp ",
        b"1 rsp x",
        b"1 rsp 7 200 OK\n1",
        b"1  ",
    ] {
        assert_eq!(fault(text), Error::Foreign(text.to_vec()), "{}", String::from_utf8_lossy(text));
    }
    assert!(matches!(fault(b"1 rsp 10 500 not so\n"), Error::OpenRefused(words) if words == "500 not so"));
    let mut session = open(8);
    assert_eq!(session.receive(b"9 rsp 6 200 OK\n", |_| {}), Err(Error::Unasked(9)));
    assert_eq!(open(8).receive(b"0 serverclose 0\n", |_| {}), Err(Error::Closed));
    assert!(matches!(open(8).receive(b"x", |_| {}), Err(Error::Malformed(_))));
    assert_eq!(open(8).receive(b"0 somehint 2 ab\n", |_| {}), Ok(()));
}

#[test]
fn numbers_begin_again_behind_the_last() {
    let mut out = Vec::new();
    frame::write(LAST, "syslog", b"x", &mut out);
    assert_eq!(out, b"999999999 syslog 1 x\n");
    let (frame, length) = frame::read(&out).unwrap().unwrap();
    assert_eq!((frame, length), (Frame { number: LAST, command: b"syslog", data: b"x" }, out.len()));
}

#[test]
fn a_refusal_has_the_receivers_words() {
    let mut session = open(8);
    session.send(5, b"m", &mut Vec::new());
    let mut told = Vec::new();
    session
        .receive(b"2 rsp 22 500 no\nmore of it here\n", |each| told.push(each))
        .unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!(told, [Told::Refused(5, "500 no".into())]);
    assert_eq!(session.in_flight(), 0);
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_frame_is_read_back_from_any_pieces(
        number in 0..=LAST, command in "[a-zA-Z]{1,32}", data in proptest::collection::vec(any::<u8>(), 0..300), cut in 0usize..400,
    ) {
        let mut out = Vec::new();
        frame::write(number, &command, &data, &mut out);
        let whole = Some((Frame { number, command: command.as_bytes(), data: &data }, out.len()));
        prop_assert_eq!(frame::read(&out), Ok(whole));
        prop_assert_eq!(frame::read(&out[..cut.min(out.len() - 1)]), Ok(None));
    }

    #[test]
    fn reading_any_bytes_ends_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = frame::read(&bytes);
        let _ = open(4).receive(&bytes, |_| {});
    }

    /// The heart of it: whatever the receiver does, each message is taken at least once and in order of its first
    /// coming; what was acknowledged never goes out again; what is left goes out in order.
    #[test]
    fn a_new_session_is_given_exactly_what_was_not_acknowledged_in_order(
        count in 1usize..60, window in 1usize..20, choices in proptest::collection::vec(any::<u16>(), 40..400),
    ) {
        let batch_records = records(0..count, 3);
        let format = Format::new(format_settings());
        let mut batch = Batch::new(&batch_records, &format, 10_000);
        let mut choices = choices.into_iter().chain(std::iter::repeat(0));
        let mut choose = |of: usize| usize::from(choices.next().unwrap_or(0)) % of.max(1);
        let mut acknowledged = vec![false; count];
        let mut sessions = 0;
        while !batch.is_settled() {
            sessions += 1;
            // The 41st session is lost no more.
            let may_break = sessions <= 40;
            let mut session = open(window);
            batch.rewind();
            let (mut wire, mut received, mut last) = (Vec::new(), VecDeque::new(), None);
            'session: loop {
                while session.may_send() {
                    let Some((token, message)) = batch.next_message() else { break };
                    prop_assert!(!acknowledged[token], "an acknowledged message goes out again");
                    prop_assert!(last.is_none_or(|last| last < token), "out of order");
                    last = Some(token);
                    session.send(token, message, &mut wire);
                }
                prop_assert!(session.in_flight() <= window);
                while let Some((frame, length)) = frame::read(&wire).unwrap() {
                    received.push_back((frame.number, id(frame.data).parse::<usize>().unwrap()));
                    wire.drain(..length);
                }
                if received.is_empty() {
                    break;
                }
                if may_break && choose(8) == 0 {
                    break 'session;
                }
                // One of those in flight is answered, in one piece or two, the second of which may never come.
                let place = choose(received.len());
                let (number, message) = received.remove(place).unwrap();
                let answer = format!("{number} rsp 6 200 OK\n").into_bytes();
                let cut = choose(answer.len());
                let mut settled = Vec::new();
                for (half, piece) in [&answer[..cut], &answer[cut..]].into_iter().enumerate() {
                    if half == 1 && may_break && choose(16) == 0 {
                        break 'session;
                    }
                    session.receive(piece, |told| settled.push(told)).unwrap();
                }
                prop_assert_eq!(&settled, &[Told::Acknowledged(message)]);
                acknowledged[message] = true;
                settled.into_iter().for_each(|told| batch.settle(told));
            }
            let open = acknowledged.iter().position(|done| !done);
            let first = batch.first_open().map(|record| record.event.id().unwrap().parse::<usize>().unwrap());
            prop_assert_eq!(first.or_else(|| open.filter(|_| !batch.is_settled())), open);
        }
        prop_assert!(acknowledged.iter().all(|done| *done));
        prop_assert_eq!(batch.acknowledged(), count);
        prop_assert_eq!(batch.refused().count(), 0);
    }
}
