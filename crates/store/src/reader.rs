//! A second way into the journal, for those who only read.
//!
//! In write-ahead mode readers and the writer do not wait for each other. Must never write.

use std::path::{Path, PathBuf};

use model::LeaseId;
use rusqlite::{Connection, OpenFlags};

use crate::journal::{Journal, Recorded, StoreError, explain, listed};

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
    fn open(path: &Path) -> Result<Self, StoreError> {
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
        listed::after(&self.connection, &self.path, after, limit)
    }

    /// The newest `limit` events, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Unusable`].
    pub fn newest(&self, limit: u32) -> Result<Vec<Recorded>, StoreError> {
        listed::newest(&self.connection, &self.path, limit)
    }

    /// The events of one lease, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Unusable`].
    pub fn of_lease(&self, lease: LeaseId) -> Result<Vec<Recorded>, StoreError> {
        listed::of_lease(&self.connection, &self.path, lease)
    }
}
