//! x
use wide::u8x16;
/// How many bytes are looked at at once: as many as a word has bits.
pub(super) const BLOCK: usize = 64;

/// A bit for each byte that is a quote, a backslash or a control character; the first byte's is the lowest.
#[inline(always)]
pub(super) fn stops(block: &[u8; BLOCK]) -> u64 {
    let (quarters, _) = block.as_chunks::<16>();
    quarters.iter().rev().fold(0, |bits, quarter| {
        let bytes = u8x16::new(*quarter);
        let control = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
        let stops = bytes.simd_eq(u8x16::splat(b'"')) | bytes.simd_eq(u8x16::splat(b'\\')) | control;
        bits << 16 | u64::from(stops.to_bitmask())
    })
}
