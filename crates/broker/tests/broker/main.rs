//! The broker on a symbolic machine: rules one by one, and everything at once by seed.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one kind of thing among many")]

#[cfg(test)]
mod machine;

#[cfg(test)]
mod ahead;
#[cfg(test)]
mod bookings;
#[cfg(test)]
mod changes;
#[cfg(test)]
mod cordons;
#[cfg(test)]
mod crosswise;
#[cfg(test)]
mod endings;
#[cfg(test)]
mod estimates;
#[cfg(test)]
mod fairness;
#[cfg(test)]
mod folding;
#[cfg(test)]
mod held_up;
#[cfg(test)]
mod holders;
#[cfg(test)]
mod modes;
#[cfg(test)]
mod moves;
#[cfg(test)]
mod passive;
mod plans;
#[cfg(test)]
mod preemption;
#[cfg(test)]
mod queue;
#[cfg(test)]
mod quotas;
#[cfg(test)]
mod reclaim;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod reservation;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod speed;
#[cfg(test)]
mod whole;
