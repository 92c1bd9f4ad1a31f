//! Leases that are over, read beside the writer.
//!
//! Must never write.

use model::{LeaseId, Timestamp};
use rusqlite::params;

use crate::journal::{Recorded, StoreError, storable};
use crate::reader::Reader;

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

impl Reader {
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
    pub fn ended_lease(&self, lease: LeaseId) -> Result<Option<Closed>, StoreError> {
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
}
