//! A fleet in virtual time: thousands of GPUs, the real placement, and what became of every request.
//!
//! Must never read a clock, a file or chance that is not from a seed: the rim reads the files and
//! lends a stopwatch, and everything else is the same on every machine.
//!
//! What is real here: [`planner::Census`] and [`planner::Policy`] choose every placement, and the
//! tables of each board's geometry decide what is legal. What is modelled: requests and their
//! lengths, the order of the queue (the formula is the broker's, see [`Discipline`]), and a machine
//! that makes slices in no time. A small machine with the whole daemon around it is
//! [`Room`](crate::Room)'s.
//!
//! | part | what |
//! |---|---|
//! | [`Site`] | boards and how many GPUs of each |
//! | [`Workload`] | requests: when, how long, what, whose; from [`mixes`] or [`read`] |
//! | [`Contender`] | a policy of the planner, or perfect repacking |
//! | [`simulate`] | one contender on one workload |
//! | [`Study`] | workloads, seeds and contenders, on several threads, with intervals |
//! | [`report`] | tables, charts and pages of a study |

mod contender;
mod drain;
mod figures;
mod ground;
mod keeper;
pub mod metric;
pub mod mixes;
mod opening;
mod packing;
mod queue;
pub mod read;
pub mod report;
mod run;
mod site;
mod stats;
mod study;
mod tally;
mod work;

pub use contender::{Contender, UnknownContender};
pub use figures::{Figures, KindFigures, Waits};
pub use queue::Discipline;
pub use run::{Pace, Run, Settings, Watch, simulate};
pub use site::{Site, SiteBoard, SiteError};
pub use stats::Estimate;
pub use study::{Cell, Plan, Progress, Source, Study};
pub use work::{Kind, Request, Span, Wish, WishError, Workload};

#[cfg(test)]
mod like_broker;
#[cfg(test)]
mod tests;
