//! Whose events a key shows.

use std::collections::HashSet;
use std::time::Duration;

use serde::Deserialize;

use super::{Asked, Call, Client, Error, EventQuery, SMALL, join, quote};
use crate::clock;
use crate::event::is_organization;
use crate::source::Element;

/// The API's largest page of organizations, and how many pages are believed.
const ORGANIZATIONS: usize = 100;
const ORGANIZATION_PAGES: usize = 1_000;
/// How far back an event may lie that tells whose a key is.
const LOOK_BACK: Duration = Duration::from_secs(90 * 86_400);

/// An organization that the key sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    pub id: String,
    /// Text from outside, as it came.
    pub name: String,
}

/// What a key was last found to see.
#[derive(Default)]
pub(super) struct Seen {
    /// [`Client::key_changes`] at that time; none before the first.
    key: Option<u64>,
    /// Empty where the key tells nothing.
    organizations: HashSet<String>,
}

impl Client {
    /// Whether the key sees `organization`; true where it doesn't tell. Asked of the API once for each key: a thousand
    /// streams need no thousand answers.
    ///
    /// # Errors
    /// The key is refused.
    pub async fn sees(&self, organization: &str) -> Result<bool, Error> {
        let mut seen = self.0.seen.lock().await;
        // Looks whether its file was changed.
        self.0.credential.key().await?;
        let key = self.key_changes();
        if seen.key != Some(key) {
            let organizations = match self.organizations().await {
                Ok(all) => all.into_iter().map(|organization| organization.id).collect(),
                Err(error @ (Error::Unauthorized { .. } | Error::Credential(_))) => return Err(error),
                Err(_) => HashSet::new(),
            };
            *seen = Seen { key: Some(key), organizations };
        }
        Ok(seen.organizations.is_empty() || seen.organizations.contains(organization))
    }

    /// Whether the key is another organization's than `own`; `named` is what requests name, if anything. As far as anything
    /// tells: where nothing does, the API has nothing to show either, or itself refuses a key that doesn't see the
    /// organization that is named.
    pub async fn is_anothers(&self, own: &str, named: Option<&str>) -> Result<bool, Error> {
        match named {
            Some(named) => Ok(!self.sees(named).await?),
            None => Ok(self.owner().await?.is_some_and(|owner| owner != own)),
        }
    }

    /// `GET /api/organizations`, all pages: what the key sees.
    pub async fn organizations(&self) -> Result<Vec<Organization>, Error> {
        let (mut found, mut seen, mut skip) = (Vec::new(), HashSet::new(), 0);
        for _ in 0..ORGANIZATION_PAGES {
            let (page, total) = self.organizations_from(skip).await?;
            skip += page.len();
            let last = page.is_empty() || total.map_or(page.len() < ORGANIZATIONS, |total| skip as u64 >= total);
            found.extend(page.into_iter().filter(|organization| seen.insert(organization.id.clone())));
            if last {
                return Ok(found);
            }
        }
        Err(Error::Malformed { why: format!("more than {ORGANIZATION_PAGES} pages of organizations") })
    }

    /// The organization that is read where requests name none: the only one that the key lists, else the one that any
    /// recent event names. None where nothing tells.
    pub async fn owner(&self) -> Result<Option<String>, Error> {
        let listed = self.organizations().await;
        match listed.as_deref() {
            Ok([only]) => Ok(Some(only.id.clone())),
            _ => self.named_by_events().await,
        }
    }

    /// The organization that any recent event names, asked for without naming one.
    pub async fn named_by_events(&self) -> Result<Option<String>, Error> {
        let start = self.now().unwrap_or_else(clock::wall) - LOOK_BACK;
        let query = EventQuery { service: "all".to_owned(), start, end: None, limit: 1, search_after: None };
        let mut page = self.events(None, &query).await?;
        while let Some(element) = page.next().await? {
            if let Element::Event(event) = element {
                return Ok(event.organization().map(str::to_owned));
            }
        }
        Ok(None)
    }

    async fn organizations_from(&self, skip: usize) -> Result<(Vec<Organization>, Option<u64>), Error> {
        #[derive(Deserialize)]
        struct Body {
            results: Option<Vec<Entry>>,
            #[serde(rename = "totalCount")]
            total: Option<u64>,
        }
        #[derive(Deserialize)]
        struct Entry {
            // V1 says `_id`, V2 `id` (insights-api §1.13).
            #[serde(alias = "_id")]
            id: String,
            #[serde(alias = "displayName")]
            name: Option<String>,
        }
        let mut url = join(&self.0.organizations, "/api/organizations");
        // A stable order: pages cut by `skip` would else repeat some and miss others.
        url.set_query(Some(&format!("limit={ORGANIZATIONS}&skip={skip}&sort=_id")));
        let endpoint = "organizations";
        let answer = self.send(Call { endpoint, url, organization: None, body: None, asked: Asked::Other }).await?;
        let body: Body = self.json(answer, SMALL).await?;
        // An id becomes a key, a label and a part of log lines.
        let organization = |entry: Entry| match is_organization(&entry.id) {
            true => Ok(Organization { name: entry.name.unwrap_or_default(), id: entry.id }),
            false => Err(Error::Malformed {
                why: format!("\"{}\" is no organization's id, which has 24 hexadecimal digits", quote(&entry.id)),
            }),
        };
        let organizations = body.results.unwrap_or_default().into_iter().map(organization);
        Ok((organizations.collect::<Result<_, _>>()?, body.total))
    }
}
