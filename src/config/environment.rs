//! Variables that override the file: `poll.interval` is `JUMPSTREAM_POLL_INTERVAL`, `sinks[0].topic` is `JUMPSTREAM_SINKS_0_TOPIC`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fault::Place;
use super::key::{Key, Kind};
use super::read::{Reader, nearest};
use super::value;
use super::yaml::{Entry, Node, Value};

/// Environment variables, as [`super::environment`] takes them from the process.
pub type Environment = BTreeMap<String, String>;

const PREFIX: &str = "JUMPSTREAM_";
/// Not the configuration's: the project's own tests.
const LEFT_ALONE: [&str; 2] = ["JUMPSTREAM_TEST_", "JUMPSTREAM_PROVE"];

#[derive(Clone, Copy)]
enum Step {
    Key(&'static str),
    Index(usize),
}

/// Writes what the variables say into the tree. Secrets' own variables must be noted before unknown ones are warned of.
pub(super) fn apply(reader: &Reader, root: &mut Node, keys: &'static [Key]) {
    let mut found: Vec<_> = reader
        .environment
        .iter()
        .filter_map(|(name, text)| Some((find(name.strip_prefix(PREFIX)?, keys)?, name, text)))
        .collect();
    // By number, so that `…_10_…` extends a list after `…_9_…`.
    found.sort_by_key(|((steps, _), ..)| {
        let index = |step: &Step| match step {
            Step::Index(index) => Some(*index),
            Step::Key(_) => None,
        };
        steps.iter().filter_map(index).collect::<Vec<_>>()
    });
    for ((steps, kind), name, text) in found {
        let place = Place::Variable(name.as_str().into());
        if let Err((length, list)) = set(root, &steps, node(place.clone(), kind, text)) {
            let problem = format!("`{list}` has {length} so far, so that this one would leave a hole");
            reader.fault(place, &path(&steps), problem, format!("the next one is number {length}"));
        }
    }
}

/// Warns of variables that look like ours and set nothing.
pub(super) fn warn_unknown(reader: &Reader, keys: &'static [Key]) {
    for (name, text) in reader.environment {
        let ours = name.starts_with(PREFIX) && !LEFT_ALONE.iter().any(|prefix| name.starts_with(prefix));
        if !ours || is_service_link(name, text) || reader.secrets.borrow().contains(name) {
            continue;
        }
        let rest = &name[PREFIX.len()..];
        if find(rest, keys).is_some() {
            continue;
        }
        let remedy = match suggest(rest, keys) {
            Some(known) => format!("did you mean {PREFIX}{known}?"),
            None => "delete it; a key's variable is its path in capitals, as JUMPSTREAM_POLL_INTERVAL".into(),
        };
        let shown = if value::looks_secret(rest) { "JUMPSTREAM_…" } else { name };
        reader.warn(Place::Variable(shown.into()), "", "no key has this variable, so it changes nothing", remedy);
    }
}

/// Kubernetes describes a service named `jumpstream` to every pod beside it.
fn is_service_link(name: &str, text: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.ends_with("_PORT") && text.contains("://"))
        || ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| name.contains(protocol) && name.contains("_PORT_"))
}

/// The key that a variable's name, without its prefix, stands for.
fn find(rest: &str, keys: &'static [Key]) -> Option<(Vec<Step>, Kind)> {
    keys.iter().find_map(|key| {
        let after = rest.strip_prefix(&key.name.to_ascii_uppercase())?;
        let (below, kind) = if after.is_empty() { (Vec::new(), key.kind) } else { descend(key, after)? };
        Some((std::iter::once(Step::Key(key.name)).chain(below).collect(), kind))
    })
}

fn descend(key: &Key, after: &str) -> Option<(Vec<Step>, Kind)> {
    let mut rest = after.strip_prefix('_')?;
    let mut steps = Vec::new();
    if key.kind.is_list() || matches!(key.kind, Kind::Texts) {
        let (digits, below) = rest.split_once('_').unwrap_or((rest, ""));
        steps.push(Step::Index(digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??));
        rest = below;
    }
    if matches!(key.kind, Kind::Texts) {
        return rest.is_empty().then_some((steps, Kind::Text));
    }
    let (below, kind) = key.kind.tables().into_iter().find_map(|(_, keys)| find(rest, keys))?;
    steps.extend(below);
    Some((steps, kind))
}

/// A list of text is separated by commas; `{}` opens a section that has no keys of its own.
fn node(place: Place, kind: Kind, text: &str) -> Node {
    let text = text.trim();
    if matches!(kind, Kind::Texts) {
        let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let items = inner.split(',').map(str::trim).filter(|item| !item.is_empty());
        let unquoted = items.map(|item| item.trim_matches(['"', '\'']));
        return Node { value: Value::List(unquoted.map(|item| Node::scalar(place.clone(), item)).collect()), place };
    }
    if text == "{}" && !kind.tables().is_empty() {
        return Node::map(place, Vec::new());
    }
    Node::scalar(place, text)
}

/// Writes `value`; where that would leave a hole in a list, gives the list's length and path.
fn set(node: &mut Node, steps: &[Step], value: Node) -> Result<(), (usize, String)> {
    let Some((step, rest)) = steps.split_first() else {
        *node = value;
        return Ok(());
    };
    let place = value.place.clone();
    let fresh = || Node { place: place.clone(), value: Value::Null };
    let within = |(length, list): (usize, String), name: &str| (length, format!("{name}{list}"));
    if matches!(node.value, Value::Null) {
        node.value = match step {
            Step::Key(_) => Value::Map(Vec::new()),
            Step::Index(_) => Value::List(Vec::new()),
        };
    }
    match (step, &mut node.value) {
        (Step::Key(name), Value::Map(entries)) => {
            let at = entries.iter().position(|entry| &*entry.name == *name).unwrap_or_else(|| {
                entries.push(Entry { name: Arc::from(*name), place: place.clone(), node: fresh() });
                entries.len() - 1
            });
            set(&mut entries[at].node, rest, value).map_err(|hole| within(hole, name))
        }
        (Step::Index(index), Value::List(nodes)) => {
            if *index > nodes.len() {
                return Err((nodes.len(), String::new()));
            }
            if *index == nodes.len() {
                nodes.push(fresh());
            }
            set(&mut nodes[*index], rest, value).map_err(|hole| within(hole, &format!("[{index}].")))
        }
        // The file has something else here, and will be refused for it.
        _ => Ok(()),
    }
}

fn path(steps: &[Step]) -> String {
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Key(name) if path.is_empty() => path.push_str(name),
            Step::Key(name) => path.extend([".", name]),
            Step::Index(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

/// Every variable, with 0 for each number.
fn names(keys: &'static [Key], prefix: &str, into: &mut Vec<String>) {
    for key in keys {
        let name = format!("{prefix}{}", key.name.to_ascii_uppercase());
        let below = if key.kind.is_list() { format!("{name}_0_") } else { format!("{name}_") };
        for (_, keys) in key.kind.tables() {
            names(keys, &below, into);
        }
        into.push(name);
    }
}

/// The nearest variable, with the numbers as they were written.
fn suggest(rest: &str, keys: &'static [Key]) -> Option<String> {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let zeroed: Vec<_> = rest.split('_').map(|part| if is_number(part) { "0" } else { part }).collect();
    let mut numbers = rest.split('_').filter(|part| is_number(part));
    let mut known = Vec::new();
    names(keys, "", &mut known);
    let nearest = nearest(&zeroed.join("_"), known.into_iter())?;
    let written = nearest.split('_').map(|part| if part == "0" { numbers.next().unwrap_or("0") } else { part });
    Some(written.collect::<Vec<_>>().join("_"))
}
