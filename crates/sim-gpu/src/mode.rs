//! MIG mode, reset, driver reload, reboot: what each changes and what survives it.
//!
//! Must never lose or keep an instance against the persistence matrix (`nvml.md` §3.3).

use model::{MigMode, Timestamp};

use crate::caller::{Caller, Rights};
use crate::clients::HoldKind;
use crate::event::EventKind;
use crate::gpu::{GpuHealth, RecoveryAction, Virtualization};
use crate::node::Node;
use crate::ret::Return;

/// What an accepted `nvmlDeviceSetMigMode` reports: whether the wish took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ModeChange {
    /// SUCCESS, or why the mode is only pending: IN_USE or RESET_REQUIRED.
    pub activation: Return,
}
