//! Faults on demand: the Nth call of a function fails, lies, hangs or dies.
//!
//! Must never fire by itself; a fault is consulted by `sim-nvml` before it serves a call.

use alloc::string::String;

use model::Millis;
use serde::{Deserialize, Serialize};

use crate::node::Node;
use crate::ret::Return;

/// What a fault does to the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultEffect {
    /// The call returns this and changes nothing.
    Return(Return),
    /// The call returns SUCCESS and changes nothing (dra#852, go-nvml#146).
    Lie,
    /// The call takes this much longer, then goes on.
    Hang(Millis),
    /// The calling process dies before the call changes anything.
    CrashBefore,
    /// The calling process dies after the call changed everything, before it returns.
    CrashAfter,
}

/// A fault in waiting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Name of the NVML function, with or without `nvml`; a `*` stands for any run of characters.
    pub call: String,
    /// Index of the GPU; `None` = any.
    pub gpu: Option<usize>,
    /// How many matching calls pass unharmed first.
    pub skip: u32,
    /// How many matching calls it harms after that, then it is gone.
    pub times: u32,
    /// What it does.
    pub effect: FaultEffect,
}
