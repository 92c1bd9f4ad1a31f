//! The executor: proofs, steps and readings back as the daemon does them.
//!
//! Must never do a step that was not proven, nor skip the reading back.

use broker::{Command, GrantedSlice, SliceKey, SliceTarget, StepOutcome, Use, uses};
use checker::{GpuProtection, InstanceProtection, Proof, Protected};
use model::{GpuUuid, Health, Plan, PlanId, Purpose, Step};

use super::{Origin, Process, Rig};

/// A plan in the executor's hands.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) id: PlanId,
    pub(crate) plan: Plan,
    pub(crate) targets: Vec<SliceTarget>,
    pub(crate) whole: Vec<GpuUuid>,
    pub(crate) proof: Option<Proof>,
    pub(crate) done: usize,
    /// Whether anybody else touched its GPUs since the snapshot it was decided on.
    pub(crate) disturbed: bool,
}

impl Running {
    pub(crate) fn gpus(&self) -> Vec<GpuUuid> {
        gpus_of(&self.plan, &self.targets, &self.whole)
    }
}

/// How one act of the executor goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advance {
    /// As it should.
    Well,
    /// The driver refuses the step.
    Refused,
    /// The step is done and the daemon dies before it hears of it.
    Unheard,
}

impl Rig {
    /// Whether the executor may work on this plan now: plans on one GPU come one after the other.
    pub(crate) fn may_advance(&self, at: usize) -> bool {
        let own = self.running[at].gpus();
        let started = |other: &Running| other.proof.is_some();
        started(&self.running[at])
            || self.running.iter().enumerate().all(|(index, other)| {
                index == at || !started(other) || other.gpus().iter().all(|gpu| !own.contains(gpu))
            })
    }

    /// One act of the executor: the proof, a step, or the reading back.
    pub(crate) fn advance(&mut self, at: usize, how: Advance) {
        if self.running[at].proof.is_none() {
            match self.prove(at) {
                Ok(proof) => self.running[at].proof = Some(proof),
                Err(error) => {
                    let disturbed = self.running[at].disturbed;
                    assert!(disturbed, "an unsound plan: {error}; {:?}", self.running[at]);
                    self.give_up(at, None, error);
                }
            }
            return;
        }
        let running = &self.running[at];
        let (id, done) = (running.id, running.done);
        let Some(step) = running.plan.steps.get(done).cloned() else {
            self.read_back(at);
            return;
        };
        if how == Advance::Refused {
            self.give_up(at, Some(done as u32), "an injected refusal".into());
            return;
        }
        self.guard(&step, &running.plan.purpose);
        let then = running.plan.steps.get(done + 1).cloned();
        let by_hand = self.state.change_of(id).is_some();
        let result = self.machine.perform(&step);
        if let (Step::CreateGpuInstance { gpu, placement, .. }, Ok(_), true) =
            (&step, &result, by_hand)
        {
            let key = SliceKey { gpu: gpu.clone(), placement: *placement };
            self.machine.origins.insert(key, Origin::Hand);
        }
        let result = match (&step, then) {
            (Step::SetMigMode { gpu, mode }, Some(Step::ResetGpu { .. }))
                if result.is_err() && self.machine.gpu(gpu).mig.needs_reset() =>
            {
                Ok(StepOutcome::ModePending(*mode))
            }
            _ => result,
        };
        match result {
            Ok(_) if how == Advance::Unheard => {}
            Ok(outcome) => {
                self.running[at].done += 1;
                self.own(Command::StepDone { plan: id, step: done as u32, outcome });
            }
            Err(error) => {
                let mode = matches!(step, Step::SetMigMode { .. });
                assert!(mode || self.running[at].disturbed, "refused: {error}; {step}");
                self.give_up(at, Some(done as u32), error);
            }
        }
    }

    /// L1: what a step takes away is nobody's.
    fn guard(&self, step: &Step, purpose: &Purpose) {
        let place = match step {
            Step::DestroyComputeInstance { at, .. } => *at,
            Step::DestroyGpuInstance { placement, .. } => *placement,
            Step::SetMigMode { .. }
            | Step::ResetGpu { .. }
            | Step::CreateGpuInstance { .. }
            | Step::CreateComputeInstance { .. } => return,
        };
        let key = SliceKey { gpu: step.gpu().clone(), placement: place };
        for lease in self.state.leases.values() {
            let has = lease.slices.iter().any(|slice| slice.key == key);
            let lost = self.stolen.contains(&key);
            assert!(!has || lost, "{} has what is being destroyed: {step}", lease.id);
        }
        // Whoever asked for a change named it.
        let wanted = matches!(purpose, Purpose::Apply(_));
        let foreign = !wanted && self.machine.origins.get(&key) == Some(&Origin::Foreign);
        assert!(!foreign, "a foreign instance is being destroyed: {step}");
        let of_lease = |p: &&Process| p.lease.is_some() && p.on.contains(&key);
        let holder = self.machine.processes.iter().find(of_lease);
        assert!(holder.is_none(), "{holder:?} uses what is being destroyed: {step}");
    }

    fn prove(&self, at: usize) -> Result<Proof, String> {
        let running = &self.running[at];
        let mut protected = Protected::nothing();
        for lease in self.state.leases.values() {
            for gpu in &lease.whole {
                protected = protected.with_gpu(gpu.clone(), GpuProtection::Leased(lease.id));
            }
        }
        for gpu in running.gpus() {
            let gpu = self.machine.gpu(&gpu);
            if gpu.health == Health::Lost {
                return Err("the GPU is lost".into());
            }
            for (instance, used) in gpu.instances.iter().zip(uses(&self.state, gpu)) {
                let why = match used {
                    Use::Leased(lease) | Use::Ending(lease) => InstanceProtection::Leased(lease),
                    Use::Foreign => InstanceProtection::Foreign,
                    Use::Warm | Use::Changing => continue,
                };
                protected = protected.with_instance(gpu.uuid.clone(), instance.id, why);
            }
        }
        for gpu in &running.whole {
            checker::check_whole(gpu, &self.machine.node, &protected).map_err(|e| e.to_string())?;
        }
        checker::check(&running.plan, &self.machine.node, &protected).map_err(|violations| {
            violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        })
    }

    fn read_back(&mut self, at: usize) {
        let running = &self.running[at];
        let proof = running.proof.as_ref().expect("proven");
        let nothing = Protected::nothing();
        let is_whole = |gpu| checker::check_whole(gpu, &self.machine.node, &nothing).is_ok();
        let matches = running.plan.steps.is_empty() || proof.matches(&self.machine.node).is_ok();
        let matches = matches && running.whole.iter().all(is_whole);
        let slices: Option<Vec<GrantedSlice>> =
            running.targets.iter().map(|target| self.slice_at(target)).collect();
        if let Some(slices) = slices.filter(|_| matches) {
            let done = self.running.remove(at);
            self.after_plan(&done);
            self.own(Command::PlanFinished { plan: done.id, slices });
        } else {
            assert!(running.disturbed, "reading back shows otherwise: {running:?}");
            self.give_up(at, None, "reading back shows otherwise".into());
        }
    }

    fn slice_at(&self, target: &SliceTarget) -> Option<GrantedSlice> {
        let gpu = self.machine.gpu(&target.key.gpu);
        let instance = gpu.instance_at(target.key.placement);
        let instance = instance.filter(|instance| instance.profile == target.profile)?;
        let [compute] = instance.compute_instances.as_slice() else { return None };
        if !compute.processes.is_empty() {
            return None;
        }
        Some(GrantedSlice {
            key: target.key.clone(),
            profile: instance.profile,
            gpu_instance: instance.id,
            compute_instance: compute.id,
            uuid: compute.uuid.clone()?,
        })
    }

    fn give_up(&mut self, at: usize, step: Option<u32>, error: String) {
        let given_up = self.running.remove(at);
        self.after_plan(&given_up);
        self.own(Command::PlanFailed { plan: given_up.id, step, error });
    }

    /// The broker sees the GPUs as they are before it hears of the end of a plan.
    fn after_plan(&mut self, running: &Running) {
        let gpus = running.gpus();
        if self.look_at(Some(&gpus)) {
            self.own(Command::Observed);
        }
    }
}

pub(crate) fn gpus_of(plan: &Plan, targets: &[SliceTarget], whole: &[GpuUuid]) -> Vec<GpuUuid> {
    let targets = targets.iter().map(|target| &target.key.gpu);
    let mut gpus: Vec<GpuUuid> =
        plan.gpus().into_iter().chain(targets).chain(whole).cloned().collect();
    gpus.sort();
    gpus.dedup();
    gpus
}
