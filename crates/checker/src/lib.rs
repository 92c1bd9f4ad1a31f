//! Proves a plan against a snapshot, sharing nothing with the planner.
//!
//! The plan is executed symbolically, step by step, under the rules of the driver; what comes out
//! is the layout that must be found by reading back. Must never trust that a plan was made well,
//! and never repair one.

#![no_std]

extern crate alloc;

mod board;
pub mod proof;
pub mod protect;
pub mod violation;

mod check;

pub use check::{check, check_whole};
pub use proof::{Difference, ExpectedCompute, ExpectedGpu, ExpectedInstance, Proof};
pub use protect::{GpuProtection, InstanceProtection, Protected};
pub use violation::{Breach, Violation};
