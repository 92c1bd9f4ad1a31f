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
    /// The call changes everything and returns this all the same, as after a timeout.
    ReturnAfter(Return),
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

impl Fault {
    fn matches(&self, call: &str, gpu: Option<usize>) -> bool {
        let bare = |name: &str| -> String { name.strip_prefix("nvml").unwrap_or(name).into() };
        let place = self.gpu.is_none_or(|wanted| gpu == Some(wanted));
        place && like(bare(&self.call).as_bytes(), bare(call).as_bytes())
    }
}

/// Whether `text` matches `pattern`, in which `*` stands for any run of bytes.
fn like(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), None) => like(rest, text),
        (Some((b'*', rest)), Some((_, tail))) => like(rest, text) || like(pattern, tail),
        (Some((first, rest)), Some((head, tail))) => first == head && like(rest, tail),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

impl Node {
    /// Lays a fault in waiting.
    pub fn add_fault(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Takes every fault away.
    pub fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// Whether [`Self::fault_for`] would count this call.
    pub fn has_fault_for(&self, call: &str, gpu: Option<usize>) -> bool {
        self.faults.iter().any(|fault| fault.matches(call, gpu))
    }

    /// Counts one call and tells what the first fault that matches does to it, if it is due. A
    /// fault whose calls are used up is gone.
    pub fn fault_for(&mut self, call: &str, gpu: Option<usize>) -> Option<FaultEffect> {
        self.faults.retain(|fault| fault.times > 0);
        let mut due = None;
        for fault in &mut self.faults {
            if due.is_some() || !fault.matches(call, gpu) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
            } else {
                fault.times -= 1;
                due = Some(fault.effect);
            }
        }
        self.faults.retain(|fault| fault.times > 0);
        due
    }
}
