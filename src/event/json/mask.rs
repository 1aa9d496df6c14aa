//! x
use wide::u8x16;
/// How many bytes are looked at at once: as many as a word has bits.
pub(super) const BLOCK: usize = 64;

/// A bit for each byte that is a quote, a backslash or a control character; the first byte's is the lowest.
#[inline(always)]
pub(super) fn stops(block: &[u8; BLOCK]) -> u64 {
    mask(block, |bytes| {
        let control = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
        bytes.simd_eq(u8x16::splat(b'"')) | bytes.simd_eq(u8x16::splat(b'\\')) | control
    })
}

/// A bit for each byte that is no ASCII.
#[inline(always)]
pub(super) fn foreign(block: &[u8; BLOCK]) -> u64 {
    mask(block, |bytes| bytes)
}

#[inline(always)]
fn mask(block: &[u8; BLOCK], of: impl Fn(u8x16) -> u8x16) -> u64 {
    let (quarters, _) = block.as_chunks::<16>();
    quarters.iter().rev().fold(0, |bits, quarter| bits << 16 | u64::from(of(u8x16::new(*quarter)).to_bitmask()))
}
