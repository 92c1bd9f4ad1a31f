//! What is wrong with a plan, in sentences.
//!
//! Must never say what to do instead; that is the planner's part.

use alloc::string::String;

use model::{
    ComputeInstanceId, ComputeInstanceProfileId, GpuInstanceId, GpuInstanceProfileId, GpuUuid,
    LayoutError, Placement,
};

use crate::protect::{GpuProtection, InstanceProtection};

/// One rule broken by one step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("step {step} ({what}): {breach}")]
pub struct Violation {
    /// Number of the step, from 1.
    pub step: usize,
    /// The GPU it would change.
    pub gpu: GpuUuid,
    /// What the step would do, as it prints itself.
    pub what: String,
    /// The rule.
    pub breach: Breach,
}

/// A rule of the driver, or of ours, that a step breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// The snapshot has no such GPU.
    #[error("there is no such GPU")]
    NoSuchGpu,
    /// The GPU is lost, must be reset or fails.
    #[error("the GPU is not healthy")]
    Unhealthy,
    /// Nothing on this GPU may change now.
    #[error("the GPU must be left alone: {0}")]
    GpuProtected(GpuProtection),
    /// A mode is pending: nothing but mode changes and resets work until it is in force.
    #[error("a MIG mode is pending, the GPU needs a reset first")]
    ModePending,
    /// The GPU cannot do MIG.
    #[error("the GPU cannot do MIG")]
    NoMig,
    /// MIG mode is off.
    #[error("MIG mode is off at that moment")]
    ModeOff,
    /// MIG mode is on, and the GPU should be a whole one.
    #[error("MIG mode is on at that moment")]
    ModeOn,
    /// The GPU itself changes while something lies on it.
    #[error("the GPU has {0} GPU instances at that moment")]
    HasInstances(usize),
    /// The GPU itself changes while something runs on it.
    #[error("process {pid} uses the GPU")]
    HasProcesses {
        /// One of the processes.
        pid: u32,
    },
    /// The GPU itself changes while an instance on it is protected.
    #[error("an instance on the GPU is protected")]
    HasProtected,
    /// A reset takes the GPU away from everybody, so it must bring something into force.
    #[error("the GPU needs no reset: no mode is pending")]
    NeedlessReset,
    /// Granting a slice must not change the GPU itself.
    #[error("a lease never changes the mode of a GPU")]
    ModeByGrant,
    /// The instance cannot be there together with the others.
    #[error("{0}")]
    Illegal(LayoutError),
    /// No GPU instance lies there at that moment.
    #[error("no GPU instance lies at {0} at that moment")]
    NoInstanceAt(Placement),
    /// No GPU instance has that id at that moment.
    #[error("there is no GPU instance {0} at that moment")]
    NoInstance(GpuInstanceId),
    /// The GPU instance with that id is another one.
    #[error("GPU instance {instance} is of profile {profile} at {placement}")]
    OtherInstance {
        /// The id.
        instance: GpuInstanceId,
        /// The profile it has.
        profile: GpuInstanceProfileId,
        /// Where it lies.
        placement: Placement,
    },
    /// No compute instance has that id at that moment.
    #[error("GPU instance {0} has no compute instance {1} at that moment")]
    NoCompute(GpuInstanceId, ComputeInstanceId),
    /// The compute instance with that id is another one.
    #[error("compute instance {compute} is of profile {profile} at {placement}")]
    OtherCompute {
        /// The id.
        compute: ComputeInstanceId,
        /// The profile it has.
        profile: ComputeInstanceProfileId,
        /// Where it lies.
        placement: Placement,
    },
    /// A compute instance is in use.
    #[error("process {pid} uses it")]
    Busy {
        /// One of its processes.
        pid: u32,
    },
    /// Records forbid it.
    #[error("it must stay: {0}")]
    Protected(InstanceProtection),
    /// Whoever has a GPU instance shares it with nobody.
    #[error("nothing may be added to that GPU instance: {0}")]
    ProtectedFromOthers(InstanceProtection),
    /// The driver destroys no GPU instance that has compute instances; there is no cascade.
    #[error("it still has {0} compute instances")]
    HasCompute(usize),
    /// The GPU instance's profile has no such compute instance profile.
    #[error("compute profile {compute} does not exist in profile {profile}")]
    UnknownCompute {
        /// Profile of the GPU instance.
        profile: GpuInstanceProfileId,
        /// The compute profile asked for.
        compute: ComputeInstanceProfileId,
    },
    /// The compute instance may not lie there.
    #[error("compute profile {0} may not lie at {1}")]
    IllegalCompute(ComputeInstanceProfileId, Placement),
    /// Another compute instance has those slices.
    #[error("{0} overlaps {1}, which another compute instance has")]
    ComputeOverlap(Placement, Placement),
    /// No more compute instances of the profile may exist in the GPU instance.
    #[error("no more than {1} compute instances of profile {0} may exist there")]
    TooManyCompute(ComputeInstanceProfileId, u32),
}
