//! The part of a plan that is about access: what is made is closed at once, what is handed over is
//! proven free and opened for its user.
//!
//! Must never open a node that somebody may still hold.

use std::collections::BTreeMap;
use std::path::PathBuf;

use broker::{GrantedSlice, HeldUp, StepOutcome};
use host::Users;
use host::access::{Wanted, set};
use host::nodes::InstancePath;
use model::{GpuInstanceId, GpuUuid, Placement, Plan, PlanId, Purpose, Step, Uid};

use super::gpus::open_for_slices;
use super::{Access, Place, Suspect, holders, instances_of, named};
use crate::executor::chain;
use crate::hands::lock;
use crate::published::Published;

/// Why something was not handed over. It stays closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotHandedOver {
    /// It cannot be closed, proven free or opened; why, in words.
    Failed(String),
    /// These hold it.
    Held(HeldUp),
}

/// A plan under way.
#[derive(Debug)]
pub(crate) struct Making<'a> {
    access: &'a Access,
    published: &'a Published,
    plan: PlanId,
    /// For whom the plan provides slices.
    uid: Option<Uid>,
    /// GPU instances it made.
    made: BTreeMap<(GpuUuid, Placement), GpuInstanceId>,
}

impl Access {
    /// Follows a plan.
    pub(crate) fn making<'a>(
        &'a self,
        published: &'a Published,
        id: PlanId,
        plan: &Plan,
    ) -> Making<'a> {
        let lease = match plan.purpose {
            Purpose::Grant(lease) => published.state.lease(lease),
            Purpose::Prepare
            | Purpose::Retire
            | Purpose::Warm
            | Purpose::Defragment
            | Purpose::Reconcile
            | Purpose::Rollback(_)
            | Purpose::Apply(_) => None,
        };
        let uid = lease.map(|lease| lease.spec.uid);
        Making { access: self, published, plan: id, uid, made: BTreeMap::new() }
    }
}

impl Making<'_> {
    /// A step is done and in the journal. The node of what it made is closed before the next one: a
    /// GPU instance's before there is a compute instance in it, so that nobody is quicker.
    ///
    /// # Errors
    /// In words, when it cannot be closed.
    pub(crate) fn made(&mut self, step: &Step, outcome: &StepOutcome) -> Result<(), String> {
        let gpu = step.gpu();
        let Some(minor) = self.published.observed.gpu(gpu).map(|gpu| gpu.minor) else {
            return Ok(());
        };
        let (gpu_instance, compute_instance) = match (step, outcome) {
            (Step::CreateGpuInstance { placement, .. }, StepOutcome::GpuInstanceCreated(id)) => {
                self.made.insert((gpu.clone(), *placement), *id);
                (*id, None)
            }
            (
                Step::CreateComputeInstance { at, .. },
                StepOutcome::ComputeInstanceCreated { id, .. },
            ) => match self.made.get(&(gpu.clone(), *at)) {
                Some(instance) => (*instance, Some(*id)),
                None => return Ok(()),
            },
            _ => return Ok(()),
        };
        if !self.access.enforces(gpu) {
            return Ok(());
        }
        self.put(InstancePath { gpu: minor, gpu_instance, compute_instance }, Wanted::Closed)
    }

    /// Every step is done: what the plan provides is closed, proven to be held by nobody, and opened
    /// for the user it is for. After this the lease may be told.
    ///
    /// # Errors
    /// [`NotHandedOver`].
    pub(crate) fn hand_over(&self, slices: &[GrantedSlice]) -> Result<(), NotHandedOver> {
        let Some(uid) = self.uid else { return Ok(()) };
        let plan = self.published.state.plans.get(&self.plan);
        let whole = plan.map(|open| open.whole.as_slice()).unwrap_or_default();
        for uuid in whole.iter().filter(|uuid| self.access.enforces(uuid)) {
            if let Some(gpu) = self.published.observed.gpu(uuid) {
                self.access.hand_over_gpu(self.plan, gpu, uid)?;
            }
        }
        for slice in slices.iter().filter(|slice| self.access.enforces(&slice.key.gpu)) {
            let instances = instances_of(&self.published.observed, slice);
            for instance in &instances {
                self.put(*instance, Wanted::Closed).map_err(NotHandedOver::Failed)?;
            }
            self.prove_free(slice, &instances)?;
        }
        for slice in slices.iter().filter(|slice| self.access.enforces(&slice.key.gpu)) {
            let mut inner = lock(&self.access.inner);
            if let Some(gpu) = self.published.observed.gpu(&slice.key.gpu) {
                open_for_slices(self.access, gpu.minor)?;
            }
            for instance in instances_of(&self.published.observed, slice) {
                let wanted = Wanted::OpenFor(uid);
                // Noted first: from here on whoever brings nodes in step leaves it alone, until the
                // end of the plan is in the records.
                inner.opening.insert(instance, (self.plan, wanted));
                inner.applied.insert(instance, wanted);
                self.put(instance, wanted).map_err(NotHandedOver::Failed)?;
            }
        }
        Ok(())
    }

    fn put(&self, instance: InstancePath, wanted: Wanted) -> Result<(), String> {
        set(&self.access.root, instance, wanted).map(drop).map_err(|error| {
            let hint = if error.is_permission() {
                "; enforcing takes a daemon that runs as root"
            } else {
                ""
            };
            format!("the access to the slice cannot be set: {}{hint}", chain(&error))
        })
    }

    fn prove_free(
        &self,
        slice: &GrantedSlice,
        instances: &[InstancePath],
    ) -> Result<(), NotHandedOver> {
        let root = &self.access.root;
        let paths: Vec<PathBuf> =
            instances.iter().map(|instance| instance.minor().node(root)).collect();
        let held = holders(&paths, self.access.others).map_err(NotHandedOver::Failed)?;
        if held.is_empty() {
            return Ok(());
        }
        let users = Users::load();
        let words: Vec<String> = held.iter().map(|process| named(&users, *process)).collect();
        let mut suspects = lock(&self.access.suspects);
        for process in held {
            let gpu = slice.key.gpu.clone();
            let place = Place::Slice(slice.clone());
            let suspect = Suspect { gpu, place, process };
            if !suspects.contains(&suspect) {
                suspects.push(suspect);
            }
        }
        let by = format!(
            "{} has the device of GPU instance {} open from before, so nobody else may get it",
            words.join(", "),
            slice.gpu_instance
        );
        let (gpu, place) = (slice.key.gpu.clone(), Some(slice.key.placement));
        Err(NotHandedOver::Held(HeldUp { gpu, place, by }))
    }
}
