//! The event journal, and the ledger beside it: SQLite, one writer each.
//!
//! What [`Journal::append`] returned is in the write-ahead log and survives `kill -9` of the
//! process at any instruction. Must never change an event that was written, and must never throw
//! a journal away: one that cannot be read is set aside under a name that says so.

mod journal;
mod ledger;
mod migrate;
mod open;
mod past;
mod reader;
mod retention;
mod under_way;

pub use journal::{Journal, Recorded, StoreError};
pub use ledger::{AuditRecord, KeptAnswer, Ledger, TokenRecord};
pub use open::{Durability, Opened, SetAside, open};
pub use past::Closed;
pub use reader::Reader;
pub use retention::check;
pub use under_way::{Slot, UnderWay};
