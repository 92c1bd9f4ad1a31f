//! How busy contexts keep the hardware, as functions of virtual time, and what the driver's
//! sampling makes of it.
//!
//! Must never read a clock: the time is an argument.

use alloc::vec::Vec;

use model::{GpuInstanceId, Millis, Timestamp};
use serde::{Deserialize, Serialize};

use crate::clients::Context;
use crate::node::Node;
use crate::ret::Return;

/// From this moment on the context is that busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ActivityPoint {
    /// Time since the context began.
    pub after: Millis,
    /// Share of its multiprocessors that work, 0 to 100.
    pub sm_percent: u8,
    /// Share of its memory bandwidth in use, 0 to 100.
    pub dram_percent: u8,
}

/// A curve of steps. Before the first point the context is idle.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Activity {
    /// The steps, ascending by time.
    pub points: Vec<ActivityPoint>,
    /// The curve begins again after this time; zero = never.
    #[serde(default)]
    pub repeat_every: Millis,
}
