//! What the disk and SQLite can do: transactions of the size of a lease's, one after the other.
//!
//! Must never be faster than a daemon could be: same journal mode, same table, same sizes.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use crate::Failed;

/// What a grant and a release write, on average, per transaction if none were shared: six events
/// and a key in four commits.
const EVENTS: u64 = 2;
const BODY: usize = 300;

/// Transactions a second.
pub(crate) fn per_second(folder: &Path, span: Duration) -> Result<f64, Failed> {
    let mut connection = Connection::open(folder.join("raw.db"))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.execute_batch(
        "CREATE TABLE events (seq INTEGER PRIMARY KEY, at INTEGER NOT NULL,
             version INTEGER NOT NULL, lease INTEGER, body TEXT NOT NULL) STRICT;
         CREATE INDEX events_of_lease ON events (lease) WHERE lease IS NOT NULL;",
    )?;
    let body = "x".repeat(BODY);
    let (begun, mut done, mut seq) = (Instant::now(), 0_u64, 0);
    while begun.elapsed() < span {
        let transaction = connection.transaction()?;
        for _ in 0..EVENTS {
            seq += 1;
            let mut insert =
                transaction.prepare_cached("INSERT INTO events VALUES (?1, ?2, 1, ?3, ?4)")?;
            insert.execute(params![seq, seq, seq / 6, body])?;
        }
        transaction.commit()?;
        done += 1;
    }
    Ok(done as f64 / begun.elapsed().as_secs_f64())
}
