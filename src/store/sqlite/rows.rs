//! A checkpoint as rows: saved in one transaction, loaded from one snapshot.
//!
//! Fingerprints are little-endian 64-bit words, appended a row per save and minute; coverage is pairs of
//! little-endian nanoseconds.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use crate::clock::Time;
use crate::ledger::{Checkpoint, Coverage, Digest, Fingerprint, FingerprintKey, Hour, HourTotal, Minute, StreamKey};
use crate::store::kafka::format::{decode_hindrances, decode_standing, encode_hindrances, encode_standing};
use crate::store::sqlite::{Fault, schema};

/// A minute with this many rows is made one row at its next save: many small polls leave no long tail of rows.
const ROWS_A_MINUTE: i64 = 16;

/// Adds `checkpoint` to what is stored of `stream`, whole or not at all. Twice is the same as once.
pub fn save(connection: &mut Connection, stream: &StreamKey, checkpoint: &Checkpoint) -> Result<(), Fault> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let sql = "SELECT count(*) FROM stream WHERE organization = ?1 AND service = ?2";
    let known: i64 =
        transaction.prepare_cached(sql)?.query_row(params![stream.organization, stream.service], |row| row.get(0))?;
    let id = upsert(&transaction, stream, checkpoint)?;
    for Range { start, end } in &checkpoint.forgotten {
        let sql = "DELETE FROM delivered WHERE stream = ?1 AND minute >= ?2 AND minute < ?3";
        transaction.prepare_cached(sql)?.execute(params![id, start, end])?;
    }
    for (minute, fingerprints) in &checkpoint.delivered {
        if !fingerprints.is_empty() {
            append(&transaction, id, *minute, fingerprints)?;
        }
    }
    for hour in &checkpoint.dropped {
        let sql = "DELETE FROM hour WHERE stream = ?1 AND hour = ?2";
        transaction.prepare_cached(sql)?.execute(params![id, hour])?;
    }
    for (hour, total) in &checkpoint.hours {
        let sql = "INSERT OR REPLACE INTO hour (stream, hour, events, shown, late, digest)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        // SQLite's integers are signed: the same 64 bits.
        let HourTotal { events, shown, late, digest } = total;
        let values = params![id, hour, *events as i64, *shown as i64, *late as i64, digest.0];
        transaction.prepare_cached(sql)?.execute(values)?;
    }
    transaction.commit()?;
    if known == 0 {
        schema::flush(connection);
    }
    Ok(())
}

/// Writes the absolute values; the key stays what it was at first.
fn upsert(transaction: &Transaction<'_>, stream: &StreamKey, checkpoint: &Checkpoint) -> Result<i64, Fault> {
    let sql = "INSERT INTO stream
            (organization, service, key, first_run, start, edge, coverage, standing, oldest_shown, hindrances)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
        ON CONFLICT (organization, service) DO UPDATE SET
            first_run = excluded.first_run, start = excluded.start, edge = excluded.edge, coverage = excluded.coverage,
            standing = excluded.standing, oldest_shown = excluded.oldest_shown, hindrances = excluded.hindrances
        RETURNING id";
    let values = params![
        stream.organization,
        stream.service,
        checkpoint.key.0,
        checkpoint.first_run.as_nanos(),
        checkpoint.start.as_nanos(),
        checkpoint.edge.map(Time::as_nanos),
        encode_coverage(&checkpoint.coverage),
        encode_standing(&checkpoint.standing),
        checkpoint.oldest_shown.as_secs() as i64,
        encode_hindrances(&checkpoint.hindrances),
    ];
    Ok(transaction.prepare_cached(sql)?.query_row(values, |row| row.get(0))?)
}

fn append(transaction: &Transaction<'_>, id: i64, minute: Minute, added: &[Fingerprint]) -> Result<(), Fault> {
    let sql = "SELECT count(*), coalesce(max(seq), -1) FROM delivered WHERE stream = ?1 AND minute = ?2";
    let (rows, last): (i64, i64) =
        transaction.prepare_cached(sql)?.query_row(params![id, minute], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let insert = "INSERT INTO delivered (stream, minute, seq, fingerprints) VALUES (?1, ?2, ?3, ?4)";
    if rows < ROWS_A_MINUTE {
        transaction.prepare_cached(insert)?.execute(params![id, minute, last + 1, encode(added)])?;
        return Ok(());
    }
    let mut all = added.to_vec();
    let sql = "SELECT fingerprints FROM delivered WHERE stream = ?1 AND minute = ?2";
    let mut statement = transaction.prepare_cached(sql)?;
    let mut found = statement.query(params![id, minute])?;
    while let Some(row) = found.next()? {
        decode_into(row.get_ref(0)?.as_blob().unwrap_or_default(), minute, &mut all)?;
    }
    normalise(&mut all);
    let sql = "DELETE FROM delivered WHERE stream = ?1 AND minute = ?2";
    transaction.prepare_cached(sql)?.execute(params![id, minute])?;
    transaction.prepare_cached(insert)?.execute(params![id, minute, 0, encode(&all)])?;
    Ok(())
}

/// All that was saved of `stream`, folded: nothing to forget, each minute's fingerprints ascending.
pub fn load(connection: &Connection, stream: &StreamKey) -> Result<Option<Checkpoint>, Fault> {
    let snapshot = connection.unchecked_transaction()?;
    let sql = "SELECT id, key, first_run, start, edge, coverage, standing, oldest_shown, hindrances FROM stream
        WHERE organization = ?1 AND service = ?2";
    let found = snapshot
        .prepare_cached(sql)?
        .query_row(params![stream.organization, stream.service], |row| {
            let times: (i64, i64, Option<i64>, i64) = (row.get(2)?, row.get(3)?, row.get(4)?, row.get(7)?);
            let blobs: [Vec<u8>; 4] = [row.get(1)?, row.get(5)?, row.get(6)?, row.get(8)?];
            Ok((row.get::<_, i64>(0)?, times, blobs))
        })
        .optional()?;
    let Some((id, (first_run, start, edge, oldest_shown), [key, coverage, standing, hindrances])) = found else {
        return Ok(None);
    };
    let standing = decode_standing(&standing).map_err(|error| Fault::Damaged(format!("the standing: {error}")))?;
    let hindrances =
        decode_hindrances(&hindrances).map_err(|error| Fault::Damaged(format!("the hindrances: {error}")))?;
    let key = <[u8; 16]>::try_from(key).map_err(|key| wrong("the fingerprint key", "16", key.len()))?;
    Ok(Some(Checkpoint {
        key: FingerprintKey(key),
        first_run: Time::from_nanos(first_run),
        start: Time::from_nanos(start),
        edge: edge.map(Time::from_nanos),
        coverage: decode_coverage(&coverage)?,
        standing,
        oldest_shown: Duration::from_secs(oldest_shown.unsigned_abs()),
        hindrances,
        delivered: delivered(&snapshot, id)?,
        hours: hours(&snapshot, id)?,
        forgotten: Vec::new(),
        dropped: Vec::new(),
        whole: BTreeMap::new(),
    }))
}

fn delivered(snapshot: &Connection, id: i64) -> Result<BTreeMap<Minute, Vec<Fingerprint>>, Fault> {
    let mut delivered = BTreeMap::<Minute, Vec<Fingerprint>>::new();
    let mut statement = snapshot.prepare_cached("SELECT minute, fingerprints FROM delivered WHERE stream = ?1")?;
    let mut rows = statement.query([id])?;
    while let Some(row) = rows.next()? {
        let minute = row.get(0)?;
        let blob: Vec<u8> = row.get(1)?;
        decode_into(&blob, minute, delivered.entry(minute).or_default())?;
    }
    delivered.values_mut().for_each(normalise);
    Ok(delivered)
}

fn hours(snapshot: &Connection, id: i64) -> Result<BTreeMap<Hour, HourTotal>, Fault> {
    let mut hours = BTreeMap::new();
    let mut statement =
        snapshot.prepare_cached("SELECT hour, events, digest, shown, late FROM hour WHERE stream = ?1")?;
    let mut rows = statement.query([id])?;
    while let Some(row) = rows.next()? {
        let digest: Vec<u8> = row.get(2)?;
        let digest = <[u8; 32]>::try_from(digest).map_err(|digest| wrong("an hour's digest", "32", digest.len()))?;
        let [events, shown, late] = [1, 3, 4].map(|column| row.get::<_, i64>(column).map(|number| number as u64));
        hours.insert(row.get(0)?, HourTotal { events: events?, shown: shown?, late: late?, digest: Digest(digest) });
    }
    Ok(hours)
}

/// Every stream, in order.
pub fn streams(connection: &Connection) -> Result<Vec<StreamKey>, Fault> {
    let mut statement = connection.prepare("SELECT organization, service FROM stream ORDER BY 1, 2")?;
    let rows = statement.query_map([], |row| Ok(StreamKey { organization: row.get(0)?, service: row.get(1)? }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn normalise(fingerprints: &mut Vec<Fingerprint>) {
    fingerprints.sort_unstable();
    fingerprints.dedup();
}

fn encode(fingerprints: &[Fingerprint]) -> Vec<u8> {
    fingerprints.iter().flat_map(|fingerprint| fingerprint.to_le_bytes()).collect()
}

fn decode_into(blob: &[u8], minute: Minute, fingerprints: &mut Vec<Fingerprint>) -> Result<(), Fault> {
    let (words, rest) = blob.as_chunks::<8>();
    if !rest.is_empty() || words.is_empty() {
        return Err(wrong(&format!("minute {minute}"), "a multiple of 8", blob.len()));
    }
    fingerprints.extend(words.iter().map(|word| Fingerprint::from_le_bytes(*word)));
    Ok(())
}

fn encode_coverage(coverage: &Coverage) -> Vec<u8> {
    let ends = coverage.ranges().iter().flat_map(|range| [range.start, range.end]);
    ends.flat_map(|end| end.as_nanos().to_le_bytes()).collect()
}

fn decode_coverage(blob: &[u8]) -> Result<Coverage, Fault> {
    let (pairs, rest) = blob.as_chunks::<16>();
    if !rest.is_empty() {
        return Err(wrong("the coverage", "a multiple of 16", blob.len()));
    }
    let ranges: Vec<Range<Time>> = pairs
        .iter()
        .map(|pair| {
            let both = u128::from_le_bytes(*pair);
            Time::from_nanos(both as i64)..Time::from_nanos((both >> 64) as i64)
        })
        .collect();
    let coverage = Coverage::of(ranges.iter().cloned());
    // Coverage that claims more than was read would lose events without a word: only the exact form is believed.
    if coverage.ranges() != ranges {
        return Err(Fault::Damaged("the coverage's ranges are not ascending and apart".into()));
    }
    Ok(coverage)
}

fn wrong(what: &str, wanted: &str, found: usize) -> Fault {
    Fault::Damaged(format!("{what} takes {found} bytes, not {wanted}"))
}
