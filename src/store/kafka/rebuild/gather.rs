//! Records of the events' topics, one by one, given to the streams that had delivered them.
//!
//! # Invariants
//! Pure: no I/O, no clock. Takes only what says that it was written with this ledger.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Time;
use crate::event::{Event, is_organization};
use crate::ledger::{FingerprintKey, Rebuild, StreamKey};
use crate::record::Delivery;

/// An account's streams, as configured.
#[derive(Debug, Clone)]
pub struct Account {
    /// Empty: the key's own, which is not known here.
    pub organizations: Vec<String>,
    pub services: Vec<String>,
}

/// A record, as far as it is looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Carried<'a> {
    pub ledger: Option<&'a str>,
    pub organization: Option<&'a str>,
    pub delivery: Option<&'a str>,
    pub ingested_at: Option<&'a str>,
    pub value: Option<&'a [u8]>,
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    Event,
    /// Delivered again on request: no ledger ever knew of it.
    Replay,
    /// Not written with this ledger.
    Other,
    /// Its value is no event, as it was sent by us.
    Unreadable,
    /// It names no organization.
    Unowned,
}

/// Everything that was found.
#[derive(Debug)]
pub struct Gather {
    ledger: String,
    accounts: Vec<Account>,
    fresh_key: fn() -> FingerprintKey,
    streams: Vec<(StreamKey, Rebuild)>,
    places: BTreeMap<StreamKey, usize>,
    /// By organization and service: whose event it is.
    owners: HashMap<String, HashMap<String, Arc<[usize]>>>,
}

impl Gather {
    pub fn new(ledger: impl Into<String>, accounts: Vec<Account>, fresh_key: fn() -> FingerprintKey) -> Gather {
        let mut gather = Gather {
            ledger: ledger.into(),
            accounts,
            fresh_key,
            streams: Vec::new(),
            places: BTreeMap::new(),
            owners: HashMap::new(),
        };
        gather.expect_configured();
        gather
    }

    /// Streams that had nothing delivered yet, or of which nothing is left, are streams all the same.
    fn expect_configured(&mut self) {
        for account in self.accounts.clone() {
            for organization in &account.organizations {
                for service in &account.services {
                    self.place(StreamKey { organization: organization.clone(), service: service.clone() });
                }
            }
        }
    }

    pub fn take(&mut self, record: Carried<'_>) -> Taken {
        if record.ledger != Some(&self.ledger) {
            return Taken::Other;
        }
        if record.delivery == Some(Delivery::Replay.as_str()) {
            return Taken::Replay;
        }
        let ingested_at = record.ingested_at.and_then(Time::parse);
        let event = record.value.and_then(|value| Event::parse(Bytes::copy_from_slice(value)).ok());
        let (Some(event), Some(ingested_at)) = (event, ingested_at) else { return Taken::Unreadable };
        let organization = event.organization().or(record.organization.filter(|text| is_organization(text)));
        let Some(organization) = organization else { return Taken::Unowned };
        for place in &*self.owners(organization, event.service().unwrap_or_default()) {
            self.streams[*place].1.take(&event, ingested_at);
        }
        Taken::Event
    }

    pub fn finish(self) -> Vec<(StreamKey, Rebuild)> {
        self.streams
    }

    /// The streams that may have delivered such an event: nearly always one.
    fn owners(&mut self, organization: &str, service: &str) -> Arc<[usize]> {
        let known = self.owners.get(organization).and_then(|services| services.get(service));
        if let Some(known) = known {
            return known.clone();
        }
        let streams = self.candidates(organization, service);
        let places: Arc<[usize]> = streams.into_iter().map(|stream| self.place(stream)).collect();
        let services = self.owners.entry(organization.to_owned()).or_default();
        services.insert(service.to_owned(), places.clone());
        places
    }

    /// Streams of the account that names the organization, else of those that name none, else of all. An event whose
    /// own service is none of theirs may be any one's.
    fn candidates(&self, organization: &str, service: &str) -> Vec<StreamKey> {
        // As the configuration spells it, which knows no capitals.
        let spelled = organization.to_ascii_lowercase();
        let accounts = |wanted: &dyn Fn(&Account) -> bool| -> BTreeSet<String> {
            self.accounts
                .iter()
                .filter(|account| wanted(account))
                .flat_map(|account| account.services.clone())
                .collect()
        };
        let named = accounts(&|account| account.organizations.contains(&spelled));
        let (organization, services) = if named.is_empty() {
            let unnamed = accounts(&|account| account.organizations.is_empty());
            (organization, if unnamed.is_empty() { accounts(&|_| true) } else { unnamed })
        } else {
            (spelled.as_str(), named)
        };
        let fits = |own: &&String| *own == "all" || *own == service;
        let fitting: BTreeSet<String> = services.iter().filter(fits).cloned().collect();
        let services = if fitting.is_empty() { services } else { fitting };
        let stream = |service| StreamKey { organization: organization.to_owned(), service };
        services.into_iter().map(stream).collect()
    }

    fn place(&mut self, stream: StreamKey) -> usize {
        let next = self.streams.len();
        let place = *self.places.entry(stream.clone()).or_insert(next);
        if place == next {
            self.streams.push((stream, Rebuild::new((self.fresh_key)())));
        }
        place
    }
}
