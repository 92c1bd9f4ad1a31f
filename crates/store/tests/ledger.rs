//! The ledger: audited calls, answers of keys, tokens.

#![allow(clippy::unwrap_used, reason = "a test ends where a step fails")]

use std::fs;

use model::Timestamp;
use store::{AuditRecord, Durability, KeptAnswer, Ledger, TokenRecord};

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn call(millis: u64) -> AuditRecord {
    AuditRecord {
        at: at(millis),
        uid: Some(1000),
        token: None,
        verb: "DELETE /v1/leases/{lease}".into(),
        object: "/v1/leases/L7".into(),
        door: "users".into(),
        address: None,
        status: 403,
        code: Some("E-NOT-YOURS".into()),
        key: None,
    }
}

fn answer(key: &str, millis: u64) -> KeptAnswer {
    KeptAnswer {
        key: key.into(),
        digest: vec![7; 32],
        status: 201,
        location: Some("/v1/leases/L7".into()),
        kind: "application/json".into(),
        body: b"{}".to_vec(),
        at: at(millis),
    }
}

fn token(name: &str) -> TokenRecord {
    TokenRecord {
        id: 0,
        name: name.into(),
        digest: vec![1; 32],
        role: "user".into(),
        uid: 1000,
        tenant: "vision".into(),
        scopes: vec!["leases:read".into(), "leases:write".into()],
        created_at: at(5),
        created_by: 0,
        expires_at: at(500),
        revoked_at: None,
    }
}

#[test]
fn what_was_written_is_there_after_reopening_newest_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut ledger = Ledger::open(&path, Durability::Process, at(0)).unwrap();
    ledger.write(&[call(1), call(2)], &[answer("1000/a", 2)]).unwrap();
    ledger.write(&[call(3)], &[]).unwrap();
    drop(ledger);
    let ledger = Ledger::open(&path, Durability::Process, at(0)).unwrap();
    let all = ledger.audit(None, 10).unwrap();
    assert_eq!(all.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [3, 2, 1]);
    assert_eq!(all[2].1, call(1));
    let older = ledger.audit(Some(3), 1).unwrap();
    assert_eq!(older.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [2]);
    assert_eq!(ledger.answer("1000/a", at(2)).unwrap(), Some(answer("1000/a", 2)));
    assert_eq!(ledger.answer("1000/a", at(3)).unwrap(), None);
    assert_eq!(ledger.answer("1000/b", at(0)).unwrap(), None);
}

#[test]
fn old_calls_and_answers_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut ledger = Ledger::open(&path, Durability::Process, at(0)).unwrap();
    ledger.write(&[call(1), call(20)], &[answer("a", 1), answer("b", 20)]).unwrap();
    ledger.forget(at(10), at(15)).unwrap();
    assert_eq!(ledger.audit(None, 10).unwrap().len(), 1);
    assert_eq!(ledger.answer("a", at(0)).unwrap(), None);
    assert!(ledger.answer("b", at(0)).unwrap().is_some());
    // Numbers are never given twice, or a reader's cursor would lead elsewhere.
    ledger.forget(at(100), at(100)).unwrap();
    ledger.write(&[call(200)], &[]).unwrap();
    assert_eq!(ledger.audit(None, 10).unwrap()[0].0, 3);
}

#[test]
fn tokens_are_kept_and_revoked_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut ledger = Ledger::open(&path, Durability::Process, at(0)).unwrap();
    let first = ledger.keep_token(&token("ci")).unwrap();
    let second = ledger.keep_token(&token("ci")).unwrap();
    assert_ne!(first, second);
    ledger.revoke_token(first, at(9)).unwrap();
    ledger.revoke_token(first, at(12)).unwrap();
    let kept = ledger.tokens().unwrap();
    let revoked = TokenRecord { id: first, revoked_at: Some(at(9)), ..token("ci") };
    assert_eq!(kept, [revoked, TokenRecord { id: second, ..token("ci") }]);
}

#[test]
fn it_is_private_and_a_damaged_one_is_set_aside() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut ledger = Ledger::open(&path, Durability::Process, at(0)).unwrap();
    ledger.keep_token(&token("ci")).unwrap();
    drop(ledger);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(&path, "this is no database, and never was one; long enough to be looked at")
        .unwrap();
    let ledger = Ledger::open(&path, Durability::Process, at(3000)).unwrap();
    assert!(ledger.tokens().unwrap().is_empty());
    let names: Vec<String> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.iter().any(|name| name == "ledger.db.damaged-3"), "{names:?}");
}
