//! The planner against its definition, and against the checker.

#[cfg(test)]
mod arranged;
#[cfg(test)]
mod corrupted;
#[cfg(test)]
mod layouts;
#[cfg(test)]
mod many;
#[cfg(test)]
mod online;
#[cfg(test)]
mod pack;
#[cfg(test)]
mod policies;
#[cfg(test)]
mod scar;
#[cfg(test)]
mod size;
#[cfg(test)]
mod steps;
#[cfg(test)]
mod tables;
#[cfg(test)]
mod verdicts;
#[cfg(test)]
mod world;
