//! The stores keep what they acknowledged, whole and folded, through every end a process can meet.

mod migration;
mod suite;
mod topic;

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jumpstream::ledger::Checkpoint;
use jumpstream::store::sqlite::{FileSystem, SqliteStore, file_system};
use jumpstream::store::{Error, Store};

use crate::random;
use suite::{checkpoint, folded, stream, suite};

/// Tells the test binary, started again by a test, that it is the child, and which database it writes.
const CHILD: &str = "JUMPSTREAM_TEST_STORE";

/// Another one each time.
fn seed() -> u64 {
    random::seeds(1, 1).next().unwrap()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

struct Place {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jumpstream.db");
    Place { _folder: folder, path }
}

fn refusal(path: &Path) -> String {
    match SqliteStore::open(path) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error.to_string(),
    }
}

/// Waits until `condition` holds, for at most 20 s.
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "in 20 s not: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Opened, as soon as the lock of the store before it is free: a process that another test is just starting has a copy of
/// it for a moment.
fn open(path: &Path) -> SqliteStore {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match SqliteStore::open(path) {
            Err(Error::Locked { .. }) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return opened.unwrap(),
        }
    }
}

#[test]
fn sqlite_keeps_the_promises_of_every_store() {
    let place = place();
    suite(|| open(&place.path));
}

#[test]
fn many_small_saves_leave_few_rows() {
    let place = place();
    let store = open(&place.path);
    for _ in 0..100 {
        run(store.save(&stream("o"), &checkpoint(0))).unwrap();
    }
    drop(store);
    let file = rusqlite::Connection::open(&place.path).unwrap();
    let rows: i64 = file.query_row("SELECT count(*) FROM delivered WHERE minute = 3", [], |row| row.get(0)).unwrap();
    assert!((1..=17).contains(&rows), "{rows} rows for one minute");
}

#[test]
fn forgotten_minutes_leave_the_file() {
    let place = place();
    let store = open(&place.path);
    run(store.save(&stream("o"), &checkpoint(50))).unwrap();
    let forgotten = vec![0..50, 50..100];
    let forgetting = Checkpoint { delivered: BTreeMap::new(), forgotten, ..checkpoint(51) };
    run(store.save(&stream("o"), &forgetting)).unwrap();
    drop(store);
    let file = rusqlite::Connection::open(&place.path).unwrap();
    assert_eq!(file.query_row("SELECT count(*) FROM delivered", [], |row| row.get::<_, i64>(0)).unwrap(), 0);
}

#[test]
fn a_file_that_others_could_read_is_closed_to_them() {
    let place = place();
    drop(open(&place.path));
    std::fs::set_permissions(&place.path, std::fs::Permissions::from_mode(0o664)).unwrap();
    let _store = open(&place.path);
    assert_eq!(std::fs::metadata(&place.path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_new_file_and_those_beside_it_are_0600() {
    let place = place();
    let store = open(&place.path);
    run(store.save(&stream("o"), &checkpoint(1))).unwrap();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(place.path.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        names.push(entry.file_name().into_string().unwrap());
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{names:?}");
    }
    names.sort();
    assert_eq!(names, ["jumpstream.db", "jumpstream.db-shm", "jumpstream.db-wal", "jumpstream.db.lock"]);
}

#[test]
fn a_second_store_is_refused_and_told_who_holds_the_file() {
    let place = place();
    let first = open(&place.path);
    let refused = refusal(&place.path);
    let system = rustix::system::uname();
    let host = system.nodename().to_str().unwrap();
    let holder = format!("in use by process {} on host {host} since 2", std::process::id());
    assert!(refused.contains(&holder), "{refused}");
    drop(first);
    open(&place.path);
}

#[test]
fn a_reader_needs_no_lock_and_sees_every_acknowledged_save() {
    let place = place();
    assert!(SqliteStore::open_read_only(&place.path).is_err(), "a reader must not make the file");
    let store = open(&place.path);
    let reader = SqliteStore::open_read_only(&place.path).unwrap();
    assert_eq!(reader.streams().unwrap(), []);
    run(store.save(&stream("o"), &checkpoint(5))).unwrap();
    assert_eq!(reader.streams().unwrap(), [stream("o")]);
    assert_eq!(reader.load(&stream("o")).unwrap(), folded(&[checkpoint(5)]));
    drop(store);
    let late = SqliteStore::open_read_only(&place.path).unwrap();
    assert_eq!(late.load(&stream("o")).unwrap(), folded(&[checkpoint(5)]));
}

#[test]
fn files_that_are_not_ours_are_refused_and_left_as_they_are() {
    let place = place();
    std::fs::write(&place.path, "a shopping list, longer than a hundred bytes".repeat(40)).unwrap();
    let before = std::fs::read(&place.path).unwrap();
    let refused = refusal(&place.path);
    assert!(refused.contains("is no SQLite database") && refused.contains("state.path"), "{refused}");
    assert_eq!(std::fs::read(&place.path).unwrap(), before);

    std::fs::remove_file(&place.path).unwrap();
    rusqlite::Connection::open(&place.path).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
    let before = std::fs::read(&place.path).unwrap();
    let refused = refusal(&place.path);
    assert!(refused.contains("none of jumpstream's"), "{refused}");
    assert_eq!(std::fs::read(&place.path).unwrap(), before);
}

#[test]
fn a_missing_folder_is_named_with_the_remedy() {
    let place = place();
    let refused = refusal(&place.path.parent().unwrap().join("none/jumpstream.db"));
    assert!(refused.contains("none doesn't exist; create it"), "{refused}");
}

#[test]
fn what_may_not_be_written_is_named_with_the_remedy() {
    let fault =
        |kind: std::io::ErrorKind| Error::File { path: "/state/jumpstream.db.lock".into(), source: kind.into() };
    let denied = fault(std::io::ErrorKind::PermissionDenied).to_string();
    assert!(denied.contains("db.lock: permission denied; let the user that runs jumpstream write it"), "{denied}");
    let read_only = fault(std::io::ErrorKind::ReadOnlyFilesystem).to_string();
    assert!(read_only.ends_with("; put state.path on a file system that can be written"), "{read_only}");
}

#[test]
fn damaged_values_are_an_error_that_names_the_stream() {
    for damage in [
        "UPDATE delivered SET fingerprints = x'0102'",
        "UPDATE delivered SET fingerprints = x''",
        "UPDATE stream SET key = x'00'",
        "UPDATE stream SET coverage = x'000102'",
        "UPDATE stream SET coverage = zeroblob(32)",
        "UPDATE stream SET hindrances = x'01'",
        "UPDATE hour SET digest = x''",
    ] {
        let place = place();
        let store = open(&place.path);
        run(store.save(&stream("o"), &checkpoint(5))).unwrap();
        let changed = rusqlite::Connection::open(&place.path).unwrap().execute(damage, []).unwrap();
        assert_ne!(changed, 0, "{damage}");
        match run(store.load(&stream("o"))) {
            Err(Error::Damaged { stream, .. }) => assert_eq!(stream, "o/all"),
            other => panic!("{damage}: {other:?}"),
        }
    }
}

#[test]
fn network_file_systems_are_told_by_their_number() {
    for (magic, kind) in [(0x6969, "NFS"), (0xFF53_4D42, "CIFS"), (0xFE53_4D42, "SMB2"), (0x0102_1997, "9p")] {
        assert_eq!(file_system(magic), FileSystem::Network(kind));
    }
    assert_eq!(file_system(0x6573_5546), FileSystem::Fuse);
    // ext4, xfs, btrfs, tmpfs, overlay, zfs
    for magic in [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0x794C_7630, 0x2FC1_2FC1] {
        assert_eq!(file_system(magic), FileSystem::Local, "{magic:#x}");
    }
}

#[test]
fn a_busy_file_is_waited_for_and_said() {
    let place = place();
    let store = open(&place.path);
    let other = rusqlite::Connection::open(&place.path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let save = scope.spawn(|| run(store.save(&stream("o"), &checkpoint(1))));
        wait_until("trouble is said", || store.trouble().is_some_and(|said| said.contains("locked")));
        assert!(!save.is_finished());
        other.execute_batch("ROLLBACK").unwrap();
        save.join().unwrap().unwrap();
    });
    assert_eq!(store.trouble(), None);
    assert_eq!(run(store.load(&stream("o"))).unwrap(), folded(&[checkpoint(1)]));
}

#[test]
fn a_file_that_cannot_be_opened_yet_is_waited_for() {
    let place = place();
    let store = open(&place.path);
    run(store.save(&stream("o"), &checkpoint(1))).unwrap();
    drop(store);
    let other = rusqlite::Connection::open(&place.path).unwrap();
    other.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
    let store = open(&place.path);
    assert!(store.trouble().is_some_and(|said| said.contains("locked")), "{:?}", store.trouble());
    drop(other);
    assert_eq!(run(store.load(&stream("o"))).unwrap(), folded(&[checkpoint(1)]));
    assert_eq!(store.trouble(), None);
}

#[test]
fn a_store_is_dropped_while_it_waits() {
    let place = place();
    let store = open(&place.path);
    let other = rusqlite::Connection::open(&place.path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let save =
        async { tokio::time::timeout(Duration::from_millis(300), store.save(&stream("o"), &checkpoint(1))).await };
    assert!(run(save).is_err(), "saved under another's lock");
    drop(store);
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(run(open(&place.path).load(&stream("o"))).unwrap(), None);
}

/// Starts this test binary again for the test `name` alone, under a shell that runs `setup` first.
fn child(name: &str, setup: &str, path: &Path) -> std::process::Child {
    Command::new("sh")
        .args(["-c", &format!("{setup} exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_process_leaves_every_acknowledged_save_and_nothing_half() {
    if let Some(path) = std::env::var_os(CHILD) {
        let store = SqliteStore::open(Path::new(&path)).unwrap();
        for number in 0.. {
            run(store.save(&stream("o"), &checkpoint(number))).unwrap();
            println!("\nsaved {number}");
        }
    }
    for round in 1..=6 {
        let place = place();
        let mut child =
            child("store::a_killed_process_leaves_every_acknowledged_save_and_nothing_half", "", &place.path);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let saved = |line: String| line.strip_prefix("saved ")?.parse::<i64>().ok();
        let reached = lines.by_ref().filter_map(saved).find(|number| *number >= round * 9);
        assert!(reached.is_some(), "the child never saved");
        // A different point of a transaction each time.
        std::thread::sleep(Duration::from_micros(round as u64 * 370));
        child.kill().unwrap();
        child.wait().unwrap();
        let acknowledged = lines.filter_map(saved).last().or(reached).unwrap();

        let store = open(&place.path);
        let found = run(store.load(&stream("o"))).unwrap();
        let saves: Vec<Checkpoint> = (0..=acknowledged + 1).map(checkpoint).collect();
        let exact = folded(&saves[..saves.len() - 1]);
        assert!(found == exact || found == folded(&saves), "after {acknowledged}: {found:?}");
    }
}

#[test]
fn a_write_that_fails_is_tried_again_until_it_works() {
    if let Some(path) = std::env::var_os(CHILD) {
        return write_past_the_limit(Path::new(&path));
    }
    let place = place();
    // A limit that root and containers meet alike; the ignored signal makes it an error of write(2).
    let setup = "trap '' XFSZ; ulimit -S -f 512;";
    let mut child = child("store::a_write_that_fails_is_tried_again_until_it_works", setup, &place.path);
    assert!(child.wait().unwrap().success());
}

fn write_past_the_limit(path: &Path) {
    let store = SqliteStore::open(path).unwrap();
    let mut saved = Vec::new();
    std::thread::scope(|scope| {
        let saves = scope.spawn(|| {
            for number in 0..20 {
                let large = BTreeMap::from([(number, (0..10_000).map(|n| n << 8 | number as u64).collect())]);
                saved.push(Checkpoint { delivered: large, ..checkpoint(number) });
                run(store.save(&stream("o"), &saved[number as usize])).unwrap();
            }
        });
        wait_until("trouble is said", || store.trouble().is_some_and(|said| said.contains("waiting")));
        assert!(!saves.is_finished());
        let mut limit = rustix::process::getrlimit(rustix::process::Resource::Fsize);
        limit.current = limit.maximum;
        rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
        saves.join().unwrap();
    });
    assert_eq!(store.trouble(), None);
    assert!(run(store.load(&stream("o"))).unwrap() == folded(&saved), "a save is missing");
}

/// A small file system of its own, unmounted on drop.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<SmallDisk> {
        let folder = tempfile::tempdir().unwrap();
        let mount = ["-t", "tmpfs", "-o", "size=1m", "tmpfs"];
        let mounted = Command::new("mount").args(mount).arg(folder.path()).stderr(Stdio::null()).status();
        mounted.is_ok_and(|status| status.success()).then(|| SmallDisk(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_waited_for_and_said() {
    let Some(disk) = SmallDisk::mount() else {
        // Past the harness, which hides what a passing test prints.
        let skipped = "SKIPPED: a_full_disk_is_waited_for_and_said needs the right to mount a tmpfs";
        writeln!(std::io::stderr(), "{skipped}").unwrap();
        return;
    };
    let store = SqliteStore::open(&disk.0.path().join("jumpstream.db")).unwrap();
    let filler = disk.0.path().join("filler");
    let full = std::fs::write(&filler, vec![1; 4 << 20]);
    assert!(full.is_err(), "the disk is not small");
    let large = Checkpoint { delivered: BTreeMap::from([(1, (0..10_000).collect())]), ..checkpoint(1) };
    std::thread::scope(|scope| {
        let save = scope.spawn(|| run(store.save(&stream("o"), &large)));
        wait_until("trouble is said", || store.trouble().is_some_and(|said| said.contains("full")));
        assert!(!save.is_finished());
        std::fs::remove_file(&filler).unwrap();
        save.join().unwrap().unwrap();
    });
    assert_eq!(store.trouble(), None);
    assert_eq!(run(store.load(&stream("o"))).unwrap(), folded(std::slice::from_ref(&large)));
    drop(store);
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

#[test]
fn a_state_that_was_moved_away_is_said_and_nothing_is_written_until_it_is_back() {
    for suffix in ["", "-wal"] {
        let place = place();
        let store = std::sync::Arc::new(open(&place.path));
        run(store.save(&stream("o"), &checkpoint(1))).unwrap();
        let (file, away) = (beside(&place.path, suffix), beside(&place.path, ".away"));
        std::fs::rename(&file, &away).unwrap();
        wait_until("the trouble is said while nothing is saved", || store.trouble().is_some());
        let trouble = store.trouble().unwrap();
        assert!(trouble.contains("moved away or deleted") && trouble.contains("put it back"), "{trouble}");
        let saving = std::thread::spawn({
            let store = store.clone();
            move || run(store.save(&stream("o"), &checkpoint(2)))
        });
        std::thread::sleep(Duration::from_millis(300));
        assert!(!saving.is_finished(), "{suffix}: acknowledged into a file that nobody finds");
        // Another file there is not the one that was opened.
        std::fs::write(&file, "").unwrap();
        std::thread::sleep(Duration::from_millis(300));
        assert!(!saving.is_finished() && store.trouble().is_some());
        std::fs::rename(&away, &file).unwrap();
        saving.join().unwrap().unwrap();
        assert_eq!(store.trouble(), None);
        drop(store);
        let store = open(&place.path);
        assert_eq!(run(store.load(&stream("o"))).unwrap(), folded(&[checkpoint(1), checkpoint(2)]));
    }
}

#[test]
fn a_state_that_was_deleted_leaves_the_file_in_its_place_alone() {
    let place = place();
    let store = open(&place.path);
    run(store.save(&stream("o"), &checkpoint(1))).unwrap();
    for suffix in ["", "-wal", "-shm"] {
        std::fs::remove_file(beside(&place.path, suffix)).unwrap();
        std::fs::write(beside(&place.path, suffix), format!("another's {suffix}")).unwrap();
    }
    drop(store);
    for suffix in ["", "-wal", "-shm"] {
        assert_eq!(std::fs::read_to_string(beside(&place.path, suffix)).unwrap(), format!("another's {suffix}"));
    }
}

#[test]
fn a_state_that_loses_its_log_is_old_and_not_empty() {
    let place = place();
    let store = open(&place.path);
    run(store.save(&stream("o"), &checkpoint(1))).unwrap();
    // As a copy without the log, or a crash that lost it, leaves it.
    let copy = beside(&place.path, ".copy");
    std::fs::copy(&place.path, &copy).unwrap();
    drop(store);
    let store = SqliteStore::open(&copy).unwrap();
    assert_eq!(run(store.load(&stream("o"))).unwrap(), folded(&[checkpoint(1)]));
}

#[test]
fn no_other_name_of_the_file_gets_around_the_lock() {
    let place = place();
    let store = open(&place.path);
    let (soft, hard) = (beside(&place.path, ".soft"), beside(&place.path, ".hard"));
    std::os::unix::fs::symlink(&place.path, &soft).unwrap();
    std::fs::hard_link(&place.path, &hard).unwrap();
    let holder = format!("in use by process {}", std::process::id());
    assert!(refusal(&soft).contains(&holder), "{}", refusal(&soft));
    assert!(refusal(&hard).contains("another name of the same file"), "{}", refusal(&hard));
    for name in [&place.path, &soft, &hard] {
        assert!(SqliteStore::look(name).unwrap().holder.is_some(), "{}", name.display());
    }
    drop(store);
    // A link to a file that is still to be made leads to it too.
    let made = beside(&place.path, ".made");
    let early = beside(&place.path, ".early");
    std::os::unix::fs::symlink(&made, &early).unwrap();
    let _store = SqliteStore::open(&early).unwrap();
    assert!(refusal(&made).contains(&holder), "{}", refusal(&made));
}
