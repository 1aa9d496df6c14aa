//! What may be written: a table per section, from which the reader, the environment and the reference page are made.

use std::time::Duration;

/// One key of a section.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub presence: Presence,
    /// A sentence or two for the operator.
    pub meaning: &'static str,
    /// A value as it would be written.
    pub example: &'static str,
    /// Where this release doesn't have the key's part yet: what to do meanwhile.
    pub not_yet: Option<&'static str>,
}

/// What happens where a key is not written.
#[derive(Debug, Clone, Copy)]
pub enum Presence {
    /// It must be written.
    Required,
    /// It must be written, for the reason given.
    RequiredSince(&'static str),
    /// It may be left out; the text says what that means.
    Optional(&'static str),
    /// This is read in its place, by the same reader.
    Default(&'static str),
}

/// What a key's value may be. Bounds are inclusive.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Text,
    Texts,
    Flag,
    Integer {
        least: u64,
        most: u64,
    },
    Number {
        least: f64,
        most: f64,
    },
    Duration {
        least: Duration,
        most: Duration,
    },
    /// In bytes.
    Size {
        least: u64,
        most: u64,
    },
    Choice(&'static [Choice]),
    Start,
    /// An IP address and a port.
    Address,
    Url,
    /// A file that must exist.
    Input,
    /// A file that we write.
    Output,
    /// A place that holds a secret.
    Secret,
    /// librdkafka's own properties.
    Properties,
    Section(&'static [Key]),
    Sections(&'static [Key]),
    /// A section whose `type` says which keys it has.
    Variant(&'static [Variant]),
    Variants(&'static [Variant]),
}

/// One of the values that a key may have.
#[derive(Debug, Clone, Copy)]
pub struct Choice {
    pub name: &'static str,
    /// As [`Key::not_yet`].
    pub not_yet: Option<&'static str>,
}

/// The keys of a section of one `type`; `type` is the first of them.
#[derive(Debug, Clone, Copy)]
pub struct Variant {
    pub name: &'static str,
    pub keys: &'static [Key],
}

impl Key {
    pub(super) const fn new(
        name: &'static str,
        kind: Kind,
        presence: Presence,
        meaning: &'static str,
        example: &'static str,
    ) -> Key {
        Key { name, kind, presence, meaning, example, not_yet: None }
    }

    /// The same key, known but refused with `remedy`.
    pub(super) const fn not_yet(self, remedy: &'static str) -> Key {
        Key { not_yet: Some(remedy), ..self }
    }
}

impl Choice {
    pub(super) const fn new(name: &'static str) -> Choice {
        Choice { name, not_yet: None }
    }

    pub(super) const fn not_yet(name: &'static str, remedy: &'static str) -> Choice {
        Choice { name, not_yet: Some(remedy) }
    }
}

impl Kind {
    /// The tables below this key, with the `type` that each is for.
    pub fn tables(self) -> Vec<(Option<&'static str>, &'static [Key])> {
        match self {
            Kind::Section(keys) | Kind::Sections(keys) => vec![(None, keys)],
            Kind::Secret => vec![(None, super::secret::KEYS)],
            Kind::Variant(variants) | Kind::Variants(variants) => {
                variants.iter().map(|variant| (Some(variant.name), variant.keys)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether the value is a list of sections.
    pub fn is_list(self) -> bool {
        matches!(self, Kind::Sections(_) | Kind::Variants(_))
    }
}
