//! Files of another format than this release's: older ones are brought to it, newer ones are refused.

use jumpstream::ledger::{Checkpoint, Hindrances};
use jumpstream::store::sqlite::SqliteStore;
use jumpstream::store::{Error, Store as _};

use super::suite::{checkpoint, folded, stream};
use super::{open, place, run};

#[test]
fn a_newer_format_is_refused_and_named() {
    let place = place();
    drop(open(&place.path));
    rusqlite::Connection::open(&place.path).unwrap().pragma_update(None, "user_version", 9).unwrap();
    let newer = |error: &Error| matches!(error, Error::NewerFormat { found: 9, known: 3, .. });
    assert!(newer(&SqliteStore::open(&place.path).unwrap_err()));
    assert!(newer(&SqliteStore::open_read_only(&place.path).unwrap_err()));
}

#[test]
fn a_file_of_the_format_before_is_brought_to_this_one_and_keeps_what_it_holds() {
    let place = place();
    run(open(&place.path).save(&stream("o"), &checkpoint(5))).unwrap();
    let older = rusqlite::Connection::open(&place.path).unwrap();
    older.execute_batch("ALTER TABLE stream DROP COLUMN hindrances").unwrap();
    older.pragma_update(None, "user_version", 2).unwrap();
    drop(older);
    let refused = SqliteStore::open_read_only(&place.path).unwrap_err().to_string();
    assert!(refused.contains("older format 2") && refused.contains("run once"), "{refused}");
    let known = Checkpoint { hindrances: Hindrances::default(), ..folded(&[checkpoint(5)]).unwrap() };
    let store = open(&place.path);
    assert_eq!(run(store.load(&stream("o"))).unwrap(), Some(known));
    run(store.save(&stream("o"), &checkpoint(5))).unwrap();
    assert_eq!(run(store.load(&stream("o"))).unwrap(), folded(&[checkpoint(5)]));
}
