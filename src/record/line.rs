//! JSON on one line, for what holds lines: files, pipes and syslog.

use std::io::{self, Write};

use memchr::memchr2;

/// Writes `json` without line ends.
///
/// One within it is written as a space: JSON allows it as white space only (RFC 8259 §2, §7), so the value stays the
/// same.
pub fn write(out: &mut impl Write, json: &[u8]) -> io::Result<()> {
    let mut rest = json;
    while let Some(at) = memchr2(b'\n', b'\r', rest) {
        out.write_all(&rest[..at])?;
        out.write_all(b" ")?;
        rest = &rest[at + 1..];
    }
    out.write_all(rest)
}
