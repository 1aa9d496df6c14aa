//! Pages are cut into the same elements however they are cut into chunks.

use bytes::Bytes;
use jumpstream::source::page::{Limits, Parser};
use jumpstream::source::{Element, Error};
use proptest::prelude::*;

use super::{bytes, small_limits};

/// What `page`, cut at `cuts`, is read as.
fn parse(page: &[u8], cuts: &[usize], limits: Limits) -> Result<Vec<Element>, Error> {
    let mut parser = Parser::new(limits);
    let mut elements = Vec::new();
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (page.len() + 1)).chain([0, page.len()]).collect();
    cuts.sort_unstable();
    for piece in cuts.windows(2) {
        parser.push(Bytes::copy_from_slice(&page[piece[0]..piece[1]]));
        while let Some(element) = parser.pull()? {
            elements.push(element);
        }
    }
    assert_eq!(parser.finish()?, elements.len() as u64);
    Ok(elements)
}

fn texts(elements: &[Element]) -> Vec<Vec<u8>> {
    elements.iter().map(|element| bytes(element).to_vec()).collect()
}

/// Events that a careless reader trips over.
const AWKWARD: [&[u8]; 10] = [
    b"{}",
    br#"{"id":"a","timestamp":"2026-03-02T08:33:36.512Z"}"#,
    br#"{"id":7,"event_type":null,"service":["x"],"organization":{},"timestamp":false,"initiated_by":[]}"#,
    br#"{"id":"a","id":"b","id":3}"#,
    br#"{ "text" : "]}\"\\,[{ \u00e9 \ud800" , "\u0069d" : "x" }"#,
    b"{\"id\":\"\xff\xfe\",\"\xc3\":\"\xe2\x82\"}",
    br#"{"n":[1e999,-0,-1.5E+400,12345678901234567890123456789],"b":[true,false,null,[],{}]}"#,
    br#"{"changes":[{"field":"x","from":{"a":[{"b":"}"}]},"to":"\\"}]}"#,
    b"{\n\t\"a\" :\r\n 1 }",
    r#"{"region":"Hlavní město Praha","initiated_by":{"username":"ž\"ž","id":null}}"#.as_bytes(),
];

fn page_of(events: &[&[u8]], separator: &[u8]) -> Vec<u8> {
    let mut page = b" [".to_vec();
    page.extend_from_slice(&events.join(separator));
    page.extend_from_slice(b"] \n");
    page
}

#[test]
fn awkward_events_pass_unchanged_wherever_the_page_is_cut() {
    let page = page_of(&AWKWARD, b" ,\n");
    for cut in 0..=page.len() {
        let elements = parse(&page, &[cut], Limits::default()).unwrap();
        assert_eq!(texts(&elements), AWKWARD, "cut at {cut}");
    }
    let every: Vec<usize> = (0..page.len()).collect();
    assert_eq!(texts(&parse(&page, &every, Limits::default()).unwrap()), AWKWARD);
}

#[test]
fn events_of_any_length_pass_unchanged_however_much_of_them_each_chunk_holds() {
    let event =
        |length: usize| format!(r#"{{"id":"{length}","text":"{}\\\"}}"}}"#, "x]".repeat(length / 2)).into_bytes();
    let events: Vec<Vec<u8>> = [10, 1_000, 4_000, 4_090, 4_200, 16_300, 16_400, 20_600, 70_000].map(event).to_vec();
    let events: Vec<&[u8]> = events.iter().map(Vec::as_slice).collect();
    let page = page_of(&events, b",");
    for chunk in [1, 7, 100, 4_095, 4_096, 4_097, 8_096, 16_384, 20_480, 20_481, 100_000] {
        let cuts: Vec<usize> = (0..page.len()).step_by(chunk).collect();
        assert_eq!(texts(&parse(&page, &cuts, Limits::default()).unwrap()), events, "chunks of {chunk}");
    }
}

#[test]
fn no_prefix_of_a_page_is_a_whole_page() {
    let page = page_of(&AWKWARD, b",");
    let closing = page.iter().rposition(|byte| *byte == b']').unwrap();
    for end in 0..=closing {
        let error = parse(&page[..end], &[end / 2], Limits::default()).unwrap_err();
        assert!(matches!(error, Error::PageTruncated { .. }), "{end}: {error}");
    }
}

#[test]
fn what_is_no_array_of_objects_is_malformed() {
    for page in [
        "<html>",
        "{\"message\":\"x\"}",
        "null",
        "[{}{}]",
        "[1 2]",
        "[\"a\"\"b\"]",
        "[{},]",
        "[,{}]",
        "[{}] x",
        "[{}]]",
        "[{\"a\":{\"b\":1]}}]",
    ] {
        for cut in 0..page.len() {
            let error = parse(page.as_bytes(), &[cut], Limits::default()).unwrap_err();
            assert!(matches!(error, Error::Malformed { .. }), "{page} cut at {cut}: {error}");
        }
    }
}

#[test]
fn an_element_that_is_no_event_is_given_whole_between_its_neighbours() {
    for element in [
        "1",
        "-1e9",
        "null",
        "nil",
        "[]",
        "[{\"a\":[1]}]",
        "\"a\"",
        "\"],{\\\"\"",
        "{\"a\"}",
        "{a:1}",
        "{\"a\":1,}",
        "{\"a\":tru}",
        "{\"a\":01}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"a raw\ttab\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":1.}",
        "{\"a\":+1}",
        "{\"a\":{\"b\":1]}",
    ] {
        for separator in [",", " ,\n "] {
            let page = page_of(&[b"{\"id\":1}", element.as_bytes(), b"{\"id\":2}"], separator.as_bytes());
            for cut in 0..page.len() {
                let elements = parse(&page, &[cut], Limits::default()).unwrap();
                let [Element::Event(_), Element::Malformed(malformed), Element::Event(_)] = &elements[..] else {
                    panic!("{element} cut at {cut}: {elements:?}");
                };
                assert_eq!(malformed.bytes, element.as_bytes(), "cut at {cut}");
                assert!(malformed.why.contains("no JSON object"), "{}", malformed.why);
            }
        }
    }
}

#[test]
fn what_cannot_be_told_from_its_neighbours_fails() {
    for page in ["[{\"a\":[1}]", "[{\"a\":\"b\"c\"}]", "[{\"a\":1},{\"a\":\"\"\"},{}]"] {
        for cut in 0..page.len() {
            let error = parse(page.as_bytes(), &[cut], Limits::default()).unwrap_err();
            assert!(error.is_of_the_answer(), "{page} cut at {cut}: {error}");
        }
    }
}

#[test]
fn oversized_events_that_begin_alike_are_told_apart() {
    let long = |end: &str| format!("{{\"text\":\"{}\",\"id\":\"{end}\"}}", "x".repeat(200_000));
    let digest = |event: &str, cuts: &[usize]| {
        let elements = parse(&page_of(&[event.as_bytes()], b","), cuts, small_limits()).unwrap();
        let [Element::Oversized(oversized)] = &elements[..] else { panic!("{elements:?}") };
        oversized.digest
    };
    let (one, other) = (long("a"), long("b"));
    assert_ne!(digest(&one, &[]), digest(&other, &[]));
    for cuts in [&[5][..], &[90, 150], &[50, 70_000, 150_000], &[200_010]] {
        assert_eq!(digest(&one, &[]), digest(&one, cuts), "{cuts:?}");
    }
}

#[test]
fn an_event_within_a_chunk_is_a_slice_of_it() {
    let chunk = Bytes::from_static(b"[{\"id\":\"a\"},{\"id\":\"b\"}]");
    let mut parser = Parser::new(Limits::default());
    parser.push(chunk.clone());
    while let Some(element) = parser.pull().unwrap() {
        assert!(chunk.as_ptr_range().contains(&bytes(&element).as_ptr()));
    }
}

#[test]
fn a_page_with_one_event_and_one_with_none_are_whole() {
    assert_eq!(parse(b"[{}]", &[], Limits::default()).unwrap().len(), 1);
    assert_eq!(parse(b" [ \n] ", &[], Limits::default()).unwrap().len(), 0);
}

#[test]
fn nesting_of_any_depth_passes() {
    let depth = 100_000;
    let event = format!("{{\"id\":\"a\",\"deep\":{}{}{}}}", "[".repeat(depth), "{\"a\":[]}", "]".repeat(depth));
    let page = page_of(&[event.as_bytes(), b"{}"], b",");
    for cut in [0, 1000, depth, page.len() - 10] {
        let elements = parse(&page, &[cut], Limits::default()).unwrap();
        assert_eq!(texts(&elements), [event.as_bytes(), b"{}"]);
    }
}

#[test]
fn an_oversized_event_is_passed_over_wherever_the_page_is_cut() {
    let long = format!("{{\"id\":\"a\",\"text\":\"{}\\\"}}]\"}}", "x".repeat(100));
    let page = page_of(&[b"{\"id\":1}", long.as_bytes(), b"{\"id\":2}"], b", ");
    for cut in 0..=page.len() {
        let elements = parse(&page, &[cut, cut + 7], small_limits()).unwrap();
        let [Element::Event(_), Element::Oversized(oversized), Element::Event(last)] = &elements[..] else {
            panic!("cut at {cut}: {elements:?}");
        };
        assert_eq!((oversized.size, &oversized.head[..]), (long.len() as u64, long.as_bytes()));
        assert_eq!(&last.bytes()[..], b"{\"id\":2}");
    }
}

#[test]
fn of_an_oversized_event_64_kib_are_kept() {
    let long = format!("{{\"text\":\"{}\"}}", "x".repeat(200_000));
    let page = page_of(&[long.as_bytes()], b",");
    for cuts in [vec![], (0..page.len()).step_by(1000).collect::<Vec<_>>()] {
        let elements = parse(&page, &cuts, small_limits()).unwrap();
        let [Element::Oversized(oversized)] = &elements[..] else { panic!("{elements:?}") };
        assert_eq!((oversized.size, oversized.head.len()), (long.len() as u64, 64 * 1024));
        assert_eq!(oversized.head, long.as_bytes()[..64 * 1024]);
    }
}

#[test]
fn an_event_that_does_not_end_fails_at_the_cap() {
    let mut parser = Parser::new(small_limits());
    parser.push(Bytes::from_static(b"[{\"a\":\""));
    let (chunk, mut pushed) = (Bytes::from(vec![b'x'; 10_000]), 0);
    let error = loop {
        match parser.pull() {
            Ok(None) => parser.push(chunk.clone()),
            Ok(Some(element)) => panic!("{element:?}"),
            Err(error) => break error,
        }
        pushed += chunk.len() as u64;
    };
    assert_eq!(error, Error::TooLong { what: "an event", limit: small_limits().endless_bytes });
    assert!(pushed <= small_limits().endless_bytes + 20_000);
}

#[test]
fn endless_white_space_fails_at_the_cap() {
    for (before, after) in [("", "[]"), ("[", "]"), ("[{}", "]"), ("[{},", "{}]"), ("[]", "")] {
        let page = |blanks: usize| format!("{before}{}{after}", " \n".repeat(blanks));
        let error = parse(page(26).as_bytes(), &[10, 20, 30], small_limits()).unwrap_err();
        assert!(matches!(error, Error::TooLong { .. }), "{error}");
        parse(page(25).as_bytes(), &[10, 20, 30], small_limits()).unwrap();
    }
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,40}".prop_map(Into::into),
        "[\"\\\\{}\\[\\]:, ]{0,20}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            object(inner).prop_map(|object| object),
        ]
    })
}

fn object(value: impl Strategy<Value = serde_json::Value>) -> impl Strategy<Value = serde_json::Value> {
    let key = prop_oneof!["(id|timestamp|service|initiated_by|username)", ".{0,12}"];
    prop::collection::btree_map(key, value, 0..6)
        .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into())
}

proptest! {
    #[test]
    fn any_page_cut_into_any_chunks_gives_the_same_elements(
        events in prop::collection::vec((object(value()), any::<bool>()), 0..8),
        cuts in prop::collection::vec(any::<usize>(), 0..40),
    ) {
        let written = |(event, pretty): &(serde_json::Value, bool)| {
            if *pretty { serde_json::to_vec_pretty(event) } else { serde_json::to_vec(event) }.unwrap()
        };
        let events: Vec<Vec<u8>> = events.iter().map(written).collect();
        let slices: Vec<&[u8]> = events.iter().map(Vec::as_slice).collect();
        let page = page_of(&slices, b",");
        prop_assert_eq!(texts(&parse(&page, &cuts, Limits::default()).unwrap()), &events[..]);

        // With a small limit the longer ones are passed over, and the rest is the same.
        let elements = parse(&page, &cuts, small_limits()).unwrap();
        for (element, event) in elements.iter().zip(&events) {
            prop_assert_eq!(bytes(element), &event[..]);
            prop_assert_eq!(matches!(element, Element::Oversized(_)), event.len() > 100);
        }
    }

    #[test]
    fn a_damaged_page_never_panics_and_chunks_change_nothing(
        damage in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let mut page = page_of(&AWKWARD, b",");
        for (at, byte) in damage {
            let at = at % page.len();
            page[at] = byte;
        }
        let whole = parse(&page, &[], Limits::default());
        let pieces = parse(&page, &cuts, Limits::default());
        prop_assert_eq!(whole.is_ok(), pieces.is_ok());
        if let (Ok(whole), Ok(pieces)) = (whole, pieces) {
            prop_assert_eq!(texts(&whole), texts(&pieces));
        }
    }
}
