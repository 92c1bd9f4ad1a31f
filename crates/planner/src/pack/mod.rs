//! Exact packing: how many GPUs of one geometry a multiset of instances needs, whether it fits a
//! number of GPUs, and how it lies there.
//!
//! Must never answer by a heuristic: every yes and every no is exact. docs/packing.md says why.
//!
//! A GPU can be filled in a few dozen maximal ways, the [`Patterns`]. What fits M GPUs obeys a
//! handful of linear [`Bound`]s, found from the patterns; where the patterns have the integer
//! decomposition property, which [`Packer::new`] proves, the bounds are also sufficient, and every
//! question is answered by a few multiplications at any number of GPUs.

mod bounds;
mod demand;
mod packer;
mod patterns;
mod peel;
mod proof;

pub use bounds::Bound;
pub use demand::Demand;
pub use packer::Packer;
pub use patterns::{Pattern, Patterns};
