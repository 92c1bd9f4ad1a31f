//! Turns snapshots and desires into plans, and chooses where each slice goes.
//!
//! Pure: must never read a clock, a file or a GPU, must never touch an occupant that is
//! [`Hold::Held`], and must never leave a placement open for the driver to choose.
//!
//! The same inputs give the same answer on every machine: ties are broken by rule, and the few
//! transcendental functions come from `libm`, which is software on every target.

#![no_std]

extern crate alloc;

mod arrange;
mod baselines;
pub mod census;
pub mod choose;
pub mod compact;
pub mod defrag;
mod effects;
mod flp;
pub mod forecast;
mod lasting;
pub mod layout;
pub mod open;
pub mod pack;
pub mod policy;
mod rank;
pub mod room;
mod scar;
pub mod size;
pub mod steps;
pub mod tables;
pub mod verdict;

pub use arrange::Arrangement;
pub use census::{Census, CensusChoice};
pub use choose::{Choice, Want};
pub use compact::Compaction;
pub use defrag::{NoRoom, Rearrangement};
pub use forecast::Forecast;
pub use lasting::Lasting;
pub use layout::{
    Best, Calls, ComputeReport, Fate, GpuReport, Held, Impossible, InstanceReport, Missing,
    ModeReport, Obstacle, Part, Reset, Rules, Why,
};
pub use open::{Fleet, Opening, Relocation, Spot, Tie, plan_relocation};
pub use policy::Policy;
pub use room::{Hold, Occupant, Planner, Room};
pub use steps::{PlanError, plan_grant, plan_mode, plan_retire, plan_whole};
pub use tables::{ClassId, GeometryTables, PartId};
pub use verdict::{Blocker, Verdict};
