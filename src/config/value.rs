//! What a scalar's text means: durations, sizes, instants, and how a value is shown in a message.

use std::time::Duration;

use super::key::Kind;
use super::poll::Start;
use crate::clock::Time;
use crate::quote::quote;

/// `15s`, `2m`, `1h 30m`, `8d` or ISO 8601 (`PT15S`); a day is 24 hours. Nothing without a unit.
pub fn duration(text: &str) -> Option<Duration> {
    // Sixty characters hold any sensible duration; the parser need not see a megabyte.
    if text.len() > 60 {
        return None;
    }
    let span: jiff::Span = text.parse().ok()?;
    let duration = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(duration).ok()
}

/// Bytes: `16MiB`, `1MB`, `512 KiB` or a plain number.
pub(super) fn size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit: u64 = match text[digits..].trim_start() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(unit)
}

/// `now`, a date (midnight in UTC), an RFC 3339 instant, or an age.
pub(super) fn start(text: &str) -> Option<Start> {
    if text == "now" {
        return Some(Start::Now);
    }
    instant(text).map(Start::At).or_else(|| duration(text).map(Start::Age))
}

/// A date (midnight in UTC) or an RFC 3339 instant.
pub fn instant(text: &str) -> Option<Time> {
    let midnight = || (text.len() == 10).then(|| Time::parse(&format!("{text}T00:00:00Z"))).flatten();
    let instant = || (text.len() <= 40).then(|| Time::parse(text)).flatten();
    midnight().or_else(instant)
}

/// As an operator would write it, in the largest unit that divides it.
pub fn spell_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let whole = units.into_iter().find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{millis}ms"), |(unit, name)| format!("{}{name}", millis / unit))
}

/// As [`spell_duration`], for bytes.
pub fn spell_size(bytes: u64) -> String {
    let units = [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let whole = units.into_iter().find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{bytes}"), |(unit, name)| format!("{}{name}", bytes / unit))
}

/// What was expected, in words.
pub fn describe(kind: Kind) -> String {
    match kind {
        Kind::Text => "text".into(),
        Kind::Texts => "a list of text".into(),
        Kind::Flag => "true or false".into(),
        Kind::Integer { least, most } => format!("a whole number from {least} to {most}"),
        Kind::Number { least, most } => format!("a number from {least} to {most}"),
        Kind::Duration { least, most } => {
            format!("a duration from {} to {}", spell_duration(least), spell_duration(most))
        }
        Kind::Size { least, most } => format!("a size from {} to {}", spell_size(least), spell_size(most)),
        Kind::Choice(choices) => {
            let built = choices.iter().filter(|choice| choice.not_yet.is_none());
            built.map(|choice| format!("`{}`", choice.name)).collect::<Vec<_>>().join(" or ")
        }
        Kind::Start => "an age, an instant (RFC 3339), a date or `now`".into(),
        Kind::Address => "an IP address and a port".into(),
        Kind::Url => "a URL".into(),
        Kind::Input => "a file that exists".into(),
        Kind::Output => "a file to write".into(),
        Kind::Secret => "the place of a secret, `{file: …}` or `{env: NAME}`".into(),
        Kind::Properties => "properties, each with one value".into(),
        Kind::Section(_) | Kind::Variant(_) => "a section".into(),
        Kind::Sections(_) | Kind::Variants(_) => "a list of sections".into(),
    }
}

/// Text from outside for a message: escaped, cut to 60 characters, and hidden where it may be a secret.
pub(super) fn shown(text: &str) -> String {
    if looks_secret(text) {
        return "a value that may be a secret and isn't shown".into();
    }
    let mut cut: String = text.chars().take(60).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    format!("`{}`", quote(&cut))
}

/// API keys begin with `jca_` or have 40 characters (insights-api §1.12); both end up in the wrong place now and then.
pub(super) fn looks_secret(text: &str) -> bool {
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
    text.contains("jca_") || words.any(|word| word.len() >= 32 && word.bytes().any(|byte| byte.is_ascii_digit()))
}
