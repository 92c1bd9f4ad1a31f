//! One actor, the executor, the observer and HTTP on the unix socket.
//!
//! The edge around the broker: it does I/O and decides nothing. What is to be done comes from
//! [`broker::decide`] as effects, after its events are committed.

mod access;
mod actor;
mod busy;
mod changes;
mod executor;
mod fuzzed;
mod handover;
mod hands;
mod holders;
mod ledger;
mod log;
mod machine;
mod members;
mod meter;
mod modes;
mod notify;
mod observer;
mod options;
mod past;
mod planning;
mod proof;
mod published;
mod readers;
mod recent;
mod requests;
mod retention;
mod run;
mod searcher;
mod sentence;
mod serve;
mod settings;
mod simulated;
mod steps;
mod unfinished;
mod views;
mod waiting;
mod watch;
mod windows;

pub use access::{BrokenGlass, GlassError, look as look_at_access, stock_without_daemon};
pub use busy::{BusyError, BusyPlace, busy_passthrough, busy_without_daemon};
#[doc(hidden)]
pub use fuzzed::bears;
pub use machine::{open_driver, view_without_daemon};
pub use options::{DaemonError, GpuSource, Options};
pub use run::run;
pub use serve::openapi;
pub use settings::policy;
pub use unfinished::{Unfinished, unfinished};
