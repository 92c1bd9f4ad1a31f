//! The format of the journal's tables, and the way from each earlier one to this.
//!
//! Must never change a journal without a copy of how it was, and never a step that was released:
//! a new format is a new step.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};

use crate::journal::StoreError;
use crate::open::{Trouble, sort};

/// The step that leads to each format, from 1 on.
const STEPS: [&str; 3] = [
    // 1: events, the newest stored state, idempotency keys.
    "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
     CREATE TABLE IF NOT EXISTS events (
         seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, version INTEGER NOT NULL,
         lease INTEGER, body TEXT NOT NULL
     ) STRICT;
     CREATE INDEX IF NOT EXISTS events_of_lease ON events (lease) WHERE lease IS NOT NULL;
     CREATE TABLE IF NOT EXISTS states (seq INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT;
     CREATE TABLE IF NOT EXISTS keys (
         uid INTEGER NOT NULL, key TEXT NOT NULL, lease INTEGER NOT NULL, at INTEGER NOT NULL,
         PRIMARY KEY (uid, key)
     ) STRICT, WITHOUT ROWID;",
    // 2: the newest version of an event is noted, so that a start need not look at every event.
    "INSERT OR REPLACE INTO meta (name, value)
         SELECT 'newest_event', CAST(coalesce(max(version), 0) AS TEXT) FROM events;",
    // 3: ends of leases are found without reading every event.
    "CREATE INDEX IF NOT EXISTS events_ended ON events (seq)
         WHERE substr(body, 1, 15) = '{\"kind\":\"ended\"';",
];

/// The format of this version. A journal with a higher one is refused, with a lower one migrated.
pub(crate) const FORMAT: u32 = STEPS.len() as u32;

/// Brings the tables to [`FORMAT`]; each step is one transaction.
pub(crate) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), Trouble> {
    let trouble = |error: rusqlite::Error| sort(path, "migrated", &error);
    let found: u32 =
        connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(trouble)?;
    if found > FORMAT {
        let path = path.to_owned();
        return Err(Trouble::Fatal(StoreError::TooNew { path, found, known: FORMAT }));
    }
    if found == FORMAT {
        return Ok(());
    }
    if found > 0 {
        let copy = copy(connection, path, found)?;
        tracing::info!(
            "the journal is brought from format {found} to {FORMAT}; as it was: {}",
            copy.display()
        );
    }
    for (step, format) in STEPS.iter().zip(1..).skip(found as usize) {
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(trouble)?;
        transaction.execute_batch(step).map_err(trouble)?;
        transaction.pragma_update(None, "user_version", format).map_err(trouble)?;
        transaction.commit().map_err(trouble)?;
    }
    Ok(())
}

/// Writes the journal as it is beside it, for whoever must go back to an earlier version.
fn copy(connection: &Connection, path: &Path, format: u32) -> Result<PathBuf, Trouble> {
    let named = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".format-{format}{suffix}"));
        PathBuf::from(name)
    };
    let (fresh, target) = (named(".new"), named(""));
    let unusable = |error: std::io::Error| {
        let reason = format!("its copy {}: {error}", fresh.display());
        let path = path.to_owned();
        Trouble::Fatal(StoreError::Unusable { path, what: "copied before its migration", reason })
    };
    let _ = fs::remove_file(&fresh);
    // SQLite fills an empty file and leaves its mode.
    let mut options = fs::OpenOptions::new();
    options.create_new(true).write(true).mode(0o600).open(&fresh).map_err(unusable)?;
    connection.execute("VACUUM INTO ?1", [fresh.to_string_lossy()]).map_err(|error| {
        let _ = fs::remove_file(&fresh);
        sort(path, "copied before its migration", &error)
    })?;
    fs::File::open(&fresh).and_then(|file| file.sync_all()).map_err(unusable)?;
    fs::rename(&fresh, &target).map_err(unusable)?;
    Ok(target)
}
