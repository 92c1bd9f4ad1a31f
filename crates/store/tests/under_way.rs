//! The calls under way: what a daemon that was killed leaves behind.

#![allow(clippy::unwrap_used, reason = "a test ends where a step fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use model::Timestamp;
use store::{AuditRecord, UnderWay};

fn call(object: &str) -> AuditRecord {
    AuditRecord {
        at: Timestamp::from_millis(7),
        uid: Some(1000),
        token: None,
        verb: "POST /v1/leases".into(),
        object: object.into(),
        door: "users".into(),
        address: None,
        status: 0,
        code: None,
        key: None,
    }
}

#[test]
fn what_was_begun_and_not_ended_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls");
    let (mut calls, found) = UnderWay::open(&path).unwrap();
    assert!(found.is_empty());
    let first = calls.begin(&call("first")).unwrap();
    let second = calls.begin(&call("second")).unwrap();
    calls.end(first).unwrap();
    // Takes the place of the first, and is shorter than it.
    let third = calls.begin(&call("3")).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    drop(calls);
    let (mut calls, found) = UnderWay::open(&path).unwrap();
    assert_eq!(found, [call("3"), call("second")]);
    calls.forget().unwrap();
    let _ = (second, third);
    let fourth = calls.begin(&call("fourth")).unwrap();
    drop(calls);
    let (mut calls, found) = UnderWay::open(&path).unwrap();
    assert_eq!(found, [call("fourth")]);
    calls.end(fourth).unwrap();
    assert_eq!(UnderWay::open(&path).unwrap().1, []);
}

#[test]
fn a_file_of_anything_else_holds_no_calls() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls");
    for bytes in [&b"\xff\xff\xff\xff"[..], b"\x05\0\0\0{\"at\"", b"ab", &[0x20; 9000]] {
        fs::write(&path, bytes).unwrap();
        assert_eq!(UnderWay::open(&path).unwrap().1, []);
    }
}

#[test]
fn a_call_that_is_longer_than_its_slot_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (mut calls, _) = UnderWay::open(&folder.path().join("calls")).unwrap();
    assert!(calls.begin(&call(&"x".repeat(5000))).is_err());
}
