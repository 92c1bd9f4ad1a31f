//! The configuration file: types, reading, precedence, complaints that point at a line.
//!
//! Must never decide anything: it says what was written, where, and what that means.

mod calendar;
mod document;
mod fault;
mod general;
mod keys;
mod read;
mod rules;
mod section;
mod sources;
mod value;

pub use calendar::{Clock, Days, Hours, HoursError};
pub use document::{default_file, reference};
pub use fault::{Fault, Faults, Place};
pub use general::{
    Access, Admins, Cdi, Config, DaemonKeys, Durability, Enforce, Journal, Limits, LogLevel, Tcp,
};
pub use rules::{
    FairShare, Placement, Preemption, Queue, Reclaim, Repartition, Requests, Tenant, Window,
};
pub use sources::{Change, Effective, Entry, Override, Sockets, Sources, default_path};
