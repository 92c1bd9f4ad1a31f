//! A second way into the journal, for those who only read.
//!
//! In write-ahead mode readers and the writer do not wait for each other. Must never write.

use std::path::{Path, PathBuf};

use broker::state::State;
use model::LeaseId;
use rusqlite::{Connection, OpenFlags, params};

use crate::journal::{Journal, Recorded, StoreError, explain, recorded, storable};
use crate::open::stored;
use crate::retention::has_ended;

/// A reader of one journal; what was committed when it asks is what it sees.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    path: PathBuf,
}

impl Journal {
    /// Opens a reader of this journal.
    ///
    /// # Errors
    /// [`StoreError::Unusable`].
    pub fn reader(&self) -> Result<Reader, StoreError> {
        Reader::open(&self.path)
    }
}

impl Reader {
    /// Opens a journal for reading, on a connection of its own.
    ///
    /// # Errors
    /// [`StoreError::Unusable`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(path, flags).and_then(|connection| {
            connection.busy_timeout(std::time::Duration::from_secs(2))?;
            Ok(connection)
        });
        let connection = opened.map_err(|error| explain(path, "opened for reading", &error))?;
        Ok(Self { connection, path: path.to_owned() })
    }

    /// Events with a number above `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Unusable`].
    pub fn after(&self, after: u64, limit: u32) -> Result<Vec<Recorded>, StoreError> {
        let query = "SELECT seq, at, body FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2";
        self.list(query, params![storable(after), limit])
    }

    /// The state that all its events lead to.
    ///
    /// # Errors
    /// [`StoreError::Unusable`], also for what a newer migd wrote.
    pub fn state(&self) -> Result<State, StoreError> {
        let explained = |error| explain(&self.path, "read", &error);
        let unreadable = |error: serde_json::Error| StoreError::Unusable {
            path: self.path.clone(),
            what: "read",
            reason: error.to_string(),
        };
        let (from, mut state) = match stored(&self.connection).map_err(explained)? {
            Some((seq, body)) => (seq, serde_json::from_str(&body).map_err(unreadable)?),
            None => (0, State::default()),
        };
        for recorded in self.after(from, u32::MAX)? {
            state.apply(recorded.at, &recorded.event);
        }
        Ok(state)
    }

    /// Whether the last daemon ended well, with nothing left to do.
    ///
    /// # Errors
    /// [`StoreError::Unusable`].
    pub fn ended_well(&self) -> Result<bool, StoreError> {
        has_ended(&self.connection).map_err(|error| explain(&self.path, "read", &error))
    }

    /// The newest `limit` events, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Unusable`].
    pub fn newest(&self, limit: u32) -> Result<Vec<Recorded>, StoreError> {
        let query = "SELECT seq, at, body FROM events ORDER BY seq DESC LIMIT ?1";
        let mut events = self.list(query, params![limit])?;
        events.reverse();
        Ok(events)
    }

    /// The events of one lease, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Unusable`].
    pub fn of_lease(&self, lease: LeaseId) -> Result<Vec<Recorded>, StoreError> {
        let query = "SELECT seq, at, body FROM events WHERE lease = ?1 ORDER BY seq";
        self.list(query, params![storable(lease.get())])
    }

    pub(crate) fn list(
        &self,
        query: &str,
        params: impl rusqlite::Params,
    ) -> Result<Vec<Recorded>, StoreError> {
        let explain = |error| explain(&self.path, "read", &error);
        let mut statement = self.connection.prepare_cached(query).map_err(explain)?;
        let rows = statement.query_map(params, recorded).map_err(explain)?;
        rows.collect::<Result<Vec<_>, _>>().map_err(explain)
    }
}
