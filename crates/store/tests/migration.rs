//! Journals of released formats, opened by this version; forgetting; checks at a start.
//!
//! The files in `fixtures` were written by the version whose format they have, by a daemon on two
//! simulated A30 that was killed with a lease active, one without a process, and one waiting.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use broker::event::{Event, Stamped};
use broker::state::State;
use model::{LeaseId, Millis, Timestamp};
use rusqlite::Connection;
use store::{Durability, Opened, StoreError, open};

const FORMAT: u32 = 3;

fn fixture(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join("journal.db");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    fs::copy(from, &path).unwrap();
    path
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_000_000)
}

fn opened(path: &Path) -> Opened {
    let opened = open(path, Durability::Process, now()).unwrap();
    assert_eq!(opened.set_aside, None, "a journal of ours is no damage");
    opened
}

fn number(path: &Path, query: &str) -> u64 {
    Connection::open(path).unwrap().query_row(query, [], |row| row.get(0)).unwrap()
}

fn names(state: &State) -> Vec<(u64, Option<String>, usize)> {
    let leases = state.leases.values();
    leases.map(|l| (l.id.get(), l.spec.name.clone(), l.slices.len())).collect()
}

#[test]
fn a_journal_of_format_1_is_migrated_and_replayed() {
    for name in ["format-1.db", "format-1-state.db"] {
        let folder = tempfile::tempdir().unwrap();
        let path = fixture(folder.path(), name);
        let before = fs::read(&path).unwrap();
        let Opened { state, journal, .. } = opened(&path);
        let wanted = [
            (1, Some("kept".to_owned()), 1),
            (5, Some("waiting".to_owned()), 0),
            (6, Some("w1".to_owned()), 1),
        ];
        assert_eq!(names(&state), wanted, "{name}");
        assert_eq!(journal.last_seq(), 47);
        drop(journal);
        assert_eq!(number(&path, "PRAGMA user_version"), u64::from(FORMAT));

        // As it was, for its owner alone, and good for the version that wrote it.
        let copy = folder.path().join("journal.db.format-1");
        assert_eq!(number(&copy, "PRAGMA user_version"), 1);
        let events = "SELECT count(*) FROM events";
        assert_eq!(number(&copy, events), number(&path, events));
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(before.starts_with(b"SQLite format 3"));

        // Once is enough: the second start finds nothing to migrate and the same state.
        fs::remove_file(&copy).unwrap();
        assert_eq!(opened(&path).state, state);
        assert!(!copy.exists());
    }
}

#[test]
fn a_stored_state_of_format_1_is_the_state_its_events_lead_to() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("a"), folder.path().join("b"));
    fs::create_dir(&one).unwrap();
    fs::create_dir(&other).unwrap();
    let replayed = opened(&fixture(&one, "format-1.db")).state;
    let mut read = opened(&fixture(&other, "format-1-state.db")).state;
    // The number of the newest event is what a later version keeps beside what was stored.
    assert_eq!(read.leases, replayed.leases);
    read.leases.clear();
    assert!(read.slices == replayed.slices && read.boot == replayed.boot);
}

#[test]
fn a_downgrade_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = fixture(folder.path(), "format-1.db");
    drop(opened(&path));
    let newer = "PRAGMA user_version = 4; UPDATE meta SET value = '99' WHERE name = 'newest_event'";
    Connection::open(&path).unwrap().execute_batch(newer).unwrap();
    let error = open(&path, Durability::Process, now()).unwrap_err();
    assert!(matches!(error, StoreError::TooNew { found: 4, known: FORMAT, .. }), "{error}");
    assert!(error.to_string().contains("newer migd"), "{error}");
    assert_eq!(number(&path, "SELECT count(*) FROM events"), 47);

    let events_only = "PRAGMA user_version = 3";
    Connection::open(&path).unwrap().execute_batch(events_only).unwrap();
    let error = open(&path, Durability::Process, now()).unwrap_err();
    assert!(matches!(error, StoreError::TooNew { found: 99, .. }), "{error}");
    assert!(!folder.path().join("journal.db.damaged-1000").exists());
}

#[test]
fn without_room_for_the_copy_nothing_is_migrated() {
    let folder = tempfile::tempdir().unwrap();
    let path = fixture(folder.path(), "format-1.db");
    // A folder in the way of the copy stands for a disk that takes none.
    fs::create_dir_all(folder.path().join("journal.db.format-1.new/x")).unwrap();
    let error = open(&path, Durability::Process, now()).unwrap_err();
    assert!(error.to_string().contains("copied before its migration"), "{error}");
    assert_eq!(number(&path, "PRAGMA user_version"), 1);
}

#[test]
fn old_events_go_and_the_state_and_the_live_leases_history_stay() {
    let folder = tempfile::tempdir().unwrap();
    let path = fixture(folder.path(), "format-1.db");
    let Opened { mut journal, state, last_at, .. } = opened(&path);
    let history = |journal: &store::Journal, lease| {
        journal.reader().unwrap().of_lease(LeaseId::new(lease)).unwrap()
    };
    let (kept, ended) = (history(&journal, 1).len(), history(&journal, 3).len());
    assert!(kept > 1 && ended > 1);

    assert!(!journal.prune(Timestamp::from_millis(1), &state).unwrap());
    assert_eq!(number(&path, "SELECT count(*) FROM events"), 47, "nothing is old yet");

    let later = last_at.plus(Millis::from_secs(1));
    assert!(!journal.prune(later, &state).unwrap());
    assert_eq!(history(&journal, 1).len(), kept, "its lease lives");
    assert_eq!(history(&journal, 3), [], "its lease ended");
    let left = number(&path, "SELECT count(*) FROM events");
    assert!(left < 25, "{left}");

    // Replay needs none of what went, and time goes on from where it stood.
    drop(journal);
    let again = opened(&path);
    assert_eq!(again.state, state);
    assert_eq!((again.journal.last_seq(), again.last_at), (47, last_at));

    // When a lease has ended, what was kept for it goes, too.
    let mut journal = again.journal;
    let mut state = again.state;
    let end =
        Event::Ended { lease: LeaseId::new(1), reason: broker::EndReason::Released, receipt: None };
    let end = Stamped { at: later, event: end };
    state.apply(end.at, &end.event);
    journal.append(&[end], &[], &state).unwrap();
    journal.prune(later.plus(Millis::from_secs(1)), &state).unwrap();
    assert_eq!(history(&journal, 1).len(), 1, "its end is the newest event");
    drop(journal);
    assert_eq!(opened(&path).state, state);
}

#[test]
fn much_is_forgotten_in_several_calls() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let Opened { mut journal, state, .. } = opened(&path);
    let tick = |n: u64| Stamped {
        at: Timestamp::from_millis(n),
        event: Event::PlanFinished { plan: model::PlanId::new(n) },
    };
    let many: Vec<Stamped> = (1..=5000).map(tick).collect();
    journal.append(&many, &[], &state).unwrap();
    let mut calls = 1;
    while journal.prune(Timestamp::from_millis(10_000), &state).unwrap() {
        calls += 1;
    }
    assert_eq!(calls, 3);
    assert_eq!(number(&path, "SELECT count(*) FROM events"), 1);
    assert_eq!(opened(&path).journal.last_seq(), 5000);
}

/// A page that nobody reads at a start is found damaged, unless the last daemon ended well.
#[test]
fn pages_are_checked_after_an_end_that_was_not_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = fixture(folder.path(), "format-1-state.db");
    let mut first = opened(&path);
    assert!(!first.unchecked);
    first.journal.end().unwrap();
    drop(first);
    Connection::open(&path)
        .unwrap()
        .execute_batch(
            "PRAGMA journal_mode = wal; PRAGMA wal_checkpoint(TRUNCATE);
             INSERT INTO events SELECT seq + 1000, at, version, lease, body FROM events;
             DELETE FROM events WHERE seq > 1000; PRAGMA wal_checkpoint(TRUNCATE)",
        )
        .unwrap();
    assert_eq!(store::check(&path).unwrap(), Ok(()));
    damage_the_index(&path);
    assert!(store::check(&path).unwrap().is_err());
    let second = opened(&path);
    assert!(!second.unchecked);
    drop(second);
    let third = open(&path, Durability::Process, now()).unwrap();
    assert!(third.set_aside.is_some(), "killed, so everything is looked at");
}

/// Overwrites the root page of the index of leases, which no start reads.
fn damage_the_index(path: &Path) {
    let page: u64 =
        number(path, "SELECT rootpage FROM sqlite_schema WHERE name = 'events_of_lease'");
    let size = number(path, "PRAGMA page_size");
    let mut bytes = fs::read(path).unwrap();
    let at = ((page - 1) * size) as usize;
    bytes[at..at + 64].fill(0xff);
    fs::write(path, bytes).unwrap();
}
