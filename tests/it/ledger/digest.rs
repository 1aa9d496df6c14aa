//! The digest and the fingerprints, which are part of the stored format and of what consumers compute.

use jumpstream::event::Event;
use jumpstream::ledger::{Digest, FingerprintKey};
use proptest::prelude::*;
use sha2::Sha256;

use super::parse;

/// As the document says it, in 16-bit limbs from the lowest: SHA-256(`event-id` ‖ 0 ‖ `event-time`), summed.
fn sum(texts: &[Vec<u8>]) -> [u8; 32] {
    let mut limbs = [0u64; 16];
    for text in texts {
        let hash: [u8; 32] = <Sha256 as sha2::Digest>::digest(text).into();
        for (place, limb) in limbs.iter_mut().enumerate() {
            *limb += u64::from(u16::from_be_bytes([hash[30 - 2 * place], hash[31 - 2 * place]]));
        }
    }
    let (mut carry, mut bytes) = (0, [0; 32]);
    for (place, limb) in limbs.into_iter().enumerate() {
        let whole = limb + carry;
        bytes[30 - 2 * place..32 - 2 * place].copy_from_slice(&(whole as u16).to_be_bytes());
        carry = whole >> 16;
    }
    bytes
}

fn digest<'a>(events: impl IntoIterator<Item = &'a Event>) -> [u8; 32] {
    let mut digest = Digest::default();
    events.into_iter().for_each(|event| digest.add(event));
    digest.0
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_digest_is_the_documented_hash() {
    // printf 'abc\0002026-03-02T08:00:00Z' | sha256sum
    let event = parse(r#"{"id":"abc","timestamp":"2026-03-02T08:00:00Z"}"#);
    assert_eq!(hex(&digest([&event])), hex(&sum(&[b"abc\x002026-03-02T08:00:00Z".to_vec()])));
    assert_eq!(hex(&digest([&event])), "bb4bf80916158c26fbeb81edf0753aeb2ab8ae0affc33465c69169b322d5f062");
    // Without an id, of the value; without a timestamp, of nothing behind the zero.
    assert_eq!(digest([&parse(r#"{"x":1}"#)]), sum(&[br#"{"x":1}"#.to_vec()]));
    assert_eq!(digest([&parse(r#"{"id":"a"}"#)]), sum(&[b"a\0".to_vec()]));
    // FIPS 180-2's own example, as a value.
    assert_eq!(hex(&sum(&[b"abc".to_vec()])), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

#[test]
fn a_sum_carries_to_the_top_and_wraps_there() {
    let event = parse(r#"{"id":"abc","timestamp":"2026-03-02T08:00:00Z"}"#);
    let hash = digest([&event]);
    // All ones and the hash are the hash less one.
    let mut full = Digest([0xff; 32]);
    full.add(&event);
    let mut less = hash;
    for byte in less.iter_mut().rev() {
        *byte = byte.wrapping_sub(1);
        if *byte != 0xff {
            break;
        }
    }
    assert_eq!(full.0, less);
}

proptest! {
    #[test]
    fn the_digest_is_a_sum_in_any_order(ids in prop::collection::vec("[a-f0-9]{1,24}", 0..60), turn in 0..60usize) {
        let events: Vec<Event> =
            ids.iter().map(|id| parse(&format!(r#"{{"id":"{id}","timestamp":"t{id}"}}"#))).collect();
        let texts: Vec<Vec<u8>> = ids.iter().map(|id| format!("{id}\0t{id}").into_bytes()).collect();
        prop_assert_eq!(digest(&events), sum(&texts));
        let mut turned = events.clone();
        turned.rotate_left(turn % events.len().max(1));
        prop_assert_eq!(digest(turned.iter().rev()), digest(&events));
    }
}

#[test]
fn fingerprints_never_change_since_they_are_stored() {
    // Computed by another implementation of SipHash-2-4, under the key of its paper's example.
    let key = FingerprintKey(std::array::from_fn(|place| place as u8));
    let check = |json: &str, expected: u64| {
        assert_eq!(key.fingerprint(&parse(json).identity()), expected, "{json}");
    };
    check(r#"{"id":"69a54b60c1d2e3f4a5b6c7d8","timestamp":"2026-03-02T08:33:36.512Z"}"#, 0x7baa_92e4_6d24_638a);
    check(r#"{"id":"69a54b60c1d2e3f4a5b6c7d8","timestamp":"yesterday"}"#, 0x1458_7c2d_aed8_1f99);
    check(r#"{"b":[1,{"d":2,"c":"\u0041"}],"a":null,"geoip":{}}"#, 0x6640_c208_1dcd_2b7f);
    check(r#"{"id":"7C0B1F52-3A4D-31E8-9F60-0D2E4C6A8B1C","timestamp":"2026-03-02T08:33:36Z"}"#, 0xe7e4_3988_e56a_e24b);
    assert_eq!(key.fingerprint_of_head(b"{\"id\":"), 0x100a_88c7_2395_105e);
}

#[test]
fn the_key_decides_the_fingerprint_and_is_not_shown() {
    let event = parse(r#"{"id":"a"}"#);
    let prints = [FingerprintKey([1; 16]), FingerprintKey([2; 16])].map(|key| key.fingerprint(&event.identity()));
    assert_ne!(prints[0], prints[1]);
    assert_eq!(format!("{:?}", FingerprintKey([65; 16])), "FingerprintKey(…)");
}
