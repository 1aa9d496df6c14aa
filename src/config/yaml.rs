//! Text becomes a tree whose every node knows its place. Only this file knows the YAML parser.
//!
//! Keys written twice are kept, so that all of them can be told at once. What would make the tree large or deep
//! beyond any honest file ends the reading: aliases count as what they stand for.

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::fault::{Fault, Place};
use super::value::{shown, spell_size};
use crate::quote::quote;

/// A file is read up to this many bytes.
pub(super) const MOST_BYTES: u64 = 1 << 20;
/// Sections in sections; ours need 5.
const MOST_DEPTH: usize = 16;
/// Nodes, with what aliases stand for: enough for 50,000 organizations.
const MOST_NODES: usize = 100_000;

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub place: Place,
    pub value: Value,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Nothing written, `~` or `null`.
    Null,
    /// Shared, so that a repeated alias costs no memory.
    Scalar(Arc<str>),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub name: Arc<str>,
    pub place: Place,
    pub node: Node,
}

impl Node {
    pub fn scalar(place: Place, text: &str) -> Node {
        Node { place, value: Value::Scalar(text.into()) }
    }

    pub fn map(place: Place, entries: Vec<Entry>) -> Node {
        Node { place, value: Value::Map(entries) }
    }

    /// The kind and, for scalars, the text, for a message.
    pub fn shown(&self) -> String {
        match &self.value {
            Value::Null => "nothing".into(),
            Value::Scalar(text) => shown(text),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a section".into(),
        }
    }

    fn count(&self) -> usize {
        match &self.value {
            Value::Null | Value::Scalar(_) => 1,
            Value::List(nodes) => 1 + nodes.iter().map(Node::count).sum::<usize>(),
            Value::Map(entries) => 1 + entries.iter().map(|entry| 1 + entry.node.count()).sum::<usize>(),
        }
    }
}

/// Reads one document; an empty one is an empty section.
pub(super) fn read(text: &str) -> Result<Node, Fault> {
    if text.len() as u64 > MOST_BYTES {
        return Err(too_large());
    }
    let mut tree = Tree::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let problem = format!("this isn't YAML: {}", quote(error.info()));
            let remedy = "look for a missing quote or bracket, a tab, or a wrong indentation here or just above";
            Fault::at(place(error.marker()), "", problem, remedy)
        })?;
        tree.take(event, place(&span.start))?;
    }
    let node = tree.root.unwrap_or(Node { place: Place::Whole, value: Value::Null });
    Ok(match node.value {
        Value::Null => Node::map(Place::Whole, Vec::new()),
        _ => node,
    })
}

pub(super) fn too_large() -> Fault {
    let problem = format!("the file is larger than {}", spell_size(MOST_BYTES));
    Fault::whole(problem, "split the accounts among several processes, each with its own file")
}

/// The parser counts columns from 0.
fn place(marker: &Marker) -> Place {
    Place::Line { line: marker.line(), column: marker.col() + 1 }
}

#[derive(Default)]
struct Tree {
    root: Option<Node>,
    documents: usize,
    nodes: usize,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
}

/// A list or section whose end has not been seen.
struct Open {
    node: Node,
    anchor: usize,
    /// A section's key that still wants its value.
    key: Option<(Arc<str>, Place)>,
}

impl Tree {
    fn take(&mut self, event: Event<'_>, place: Place) -> Result<(), Fault> {
        match event {
            Event::DocumentStart(_) => self.begin(place),
            Event::Scalar(text, style, anchor, tag) => {
                refuse_tag(tag.as_deref(), &place)?;
                let plain = matches!(style, ScalarStyle::Plain);
                let null = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let value = if null { Value::Null } else { Value::Scalar(text.as_ref().into()) };
                self.close(Node { place, value }, anchor)
            }
            Event::SequenceStart(anchor, tag) => self.open(Value::List(Vec::new()), anchor, tag.as_deref(), place),
            Event::MappingStart(anchor, tag) => self.open(Value::Map(Vec::new()), anchor, tag.as_deref(), place),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.close(open.node, open.anchor),
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                let unknown =
                    || Fault::at(place.clone(), "", "an alias inside its own anchor", "write out what it stands for");
                let node = self.anchors.get(&anchor).ok_or_else(unknown)?;
                // Counted before it is copied: the copy is what a crafted file is after.
                let more = node.count() - 1;
                self.grow(more, &place)?;
                let copy = self.anchors[&anchor].clone();
                self.close(copy, 0)
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn begin(&mut self, place: Place) -> Result<(), Fault> {
        self.documents += 1;
        if self.documents > 1 {
            let remedy = "keep one document: delete the `---` and what belongs elsewhere";
            return Err(Fault::at(place, "", "a second document begins here", remedy));
        }
        Ok(())
    }

    fn grow(&mut self, more: usize, place: &Place) -> Result<(), Fault> {
        self.nodes += more;
        if self.nodes > MOST_NODES {
            let problem = format!("the file stands for more than {MOST_NODES} values, aliases written out");
            return Err(Fault::at(place.clone(), "", problem, "use fewer aliases, or split the accounts"));
        }
        Ok(())
    }

    fn open(&mut self, value: Value, anchor: usize, tag: Option<&Tag>, place: Place) -> Result<(), Fault> {
        refuse_tag(tag, &place)?;
        if self.open.len() == MOST_DEPTH {
            let problem = format!("more than {MOST_DEPTH} sections or lists in each other");
            return Err(Fault::at(place, "", problem, "no key of jumpstream lies that deep; delete the brackets"));
        }
        self.open.push(Open { node: Node { place, value }, anchor, key: None });
        Ok(())
    }

    /// Puts a finished node where it belongs.
    fn close(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        self.grow(1, &node.place)?;
        if anchor > 0 {
            self.grow(node.count(), &node.place)?;
            self.anchors.insert(anchor, node.clone());
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut parent.node.value {
            Value::List(nodes) => nodes.push(node),
            Value::Map(entries) => match (parent.key.take(), node.value) {
                (Some((name, place)), value) => {
                    entries.push(Entry { name, place, node: Node { place: node.place, value } });
                }
                (None, Value::Scalar(name)) => parent.key = Some((name, node.place)),
                (None, _) => {
                    let remedy = "quote the text; `{{ … }}` here is a template that was not rendered";
                    return Err(Fault::at(node.place, "", "a key must be text", remedy));
                }
            },
            Value::Null | Value::Scalar(_) => {}
        }
        Ok(())
    }
}

/// Tags choose types or run code in other programs; here the key decides the type.
fn refuse_tag(tag: Option<&Tag>, place: &Place) -> Result<(), Fault> {
    match tag {
        Some(tag) if !tag.is_yaml_core_schema() => {
            Err(Fault::at(place.clone(), "", "tags (`!…`) have no meaning here", "delete the tag, or quote the text"))
        }
        _ => Ok(()),
    }
}
