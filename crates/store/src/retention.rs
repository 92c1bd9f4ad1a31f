//! Forgetting what is old, and leaving well.
//!
//! Must never take an event that a start would replay, or that tells of a live lease.

use std::collections::BTreeSet;
use std::path::Path;

use broker::state::State;
use model::{LeaseId, Timestamp};
use rusqlite::{Connection, OpenFlags, params};

use crate::journal::{Journal, StoreError, explain, to_json};

/// Events that one call looks at: some milliseconds of work, so that nobody waits noticeably.
const AT_ONCE: u32 = 2000;

/// Where the next call begins.
const CURSOR: &str = "pruned_to";
/// Whether the last daemon ended well.
const ENDED: &str = "ended";

impl Journal {
    /// Forgets events from before a moment, but for those of live leases, a few thousand a call;
    /// whether there may be more. `state` is the state after the newest event: it is stored first,
    /// so that a start needs none of what goes.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was forgotten.
    pub fn prune(&mut self, before: Timestamp, state: &State) -> Result<bool, StoreError> {
        let (last_seq, state_seq) = (self.last_seq, self.state_seq);
        let pruned = prune(&mut self.connection, before, state, last_seq, state_seq);
        let (stored, more) = pruned.map_err(|error| self.explain("pruned", error))?;
        if stored {
            self.state_seq = last_seq;
        }
        Ok(more)
    }

    /// Notes that the daemon ends in an orderly way with nothing left to do: the next start need not check
    /// every page, and whoever looks meanwhile need not read what happened.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn end(&mut self) -> Result<(), StoreError> {
        self.remember(ENDED, "well")
    }
}

/// Whether the last daemon ended well; from now on it did not.
pub(crate) fn take_end(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(connection.execute("DELETE FROM meta WHERE name = ?1 AND value = 'well'", [ENDED])? > 0)
}

/// Whether the last daemon ended well, and none has begun since.
pub(crate) fn has_ended(connection: &Connection) -> rusqlite::Result<bool> {
    let query = "SELECT count(*) FROM meta WHERE name = ?1 AND value = 'well'";
    connection.query_row(query, [ENDED], |row| row.get::<_, u64>(0)).map(|count| count > 0)
}

/// Checks every page of a journal that may be in use; for a large one that takes seconds.
///
/// # Errors
/// What is wrong with it, in words; [`StoreError`] if it cannot be read.
pub fn check(path: &Path) -> Result<Result<(), String>, StoreError> {
    let failed = |error: rusqlite::Error| explain(path, "checked", &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    let verdict: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
    Ok(if verdict == "ok" { Ok(()) } else { Err(verdict) })
}

/// Whether the state was stored, and whether there may be more to forget.
fn prune(
    connection: &mut Connection,
    before: Timestamp,
    state: &State,
    last_seq: u64,
    state_seq: u64,
) -> rusqlite::Result<(bool, bool)> {
    let transaction = connection.transaction()?;
    let cursor: u64 = transaction.query_row(
        "SELECT coalesce(max(CAST(value AS INTEGER)), 0) FROM meta WHERE name = ?1",
        [CURSOR],
        |row| row.get(0),
    )?;
    let old = old(&transaction, cursor, last_seq, before)?;
    let Some((reached, _)) = old.last().copied() else { return Ok((false, false)) };
    let stored = reached >= state_seq;
    if stored {
        let query = "INSERT OR REPLACE INTO states (seq, body) VALUES (?1, ?2)";
        transaction.execute(query, params![last_seq, to_json(state)?])?;
        transaction.execute("DELETE FROM states WHERE seq < ?1", [last_seq])?;
    }
    let live: BTreeSet<u64> = state.leases.keys().map(|lease: &LeaseId| lease.get()).collect();
    let kept_before = kept(&transaction, cursor)?;
    {
        let mut delete = transaction.prepare_cached("DELETE FROM events WHERE seq = ?1")?;
        for (seq, lease) in kept_before.into_iter().chain(old.iter().copied()) {
            if lease.is_none_or(|lease| !live.contains(&lease)) {
                delete.execute([seq])?;
            }
        }
    }
    transaction.execute(
        "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)",
        params![CURSOR, reached.to_string()],
    )?;
    transaction.commit()?;
    Ok((stored, old.len() == AT_ONCE as usize))
}

type Old = Vec<(u64, Option<u64>)>;

/// The oldest events after the cursor that are from before a moment. The newest is never one of
/// them: a start takes the time from it.
fn old(
    connection: &Connection,
    cursor: u64,
    last_seq: u64,
    before: Timestamp,
) -> rusqlite::Result<Old> {
    let query = "SELECT seq, at, lease FROM events WHERE seq > ?1 AND seq < ?2
                 ORDER BY seq LIMIT ?3";
    let mut statement = connection.prepare_cached(query)?;
    let mut rows = statement.query(params![cursor, last_seq, AT_ONCE])?;
    let mut old = Vec::new();
    while let Some(row) = rows.next()? {
        let at: u64 = row.get(1)?;
        if at >= before.as_millis() {
            break;
        }
        old.push((row.get(0)?, row.get(2)?));
    }
    Ok(old)
}

/// What earlier calls left because its lease lived.
fn kept(connection: &Connection, cursor: u64) -> rusqlite::Result<Old> {
    let query = "SELECT seq, lease FROM events WHERE seq <= ?1 ORDER BY seq LIMIT ?2";
    let mut statement = connection.prepare_cached(query)?;
    let rows =
        statement.query_map(params![cursor, AT_ONCE], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}
