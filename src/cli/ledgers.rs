//! The ledgers as they are stored, for the commands that look at them: beside a running instance, which nothing disturbs.

use std::collections::BTreeMap;

use super::ConfigFile;
use crate::app;
use crate::config::{Config, State};
use crate::exit_code::ExitCode;
use crate::ledger::{Ledger, StreamKey};
use crate::store::kafka::Untaken;
use crate::store::sqlite::SqliteStore;

/// Every stream's ledger: takes no lock, joins no group, writes nothing. What went wrong has been said.
pub(super) async fn open(file: &ConfigFile) -> Result<BTreeMap<StreamKey, Ledger>, ExitCode> {
    let (config, _) = super::load(&file.path)?;
    of(&config).await
}

/// The same, of a configuration that was read.
pub(super) async fn of(config: &Config) -> Result<BTreeMap<StreamKey, Ledger>, ExitCode> {
    read(config).await.map_err(|fault| {
        eprintln!("jumpstream: {fault}");
        ExitCode::Failed
    })
}

/// An error is a sentence.
async fn read(config: &Config) -> Result<BTreeMap<StreamKey, Ledger>, String> {
    let stored = match &config.state {
        State::Sqlite { path } => {
            let reader = SqliteStore::open_read_only(path).map_err(|error| error.to_string())?;
            let streams = reader.streams().map_err(|error| error.to_string())?;
            let load = |stream: StreamKey| Ok(reader.load(&stream)?.map(|stored| (stream, stored)));
            let loaded: Result<Vec<_>, crate::store::Error> = streams.into_iter().map(load).collect();
            loaded.map_err(|error| error.to_string())?.into_iter().flatten().collect()
        }
        State::Kafka { .. } => {
            let ledgers = app::ledgers(config).map_err(|error| error.to_string())?;
            ledgers.peek().await.map_err(|untaken| match untaken {
                Untaken::Fatal(error) => error.to_string(),
                Untaken::NotNow(why) => why,
            })?
        }
    };
    Ok(stored.into_iter().map(|(stream, stored)| (stream, Ledger::open(stored))).collect())
}

/// An instant: RFC 3339, or a date, which is its midnight by UTC.
pub(super) fn instant(text: &str) -> Result<crate::clock::Time, String> {
    let time = crate::clock::Time::parse(text).or_else(|| crate::clock::Time::parse(&format!("{text}T00:00:00Z")));
    time.ok_or_else(|| "expected an instant such as 2026-09-01T06:00:00Z, or a date".into())
}
