//! Requests, leases and their order: `decide` turns commands into events, `apply` folds them.
//!
//! Pure: time, the machine's snapshot and the policy are arguments. Must never call a driver, read
//! a clock or choose anything while replaying: every choice is made once in [`decide`], written
//! into an [`Event`], and only folded by [`State::apply`].

#![no_std]

extern crate alloc;

mod ahead;
mod apart;
pub mod booking;
mod bookings;
pub mod changes;
mod claim;
pub mod command;
mod cordon;
mod decide;
mod endings;
mod ends;
mod estimate;
pub mod event;
mod fold;
mod grant;
mod holders;
mod keep;
pub mod lifecycle;
mod moves;
mod order;
pub mod policy;
mod preempt;
mod quarantine;
mod quota;
pub mod receipt;
mod reclaim;
mod reconcile;
pub mod request;
mod reserve;
mod rooms;
mod serve;
pub mod state;
pub mod terms;
pub mod usage;
mod whole;
mod why;

pub use ahead::forecast;
pub use booking::{Booking, BookingEnd, BookingSpec};
pub use changes::{
    Change, ChangeEnd, ChangeEvent, ChangeRefusal, ChangeSpec, Cost, Costs, Estimate, Fixed,
    GpuChange, GpuChangeSpec, Obstacle, Planned, Progress, StepKind, Turn, Units, UnitsState,
};
pub use command::{Command, Decision, Effect, Emptiness, Peer, Refusal, Reply, World};
pub use cordon::leases_on;
pub use decide::{decide, resume};
pub use event::{EndReason, Event, GrantedSlice, SliceTarget, StepOutcome};
pub use lifecycle::{Activity, HeldUp, Metered, Notice, NoticeReason, Receipt, StartEstimate};
pub use order::queue;
pub use policy::{Amount, Policy, TenantRules};
pub use reclaim::idle_limit;
pub use request::{GpuSelector, Holder, Patience, RequestSpec, Wanted};
pub use reserve::room_is_due_at;
pub use rooms::{Use, explain, rooms, usable, uses};
pub use state::{
    Condition, Cordon, Lease, OpenPlan, Phase, Reservation, SliceKey, SliceRecord, SliceUse, Stage,
    State,
};
pub use terms::{Arrangement, IdleRule, NoticeSignal, Priority, Terms};
pub use usage::{Hour, Usage};
pub use why::{Blocking, Why, why};
