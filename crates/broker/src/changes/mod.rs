//! Changes of layout and mode that an administrator asks for, by hand or by file.
//!
//! A change is one plan per GPU; they run side by side, and all of them succeed or what was done is
//! taken back. While it is open its GPUs belong to nobody new. Must never touch what a lease has or a
//! process uses, nor end without saying what stands.

mod advance;
mod begin;
mod costs;
mod event;
mod fixed;
mod fold;
mod lend;
mod meant;
mod planned;
mod refusal;
mod settle;
mod spec;
mod undo;
mod words;

pub use costs::{Cost, Costs, Estimate, StepKind, estimate};
pub use event::{ChangeEvent, Turn};
pub use fixed::Fixed;
pub use planned::{Obstacle, Planned, planned, protected};
pub use refusal::ChangeRefusal;
pub use spec::{
    Change, ChangeEnd, ChangeSpec, GpuChange, GpuChangeSpec, Progress, Units, UnitsState,
};
pub use words::{shape_words, waits_for};

pub(crate) use advance::{
    advance, cancel, late, started, turns, units_run_as, units_started, units_stopped,
};
pub(crate) use begin::begin;
pub(crate) use costs::note_cost;
pub(crate) use fixed::{forget_instances, hand_back};
pub(crate) use fold::PlanEnd;
pub(crate) use lend::lent;
pub(crate) use settle::{of_plan, plan_ended, resume};
pub(crate) use words::left_alone_words;
