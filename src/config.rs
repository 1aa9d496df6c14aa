//! The configuration: YAML and variables become plain checked values, or every fault at once.
//!
//! One file per section, each with its table of keys (`key`), its values and its reading. The tables are also what the
//! environment and the reference page are made from, so neither can know a key that the reader doesn't.
//!
//! # Invariants
//! Only [`Config::load`] touches the disk, and only to read the file and to look at the files it names: whether they
//! exist, and whether a secret's is empty or open to everybody. No secret is held, shown or written: a [`Secret`] is a place. Nothing here knows a sink, a store or the source.
//! Every key of the contract is known; what isn't built yet is refused by name, with what to use meanwhile.

pub mod account;
mod clash;
pub mod control;
pub mod dead_letter;
mod environment;
pub mod fault;
pub mod key;
pub mod log;
pub mod outlet;
pub mod poll;
mod read;
pub mod secret;
pub mod server;
pub mod sink;
pub mod state;
pub mod value;
mod verify;
mod yaml;

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

pub use account::{Account, Region, Site};
pub use control::Control;
pub use dead_letter::DeadLetter;
pub use environment::Environment;
pub use fault::{Fault, Faults, Place, Warning};
pub use log::{Log, LogFormat};
pub use outlet::Outlet;
pub use poll::{Poll, Start};
pub use secret::Secret;
pub use server::{Page, Server};
pub use sink::{Kafka, Mechanism, Sasl, Sink, Syslog, Tls};
pub use state::State;
pub use verify::Verify;

use key::{Key, Kind, Presence};
use outlet::Purpose;
use read::{Reader, Section};

/// The file's own keys.
pub const KEYS: &[Key] = &[
    Key::new(
        "accounts",
        Kind::Sections(account::KEYS),
        Presence::Required,
        "Credentials and what is read with each; one for most.",
        "[{api_key: {file: /run/secrets/jumpcloud/api-key}}]",
    ),
    Key::new("poll", Kind::Section(poll::KEYS), Presence::Optional("its defaults"), "How the API is asked.", "{}"),
    Key::new(
        "verify",
        Kind::Section(verify::KEYS),
        Presence::Optional("its defaults"),
        "When what was delivered is compared with the API again.",
        "{after: [2m, 15m, 1h, 6h, 24h, 48h, 8d]}",
    ),
    Key::new(
        "sinks",
        Kind::Variants(sink::VARIANTS),
        Presence::Required,
        "Where events go; each event goes to every sink, and a blocked sink blocks all.",
        "[{type: stdout}]",
    ),
    Key::new(
        "dead_letter",
        Kind::Section(dead_letter::KEYS),
        Presence::Optional("none: an event that no sink takes stops its stream"),
        "Where events go that no sink takes.",
        "{file: dead.ndjson}",
    ),
    Key::new(
        "control",
        Kind::Section(control::KEYS),
        Presence::Optional("none"),
        "Where it is told, beside the events, when a stream was blind and when the gap was closed, what is lost, and every \
         minute that jumpstream lives.",
        "{file: control.ndjson}",
    ),
    Key::new(
        "state",
        Kind::Variant(state::VARIANTS),
        Presence::Optional("its defaults"),
        "Where the ledger is kept.",
        "{path: jumpstream.db}",
    ),
    Key::new("server", Kind::Section(server::SERVER), Presence::Optional("its defaults"), "Metrics and probes.", "{}"),
    Key::new("page", Kind::Section(server::PAGE), Presence::Optional("its defaults"), "The status page.", "{}"),
    Key::new("log", Kind::Section(log::KEYS), Presence::Optional("its defaults"), "What is logged and how.", "{}"),
];

/// Everything that may be configured, checked. Printing it shows no secret.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// At least one, each with its own name.
    pub accounts: Vec<Account>,
    pub poll: Poll,
    pub verify: Verify,
    /// At least one; no two write to the same place.
    pub sinks: Vec<Sink>,
    /// A topic only where there is a Kafka sink.
    pub dead_letter: Option<DeadLetter>,
    /// As [`Self::dead_letter`].
    pub control: Option<Control>,
    pub state: State,
    pub server: Server,
    pub page: Page,
    pub log: Log,
}

impl Config {
    /// Reads and checks a file, and looks at the files it names.
    ///
    /// Faults come all at once; warnings come beside either answer.
    pub fn load(path: &Path, environment: &Environment) -> Result<(Config, Vec<Warning>), Faults> {
        let file = path.display().to_string();
        let text = read_file(path).map_err(|fault| Faults {
            file: file.clone(),
            faults: vec![fault],
            warnings: Vec::new(),
        })?;
        check(&file, &text, environment, |inputs, reader| {
            inputs.iter().for_each(|input| look_for(input, reader));
            clash::look(path, inputs, reader);
        })
    }

    /// As [`Self::load`], of text that is called `file` in messages; touches no disk.
    pub fn parse(file: &str, text: &str, environment: &Environment) -> Result<(Config, Vec<Warning>), Faults> {
        check(file, text, environment, |_, _| {})
    }
}

/// The process's own variables; those that aren't Unicode can't be ours.
pub fn environment() -> Environment {
    std::env::vars_os().filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?))).collect()
}

fn check(
    file: &str,
    text: &str,
    environment: &Environment,
    look: impl FnOnce(&[read::Input], &Reader),
) -> Result<(Config, Vec<Warning>), Faults> {
    let reader = Reader::new(environment);
    let mut config = None;
    match yaml::read(text) {
        Ok(mut root) => {
            environment::apply(&reader, &mut root, KEYS);
            config = Section::open(&reader, "", &root, KEYS).and_then(|section| tree(&section));
            environment::warn_unknown(&reader, KEYS);
            look(&reader.inputs.take(), &reader);
        }
        Err(fault) => reader.faults.borrow_mut().push(fault),
    }
    let (mut faults, warnings) = (reader.faults.into_inner(), reader.warnings.into_inner());
    faults.sort_by(|a, b| a.place.cmp(&b.place));
    match config {
        Some(config) if faults.is_empty() => Ok((config, warnings)),
        _ => Err(Faults { file: file.into(), faults, warnings }),
    }
}

/// Reads every section before it gives up on any.
fn tree(root: &Section) -> Option<Config> {
    let accounts = Account::list(root);
    let poll = root.section_or_defaults("poll").and_then(|section| Poll::section(&section));
    let verify = root.section_or_defaults("verify").and_then(|section| Verify::section(&section));
    let sinks = Sink::list(root);
    let outlet = |purpose: &Purpose| match root.node(purpose.key) {
        Some(_) => Outlet::section(purpose, &root.section(purpose.key)?, sinks.as_deref()).map(Some),
        None => Some(None),
    };
    let (dead_letter, control) = (outlet(&dead_letter::PURPOSE), outlet(&control::PURPOSE));
    let state = State::section(root, sinks.as_deref());
    let server = root.section_or_defaults("server").and_then(|section| Server::section(&section));
    let page = root.section_or_defaults("page").and_then(|section| Page::section(&section, server.as_ref()));
    let log = root.section_or_defaults("log").and_then(|section| Log::section(&section));
    let ledger = match &state {
        Some(State::Kafka { topic, .. }) => Some(topic.as_str()),
        _ => None,
    };
    let (letters, records) = (topic_of(&dead_letter), topic_of(&control));
    if letters.is_some() && letters == ledger {
        root.fault("dead_letter", "the ledger's own topic", "choose another, such as `jumpcloud.dead`");
    }
    if records.is_some() && records == ledger {
        root.fault("control", "the ledger's own topic", "choose another, such as `jumpstream-control`");
    } else if records.is_some() && records == letters {
        root.fault("control", "the dead letters' own topic", "choose another, such as `jumpstream-control`");
    }
    Some(Config {
        accounts: accounts?,
        poll: poll?,
        verify: verify?,
        sinks: sinks?,
        dead_letter: dead_letter?,
        control: control?,
        state: state?,
        server: server?,
        page: page?,
        log: log?,
    })
}

fn topic_of(outlet: &Option<Option<Outlet>>) -> Option<&str> {
    outlet.as_ref()?.as_ref()?.as_topic()
}

fn read_file(path: &Path) -> Result<String, Fault> {
    let unreadable = |error: std::io::Error| {
        Fault::whole(format!("can't be read: {error}"), "give the path of a file this user may read, with --config")
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(yaml::MOST_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > yaml::MOST_BYTES {
        return Err(yaml::too_large());
    }
    String::from_utf8(bytes).map_err(|_| Fault::whole("not UTF-8 text", "save the file as UTF-8"))
}

fn look_for(input: &read::Input, reader: &Reader) {
    let opened = std::fs::metadata(&input.path).and_then(|metadata| match metadata.is_file() {
        true => std::fs::File::open(&input.path).map(|_| {
            if input.secret {
                look_into(input, metadata.mode(), reader);
            }
            None
        }),
        // Read again and again, which a pipe can't be, and opening one would wait for its writer.
        false => Ok(Some(if metadata.is_dir() { "is a directory" } else { "is no regular file" })),
    });
    let problem = match opened {
        Ok(None) => return,
        Ok(Some(problem)) => problem.into(),
        Err(error) => format!("can't be read: {error}"),
    };
    let problem = format!("{} {problem}", value::shown(&input.path.display().to_string()));
    reader.fault(
        input.place.clone(),
        &input.key,
        problem,
        "put the file there, readable for this user, or correct the path",
    );
}

/// What can be seen of a secret's file without keeping what it holds.
fn look_into(input: &read::Input, mode: u32, reader: &Reader) {
    let shown = value::shown(&input.path.display().to_string());
    if let Err(secret::Error::Unusable(_)) = Secret::File(input.path.clone()).read() {
        let problem = format!("{shown} is empty, larger than 64 KiB or not text");
        reader.fault(input.place.clone(), &input.key, problem, "write the secret to it, and nothing else");
    }
    // Only the bits of all others: a group may be meant, as Kubernetes' fsGroup.
    if mode & 0o004 != 0 {
        let problem = format!("{shown} can be read by other users (mode {:o})", mode & 0o777);
        let remedy = format!("chmod 600 {}; of a Kubernetes secret, set defaultMode: 0440", shown.trim_matches('`'));
        reader.warn(input.place.clone(), &input.key, problem, remedy);
    }
}
