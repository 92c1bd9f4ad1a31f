//! Plan documents: what a wish would come to on this machine, with what it takes to judge that.
//!
//! Must never change anything, and must never hide what is in the way.

use std::collections::BTreeMap;

use api::{
    BlockedView, FixRequest, GpuPlan, InTheWay, MachineIdentity, PLAN_FORMAT, PartView,
    Permissions, PlanDocument, PlanRequest, UnitStop,
};
use broker::changes::{estimate, planned};
use broker::{Obstacle, Planned};
use host::units::{Halt, NotHalted, Units};
use model::clients::{KnownClient, StopClients};
use model::{
    DesiredGpu, Geometry, GpuShape, GpuSnapshot, GpuUuid, MigMode, Plan, Purpose, Step, UnitName,
};
use planner::{Fate, Forecast, GpuReport, Held, InstanceReport, Rules};

use crate::changes::of_units;
use crate::executor::chain;
use crate::machine::Machine;
use crate::modes;
use crate::published::Published;

/// Why no plan document was made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotPlanned {
    /// The machine has no such GPU.
    #[error("this machine has no GPU {0}")]
    NoSuchGpu(GpuUuid),
    /// The words for units to stop were not understood.
    #[error(transparent)]
    Units(#[from] model::clients::StopClientsError),
    /// It names no GPU.
    #[error("it names no GPU")]
    Nothing,
}

/// What units may be stopped, and what is known of them.
#[derive(Debug, Default)]
pub(crate) struct Halting {
    halt: Halt,
    kept: Vec<NotHalted>,
    trouble: Option<String>,
}

impl Halting {
    /// Looks at the units of the machine; waits for systemd.
    pub(crate) fn look(units: &dyn Units, allowed: &StopClients) -> Self {
        match Halt::of(units, allowed) {
            Ok((halt, kept)) => Self { halt, kept, trouble: None },
            // Machines without systemd have no units that hold GPUs.
            Err(_) if *allowed == StopClients::Nothing => Self::default(),
            Err(error) => Self { trouble: Some(chain(&error)), ..Self::default() },
        }
    }
}

/// Which units a request allows to stop; `None`: what the configuration says.
pub(crate) fn allowed(
    permissions: &Permissions,
    configured: &StopClients,
) -> Result<StopClients, NotPlanned> {
    match &permissions.stop_units {
        Some(words) => Ok(words.parse()?),
        None => Ok(configured.clone()),
    }
}

/// The plan document of a wish.
///
/// # Errors
/// [`NotPlanned`].
pub(crate) fn document(
    picture: &Published,
    machine: &Machine,
    request: PlanRequest,
    halting: &Halting,
) -> Result<PlanDocument, NotPlanned> {
    if request.desired.is_empty() {
        return Err(NotPlanned::Nothing);
    }
    let mut gpus = Vec::new();
    let (mut measured, mut halts) = (true, false);
    for (uuid, desired) in &request.desired {
        let seen = picture.observed.gpu(uuid);
        let seen = seen.ok_or_else(|| NotPlanned::NoSuchGpu(uuid.clone()))?;
        let one = One { picture, machine, seen, request: &request, halting };
        let (plan, of_it) = one.plan(desired);
        measured &= of_it.measured;
        halts |= of_it.halts;
        gpus.push(plan);
    }
    gpus.sort_by_key(|gpu| gpu.index);
    let estimate_ms = gpus.iter().map(|gpu| gpu.estimate_ms).max().unwrap_or(0);
    Ok(PlanDocument {
        format: PLAN_FORMAT,
        made_at_ms: picture.now.as_millis(),
        machine: MachineIdentity {
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            simulated: machine.simulated.clone(),
            driver: picture.observed.driver_version.clone(),
        },
        words: request.words,
        allow: request.allow,
        wait_idle: request.wait_idle,
        gpus,
        units: if halts { units(&halting.halt.units) } else { Vec::new() },
        estimate_ms,
        measured,
    })
}

fn units(names: &[UnitName]) -> Vec<UnitStop> {
    let why = |unit: &UnitName| {
        KnownClient::of_unit(unit).map_or_else(
            || "named by whoever asked".to_owned(),
            |known| format!("{} holds GPUs: it {}", known.name, known.advice),
        )
    };
    names.iter().map(|unit| UnitStop { unit: unit.as_str().to_owned(), why: why(unit) }).collect()
}

/// What else a plan for one GPU told.
struct OfIt {
    measured: bool,
    /// Whether units are in its way.
    halts: bool,
}

/// One GPU of a request.
struct One<'a> {
    picture: &'a Published,
    machine: &'a Machine,
    seen: &'a GpuSnapshot,
    request: &'a PlanRequest,
    halting: &'a Halting,
}

impl One<'_> {
    fn plan(&self, desired: &DesiredGpu) -> (GpuPlan, OfIt) {
        let Self { picture, machine, seen, request, halting } = self;
        let forecast = Forecast::unknown();
        let leaving = of_units(seen, &halting.halt.units);
        let units_on_it = !leaving.is_empty();
        let rules = Rules { mode: true, reset: request.allow.reset, leaving };
        let purpose = Purpose::Apply(request.words.clone());
        let world = picture.world(&forecast);
        let found = planned(&picture.state, &world, seen, desired, &rules, purpose);
        let mut plan = self.empty(desired);
        let mut of_it = OfIt { measured: true, halts: false };
        match found {
            Planned::Steps(steps, report) => {
                let cost = estimate(&picture.state.costs, &steps.steps);
                plan.estimate_ms = cost.span.get();
                of_it.measured = cost.measured;
                let turns = turns(&steps);
                if let Some(blocked) = self.held(turns) {
                    plan.estimate_ms = 0;
                    plan.blocked = Some(blocked);
                    return (plan, of_it);
                }
                of_it.halts = turns || units_on_it && !steps.steps.is_empty();
                describe(&mut plan, seen, &report);
                if turns {
                    let resets =
                        steps.steps.iter().any(|step| matches!(step, Step::ResetGpu { .. }));
                    let against = modes::against(machine, seen, resets);
                    plan.notes.extend(against.map(|why| format!("this will hardly work: {why}")));
                    plan.notes.extend(self.unit_notes());
                }
                plan.words = steps.steps.iter().map(|step| words(seen, step)).collect();
                plan.steps = steps.steps;
            }
            Planned::Blocked { sentence, by, passes, never } => {
                let by = by.into_iter().map(in_the_way).collect();
                of_it.halts = request.wait_idle && (units_on_it || changes_mode(seen, desired));
                plan.blocked = Some(BlockedView { sentence, by, passes, never });
                if request.wait_idle && passes {
                    let words = "what is free is changed now, the rest as soon as it is idle";
                    plan.notes.push(words.to_owned());
                }
            }
        }
        (plan, of_it)
    }

    /// Programs that keep the mode from being changed. A change would find out only after it had taken
    /// away what lies there, and could not make it again.
    fn held(&self, turns: bool) -> Option<BlockedView> {
        if !turns || self.request.wait_idle {
            return None;
        }
        let Self { picture, machine, seen, halting, .. } = self;
        let names = modes::holders(machine, picture, seen, &halting.halt.units);
        if names.is_empty() {
            return None;
        }
        let sentence = modes::sentence(seen, &names);
        let by = names.into_iter().map(|by| InTheWay { gpu_instance: None, by, lease: None });
        Some(BlockedView { sentence, by: by.collect(), passes: false, never: false })
    }

    fn empty(&self, desired: &DesiredGpu) -> GpuPlan {
        GpuPlan {
            gpu: self.seen.uuid.clone(),
            index: self.seen.index.get(),
            name: self.seen.name.clone(),
            desired: desired.clone(),
            before: GpuShape::of(self.seen),
            steps: Vec::new(),
            words: Vec::new(),
            stays: Vec::new(),
            goes: Vec::new(),
            comes: Vec::new(),
            notes: Vec::new(),
            blocked: None,
            fix: self.fix(),
            estimate_ms: 0,
        }
    }

    fn fix(&self) -> Option<FixRequest> {
        let fixes: &BTreeMap<GpuUuid, FixRequest> = &self.request.fix;
        fixes.get(&self.seen.uuid).copied()
    }

    /// Units that run, may hold the GPU and are not stopped.
    fn unit_notes(&self) -> Vec<String> {
        let kept = self.halting.kept.iter();
        let kept = kept.map(|kept| format!("{} keeps running: {}", kept.unit, kept.why));
        let trouble = self.halting.trouble.iter();
        kept.chain(trouble.map(|words| format!("no unit is stopped: {words}"))).collect()
    }
}

/// Whether a wish is for another mode than the GPU has.
fn changes_mode(seen: &GpuSnapshot, desired: &DesiredGpu) -> bool {
    match desired {
        DesiredGpu::Whole => seen.mig.is_enabled() || seen.mig.needs_reset(),
        DesiredGpu::Sliced | DesiredGpu::Exactly(_) => !seen.mig.is_enabled(),
        DesiredGpu::Beside { .. } | DesiredGpu::Without { .. } => false,
    }
}

fn turns(plan: &Plan) -> bool {
    let turns = |step: &Step| matches!(step, Step::SetMigMode { .. } | Step::ResetGpu { .. });
    plan.steps.iter().any(turns)
}

fn in_the_way(obstacle: Obstacle) -> InTheWay {
    InTheWay {
        gpu_instance: obstacle.instance.map(model::GpuInstanceId::get),
        by: obstacle.by,
        lease: obstacle.lease,
    }
}

fn describe(plan: &mut GpuPlan, seen: &GpuSnapshot, report: &GpuReport) {
    plan.stays = report.with_fate(Fate::Stays).map(part).collect();
    plan.goes = report.with_fate(Fate::Goes).map(part).collect();
    plan.comes = report.with_fate(Fate::Comes).map(part).collect();
    plan.notes.extend(report.mode.iter().map(ToString::to_string));
    let inside = report.with_fate(Fate::Stays).filter(|instance| !instance.is_untouched());
    for instance in inside {
        let id = instance.id.map_or_else(String::new, |id| format!("{id} "));
        plan.notes.push(format!(
            "inside GPU instance {id}({} at {}): {}",
            instance.name,
            instance.placement,
            compute_words(instance)
        ));
    }
    if report.is_nothing() && seen.mig.needs_reset() {
        plan.notes.push("a MIG mode is pending there".to_owned());
    }
}

fn compute_words(instance: &InstanceReport) -> String {
    let with = |fate: Fate, verb: &str| {
        let names: Vec<&str> = instance
            .computes
            .iter()
            .filter(|compute| compute.fate == fate)
            .map(|compute| compute.name.as_str())
            .collect();
        (!names.is_empty()).then(|| format!("{} {verb}", names.join(", ")))
    };
    let parts = [with(Fate::Stays, "stays"), with(Fate::Goes, "goes"), with(Fate::Comes, "comes")];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn part(instance: &InstanceReport) -> PartView {
    let with = |fates: [Fate; 2]| -> Vec<String> {
        let computes = instance.computes.iter().filter(|compute| fates.contains(&compute.fate));
        computes.map(|compute| compute.name.clone()).collect()
    };
    let (now, then) = (with([Fate::Stays, Fate::Goes]), with([Fate::Stays, Fate::Comes]));
    let (computes, computes_before) = match instance.fate {
        Fate::Stays if now != then => (then, Some(now)),
        Fate::Stays | Fate::Comes => (then, None),
        Fate::Goes => (now, None),
    };
    PartView {
        profile: instance.name.clone(),
        start: instance.placement.start.get(),
        size: instance.placement.size.get(),
        gpu_instance: instance.id.map(model::GpuInstanceId::get),
        computes,
        computes_before,
        note: instance.held.as_ref().map(Held::to_string),
    }
}

/// A step in words, with names instead of ids where the board has them.
pub(crate) fn words(gpu: &GpuSnapshot, step: &Step) -> String {
    let geometry: Option<&Geometry> = gpu.geometry.as_deref();
    let name = |id: model::GpuInstanceProfileId| {
        let known = geometry.and_then(|geometry| geometry.profile(id));
        known.map_or_else(|| format!("profile {id}"), |profile| profile.name.to_string())
    };
    match step {
        Step::SetMigMode { mode: MigMode::Enabled, .. } => "enable MIG".to_owned(),
        Step::SetMigMode { mode: MigMode::Disabled, .. } => "disable MIG".to_owned(),
        Step::ResetGpu { .. } => "reset the GPU".to_owned(),
        Step::DestroyComputeInstance { gpu_instance, compute_instance, .. } => {
            format!("destroy compute instance {compute_instance} of GPU instance {gpu_instance}")
        }
        Step::DestroyGpuInstance { gpu_instance, profile, placement, .. } => {
            format!("destroy GPU instance {gpu_instance} ({} at {placement})", name(*profile))
        }
        Step::CreateGpuInstance { profile, placement, .. } => {
            format!("create {} at {placement}", name(*profile))
        }
        Step::CreateComputeInstance { at, placement, .. } => {
            let (size, start) = (placement.size, placement.start);
            format!("create compute instance {size}c at {start} in the GPU instance at {at}")
        }
    }
}
