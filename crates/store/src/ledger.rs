//! The ledger beside the journal: who changed what, the answers of keys, the tokens.
//!
//! A database of its own, so that its writer and the journal's never wait for each other. Must
//! never hold the secret of a token, and must never be needed to know the state of leases.

use std::path::{Path, PathBuf};

use model::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};

use crate::journal::{StoreError, explain};
use crate::open::{Durability, Trouble, keep_private, prepare, set_aside, sort};

/// The format of the tables.
const FORMAT: u32 = 1;
/// The most audited calls that are kept, whatever their age: some tens of megabytes.
const AUDIT_MAX: u64 = 200_000;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS audit (
        id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, uid INTEGER, token TEXT,
        verb TEXT NOT NULL, object TEXT NOT NULL, door TEXT NOT NULL, address TEXT,
        status INTEGER NOT NULL, code TEXT, key TEXT
    ) STRICT;
    CREATE INDEX IF NOT EXISTS audit_by_time ON audit (at);
    CREATE TABLE IF NOT EXISTS answers (
        key TEXT PRIMARY KEY, digest BLOB NOT NULL, status INTEGER NOT NULL, location TEXT,
        kind TEXT NOT NULL, body BLOB NOT NULL, at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS answers_by_time ON answers (at);
    CREATE TABLE IF NOT EXISTS tokens (
        id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, digest BLOB NOT NULL,
        role TEXT NOT NULL, uid INTEGER NOT NULL, tenant TEXT NOT NULL, scopes TEXT NOT NULL,
        created_at INTEGER NOT NULL, created_by INTEGER NOT NULL, expires_at INTEGER NOT NULL,
        revoked_at INTEGER
    ) STRICT;
";

/// A call that was to change something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// When it was answered; when it was made if it was not.
    pub at: Timestamp,
    /// Who, if that was established.
    pub uid: Option<u32>,
    /// Name of the token that was shown.
    pub token: Option<String>,
    /// What was to be done (`DELETE /v1/leases/{lease}`).
    pub verb: String,
    /// To what (`/v1/leases/L7`).
    pub object: String,
    /// Through which door it came (`users`, `admin`, `tcp`).
    pub door: String,
    /// From which address, over the network.
    pub address: Option<String>,
    /// The HTTP status of the answer; 0 if there was none.
    pub status: u16,
    /// The code of the refusal.
    pub code: Option<String>,
    /// The idempotency key.
    pub key: Option<String>,
}

/// An answer that is given again to the same call with the same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The key, unique among callers.
    pub key: String,
    /// Digest of method, path and body.
    pub digest: Vec<u8>,
    /// The HTTP status.
    pub status: u16,
    /// Where the thing is that was made.
    pub location: Option<String>,
    /// Media type of the body.
    pub kind: String,
    /// The body.
    pub body: Vec<u8>,
    /// When it was given.
    pub at: Timestamp,
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Its number; zero until it is kept.
    pub id: u64,
    /// What it is called.
    pub name: String,
    /// SHA-256 of its secret.
    pub digest: Vec<u8>,
    /// Its role (`viewer`, `user`, `admin`).
    pub role: String,
    /// The user it acts as.
    pub uid: u32,
    /// The tenant its requests are charged to.
    pub tenant: String,
    /// What it may do (`leases:read`); all that its role may, if empty.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: u32,
    /// When it stops to count.
    pub expires_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// The ledger of one daemon.
#[derive(Debug)]
pub struct Ledger {
    connection: Connection,
    path: PathBuf,
}

impl Ledger {
    /// Opens the ledger at `path`, or begins one. A damaged one is renamed and logged; its tokens
    /// count no more, which keeps people out, not in. `now` is for its name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(path: &Path, durability: Durability, now: Timestamp) -> Result<Self, StoreError> {
        let unusable =
            |reason: String| StoreError::Unusable { path: path.to_owned(), what: "opened", reason };
        match Self::try_open(path, durability) {
            Ok(ledger) => Ok(ledger),
            Err(Trouble::Fatal(error)) => Err(error),
            Err(Trouble::Damaged(reason)) => {
                let aside = set_aside(path, now).map_err(|error| unusable(error.to_string()))?;
                tracing::error!(reason, aside = %aside.display(), "the ledger was damaged and is set aside; its tokens count no more");
                Self::try_open(path, durability).map_err(|trouble| match trouble {
                    Trouble::Fatal(error) => error,
                    Trouble::Damaged(reason) => unusable(reason),
                })
            }
        }
    }

    fn try_open(path: &Path, durability: Durability) -> Result<Self, Trouble> {
        let trouble = |error: rusqlite::Error| sort(path, "opened", &error);
        keep_private(path)?;
        let connection = Connection::open(path).map_err(trouble)?;
        prepare(&connection, durability).map_err(trouble)?;
        let found: u32 =
            connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(trouble)?;
        if found > FORMAT {
            let path = path.to_owned();
            return Err(Trouble::Fatal(StoreError::TooNew { path, found, known: FORMAT }));
        }
        connection.execute_batch(SCHEMA).map_err(trouble)?;
        connection.pragma_update(None, "user_version", FORMAT).map_err(trouble)?;
        Ok(Self { connection, path: path.to_owned() })
    }

    /// Writes audited calls and answers in one transaction.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was written.
    pub fn write(
        &mut self,
        audits: &[AuditRecord],
        answers: &[KeptAnswer],
    ) -> Result<(), StoreError> {
        let written = write(&mut self.connection, audits, answers);
        written.map_err(|error| explain(&self.path, "written", &error))
    }

    /// The answer that was kept for a key since `not_before`.
    ///
    /// # Errors
    /// [`StoreError::Unusable`].
    pub fn answer(
        &self,
        key: &str,
        not_before: Timestamp,
    ) -> Result<Option<KeptAnswer>, StoreError> {
        let query = "SELECT key, digest, status, location, kind, body, at FROM answers
                     WHERE key = ?1 AND at >= ?2";
        let found = self.connection.prepare_cached(query).and_then(|mut statement| {
            statement.query_row(params![key, not_before.as_millis()], answer).optional()
        });
        found.map_err(|error| explain(&self.path, "read", &error))
    }

    /// Audited calls, newest first, with their numbers: those before number `before`, at most
    /// `limit`.
    ///
    /// # Errors
    /// [`StoreError::Unusable`].
    pub fn audit(
        &self,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<(u64, AuditRecord)>, StoreError> {
        let query = "SELECT id, at, uid, token, verb, object, door, address, status, code, key
                     FROM audit WHERE id < ?1 ORDER BY id DESC LIMIT ?2";
        let before = before.unwrap_or(i64::MAX as u64);
        self.list(query, params![before, limit], audited)
    }

    /// Forgets audited calls from before `audit`, or beyond the most that are kept, and answers
    /// from before `answers`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget(&mut self, audit: Timestamp, answers: Timestamp) -> Result<(), StoreError> {
        let newest = "SELECT coalesce(max(id), 0) FROM audit";
        let work = |connection: &Connection| -> rusqlite::Result<()> {
            let newest: u64 = connection.query_row(newest, [], |row| row.get(0))?;
            let first = newest.saturating_sub(AUDIT_MAX);
            let query = "DELETE FROM audit WHERE at < ?1 OR id <= ?2";
            connection.execute(query, params![audit.as_millis(), first])?;
            let query = "DELETE FROM answers WHERE at < ?1";
            connection.execute(query, params![answers.as_millis()])?;
            Ok(())
        };
        work(&self.connection).map_err(|error| explain(&self.path, "written", &error))
    }

    /// Keeps a token; its number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn keep_token(&mut self, token: &TokenRecord) -> Result<u64, StoreError> {
        let query = "INSERT INTO tokens (name, digest, role, uid, tenant, scopes, created_at,
                     created_by, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        let done = self.connection.execute(
            query,
            params![
                token.name,
                token.digest,
                token.role,
                token.uid,
                token.tenant,
                token.scopes.join(","),
                token.created_at.as_millis(),
                token.created_by,
                token.expires_at.as_millis(),
            ],
        );
        done.map_err(|error| explain(&self.path, "written", &error))?;
        Ok(self.connection.last_insert_rowid().unsigned_abs())
    }

    /// Revokes a token. One that is revoked already stays as it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn revoke_token(&mut self, id: u64, at: Timestamp) -> Result<(), StoreError> {
        let query = "UPDATE tokens SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL";
        let done = self.connection.execute(query, params![id, at.as_millis()]);
        done.map(|_| ()).map_err(|error| explain(&self.path, "written", &error))
    }

    /// All tokens, revoked and expired ones too, by number.
    ///
    /// # Errors
    /// [`StoreError::Unusable`].
    pub fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        let query = "SELECT id, name, digest, role, uid, tenant, scopes, created_at, created_by,
                     expires_at, revoked_at FROM tokens ORDER BY id";
        self.list(query, [], token)
    }

    fn list<T>(
        &self,
        query: &str,
        params: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let explain = |error| explain(&self.path, "read", &error);
        let mut statement = self.connection.prepare_cached(query).map_err(explain)?;
        let rows = statement.query_map(params, read).map_err(explain)?;
        rows.collect::<Result<Vec<_>, _>>().map_err(explain)
    }
}

fn write(
    connection: &mut Connection,
    audits: &[AuditRecord],
    answers: &[KeptAnswer],
) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    {
        let mut insert = transaction.prepare_cached(
            "INSERT INTO audit (at, uid, token, verb, object, door, address, status, code, key)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?;
        for record in audits {
            insert.execute(params![
                record.at.as_millis(),
                record.uid,
                record.token,
                record.verb,
                record.object,
                record.door,
                record.address,
                record.status,
                record.code,
                record.key,
            ])?;
        }
        let mut insert = transaction.prepare_cached(
            "INSERT OR REPLACE INTO answers (key, digest, status, location, kind, body, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        for kept in answers {
            insert.execute(params![
                kept.key,
                kept.digest,
                kept.status,
                kept.location,
                kept.kind,
                kept.body,
                kept.at.as_millis(),
            ])?;
        }
    }
    transaction.commit()
}

fn answer(row: &Row<'_>) -> rusqlite::Result<KeptAnswer> {
    Ok(KeptAnswer {
        key: row.get(0)?,
        digest: row.get(1)?,
        status: row.get(2)?,
        location: row.get(3)?,
        kind: row.get(4)?,
        body: row.get(5)?,
        at: Timestamp::from_millis(row.get(6)?),
    })
}

fn audited(row: &Row<'_>) -> rusqlite::Result<(u64, AuditRecord)> {
    let record = AuditRecord {
        at: Timestamp::from_millis(row.get(1)?),
        uid: row.get(2)?,
        token: row.get(3)?,
        verb: row.get(4)?,
        object: row.get(5)?,
        door: row.get(6)?,
        address: row.get(7)?,
        status: row.get(8)?,
        code: row.get(9)?,
        key: row.get(10)?,
    };
    Ok((row.get(0)?, record))
}

fn token(row: &Row<'_>) -> rusqlite::Result<TokenRecord> {
    let scopes: String = row.get(6)?;
    let revoked: Option<u64> = row.get(10)?;
    Ok(TokenRecord {
        id: row.get(0)?,
        name: row.get(1)?,
        digest: row.get(2)?,
        role: row.get(3)?,
        uid: row.get(4)?,
        tenant: row.get(5)?,
        scopes: scopes.split(',').filter(|s| !s.is_empty()).map(str::to_owned).collect(),
        created_at: Timestamp::from_millis(row.get(7)?),
        created_by: row.get(8)?,
        expires_at: Timestamp::from_millis(row.get(9)?),
        revoked_at: revoked.map(Timestamp::from_millis),
    })
}
