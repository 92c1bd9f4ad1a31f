//! Writing and reading events.
//!
//! Must never interpret an event beyond what its columns need.

use std::path::PathBuf;

use broker::event::{Event, Stamped};
use broker::state::State;
use model::{LeaseId, Timestamp};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};

/// Events between two stored states: replaying so many takes about a tenth of a second, and a
/// state of a busy machine is some tens of kilobytes.
const STATE_EVERY: u64 = 10_000;

/// How long idempotency keys are kept, in milliseconds: a day, far longer than anybody repeats.
const KEYS_KEPT_MS: u64 = 86_400_000;

/// The version written beside each event.
pub(crate) const EVENT_VERSION: u32 = 4;

/// Why the journal could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk or the quota is full.
    #[error("no space left for the journal {}", path.display())]
    Full {
        /// Which journal.
        path: PathBuf,
    },
    /// The folder or file cannot be used.
    #[error("the journal {} cannot be {what}: {reason}", path.display())]
    Unusable {
        /// Which journal.
        path: PathBuf,
        /// Opened, read, written, …
        what: &'static str,
        /// Why, in the words of the system.
        reason: String,
    },
    /// A newer version of migd wrote it.
    #[error("the journal {} was written by a newer migd (format {found}, this one knows {known})", path.display())]
    TooNew {
        /// Which journal.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
}

/// An event as it stands in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its number.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub event: Event,
}

/// The journal of one daemon.
#[derive(Debug)]
pub struct Journal {
    pub(crate) connection: Connection,
    pub(crate) path: PathBuf,
    pub(crate) last_seq: u64,
    pub(crate) state_seq: u64,
}

impl Journal {
    /// The number of the newest event; 0 if there is none.
    pub const fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Writes events in one transaction, all or none, with an optional idempotency key that leads
    /// to a lease. `state` is the state after the events; it is stored now and then so that a
    /// restart replays little.
    ///
    /// # Errors
    /// [`StoreError::Full`] and [`StoreError::Unusable`]; then nothing was written.
    pub fn append(
        &mut self,
        events: &[Stamped],
        keys: &[(u32, String, LeaseId)],
        state: &State,
    ) -> Result<Vec<Recorded>, StoreError> {
        if events.is_empty() && keys.is_empty() {
            return Ok(Vec::new());
        }
        let first = self.last_seq + 1;
        let last = self.last_seq + events.len() as u64;
        let store_state = last - self.state_seq >= STATE_EVERY;
        let written =
            write(&mut self.connection, first, events, keys, store_state.then_some(state));
        written.map_err(|error| self.explain("written", error))?;
        self.last_seq = last;
        if store_state {
            self.state_seq = last;
        }
        let numbered = events.iter().zip(first..);
        Ok(numbered
            .map(|(stamped, seq)| Recorded { seq, at: stamped.at, event: stamped.event.clone() })
            .collect())
    }

    /// The lease an idempotency key led to, if it was used since `not_before`.
    ///
    /// # Errors
    /// [`StoreError::Unusable`].
    pub fn lease_of_key(
        &self,
        uid: u32,
        key: &str,
        not_before: Timestamp,
    ) -> Result<Option<LeaseId>, StoreError> {
        let query = "SELECT lease FROM keys WHERE uid = ?1 AND key = ?2 AND at >= ?3";
        let found = self.connection.prepare_cached(query).and_then(|mut statement| {
            let params = params![uid, key, not_before.as_millis()];
            statement.query_row(params, |row| row.get::<_, u64>(0)).optional()
        });
        Ok(found.map_err(|error| self.explain("read", error))?.map(LeaseId::new))
    }

    /// Reads a remembered value.
    ///
    /// # Errors
    /// [`StoreError::Unusable`].
    pub fn recall(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.connection
            .query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0))
            .optional()
            .map_err(|error| self.explain("read", error))
    }

    /// Remembers a value.
    ///
    /// # Errors
    /// [`StoreError::Full`] and [`StoreError::Unusable`].
    pub fn remember(&mut self, name: &str, value: &str) -> Result<(), StoreError> {
        let query = "INSERT INTO meta (name, value) VALUES (?1, ?2)
                     ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        let done = self.connection.execute(query, [name, value]);
        done.map(|_| ()).map_err(|error| self.explain("written", error))
    }

    /// Lets the journal grow no further, so that a test meets the error of a full disk.
    #[doc(hidden)]
    pub fn limit_pages_for_tests(&self) {
        let pages: rusqlite::Result<u32> =
            self.connection.query_row("PRAGMA page_count", [], |row| row.get(0));
        let _ = self.connection.pragma_update(None, "max_page_count", pages.unwrap_or(16));
    }

    pub(crate) fn explain(&self, what: &'static str, error: rusqlite::Error) -> StoreError {
        explain(&self.path, what, &error)
    }
}

pub(crate) fn explain(
    path: &std::path::Path,
    what: &'static str,
    error: &rusqlite::Error,
) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full { path: path.to_owned() },
        _ => StoreError::Unusable { path: path.to_owned(), what, reason: error.to_string() },
    }
}

pub(crate) fn recorded(row: &Row<'_>) -> rusqlite::Result<Recorded> {
    let body: String = row.get(2)?;
    let event = serde_json::from_str(&body).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, Box::new(error))
    })?;
    Ok(Recorded { seq: row.get(0)?, at: Timestamp::from_millis(row.get(1)?), event })
}

/// The nearest number that SQLite can hold: what callers compare with may be beyond.
pub(crate) fn storable(number: u64) -> u64 {
    number.min(i64::MAX as u64)
}

pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn write(
    connection: &mut Connection,
    first: u64,
    events: &[Stamped],
    keys: &[(u32, String, LeaseId)],
    state: Option<&State>,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    {
        let mut insert = transaction.prepare_cached(
            "INSERT INTO events (seq, at, version, lease, body) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for (stamped, seq) in events.iter().zip(first..) {
            let lease = stamped.event.lease().map(LeaseId::get);
            let body = to_json(&stamped.event)?;
            insert.execute(params![seq, stamped.at.as_millis(), EVENT_VERSION, lease, body])?;
        }
    }
    let at = events.last().map_or(0, |stamped| stamped.at.as_millis());
    for (uid, key, lease) in keys {
        let query = "INSERT OR REPLACE INTO keys (uid, key, lease, at) VALUES (?1, ?2, ?3, ?4)";
        transaction.prepare_cached(query)?.execute(params![uid, key, lease.get(), at])?;
    }
    if let Some(state) = state {
        let last = first + events.len() as u64 - 1;
        let query = "INSERT OR REPLACE INTO states (seq, body) VALUES (?1, ?2)";
        transaction.execute(query, params![last, to_json(state)?])?;
        transaction.execute("DELETE FROM states WHERE seq < ?1", [last])?;
        let forgotten = at.saturating_sub(KEYS_KEPT_MS);
        transaction.execute("DELETE FROM keys WHERE at < ?1", [forgotten])?;
    }
    transaction.commit()
}
