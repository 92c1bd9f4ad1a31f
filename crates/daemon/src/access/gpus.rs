//! The nodes of whole GPUs: open for whoever has all of one, closed while it is whole and nobody's.
//!
//! Must never close the node of a GPU in MIG mode: everybody who has a slice there needs it.

use std::collections::BTreeMap;

use broker::{HeldUp, Phase, State};
use config::Enforce;
use host::Users;
use host::access::{Wanted, restore_gpu, set_gpu, stock};
use host::nodes::gpu_node;
use host::processes::{Arguments, describe};
use model::{
    GpuMinor, GpuSnapshot, GpuUuid, MigMode, MigState, NodeSnapshot, PlanId, ProcessId, Uid,
};

use super::{Access, BrokenGlass, Inner, NotHandedOver, Place, Suspect, holders, named};
use crate::executor::chain;
use crate::hands::lock;

/// Accounts below this one are the system's own: persistence daemon, display server, monitors. They
/// have every GPU open all the time, and no lease changes that.
const FIRST_USER: u32 = 1000;

/// What is known of the nodes of whole GPUs.
#[derive(Debug, Default)]
pub(super) struct Gpus {
    /// Opened for a plan whose end is not in the records yet.
    opening: BTreeMap<GpuMinor, (PlanId, Wanted)>,
    /// What was last brought about.
    applied: BTreeMap<GpuMinor, Wanted>,
    /// What could not be brought about, in words.
    pub(super) troubles: BTreeMap<GpuMinor, String>,
}

/// Who should be able to open the node of a GPU.
pub(super) fn wanted(state: &State, gpu: &GpuSnapshot, glass: &BrokenGlass) -> Wanted {
    let cut = match gpu.mig {
        MigState::Unsupported => false,
        MigState::Supported { current, pending } => [current, pending].contains(&MigMode::Enabled),
    };
    if cut || glass.covers(&gpu.uuid) {
        return Wanted::Stock;
    }
    let mut leases = state.leases.values();
    match leases.find(|lease| lease.whole.contains(&gpu.uuid)) {
        Some(lease) if matches!(lease.phase, Phase::Active { .. }) => {
            Wanted::OpenFor(lease.spec.uid)
        }
        Some(_) | None => Wanted::Closed,
    }
}

impl Access {
    /// That the driver's tools may set back what is done here, where they may.
    pub(super) fn resets(&self, observed: &NodeSnapshot) -> Option<String> {
        let glass = self.glass.get();
        let whole = |gpu: &&GpuSnapshot| !gpu.mig.is_enabled() && !glass.covers(&gpu.uuid);
        let gpu = observed.gpus.iter().find(whole).filter(|_| self.mode() == Enforce::On)?;
        let resets = self.root.is_real() && stock(&self.root).is_ok_and(|stock| stock.resets);
        resets.then(|| {
            format!(
                "nvidia-modprobe may open /dev/nvidia{} to everybody at any time; load the nvidia \
                 module with NVreg_ModifyDeviceFiles=0 (docs/threat-model.md)",
                gpu.minor
            )
        })
    }

    /// Brings the nodes of GPUs in step; `whole` looks also at those that should be right.
    pub(super) fn gpus_in_step(
        &self,
        inner: &mut Inner,
        state: &State,
        observed: &NodeSnapshot,
        whole: bool,
    ) {
        let glass = self.glass.get();
        inner.gpus.opening.retain(|_, (plan, _)| state.plans.contains_key(plan));
        for gpu in &observed.gpus {
            let open = inner.gpus.opening.get(&gpu.minor).map(|(_, wanted)| *wanted);
            let wanted = open.unwrap_or_else(|| wanted(state, gpu, &glass));
            if whole || inner.gpus.applied.get(&gpu.minor) != Some(&wanted) {
                self.put_gpu(inner, gpu.minor, wanted);
            }
        }
    }

    fn put_gpu(&self, inner: &mut Inner, gpu: GpuMinor, wanted: Wanted) {
        // As the driver's tools make it means as an administrator has it, where nobody closed it.
        let done = if wanted == Wanted::Stock {
            restore_gpu(&self.root, gpu)
        } else {
            set_gpu(&self.root, gpu, wanted)
        };
        match done {
            Ok(change) => {
                if let Some(change) = change {
                    let path = change.path.display();
                    if inner.gpus.applied.get(&gpu) == Some(&wanted) {
                        tracing::warn!(%path, ?wanted, found = ?change.found, "somebody changed a GPU's node");
                    } else {
                        tracing::debug!(%path, ?wanted, found = ?change.found, "access set");
                    }
                }
                inner.gpus.troubles.remove(&gpu);
                inner.gpus.applied.insert(gpu, wanted);
            }
            Err(error) => {
                let words = format!("the access to a GPU cannot be set: {}", chain(&error));
                if inner.gpus.troubles.get(&gpu) != Some(&words) {
                    tracing::error!("{words}");
                }
                inner.gpus.applied.remove(&gpu);
                inner.gpus.troubles.insert(gpu, words);
            }
        }
    }

    /// What an enforcing daemon closed is given back, once.
    pub(super) fn restore_gpus(&self, inner: &mut Inner, observed: &NodeSnapshot) {
        inner.gpus.troubles.clear();
        for gpu in &observed.gpus {
            if inner.gpus.applied.get(&gpu.minor) != Some(&Wanted::Stock) {
                self.put_gpu(inner, gpu.minor, Wanted::Stock);
            }
        }
    }

    /// Closes the GPUs of a lease that ends, before it is looked whether anybody holds them.
    pub(super) fn close_gpus(&self, gpus: &[GpuUuid], observed: &NodeSnapshot) {
        let kept = gpus.iter().filter(|uuid| self.enforces(uuid));
        for gpu in kept.filter_map(|uuid| observed.gpu(uuid)) {
            if let Err(error) = set_gpu(&self.root, gpu.minor, Wanted::Closed) {
                tracing::error!(error = chain(&error), "cannot close the node of a GPU");
            }
        }
    }

    /// Closes a GPU, proves that no user holds it, and opens it for the user it is for.
    pub(super) fn hand_over_gpu(
        &self,
        plan: PlanId,
        gpu: &GpuSnapshot,
        uid: Uid,
    ) -> Result<(), NotHandedOver> {
        let set = |wanted| {
            set_gpu(&self.root, gpu.minor, wanted).map(drop).map_err(|error| {
                let hint = if error.is_permission() {
                    "; enforcing takes a daemon that runs as root"
                } else {
                    ""
                };
                let words = format!("the access to the GPU cannot be set: {}{hint}", chain(&error));
                NotHandedOver::Failed(words)
            })
        };
        set(Wanted::Closed)?;
        let held = self.users_on(gpu.minor).map_err(NotHandedOver::Failed)?;
        if !held.is_empty() {
            return Err(NotHandedOver::Held(self.suspect_gpu(gpu, held)));
        }
        let mut inner = lock(&self.inner);
        let wanted = Wanted::OpenFor(uid);
        inner.gpus.opening.insert(gpu.minor, (plan, wanted));
        inner.gpus.applied.insert(gpu.minor, wanted);
        set(wanted)
    }

    /// Processes of users, not of the system, that have the node of a GPU open.
    pub(super) fn users_on(&self, gpu: GpuMinor) -> Result<Vec<ProcessId>, String> {
        let users = Users::load();
        let mut held = holders(&[gpu_node(&self.root, gpu)], self.others)?;
        held.retain(|process| {
            // Who cannot be described has just left, or may not be looked at: it counts.
            describe(process.pid, &users, Arguments::Hidden)
                .is_none_or(|found| found.uid.get() >= FIRST_USER)
        });
        Ok(held)
    }

    fn suspect_gpu(&self, gpu: &GpuSnapshot, held: Vec<ProcessId>) -> HeldUp {
        let users = Users::load();
        let words: Vec<String> = held.iter().map(|process| named(&users, *process)).collect();
        let mut suspects = lock(&self.suspects);
        for process in held {
            let suspect = Suspect { gpu: gpu.uuid.clone(), place: Place::Whole, process };
            if !suspects.contains(&suspect) {
                suspects.push(suspect);
            }
        }
        let by = format!(
            "{} has GPU {} open from before, so nobody else may get all of it",
            words.join(", "),
            gpu.index
        );
        HeldUp { gpu: gpu.uuid.clone(), place: None, by }
    }
}

/// Whether the node of a GPU that has just been cut into slices is still closed from before.
pub(super) fn open_for_slices(access: &Access, gpu: GpuMinor) -> Result<(), NotHandedOver> {
    restore_gpu(&access.root, gpu).map(drop).map_err(|error| {
        NotHandedOver::Failed(format!("the access to the GPU cannot be set: {}", chain(&error)))
    })
}
