//! Requests, leases and their order: `decide` turns commands into events, `apply` folds them.
//!
//! Pure: time, the machine's snapshot and the policy are arguments. Must never call a driver, read
//! a clock or choose anything while replaying: every choice is made once in [`decide`], written
//! into an [`Event`], and only folded by [`State::apply`].

#![no_std]

extern crate alloc;

pub mod command;
mod decide;
pub mod event;
mod grant;
mod reconcile;
pub mod request;
mod rooms;
pub mod state;

pub use command::{Command, Decision, Effect, Emptiness, Peer, Refusal, Reply, World};
pub use decide::{decide, resume};
pub use event::{EndReason, Event, GrantedSlice, SliceTarget, StepOutcome};
pub use request::{GpuSelector, Holder, Patience, Policy, RequestSpec, Wanted};
pub use rooms::{Use, explain, rooms, usable, uses};
pub use state::{Lease, OpenPlan, Phase, SliceKey, SliceRecord, SliceUse, Stage, State};
