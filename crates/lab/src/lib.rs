//! A machine room in virtual time: the real broker, executor and driver over a simulated machine.
//!
//! Must never read a clock or take chance from anywhere but a seed: whatever happens here happens
//! again from the same seed.
//!
//! | part | what |
//! |---|---|
//! | [`Bench`] | a machine: the simulated driver behind the real one, processes, who made what |
//! | [`Room`] | a daemon on a bench: the actor's order of things, executions, effects, crashes |
//! | [`dst`] | random users and faults by seed, the laws checked after every act, shrinking |
//! | [`fleet`] | fleets of any size: requests, policies, queues, figures, without the daemon |
//! | [`replay`] | requests that were made somewhere, made again on any machine, with driver calls that take time |
//! | [`week`] | a week of people and services, beside what else one could do with the machine |

#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::match_wildcard_for_single_variants,
    reason = "a simulation reacts to what it knows of, and to the rest not at all"
)]

mod bench;
mod chance;
pub mod dst;
pub mod fleet;
mod play;
mod processes;
pub mod replay;
mod room;
pub mod week;

pub use bench::{Bench, BenchError, Made, Origin, Spot};
pub use chance::Chance;
pub use processes::Process;
pub use room::{NotDone, Room, Seen};
