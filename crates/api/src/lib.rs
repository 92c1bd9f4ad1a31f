//! Wire types v1 and the client over the unix socket.
//!
//! Must never hold a rule of the broker: these are shapes, and a caller that carries them.

pub mod client;
pub mod v1;

pub use client::{Client, ClientError};
pub use v1::*;
