//! Whose events are read, with which credential: `accounts`.

use std::collections::{HashMap, HashSet};

use reqwest::Url;

use super::key::{Choice, Key, Kind, Presence};
use super::read::{Item, Reader, Section};
use super::secret::Secret;
use super::value::shown;

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "name",
        Kind::Text,
        Presence::Optional("`main` where there is one account; must be written where there are more"),
        "What metrics and messages call the account: letters, digits, `_`, `-` and `.`, at most 64.",
        "emea",
    ),
    Key::new(
        "region",
        Kind::Choice(REGIONS),
        Presence::Optional("`us`, unless `endpoint` is written"),
        "Where JumpCloud keeps the account. A key used in the wrong region is refused like a wrong key.",
        "eu",
    ),
    Key::new(
        "endpoint",
        Kind::Url,
        Presence::Optional("the region's"),
        "The API's base, in place of a region: a proxy or the emulator. `http` only to loopback, or with `insecure: true`.",
        "https://jumpcloud-proxy.example.com",
    ),
    Key::new(
        "insecure",
        Kind::Flag,
        Presence::Default("false"),
        "Lets `endpoint` be `http` beyond loopback. The key then crosses the network unencrypted.",
        "true",
    ),
    Key::new(
        "api_key",
        Kind::Secret,
        Presence::Required,
        "Where the API key is kept. Read again when it changes and when the API refuses it.",
        "{file: /run/secrets/jumpcloud/api-key}",
    ),
    Key::new(
        "service_account",
        Kind::Section(SERVICE_ACCOUNT),
        Presence::Optional("none"),
        "Client credentials in place of an API key.",
        "{client_id: …, client_secret: {file: …}}",
    )
    .not_yet("use `api_key: {file: …}` with an administrator's API key"),
    Key::new(
        "organizations",
        Kind::Texts,
        Presence::Default(""),
        "Ids of the organizations to read, 24 hexadecimal digits each; empty means the key's own.",
        "[5f00000000000000000000aa]",
    ),
    Key::new(
        "exclude_organizations",
        Kind::Texts,
        Presence::Default(""),
        "Organizations to leave out of `organizations: [\"*\"]`.",
        "[]",
    )
    .not_yet("list the organizations that are wanted under `organizations`"),
    Key::new(
        "services",
        Kind::Texts,
        Presence::Default("all"),
        "The services to read, a stream each; `all` stands alone. Any name the API knows.",
        "[sso, radius]",
    ),
    Key::new(
        "requests_per_second",
        Kind::Number { least: 0.01, most: 1_000.0 },
        Presence::Default("5"),
        "The most requests a second for all of the account's streams together.",
        "2.5",
    ),
];

const REGIONS: &[Choice] = &[Choice::new("us"), Choice::new("eu"), Choice::new("in")];

const SERVICE_ACCOUNT: &[Key] = &[
    Key::new("client_id", Kind::Text, Presence::Required, "The service account's id.", "…"),
    Key::new("client_secret", Kind::Secret, Presence::Required, "Where its secret is kept.", "{file: …}"),
];

/// A credential and what is read with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// A metric label.
    pub name: String,
    pub site: Site,
    pub api_key: Secret,
    /// 24 lower-case hexadecimal digits each, none twice; empty means the key's own.
    pub organizations: Vec<String>,
    /// At least one, none twice; `all` stands alone.
    pub services: Vec<String>,
    /// Above zero.
    pub requests_per_second: f64,
}

/// Which API an account speaks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Site {
    Region(Region),
    /// A base URL without a slash at its end.
    Endpoint(String),
}

/// Where JumpCloud keeps an account (insights-api §1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Region {
    Us,
    Eu,
    In,
}

impl Site {
    /// The base of `/insights/directory/v1`.
    pub fn api(&self) -> &str {
        match self {
            Site::Region(Region::Us) => "https://api.jumpcloud.com",
            Site::Region(Region::Eu) => "https://api.eu.jumpcloud.com",
            Site::Region(Region::In) => "https://api.in.jumpcloud.com",
            Site::Endpoint(base) => base,
        }
    }

    /// The base of `/api/organizations`.
    pub fn console(&self) -> &str {
        match self {
            Site::Region(Region::Us) => "https://console.jumpcloud.com",
            Site::Region(Region::Eu) => "https://console.eu.jumpcloud.com",
            Site::Region(Region::In) => "https://console.in.jumpcloud.com",
            Site::Endpoint(base) => base,
        }
    }
}

impl Account {
    /// All accounts, and what only two of them together can have wrong.
    pub(super) fn list(root: &Section) -> Option<Vec<Account>> {
        let nodes = root.list("accounts");
        let alone = nodes.len() == 1;
        let (mut names, mut owners) = (HashSet::new(), HashMap::new());
        let accounts: Vec<_> = nodes
            .into_iter()
            .map(|(path, node)| {
                let section = Section::open(root.reader, &path, node, KEYS)?;
                Account::section(&section, alone, &mut names, &mut owners)
            })
            .collect();
        accounts.into_iter().collect()
    }

    fn section(
        section: &Section,
        alone: bool,
        names: &mut HashSet<String>,
        owners: &mut HashMap<String, String>,
    ) -> Option<Account> {
        let name = name(section, alone, names);
        let site = site(section);
        let api_key = match section.node("service_account") {
            // Refused already; a second fault for the missing key would send the operator in circles.
            Some(_) if section.node("api_key").is_none() => None,
            _ => Secret::section(section, "api_key"),
        };
        let organizations = organizations(section, owners);
        let services = services(section);
        let requests_per_second = section.number("requests_per_second");
        Some(Account {
            name: name?,
            site: site?,
            api_key: api_key?,
            organizations: organizations?,
            services: services?,
            requests_per_second: requests_per_second?,
        })
    }
}

fn name(section: &Section, alone: bool, names: &mut HashSet<String>) -> Option<String> {
    if section.node("name").is_none() && !alone {
        let remedy = "write `name: …` in each account, so that metrics and messages can tell them apart";
        section.fault("name", "missing, where there is more than one account", remedy);
        return None;
    }
    let name = match section.node("name") {
        Some(_) => section.text("name")?,
        None => "main".into(),
    };
    let legal = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    if !legal || name.len() > 64 {
        let problem = format!("expected letters, digits, `_`, `-` and `.`, at most 64, found {}", shown(&name));
        section.fault("name", problem, "choose a shorter or plainer name, such as `name: emea`");
        return None;
    }
    if !names.insert(name.clone()) {
        section.fault("name", format!("another account is named {} too", shown(&name)), "give each its own name");
        return None;
    }
    Some(name)
}

fn site(section: &Section) -> Option<Site> {
    let region = section.node("region").map(|_| section.choice("region"));
    let endpoint = section.node("endpoint").map(|_| section.item("endpoint"));
    let insecure = section.flag("insecure");
    match (region, endpoint) {
        (Some(_), Some(_)) => {
            let problem = "excluded by `region`: both say which API is asked";
            section.fault("endpoint", problem, "delete one of the two");
            None
        }
        (None, Some(endpoint)) => base(section, &endpoint?, insecure?).map(Site::Endpoint),
        (region, None) => Some(Site::Region(match region {
            None => Region::Us,
            Some(name) => match name? {
                "eu" => Region::Eu,
                "in" => Region::In,
                _ => Region::Us,
            },
        })),
    }
}

/// An endpoint's base URL; never one that would carry a password or send the key in clear unasked.
fn base(section: &Section, endpoint: &Item, insecure: bool) -> Option<String> {
    let refuse = |problem: &str, remedy: &str| {
        section.reader.refuse(endpoint, problem, remedy);
        None
    };
    if endpoint.text.contains('@') {
        return refuse("a name or password in a URL (not shown)", "delete it: the API key is the only credential");
    }
    let url = Url::parse(endpoint.text).ok().filter(|url| url.has_host() && matches!(url.scheme(), "http" | "https"));
    let Some(url) = url else {
        let problem = format!("expected an http or https URL, found {}", shown(endpoint.text));
        return refuse(&problem, "write it as in `endpoint: https://jumpcloud-proxy.example.com`");
    };
    if url.query().is_some() || url.fragment().is_some() {
        return refuse("a base URL has no `?` or `#`", "delete it and what follows");
    }
    if url.scheme() == "http" && !insecure && !is_loopback(&url) {
        let problem = "http beyond loopback: the API key would cross the network unencrypted";
        return refuse(problem, "use https, or write `insecure: true` beside it if that is meant");
    }
    Some(url.as_str().trim_end_matches('/').into())
}

pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn organizations(section: &Section, owners: &mut HashMap<String, String>) -> Option<Vec<String>> {
    let items = section.items("organizations")?;
    let ids: Vec<_> = items.iter().map(|item| organization(section, item, owners)).collect();
    ids.into_iter().collect()
}

fn organization(section: &Section, item: &Item, owners: &mut HashMap<String, String>) -> Option<String> {
    let reader: &Reader = section.reader;
    if item.text == "*" {
        let remedy = "list the ids of the organizations that are wanted; empty means the key's own";
        reader.refuse(item, "`*`, all that the key sees, isn't built yet in this release", remedy);
        return None;
    }
    if item.text.len() != 24 || !item.text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let problem = format!("expected an id of 24 hexadecimal digits, found {}", shown(item.text));
        reader.refuse(item, problem, "copy the id from the console's Organization settings");
        return None;
    }
    let id = item.text.to_ascii_lowercase();
    if let Some(owner) = owners.insert(id.clone(), section.path.clone()) {
        let problem = format!("already listed in {owner}: an organization belongs to one account");
        reader.refuse(item, problem, "keep one of the two, or its events would come twice");
        return None;
    }
    Some(id)
}

fn services(section: &Section) -> Option<Vec<String>> {
    let items = section.items("services")?;
    if items.is_empty() {
        section.fault("services", "expected at least one service, found an empty list", "write `services: [all]`");
        return None;
    }
    let mut seen = HashSet::new();
    let mut sound = true;
    for item in &items {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        let fault = if item.text.len() > 64 || !item.text.bytes().all(legal) {
            let problem = format!("expected a service's name, found {}", shown(item.text));
            Some((problem, "use the API's names, such as `sso` or `password_manager`"))
        } else if !seen.insert(item.text) {
            Some((format!("`{}` is listed twice", item.text), "keep one of the two"))
        } else if item.text == "all" && items.len() > 1 {
            let problem = "`all` beside other services: their events would come twice".into();
            Some((problem, "keep `all` alone, or delete it"))
        } else {
            None
        };
        if let Some((problem, remedy)) = fault {
            section.reader.refuse(item, problem, remedy);
            sound = false;
        }
    }
    sound.then(|| items.iter().map(|item| item.text.to_owned()).collect())
}
