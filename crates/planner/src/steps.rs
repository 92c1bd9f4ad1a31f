//! The exact steps of a grant, of a retirement and of a mode change.
//!
//! Must never destroy an instance the driver reports as busy, nor leave a placement to the driver.

use alloc::vec::Vec;

use model::{
    Geometry, GpuInstance, GpuInstanceId, GpuInstanceProfileId, GpuSnapshot, GpuUuid, MigMode,
    MigState, PlacedProfile, Placement, Plan, Purpose, Step,
};

use crate::choose::Choice;

/// Why no plan can be made. All mean that the snapshot is not what the caller decided on: read it
/// again and decide again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The GPU cannot do MIG, or its shapes could not be read.
    #[error("{0} offers no MIG profiles")]
    NoGeometry(GpuUuid),
    /// The board has no such profile.
    #[error("{gpu} has no profile with id {profile}")]
    UnknownProfile {
        /// On which GPU.
        gpu: GpuUuid,
        /// The id.
        profile: GpuInstanceProfileId,
    },
    /// No compute instance profile spans the whole GPU instance.
    #[error("profile {profile} of {gpu} has no compute instance that spans it")]
    NoWholeCompute {
        /// On which GPU.
        gpu: GpuUuid,
        /// The GPU instance profile.
        profile: GpuInstanceProfileId,
    },
    /// The instance to use or destroy is not there.
    #[error("{gpu} has no instance of profile {} at {}", part.profile, part.placement)]
    Gone {
        /// On which GPU.
        gpu: GpuUuid,
        /// What was expected.
        part: PlacedProfile,
    },
    /// There is no instance with that id.
    #[error("{gpu} has no GPU instance {instance}")]
    NoInstance {
        /// On which GPU.
        gpu: GpuUuid,
        /// The id.
        instance: GpuInstanceId,
    },
    /// The instance to destroy, or to grant anew, is in use.
    #[error("GPU instance {instance} on {gpu} is in use by process {pid}")]
    Busy {
        /// On which GPU.
        gpu: GpuUuid,
        /// Which instance.
        instance: GpuInstanceId,
        /// One of its processes.
        pid: u32,
    },
    /// The slice to reuse is cut into several compute instances, or into one that does not span it.
    #[error("GPU instance {instance} on {gpu} is not a single whole slice")]
    NotWhole {
        /// On which GPU.
        gpu: GpuUuid,
        /// Which instance.
        instance: GpuInstanceId,
    },
    /// MIG mode cannot change while the GPU has instances or processes.
    #[error("MIG mode of {0} cannot change while it has instances or processes")]
    Occupied(GpuUuid),
}

/// The steps that make the slice of `choice` ready: evicted slices go, then the GPU instance and
/// its whole compute instance are made. No steps when a warm slice is reused.
///
/// # Errors
/// When the snapshot does not hold what the choice relies on.
pub fn plan_grant(gpu: &GpuSnapshot, choice: &Choice, purpose: Purpose) -> Result<Plan, PlanError> {
    let geometry = geometry(gpu)?;
    let mut steps = Vec::new();
    if choice.reuse {
        let instance = find(gpu, choice.part)?;
        refuse_busy(gpu, instance)?;
        let whole = whole_compute(gpu, geometry, choice.part)?;
        match instance.compute_instances.as_slice() {
            [] => steps.push(whole),
            [only]
                if matches!(&whole, Step::CreateComputeInstance { profile, placement, .. }
                if *profile == only.profile && *placement == only.placement) => {}
            _ => {
                return Err(PlanError::NotWhole { gpu: gpu.uuid.clone(), instance: instance.id });
            }
        }
        return Ok(Plan { purpose, steps });
    }
    for part in &choice.evict {
        destroy(gpu, find(gpu, *part)?, &mut steps)?;
    }
    create(gpu, geometry, choice.part, &mut steps)?;
    Ok(Plan { purpose, steps })
}

/// The steps that destroy idle instances, compute instances first.
///
/// # Errors
/// [`PlanError::NoInstance`] and [`PlanError::Busy`].
pub fn plan_retire(
    gpu: &GpuSnapshot,
    instances: &[GpuInstanceId],
    purpose: Purpose,
) -> Result<Plan, PlanError> {
    let mut steps = Vec::new();
    for id in instances {
        let missing = || PlanError::NoInstance { gpu: gpu.uuid.clone(), instance: *id };
        destroy(gpu, gpu.instance(*id).ok_or_else(missing)?, &mut steps)?;
    }
    Ok(Plan { purpose, steps })
}

/// The steps that bring MIG mode to `mode` on an empty GPU: none when it is in force, a reset when
/// it is pending, else the change itself. Where a change stays pending afterwards (Ampere, while
/// somebody holds the GPU) a second plan from a new snapshot resets it.
///
/// # Errors
/// [`PlanError::NoGeometry`] where the GPU cannot do MIG, [`PlanError::Occupied`] where anything
/// lies or runs on it.
pub fn plan_mode(gpu: &GpuSnapshot, mode: MigMode, purpose: Purpose) -> Result<Plan, PlanError> {
    let MigState::Supported { current, pending } = gpu.mig else {
        return Err(PlanError::NoGeometry(gpu.uuid.clone()));
    };
    if current == mode && pending == mode {
        return Ok(Plan::nothing(purpose));
    }
    if !gpu.instances.is_empty() || !gpu.processes.is_empty() {
        return Err(PlanError::Occupied(gpu.uuid.clone()));
    }
    let uuid = gpu.uuid.clone();
    let step = if pending == mode {
        Step::ResetGpu { gpu: uuid }
    } else {
        Step::SetMigMode { gpu: uuid, mode }
    };
    Ok(Plan { purpose, steps: alloc::vec![step] })
}

/// The steps that make a GPU a whole one: idle instances go, then MIG mode is disabled, or, where
/// that is pending, the GPU is reset.
///
/// # Errors
/// [`PlanError::NoGeometry`] where the GPU cannot do MIG, [`PlanError::Occupied`] where anything
/// else lies or runs on it, and those of [`plan_retire`].
pub fn plan_whole(
    gpu: &GpuSnapshot,
    idle: &[GpuInstanceId],
    purpose: Purpose,
) -> Result<Plan, PlanError> {
    let Plan { purpose, mut steps } = plan_retire(gpu, idle, purpose)?;
    let stays = |instance: &GpuInstance| !idle.contains(&instance.id);
    if gpu.instances.iter().any(stays) {
        return Err(PlanError::Occupied(gpu.uuid.clone()));
    }
    let bare = GpuSnapshot { instances: Vec::new(), ..gpu.clone() };
    let plan = plan_mode(&bare, MigMode::Disabled, purpose)?;
    steps.extend(plan.steps);
    Ok(Plan { purpose: plan.purpose, steps })
}

pub(crate) fn geometry(gpu: &GpuSnapshot) -> Result<&Geometry, PlanError> {
    gpu.geometry.as_deref().ok_or_else(|| PlanError::NoGeometry(gpu.uuid.clone()))
}

pub(crate) fn find(gpu: &GpuSnapshot, part: PlacedProfile) -> Result<&GpuInstance, PlanError> {
    gpu.instance_at(part.placement)
        .filter(|instance| instance.profile == part.profile)
        .ok_or_else(|| PlanError::Gone { gpu: gpu.uuid.clone(), part })
}

fn refuse_busy(gpu: &GpuSnapshot, instance: &GpuInstance) -> Result<(), PlanError> {
    let mut processes = instance.compute_instances.iter().flat_map(|c| &c.processes);
    processes.next().map_or(Ok(()), |process| {
        Err(PlanError::Busy { gpu: gpu.uuid.clone(), instance: instance.id, pid: process.pid })
    })
}

/// Appends the destruction of an instance and of all its compute instances.
pub(crate) fn destroy(
    gpu: &GpuSnapshot,
    instance: &GpuInstance,
    steps: &mut Vec<Step>,
) -> Result<(), PlanError> {
    refuse_busy(gpu, instance)?;
    steps.extend(instance.compute_instances.iter().map(|c| Step::DestroyComputeInstance {
        gpu: gpu.uuid.clone(),
        gpu_instance: instance.id,
        at: instance.placement,
        compute_instance: c.id,
        profile: c.profile,
        placement: c.placement,
    }));
    steps.push(Step::DestroyGpuInstance {
        gpu: gpu.uuid.clone(),
        gpu_instance: instance.id,
        profile: instance.profile,
        placement: instance.placement,
    });
    Ok(())
}

/// Appends the creation of a GPU instance and of its whole compute instance.
pub(crate) fn create(
    gpu: &GpuSnapshot,
    geometry: &Geometry,
    part: PlacedProfile,
    steps: &mut Vec<Step>,
) -> Result<(), PlanError> {
    let whole = whole_compute(gpu, geometry, part)?;
    steps.push(Step::CreateGpuInstance {
        gpu: gpu.uuid.clone(),
        profile: part.profile,
        placement: part.placement,
    });
    steps.push(whole);
    Ok(())
}

/// The creation of the compute instance that spans the GPU instance of `part`.
pub(crate) fn whole_compute(
    gpu: &GpuSnapshot,
    geometry: &Geometry,
    part: PlacedProfile,
) -> Result<Step, PlanError> {
    let unknown = || PlanError::UnknownProfile { gpu: gpu.uuid.clone(), profile: part.profile };
    let profile = geometry.profile(part.profile).ok_or_else(unknown)?;
    let none = || PlanError::NoWholeCompute { gpu: gpu.uuid.clone(), profile: part.profile };
    let compute = profile.whole_compute_profile().ok_or_else(none)?;
    Ok(Step::CreateComputeInstance {
        gpu: gpu.uuid.clone(),
        at: part.placement,
        profile: compute.id,
        placement: Placement::new(0, compute.slices),
    })
}
