//! Looks at 64 bytes at once: which of them end a run of plain ones in a string.
//!
//! The idea is that of Langdale and Lemire, "Parsing Gigabytes of JSON per Second" (The VLDB Journal 28, 2019), §3.1:
//! a bit for each byte, so that the next one that matters is found by counting zeros, not by asking each.

use wide::{CmpEq as _, CmpLt as _, i8x16};

/// How many bytes are looked at at once: as many as a word has bits.
pub(super) const BLOCK: usize = 64;

/// A bit for each byte that is a quote, a backslash or a control character; the first byte's is the lowest.
#[inline(always)]
pub(super) fn stops(block: &[u8; BLOCK]) -> u64 {
    bits(block, |bytes| {
        // The library compares signed numbers; their order is that of the bytes once the sign is turned.
        let control = (bytes ^ splat(0x80)).cmp_lt(splat(0x20 ^ 0x80));
        bytes.cmp_eq(splat(b'"')) | bytes.cmp_eq(splat(b'\\')) | control
    })
}

/// A bit for each byte that is no ASCII.
#[inline(always)]
pub(super) fn foreign(block: &[u8; BLOCK]) -> u64 {
    bits(block, |bytes| bytes)
}

/// The highest bit of what `look` gives for each byte.
#[inline(always)]
fn bits(block: &[u8; BLOCK], look: impl Fn(i8x16) -> i8x16) -> u64 {
    let (quarters, _) = block.as_chunks::<16>();
    quarters.iter().rev().fold(0, |bits, quarter| {
        let bytes = i8x16::new(quarter.map(|byte| byte as i8));
        bits << 16 | u64::from(look(bytes).move_mask() as u16)
    })
}

#[inline(always)]
fn splat(byte: u8) -> i8x16 {
    i8x16::splat(byte as i8)
}
