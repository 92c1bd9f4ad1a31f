//! Leases that are over, read beside the writer.
//!
//! Must never write, nor make whoever writes the journal wait: it has a connection of its own.

use std::path::{Path, PathBuf};

use model::{LeaseId, Timestamp};
use rusqlite::{Connection, OpenFlags, params};

use crate::journal::{Recorded, StoreError, explain, recorded, storable};

/// The beginning of the body of an event that ends a lease; there is an index of these (see the
/// steps of `migrate`).
pub(crate) const ENDED: &str = r#"{"kind":"ended""#;

/// A lease that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Its end.
    pub end: Recorded,
    /// Its request, predictions, grants and displacements, oldest first.
    pub life: Vec<Recorded>,
}

/// A reader of the journal.
#[derive(Debug)]
pub struct Past {
    connection: Connection,
    path: PathBuf,
}

impl Past {
    /// Opens a journal for reading.
    ///
    /// # Errors
    /// [`StoreError::Unusable`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)
            .and_then(|connection| {
                connection.busy_timeout(std::time::Duration::from_secs(2))?;
                Ok(connection)
            })
            .map_err(|error| explain(path, "opened", &error))?;
        Ok(Self { connection, path: path.to_owned() })
    }

    /// Leases that ended at `since` or later, by an event with a number below `before`; newest
    /// first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Unusable`].
    pub fn ended(
        &self,
        before: u64,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<Closed>, StoreError> {
        let query = format!(
            "SELECT seq, at, body FROM events WHERE substr(body, 1, {}) = '{ENDED}'
             AND seq < ?1 AND at >= ?2 ORDER BY seq DESC LIMIT ?3",
            ENDED.len()
        );
        let (before, since) = (storable(before), storable(since.as_millis()));
        self.closed(&query, params![before, since, limit])
    }

    /// The lease of that number, if it is over.
    ///
    /// # Errors
    /// [`StoreError::Unusable`].
    pub fn lease(&self, lease: LeaseId) -> Result<Option<Closed>, StoreError> {
        let query = format!(
            "SELECT seq, at, body FROM events WHERE lease = ?1
             AND substr(body, 1, {}) = '{ENDED}' ORDER BY seq LIMIT 1",
            ENDED.len()
        );
        Ok(self.closed(&query, params![storable(lease.get())])?.pop())
    }

    fn closed(
        &self,
        query: &str,
        params: impl rusqlite::Params,
    ) -> Result<Vec<Closed>, StoreError> {
        let ends = self.list(query, params)?;
        ends.into_iter()
            .map(|end| {
                let life = match end.event.lease() {
                    Some(lease) => self.life(lease, end.seq)?,
                    None => Vec::new(),
                };
                Ok(Closed { end, life })
            })
            .collect()
    }

    /// What happened to a lease before its end, without what was measured meanwhile.
    fn life(&self, lease: LeaseId, end: u64) -> Result<Vec<Recorded>, StoreError> {
        let query = "SELECT seq, at, body FROM events WHERE lease = ?1 AND seq < ?2
                     AND (body LIKE '{\"kind\":\"requested\"%' OR body LIKE '{\"kind\":\"granted%'
                          OR body LIKE '{\"kind\":\"predicted\"%'
                          OR body LIKE '{\"kind\":\"displaced\"%')
                     ORDER BY seq";
        self.list(query, params![storable(lease.get()), end])
    }

    fn list(
        &self,
        query: &str,
        params: impl rusqlite::Params,
    ) -> Result<Vec<Recorded>, StoreError> {
        let unreadable = |error| explain(&self.path, "read", &error);
        let mut statement = self.connection.prepare_cached(query).map_err(unreadable)?;
        let rows = statement.query_map(params, recorded).map_err(unreadable)?;
        rows.collect::<Result<Vec<_>, _>>().map_err(unreadable)
    }
}
