//! The journal on a real disk: replay, damage, versions, a disk that is full.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

use std::fs;

use broker::event::{EndReason, Event, Stamped};
use broker::request::{GpuSelector, Holder, Patience, RequestSpec, Wanted};
use broker::state::State;
use broker::terms::Terms;
use model::{LeaseId, Millis, Tenant, Timestamp, Uid};
use store::{Durability, StoreError, open};

fn request(id: u64) -> Event {
    let spec = RequestSpec {
        tenant: Tenant::new("anna"),
        uid: Uid::new(1000),
        wanted: Wanted::Profile("1g.5gb".parse().unwrap()),
        count: 1,
        gpu: GpuSelector::Any,
        time: None,
        expect: None,
        patience: Patience::Forever,
        name: None,
        holder: Holder::Token { life: Millis::from_secs(60) },
        command: None,
        terms: Terms::default(),
    };
    Event::Requested { lease: LeaseId::new(id), spec, counts_as: None }
}

fn at(second: u64, event: Event) -> Stamped {
    Stamped { at: Timestamp::from_millis(second * 1000), event }
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_000_000)
}

#[test]
fn replay_gives_the_state_that_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let mut opened = open(&path, Durability::Process, now()).unwrap();
    let mut state = State::default();
    for id in 1..=5 {
        let event = at(id, request(id));
        state.apply(event.at, &event.event);
        opened.journal.append(&[event], &[], &state).unwrap();
    }
    let end =
        at(9, Event::Ended { lease: LeaseId::new(3), reason: EndReason::Cancelled, receipt: None });
    state.apply(end.at, &end.event);
    opened.journal.append(&[end], &[], &state).unwrap();
    drop(opened);

    let again = open(&path, Durability::Process, now()).unwrap();
    assert_eq!(again.state, state);
    assert_eq!(again.journal.last_seq(), 6);
    assert_eq!(again.last_at, Timestamp::from_millis(9000));
    assert_eq!(again.set_aside, None);
    let reader = again.journal.reader().unwrap();
    assert_eq!(reader.of_lease(LeaseId::new(3)).unwrap().len(), 2);
    assert_eq!(reader.after(4, 10).unwrap().len(), 2);
}

#[test]
fn a_stored_state_shortens_replay_without_changing_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let mut opened = open(&path, Durability::Process, now()).unwrap();
    let mut state = State::default();
    let mut batch = Vec::new();
    for id in 1..=10_050 {
        let begun = at(id, request(id));
        let ended = at(
            id,
            Event::Ended { lease: LeaseId::new(id), reason: EndReason::Released, receipt: None },
        );
        state.apply(begun.at, &begun.event);
        batch.push(begun);
        if id % 100 != 0 {
            state.apply(ended.at, &ended.event);
            batch.push(ended);
        }
        if batch.len() >= 500 {
            opened.journal.append(&batch, &[], &state).unwrap();
            batch.clear();
        }
    }
    opened.journal.append(&batch, &[], &state).unwrap();
    drop(opened);
    let again = open(&path, Durability::Process, now()).unwrap();
    assert_eq!(again.state, state);
    assert_eq!(again.state.leases.len(), 100);
}

#[test]
fn a_damaged_journal_is_set_aside_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let garbage = b"this is not a database, and it is long enough to be looked at".repeat(100);
    fs::write(&path, &garbage).unwrap();
    let opened = open(&path, Durability::Process, now()).unwrap();
    assert_eq!(opened.state, State::default());
    let aside = opened.set_aside.unwrap();
    assert_eq!(fs::read(aside.path).unwrap(), garbage);
}

#[test]
fn a_journal_with_a_hole_or_an_unreadable_event_is_set_aside() {
    for damage in [
        "DELETE FROM events WHERE seq = 2",
        "UPDATE events SET body = '{\"kind\":\"no such kind\"}' WHERE seq = 2",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        let mut opened = open(&path, Durability::Process, now()).unwrap();
        let mut state = State::default();
        for id in 1..=3 {
            let event = at(id, request(id));
            state.apply(event.at, &event.event);
            opened.journal.append(&[event], &[], &state).unwrap();
        }
        drop(opened);
        rusqlite::Connection::open(&path).unwrap().execute_batch(damage).unwrap();
        let again = open(&path, Durability::Process, now()).unwrap();
        assert!(again.set_aside.is_some(), "{damage}");
        assert!(again.state.leases.is_empty());
    }
}

#[test]
fn a_journal_of_a_newer_version_is_refused_and_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    drop(open(&path, Durability::Process, now()).unwrap());
    rusqlite::Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    let error = open(&path, Durability::Process, now()).unwrap_err();
    assert!(matches!(error, StoreError::TooNew { found: 99, .. }), "{error}");
    assert!(path.exists());
}

/// A downgrade must not look like damage: setting the journal aside would lose every lease.
#[test]
fn events_of_a_newer_version_are_refused_and_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let mut opened = open(&path, Durability::Process, now()).unwrap();
    opened.journal.append(&[at(1, request(1))], &[], &State::default()).unwrap();
    drop(opened);
    let newer = "UPDATE events SET version = 99, body = '{\"kind\":\"of the future\"}';
                 UPDATE meta SET value = '99' WHERE name = 'newest_event'";
    rusqlite::Connection::open(&path).unwrap().execute_batch(newer).unwrap();
    let error = open(&path, Durability::Process, now()).unwrap_err();
    assert!(matches!(error, StoreError::TooNew { found: 99, .. }), "{error}");
    assert!(path.exists());
}

#[test]
fn nobody_else_reads_the_journal() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let mut opened = open(&path, Durability::Process, now()).unwrap();
    opened.journal.append(&[at(1, request(1))], &[], &State::default()).unwrap();
    for file in ["journal.db", "journal.db-wal", "journal.db-shm"] {
        let mode = fs::metadata(folder.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{file} has mode {mode:o}");
    }
}

#[test]
fn keys_lead_to_their_lease_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let mut opened = open(&path, Durability::Process, now()).unwrap();
    let keys = [(1000, "abc".to_owned(), LeaseId::new(7))];
    opened.journal.append(&[at(5, request(7))], &keys, &State::default()).unwrap();
    let find = |uid, since| {
        opened.journal.lease_of_key(uid, "abc", Timestamp::from_millis(since)).unwrap()
    };
    assert_eq!(find(1000, 0), Some(LeaseId::new(7)));
    assert_eq!(find(1001, 0), None);
    assert_eq!(find(1000, 6000), None);
}

#[test]
fn a_full_disk_changes_nothing_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let mut opened = open(&path, Durability::Process, now()).unwrap();
    let mut state = State::default();
    let first = at(1, request(1));
    state.apply(first.at, &first.event);
    opened.journal.append(&[first], &[], &state).unwrap();
    // SQLite's own limit on pages gives the very error of a full disk.
    opened.journal.limit_pages_for_tests();
    let mut id = 2;
    let error = loop {
        let event = at(id, request(id));
        match opened.journal.append(&[event], &[], &state) {
            Ok(_) if id < 10_000 => id += 1,
            Ok(_) => panic!("the journal never filled up"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    let written = opened.journal.last_seq();
    assert_eq!(written, id - 1);
    drop(opened);
    assert_eq!(open(&path, Durability::Process, now()).unwrap().journal.last_seq(), written);
}

/// Readers have a way of their own into the journal and see what was committed.
#[test]
fn a_reader_sees_what_is_written_after_it_was_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let mut opened = open(&path, Durability::Process, Timestamp::default()).unwrap();
    let reader = opened.journal.reader().unwrap();
    assert!(reader.newest(10).unwrap().is_empty());
    let lease = LeaseId::new(7);
    let event = |event| Stamped { at: Timestamp::from_millis(5), event };
    let events = [event(Event::Renewed { lease }), event(Event::Requeued { lease })];
    let written = opened.journal.append(&events, &[], &opened.state).unwrap();
    assert_eq!(reader.after(0, 10).unwrap(), written);
    assert_eq!(reader.after(1, 10).unwrap(), written[1..]);
    assert_eq!(reader.of_lease(lease).unwrap(), written);
    assert_eq!(reader.newest(1).unwrap(), written[1..]);
}
