//! Room for a request that finds none: the cheapest few instances that could lie elsewhere.
//!
//! Must never move what is held, nor ask for a move that leads nowhere: every instance that leaves
//! has its new place, and the moves come in an order in which each can be carried out.

mod candidate;
mod fleet;
mod order;
mod search;

pub use fleet::{Fleet, Spot, Tie};
pub use order::{Relocation, plan_relocation};
pub use search::Opening;

pub(crate) use fleet::{Gpu, class_of};
pub(crate) use order::{Move, in_order};
pub(crate) use search::Pending;
