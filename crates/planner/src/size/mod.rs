//! Sizing of services: the fewest GPUs, and of those ways the fewest compute slices, that carry
//! given rates of requests within given latencies.
//!
//! Which point of a profile table each slice runs at is [`best`]'s answer; how many slices of which
//! size each service gets is a search whose lower bounds are whole numbers: a [`Deployment`] says
//! what is proven of it. Must never call a deployment the smallest that was not proven to be.

mod cover;
mod deploy;
mod follow;
mod points;
mod relax;
mod search;
mod simplex;

pub use deploy::{Deployment, EFFORT, Floor, Load, LoadSlice, Seat, SizeError, deploy};
pub use follow::{Follow, Served, follow};
pub use points::{Limits, Point, best, fastest};
