//! Making and destroying compute instances.
//!
//! Must never let two compute instances share a compute slice of their GPU instance.

use alloc::vec::Vec;

use model::{
    ComputeInstanceId, ComputeInstanceProfile, ComputeInstanceProfileId, Placement, SliceMask,
    Timestamp,
};

use crate::caller::{Caller, Rights};
use crate::event::EventKind;
use crate::gpu::{ComputeInstance, ComputeRef, GpuInstance, InstanceRef};
use crate::node::Node;
use crate::ret::Return;

/// A compute instance to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComputeInstanceRequest {
    /// In which GPU instance.
    pub instance: InstanceRef,
    /// With which profile.
    pub profile: ComputeInstanceProfileId,
    /// Where; `None` = the lowest free start.
    pub placement: Option<Placement>,
}
