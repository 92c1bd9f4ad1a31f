//! The driver over simulated machines: what it reads equals what the machine is, and what it
//! changes is there.
//!
//! Must never run two tests at once: see `machine`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod changes;
mod life;
mod machine;
mod reads;
mod rights;
mod unread;
