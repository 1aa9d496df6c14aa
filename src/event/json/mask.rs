//! Looks at 64 bytes at once: which of them end a run of plain ones in a string.
//!
//! The idea is that of Langdale and Lemire, "Parsing Gigabytes of JSON per Second" (The VLDB Journal 28, 2019), §3.1:
//! a bit for each byte, so that the next one that matters is found by counting zeros, not by asking each.

/// How many bytes are looked at at once: as many as a word has bits.
pub(super) const BLOCK: usize = 64;

/// A bit for each byte that is a quote, a backslash or a control character; the first byte's is the lowest.
///
/// Written so that the compiler makes vector instructions of both loops, on every kind of processor.
#[inline(always)]
pub(super) fn stops(block: &[u8; BLOCK]) -> u64 {
    let mut flags = [0u8; BLOCK];
    for (flag, byte) in flags.iter_mut().zip(block) {
        let stops = (*byte == b'"') | (*byte == b'\\') | (*byte < 0x20);
        *flag = u8::from(stops).wrapping_neg();
    }
    // Of the eighth word of eight flags each the eighth bits, and so on: a square of bits, a row for each place.
    let (words, _) = flags.as_chunks::<8>();
    let square = words
        .iter()
        .enumerate()
        .fold(0, |square, (row, word)| square | u64::from_le_bytes(*word) & 0x0101_0101_0101_0101 << row);
    transposed(square)
}

/// The square of 8 × 8 bits with its rows as columns (Warren, "Hacker's Delight", §7-3).
#[inline(always)]
fn transposed(square: u64) -> u64 {
    let swap = |square: u64, by: u32, mask: u64| {
        let both = (square ^ square >> by) & mask;
        square ^ both ^ both << by
    };
    let square = swap(square, 7, 0x00aa_00aa_00aa_00aa);
    let square = swap(square, 14, 0x0000_cccc_0000_cccc);
    swap(square, 28, 0x0000_0000_f0f0_f0f0)
}
