//! The file's tables, its format number and how it is opened.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use crate::store::sqlite::Fault;

/// Marks the file as ours in SQLite's header: "JSLG".
pub const APPLICATION_ID: i32 = i32::from_be_bytes(*b"JSLG");

/// What leads from each format to the next; `user_version` counts those applied.
const MIGRATIONS: [&str; 3] = [
    "
    CREATE TABLE stream (
        id INTEGER PRIMARY KEY,
        organization TEXT NOT NULL,
        service TEXT NOT NULL,
        key BLOB NOT NULL,
        first_run INTEGER NOT NULL,
        start INTEGER NOT NULL,
        edge INTEGER,
        coverage BLOB NOT NULL,
        UNIQUE (organization, service)
    ) STRICT;
    CREATE TABLE delivered (
        stream INTEGER NOT NULL,
        minute INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        fingerprints BLOB NOT NULL,
        PRIMARY KEY (stream, minute, seq)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE hour (
        stream INTEGER NOT NULL,
        hour INTEGER NOT NULL,
        events INTEGER NOT NULL,
        digest BLOB NOT NULL,
        PRIMARY KEY (stream, hour)
    ) STRICT, WITHOUT ROWID;
",
    // What is known of the time read, as the ledger topic writes it; what was shown and late, hour by hour.
    "
    ALTER TABLE stream ADD COLUMN standing BLOB NOT NULL DEFAULT x'00';
    ALTER TABLE stream ADD COLUMN oldest_shown INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE hour ADD COLUMN shown INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE hour ADD COLUMN late INTEGER NOT NULL DEFAULT 0;
    UPDATE hour SET shown = events;
",
    // What hindered the reading, as the ledger topic writes it.
    "
    ALTER TABLE stream ADD COLUMN hindrances BLOB NOT NULL DEFAULT x'00';
",
];

/// The format that this release writes.
pub const FORMAT: u32 = MIGRATIONS.len() as u32;

/// How long SQLite itself waits for another connection before it calls the file busy.
const BUSY: Duration = Duration::from_millis(100);

/// Opens the file to write and brings it to [`FORMAT`]; the file must exist, an empty one is filled.
pub fn connect(path: &Path) -> Result<Connection, Fault> {
    // Without CREATE: a file that vanished is trouble, not a reason to begin an empty ledger.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    let found = format(&connection)?;
    // FULL: in WAL mode NORMAL loses the last transactions at a power cut, after we said that they were durable.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
    // A burst's log is given back to the disk afterwards.
    connection.pragma_update_and_check(None, "journal_size_limit", 64 << 20, |row| row.get::<_, i64>(0))?;
    if found < FORMAT {
        migrate(&mut connection)?;
        flush(&connection);
    }
    Ok(connection)
}

/// Moves what is in the log into the file itself, so that a file that loses its log is old, and not empty. Where a
/// reader is in the way, or the disk is full, it stays in the log, which holds as well.
pub fn flush(connection: &Connection) {
    let flushed = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    if let Err(error) = flushed {
        tracing::debug!("the state's log stays as it is: {error}");
    }
}

/// Opens the file to read; changes nothing, and waits for a writer at most [`BUSY`].
pub fn connect_to_read(path: &Path) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    match format(&connection)? {
        0 => Err(Fault::Foreign("holds no ledger yet; let jumpstream run once".into())),
        FORMAT => Ok(connection),
        older => Err(Fault::Foreign(format!("has the older format {older}; let this release of jumpstream run once"))),
    }
}

/// The file's format, 0 for an empty one; refuses what is not ours or newer than we are.
fn format(connection: &Connection) -> Result<u32, Fault> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let application_id = number("application_id").map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => Fault::Foreign(
            "is no SQLite database; move it away, or give state.path the name of a file that doesn't exist yet".into(),
        ),
        _ => Fault::Sqlite(error),
    })?;
    let version = number("user_version")?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application_id, u32::try_from(version)) {
        (0, Ok(0)) if tables == 0 => Ok(0),
        (APPLICATION_ID, Ok(found)) if found > FORMAT => Err(Fault::Newer(found)),
        (APPLICATION_ID, Ok(found)) if found > 0 => Ok(found),
        _ => Err(Fault::Foreign(
            "is a database, but none of jumpstream's; give state.path the name of a file that doesn't exist yet".into(),
        )),
    }
}

/// All steps in one transaction, with the number that says so.
fn migrate(connection: &mut Connection) -> Result<(), Fault> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = format(&transaction)?;
    for step in MIGRATIONS.iter().skip(found as usize) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    Ok(transaction.commit()?)
}
