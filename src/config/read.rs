//! Sections of the tree become values; every fault is noted and reading goes on.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::Environment;
use super::fault::{Fault, Place, Warning};
use super::key::{Choice, Key, Kind, Presence, Variant};
use super::poll::Start;
use super::value::{self, describe, shown};
use super::yaml::{Entry, Node, Value};

/// Past this many faults no more are noted: nobody reads on.
const MOST_FAULTS: usize = 500;

/// What one reading has found so far.
pub(super) struct Reader<'a> {
    pub environment: &'a Environment,
    pub faults: RefCell<Vec<Fault>>,
    pub warnings: RefCell<Vec<Warning>>,
    /// Files that must exist, looked for by whoever may touch the disk.
    pub inputs: RefCell<Vec<Input>>,
    /// Files that are written, for the same.
    pub outputs: RefCell<Vec<Input>>,
    /// Variables that the file names as places of secrets.
    pub secrets: RefCell<HashSet<String>>,
}

/// A file that is named.
pub(super) struct Input {
    pub place: Place,
    pub key: String,
    pub path: PathBuf,
    /// It holds a secret: not for other users, and not empty.
    pub secret: bool,
}

/// A value with its place and path, for the checks that only its section can make.
#[derive(Clone)]
pub(super) struct Item<'a> {
    pub text: &'a str,
    pub place: Place,
    pub key: String,
}

impl<'a> Reader<'a> {
    pub fn new(environment: &'a Environment) -> Reader<'a> {
        Reader {
            environment,
            faults: RefCell::default(),
            warnings: RefCell::default(),
            inputs: RefCell::default(),
            outputs: RefCell::default(),
            secrets: RefCell::default(),
        }
    }

    pub fn fault(&self, place: Place, key: &str, problem: impl Into<String>, remedy: impl Into<String>) {
        let mut faults = self.faults.borrow_mut();
        if faults.len() < MOST_FAULTS {
            faults.push(Fault::at(place, key, problem, remedy));
        }
    }

    /// A fault of an item's own.
    pub fn refuse(&self, item: &Item, problem: impl Into<String>, remedy: impl Into<String>) {
        self.fault(item.place.clone(), &item.key, problem, remedy);
    }

    pub fn warn(&self, place: Place, key: &str, problem: impl Into<String>, remedy: impl Into<String>) {
        self.warnings.borrow_mut().push(Fault::at(place, key, problem, remedy));
    }
}

/// One section, being read.
pub(super) struct Section<'a> {
    pub reader: &'a Reader<'a>,
    pub path: String,
    pub place: Place,
    keys: &'static [Key],
    entries: &'a [Entry],
    /// Whether an unknown key's name may be a secret: `password: {hunter2}` is a section with one key.
    hides: bool,
}

impl<'a> Section<'a> {
    /// Refuses keys that are unknown, written twice, or not built yet.
    pub fn open(reader: &'a Reader<'a>, path: &str, node: &'a Node, keys: &'static [Key]) -> Option<Section<'a>> {
        Section::open_hiding(reader, path, node, keys, false)
    }

    fn open_hiding(
        reader: &'a Reader<'a>,
        path: &str,
        node: &'a Node,
        keys: &'static [Key],
        hides: bool,
    ) -> Option<Section<'a>> {
        let Value::Map(entries) = &node.value else {
            let names: Vec<_> = keys.iter().map(|key| key.name).collect();
            let problem = format!("expected a section, found {}", node.shown());
            reader.fault(node.place.clone(), path, problem, format!("its keys are {}", names.join(", ")));
            return None;
        };
        let section = Section { reader, path: path.into(), place: node.place.clone(), keys, entries, hides };
        section.refuse_keys();
        Some(section)
    }

    /// A section that is not written: all of its keys have their defaults.
    pub fn unwritten(reader: &'a Reader<'a>, path: &str, keys: &'static [Key]) -> Section<'a> {
        Section { reader, path: path.into(), place: Place::Whole, keys, entries: &[], hides: false }
    }

    /// Opens a section by its `type`.
    pub fn of_type(
        reader: &'a Reader<'a>,
        path: &str,
        node: &'a Node,
        variants: &'static [Variant],
    ) -> Option<(&'static str, Section<'a>)> {
        let first = variants.first()?;
        let Value::Map(entries) = &node.value else {
            return Section::open(reader, path, node, first.keys).map(|section| (first.name, section));
        };
        let place = node.place.clone();
        let unchecked = Section { reader, path: path.into(), place, keys: &first.keys[..1], entries, hides: false };
        let name = unchecked.choice("type")?;
        let variant = variants.iter().find(|variant| variant.name == name)?;
        Some((name, Section::open(reader, path, node, variant.keys)?))
    }

    fn refuse_keys(&self) {
        let mut seen: BTreeMap<&str, &Place> = BTreeMap::new();
        for entry in self.entries {
            let path = self.join(&entry.name);
            let fault = |problem: String, remedy: &str| self.reader.fault(entry.place.clone(), &path, problem, remedy);
            let Some(key) = self.keys.iter().find(|key| key.name == &*entry.name) else {
                self.refuse_unknown(entry);
                continue;
            };
            if let Some(first) = seen.insert(key.name, &entry.place) {
                fault(format!("written twice, first {first}"), "keep one of the two");
            } else if let Some(remedy) = key.not_yet.filter(|_| !is_empty(&entry.node)) {
                fault(format!("`{}` isn't built yet in this release", key.name), remedy);
            }
        }
    }

    fn refuse_unknown(&self, entry: &Entry) {
        let names = self.keys.iter().map(|key| key.name);
        let remedy = match nearest(&entry.name, names.clone()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("the keys here are {}", names.collect::<Vec<_>>().join(", ")),
        };
        let hidden = self.hides || value::looks_secret(&entry.name);
        let path = if hidden { self.path.clone() } else { self.join(&shown(&entry.name).replace('`', "")) };
        self.reader.fault(entry.place.clone(), &path, "unknown key", remedy);
    }

    pub fn join(&self, name: &str) -> String {
        if self.path.is_empty() { name.into() } else { format!("{}.{name}", self.path) }
    }

    fn key(&self, name: &str) -> &'static Key {
        self.keys.iter().find(|key| key.name == name).expect("a section asks only for keys of its own table")
    }

    /// The value's node where it is written, whatever it holds.
    pub fn node(&self, name: &str) -> Option<&'a Node> {
        self.entries.iter().find(|entry| &*entry.name == name).map(|entry| &entry.node)
    }

    /// A fault at the key's value, or at the section where it isn't written.
    pub fn fault(&self, name: &str, problem: impl Into<String>, remedy: impl Into<String>) {
        let place = self.node(name).map_or(&self.place, |node| &node.place).clone();
        self.reader.fault(place, &self.join(name), problem, remedy);
    }

    /// Notes that `name` must be written, if the table says so.
    fn require(&self, name: &str) {
        let key = self.key(name);
        let remedy = match key.presence {
            Presence::Required => format!("write `{name}: {}`, for example", key.example),
            Presence::RequiredSince(reason) => reason.into(),
            Presence::Optional(_) | Presence::Default(_) => return,
        };
        self.reader.fault(self.place.clone(), &self.join(name), "a key is missing here", remedy);
    }

    pub fn expected(&self, name: &str, node: &Node) {
        let key = self.key(name);
        let problem = format!("expected {}, found {}", describe(key.kind), node.shown());
        let remedy = format!("write it as in `{name}: {}`", key.example);
        self.reader.fault(node.place.clone(), &self.join(name), problem, remedy);
    }

    /// A scalar, or its default, through `parse`.
    fn scalar<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let Some(node) = self.node(name) else {
            if let Presence::Default(text) = self.key(name).presence {
                return parse(text);
            }
            self.require(name);
            return None;
        };
        let value = match &node.value {
            Value::Scalar(text) => parse(text),
            _ => None,
        };
        if value.is_none() {
            self.expected(name, node);
        }
        value
    }

    /// Text as it stands, with its place; not empty.
    pub fn item(&self, name: &str) -> Option<Item<'a>> {
        self.scalar(name, |text| (!text.trim().is_empty()).then_some(()))?;
        let (place, text) = match (self.node(name), self.key(name).presence) {
            (Some(Node { place, value: Value::Scalar(text) }), _) => (place.clone(), &**text),
            (None, Presence::Default(text)) => (self.place.clone(), text),
            _ => return None,
        };
        Some(Item { text, place, key: self.join(name) })
    }

    pub fn text(&self, name: &str) -> Option<String> {
        self.item(name).map(|item| item.text.to_owned())
    }

    pub fn flag(&self, name: &str) -> Option<bool> {
        self.scalar(name, |text| text.parse().ok())
    }

    pub fn integer(&self, name: &str) -> Option<u64> {
        let Kind::Integer { least, most } = self.key(name).kind else { return None };
        self.scalar(name, |text| text.parse().ok().filter(|number| (least..=most).contains(number)))
    }

    pub fn number(&self, name: &str) -> Option<f64> {
        let Kind::Number { least, most } = self.key(name).kind else { return None };
        self.scalar(name, |text| text.parse().ok().filter(|number| (least..=most).contains(number)))
    }

    pub fn duration(&self, name: &str) -> Option<Duration> {
        let Kind::Duration { least, most } = self.key(name).kind else { return None };
        self.scalar(name, |text| value::duration(text).filter(|duration| (least..=most).contains(duration)))
    }

    pub fn size(&self, name: &str) -> Option<u64> {
        let Kind::Size { least, most } = self.key(name).kind else { return None };
        self.scalar(name, |text| value::size(text).filter(|size| (least..=most).contains(size)))
    }

    pub fn start(&self, name: &str) -> Option<Start> {
        self.scalar(name, value::start)
    }

    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        self.scalar(name, |text| text.parse().ok())
    }

    /// A file that we write.
    pub fn output(&self, name: &str) -> Option<PathBuf> {
        let item = self.item(name)?;
        let path = PathBuf::from(item.text);
        self.reader.outputs.borrow_mut().push(Input {
            place: item.place,
            key: item.key,
            path: path.clone(),
            secret: false,
        });
        Some(path)
    }

    /// A file that must exist.
    pub fn input(&self, name: &str) -> Option<PathBuf> {
        let item = self.item(name)?;
        let path = PathBuf::from(item.text);
        // A secret's place, and the private half of a certificate; what else is read is public.
        let secret = matches!(name, "file" | "key");
        self.reader.inputs.borrow_mut().push(Input { place: item.place, key: item.key, path: path.clone(), secret });
        Some(path)
    }

    /// One of the table's names; one that isn't built yet is refused with its sentence.
    pub fn choice(&self, name: &str) -> Option<&'static str> {
        let Kind::Choice(choices) = self.key(name).kind else { return None };
        let choice: &Choice = self.scalar(name, |text| choices.iter().find(|choice| choice.name == text))?;
        if let Some(remedy) = choice.not_yet {
            self.fault(name, format!("`{}` isn't built yet in this release", choice.name), remedy);
            return None;
        }
        Some(choice.name)
    }

    /// A list of text, or its default (comma-separated in the table).
    pub fn items(&self, name: &str) -> Option<Vec<Item<'a>>> {
        let path = self.join(name);
        let Some(node) = self.node(name) else {
            if let Presence::Default(text) = self.key(name).presence {
                let texts = text.split(',').filter(|text| !text.is_empty());
                let item = |text| Item { text, place: self.place.clone(), key: path.clone() };
                return Some(texts.map(item).collect());
            }
            self.require(name);
            return None;
        };
        let Value::List(nodes) = &node.value else {
            self.expected(name, node);
            return None;
        };
        let item = |(index, node): (usize, &'a Node)| match &node.value {
            Value::Scalar(text) if !text.trim().is_empty() => {
                Some(Item { text, place: node.place.clone(), key: format!("{path}[{index}]") })
            }
            _ => {
                let problem = format!("expected text, found {}", node.shown());
                self.reader.fault(node.place.clone(), &format!("{path}[{index}]"), problem, "write text, or delete it");
                None
            }
        };
        // All of them are looked at, so that every fault is told.
        let items: Vec<_> = nodes.iter().enumerate().map(item).collect();
        items.into_iter().collect()
    }

    /// A section in this one, if it is written.
    pub fn section(&self, name: &str) -> Option<Section<'a>> {
        let kind = self.key(name).kind;
        let (_, keys) = *kind.tables().first()?;
        match self.node(name) {
            Some(node) => {
                let hides = matches!(kind, Kind::Secret);
                Section::open_hiding(self.reader, &self.join(name), node, keys, hides)
            }
            None => {
                self.require(name);
                None
            }
        }
    }

    /// As [`Self::section`], with every default where it isn't written.
    pub fn section_or_defaults(&self, name: &str) -> Option<Section<'a>> {
        let tables = self.key(name).kind.tables();
        let (_, keys) = tables.first()?;
        match self.node(name) {
            Some(_) => self.section(name),
            None => Some(Section::unwritten(self.reader, &self.join(name), keys)),
        }
    }

    /// The nodes of a list of sections, each with its path; at least one.
    pub fn list(&self, name: &str) -> Vec<(String, &'a Node)> {
        match self.node(name).map(|node| (node, &node.value)) {
            None => {
                self.require(name);
                Vec::new()
            }
            Some((_, Value::List(nodes))) if !nodes.is_empty() => {
                let path = self.join(name);
                nodes.iter().enumerate().map(|(index, node)| (format!("{path}[{index}]"), node)).collect()
            }
            Some((node, _)) => {
                self.expected(name, node);
                Vec::new()
            }
        }
    }

    /// Names and values, each one scalar.
    pub fn pairs(&self, name: &str) -> Option<Vec<(&'a Entry, Item<'a>)>> {
        let Some(node) = self.node(name) else { return Some(Vec::new()) };
        let Value::Map(entries) = &node.value else {
            self.expected(name, node);
            return None;
        };
        let pair = |entry: &'a Entry| match &entry.node.value {
            Value::Scalar(text) => {
                let key = format!("{}.{}", self.join(name), shown(&entry.name).replace('`', ""));
                Some((entry, Item { text, place: entry.node.place.clone(), key }))
            }
            _ => {
                self.expected(name, &entry.node);
                None
            }
        };
        let pairs: Vec<_> = entries.iter().map(pair).collect();
        pairs.into_iter().collect()
    }
}

/// A key that isn't built yet does no harm where it asks for nothing.
fn is_empty(node: &Node) -> bool {
    matches!(&node.value, Value::List(nodes) if nodes.is_empty())
}

/// The known name that was probably meant.
pub(super) fn nearest<T: AsRef<str>>(written: &str, known: impl Iterator<Item = T>) -> Option<T> {
    if written.len() > 80 {
        return None;
    }
    let written = written.to_ascii_lowercase().replace('-', "_");
    known
        .map(|name| (strsim::damerau_levenshtein(&written, &name.as_ref().to_ascii_lowercase()), name))
        .filter(|(distance, name)| *distance <= name.as_ref().len() / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}
