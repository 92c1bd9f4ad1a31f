//! Writing down what was decided: the steps in their order, and the report.
//!
//! Must never decide anything.

use alloc::vec::Vec;

use model::{GpuUuid, PlacedProfile, Plan, Purpose, Step};

use super::compute::{Fit, PlacedCompute};
use super::impossible::{Best, Obstacle};
use super::mode::ModeSteps;
use super::present::{Present, There};
use super::report::{ComputeReport, Fate, GpuReport, InstanceReport};

/// A GPU instance that comes, with what will lie in it.
#[derive(Debug)]
pub(super) struct Coming {
    pub(super) part: PlacedProfile,
    pub(super) computes: Vec<PlacedCompute>,
}

/// What was decided for one GPU.
#[derive(Debug, Default)]
pub(super) struct Decided {
    pub(super) mode: ModeSteps,
    /// For each GPU instance that is there: `None` if it goes, else what becomes of its compute
    /// instances.
    pub(super) there: Vec<Option<Fit>>,
    /// By placement.
    pub(super) coming: Vec<Coming>,
}

/// A desire, settled.
#[derive(Debug)]
pub(super) enum Settled {
    /// Nobody is in the way.
    Free(Decided),
    /// Somebody is.
    Blocked {
        /// What can be done now all the same.
        now: Decided,
        /// The fewest whose end makes the rest possible.
        against: Vec<Obstacle>,
        /// The best that can be met beside them.
        best: Best,
    },
}

impl Settled {
    /// Somebody is in the way of a mode change, or of what was asked for by hand.
    pub(super) fn blocked(now: Decided, against: Vec<Obstacle>) -> Self {
        Self::Blocked { now, against, best: Best::default() }
    }
}

impl Decided {
    /// Everything stays.
    pub(super) fn as_it_is(present: &Present<'_>) -> Self {
        let stays = |one: &There<'_>| Some(Fit::as_it_is(one.lying.len()));
        Self { there: present.there.iter().map(stays).collect(), ..Self::default() }
    }

    /// Everything goes.
    pub(super) fn cleared(present: &Present<'_>) -> Self {
        Self { there: present.there.iter().map(|_| None).collect(), ..Self::default() }
    }

    pub(super) fn write(self, present: &Present<'_>, purpose: Purpose) -> (Plan, GpuReport) {
        let plan = Plan { purpose, steps: self.steps(present) };
        let there = present.there.iter().zip(&self.there);
        let mut instances: Vec<InstanceReport> =
            there.map(|(one, fit)| stand(present, one, fit.as_ref())).collect();
        instances.extend(self.coming.iter().map(|coming| arrival(present, coming)));
        let gpu = present.gpu.uuid.clone();
        let report = GpuReport::new(gpu, self.mode.report, instances, &plan);
        (plan, report)
    }

    /// In this order: a pending wish is taken back, compute instances go, GPU instances go, the mode
    /// changes, GPU instances come, compute instances come.
    fn steps(&self, present: &Present<'_>) -> Vec<Step> {
        let gpu = &present.gpu.uuid;
        let mut steps = self.mode.first.clone();
        let there = || present.there.iter().zip(&self.there);
        for (one, fit) in there() {
            steps.extend(destroyed_computes(gpu, one, fit.as_ref()));
        }
        let gone = there().filter(|(_, fit)| fit.is_none());
        steps.extend(gone.map(|(one, _)| Step::DestroyGpuInstance {
            gpu: gpu.clone(),
            gpu_instance: one.instance.id,
            profile: one.instance.profile,
            placement: one.instance.placement,
        }));
        steps.extend(self.mode.then.iter().cloned());
        steps.extend(self.coming.iter().map(|coming| Step::CreateGpuInstance {
            gpu: gpu.clone(),
            profile: coming.part.profile,
            placement: coming.part.placement,
        }));
        let create = |at: PlacedProfile, made: &PlacedCompute| Step::CreateComputeInstance {
            gpu: gpu.clone(),
            at: at.placement,
            profile: made.profile,
            placement: made.placement,
        };
        for (one, fit) in there() {
            let made = fit.iter().flat_map(|fit| &fit.made);
            steps.extend(made.map(|made| create(one.part(), made)));
        }
        for coming in &self.coming {
            steps.extend(coming.computes.iter().map(|made| create(coming.part, made)));
        }
        steps
    }
}

fn destroyed_computes(gpu: &GpuUuid, one: &There<'_>, fit: Option<&Fit>) -> Vec<Step> {
    let goes = |index: usize| fit.is_none_or(|fit| !fit.kept[index]);
    let computes = one.instance.compute_instances.iter().enumerate();
    let computes = computes.filter(|(index, _)| goes(*index));
    let step = |compute: &model::ComputeInstance| Step::DestroyComputeInstance {
        gpu: gpu.clone(),
        gpu_instance: one.instance.id,
        at: one.instance.placement,
        compute_instance: compute.id,
        profile: compute.profile,
        placement: compute.placement,
    };
    computes.map(|(_, compute)| step(compute)).collect()
}

fn stand(present: &Present<'_>, one: &There<'_>, fit: Option<&Fit>) -> InstanceReport {
    let profile = one.instance.profile;
    let computes = one.instance.compute_instances.iter().enumerate();
    let computes = computes.map(|(index, compute)| ComputeReport {
        fate: if fit.is_some_and(|fit| fit.kept[index]) { Fate::Stays } else { Fate::Goes },
        id: Some(compute.id),
        profile: compute.profile,
        name: present.compute_name(profile, compute.profile),
        placement: compute.placement,
        uuid: compute.uuid.clone(),
        pids: Present::pids(compute),
    });
    let made = fit.iter().flat_map(|fit| &fit.made);
    let made = made.map(|made| compute_arrival(present, one.part(), *made));
    InstanceReport {
        fate: if fit.is_some() { Fate::Stays } else { Fate::Goes },
        id: Some(one.instance.id),
        profile,
        name: present.name(profile),
        placement: one.instance.placement,
        held: one.is_held().then(|| one.held.clone()),
        computes: computes.chain(made).collect(),
    }
}

fn arrival(present: &Present<'_>, coming: &Coming) -> InstanceReport {
    let computes = coming.computes.iter();
    let computes = computes.map(|made| compute_arrival(present, coming.part, *made)).collect();
    InstanceReport {
        fate: Fate::Comes,
        id: None,
        profile: coming.part.profile,
        name: present.name(coming.part.profile),
        placement: coming.part.placement,
        held: None,
        computes,
    }
}

fn compute_arrival(
    present: &Present<'_>,
    within: PlacedProfile,
    made: PlacedCompute,
) -> ComputeReport {
    ComputeReport {
        fate: Fate::Comes,
        id: None,
        profile: made.profile,
        name: present.compute_name(within.profile, made.profile),
        placement: made.placement,
        uuid: None,
        pids: Vec::new(),
    }
}
