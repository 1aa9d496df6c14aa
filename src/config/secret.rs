//! Where a secret is kept: a file or a variable, never the configuration itself.

use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use rustix::fs::OFlags;
use secrecy::SecretString;

use super::fault::Place;
use super::key::{Key, Kind, Presence};
use super::read::Section;
use super::yaml::{Node, Value};

/// No credential is larger; a device file must not be read for ever.
const MOST_BYTES: u64 = 64 << 10;

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "file",
        Kind::Input,
        Presence::Optional("either this or `env`"),
        "A file that holds nothing but the secret; white space around it is cut off.",
        "/run/secrets/jumpcloud/api-key",
    ),
    Key::new(
        "env",
        Kind::Text,
        Presence::Optional("either this or `file`"),
        "The name of a variable that holds the secret: capital letters, digits and `_`.",
        "JUMPCLOUD_API_KEY",
    ),
];

/// A secret's place. Printing it shows the place only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    File(PathBuf),
    Env(String),
}

/// Why a secret can't be had now; waiting may heal it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading the secret in {file}: {source}; put it there, readable for this user")]
    File { file: String, source: std::io::Error },
    #[error("the secret in {0} is empty, larger than 64 KiB or not text; write the secret and nothing else")]
    Unusable(String),
    #[error("the variable {0} isn't set; set it where this process is started")]
    Variable(String),
}

impl Secret {
    /// Reads the secret as it is now, without white space at its ends.
    pub fn read(&self) -> Result<SecretString, Error> {
        let text = match self {
            Secret::File(path) => read_file(path)?,
            Secret::Env(name) => std::env::var(name).map_err(|_| Error::Variable(name.clone()))?,
        };
        match text.trim() {
            "" => Err(Error::Unusable(self.to_string())),
            secret => Ok(secret.into()),
        }
    }

    pub(super) fn section(section: &Section, name: &str) -> Option<Secret> {
        if let Some(node) = section.node(name).filter(|node| matches!(node.value, Value::Scalar(_))) {
            refuse_plain(section, name, node);
            return None;
        }
        let place = section.section(name)?;
        match (place.node("file").is_some(), place.node("env").is_some()) {
            (true, false) => file(&place),
            (false, true) => variable(&place),
            _ => {
                let problem = "expected either `file` or `env`";
                section.fault(name, problem, format!("write `{name}: {{file: …}}`"));
                None
            }
        }
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::File(path) => write!(f, "{}", path.display()),
            Secret::Env(name) => write!(f, "the variable {name}"),
        }
    }
}

fn read_file(path: &PathBuf) -> Result<String, Error> {
    let name = || path.display().to_string();
    let mut bytes = Vec::new();
    // Not blocking, so that a FIFO is told as one instead of waiting for its writer.
    let mut options = std::fs::OpenOptions::new();
    options.read(true).custom_flags(OFlags::NONBLOCK.bits() as i32);
    options
        .open(path)
        .and_then(|file| match file.metadata()?.is_file() {
            true => file.take(MOST_BYTES + 1).read_to_end(&mut bytes),
            false => Err(std::io::Error::other("it is no regular file")),
        })
        .map_err(|source| Error::File { file: name(), source })?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(Error::Unusable(name()));
    }
    String::from_utf8(bytes).map_err(|_| Error::Unusable(name()))
}

fn refuse_plain(section: &Section, name: &str, node: &Node) {
    let problem = "expected the place of a secret, found the secret itself (not shown here)";
    let remedy = match node.place {
        // Also met by those who wrote `{env: …}` with this very name, which is the key's own variable.
        Place::Variable(_) => {
            format!("give the variable a name of your own and write `{name}: {{env: NAME}}` in the file")
        }
        _ => format!(
            "write it to a file and put `{name}: {{file: /run/secrets/…}}` or `{name}: {{env: NAME}}`; if others can \
             read this place, replace the secret too"
        ),
    };
    section.reader.fault(node.place.clone(), &section.join(name), problem, remedy);
}

fn file(place: &Section) -> Option<Secret> {
    // A secret that was put where its path belongs has no slash, and must not come out as "no such file".
    let item = place.item("file")?;
    if !item.text.contains('/') && super::value::looks_secret(item.text) {
        place.fault("file", "expected a path, found what may be the secret itself", "write the path of a file");
        return None;
    }
    place.input("file").map(Secret::File)
}

fn variable(place: &Section) -> Option<Secret> {
    let name = place.text("env")?;
    let legal = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    // Stricter than the system, so that a secret put where its name belongs is not taken for a name.
    if !name.bytes().all(legal) || name.starts_with(|c: char| c.is_ascii_digit()) {
        let problem = "expected a variable's name in capital letters, digits and `_` (what was found isn't shown)";
        place.fault("env", problem, "write the name, not the secret: `env: JUMPCLOUD_API_KEY`");
        return None;
    }
    place.reader.secrets.borrow_mut().insert(name.clone());
    if place.reader.environment.get(&name).is_none_or(|value| value.trim().is_empty()) {
        place.fault("env", format!("the variable {name} isn't set, or empty"), "set it where this process is started");
        return None;
    }
    Some(Secret::Env(name))
}
