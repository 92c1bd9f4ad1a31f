//! What others and bad luck do: calls that fail, foreign instances, crashes, sick GPUs, full disks.
//!
//! Must never do what no machine could: a driver refuses strangers, too.

use broker::{Command, SliceKey};
use model::{GpuUuid, Millis, PlacedProfile, Step};
use sim_gpu::{Fault, FaultEffect, GpuHealth, RecoveryAction, Return};

use super::world::{Act, World};
use crate::bench::{Origin, Spot};
use crate::processes::Habits;

/// The call that a step changes the hardware with.
const fn call_of(step: &Step) -> Option<&'static str> {
    Some(match step {
        Step::SetMigMode { .. } => "DeviceSetMigMode",
        Step::ResetGpu { .. } => return None,
        Step::DestroyComputeInstance { .. } => "ComputeInstanceDestroy",
        Step::DestroyGpuInstance { .. } => "GpuInstanceDestroy",
        Step::CreateGpuInstance { .. } => "DeviceCreateGpuInstanceWithPlacement",
        Step::CreateComputeInstance { .. } => "GpuInstanceCreateComputeInstanceWithPlacement",
    })
}

/// Calls that read, as an execution or a look makes them.
const READS: &[&str] = &[
    "DeviceGetMigMode",
    "DeviceGetGpuInstances",
    "GpuInstanceGetInfo",
    "GpuInstanceGetComputeInstances",
    "ComputeInstanceGetInfo_v2",
    "DeviceGetUUID",
    "DeviceGetComputeRunningProcesses_v3",
    "DeviceGetHandleByUUID",
    "SystemGetDriverVersion",
    "DeviceGetMemoryInfo",
];

/// What a driver in trouble returns.
const TROUBLES: &[Return] = &[
    Return::Timeout,
    Return::IrqIssue,
    Return::GpuIsLost,
    Return::ResetRequired,
    Return::OperatingSystem,
    Return::Memory,
    Return::InUse,
    Return::NotReady,
    Return::InvalidState,
    Return::Unknown,
];

impl World {
    pub(super) fn some_gpu(&mut self) -> Option<(usize, GpuUuid)> {
        let gpu = self.chance.below(self.room.bench.gpus().len());
        Some((gpu, self.room.bench.gpus().get(gpu)?.clone()))
    }

    /// The step that the next act of an execution does, if it does one.
    pub(super) fn step_under_way(&self, at: usize) -> Option<Step> {
        let execution = &self.room.running[at].execution;
        let done = self.room.state.plans.get(&execution.id())?.done.len();
        execution.has_begun().then(|| execution.plan().steps.get(done).cloned())?
    }

    /// Perhaps plants a fault for the next act of an execution; returns who will have made what
    /// comes into being.
    pub(super) fn plant_fault(&mut self, at: usize) -> Origin {
        if !self.chance.one_in(25) {
            return Origin::Ours;
        }
        let call = self.step_under_way(at).as_ref().and_then(call_of);
        let code = Return::ALL[1 + self.chance.below(Return::ALL.len() - 1)];
        let (call, effect) = match call {
            Some(call) if !self.chance.one_in(4) => match self.chance.below(5) {
                0..=1 => (call, FaultEffect::Return(code)),
                2..=3 => (call, FaultEffect::ReturnAfter(code)),
                _ => (call, FaultEffect::Lie),
            },
            _ => {
                let Some(call) = self.chance.pick(READS) else { return Origin::Ours };
                // To a question the other codes are answers: there is no such thing, or no such call.
                let Some(code) = self.chance.pick(TROUBLES) else { return Origin::Ours };
                (*call, FaultEffect::Return(*code))
            }
        };
        let times = if self.chance.one_in(3) { 40 } else { 1 };
        let skip = if READS.contains(&call) { self.chance.below(12) as u32 } else { 0 };
        self.note_fault(call, effect);
        let fault = Fault { call: call.to_owned(), gpu: None, skip, times, effect };
        self.room.bench.operate(|node, _| node.add_fault(fault));
        // The driver says that nothing was changed, in words that leave no doubt.
        let lies = matches!(effect, FaultEffect::ReturnAfter(code) if !leaves_doubt(code));
        if lies { Origin::Doubtful } else { Origin::Ours }
    }

    fn note_fault(&mut self, call: &str, effect: FaultEffect) {
        let words = match effect {
            FaultEffect::Return(_) if READS.contains(&call) => "fault: read error".to_owned(),
            FaultEffect::Return(code) => format!("fault: {call} fails: {}", code.name()),
            FaultEffect::ReturnAfter(code) => {
                format!("fault: {call} works and fails: {}", code.name())
            }
            FaultEffect::Lie
            | FaultEffect::Hang(_)
            | FaultEffect::CrashBefore
            | FaultEffect::CrashAfter => format!("fault: {call} lies"),
        };
        self.coverage.count(&words);
    }

    pub(super) fn stranger(&mut self) {
        if !self.course.strangers {
            return;
        }
        let Some((gpu, uuid)) = self.some_gpu() else { return };
        let standing = self.room.bench.spots(gpu);
        match self.chance.below(4) {
            0 => self.stranger_creates(gpu, &uuid),
            1 => {
                let Some((_, key)) = self.chance.pick(&standing).cloned() else { return };
                if self.stranger_destroys(&key) {
                    self.coverage.count("stranger: instance destroyed");
                }
            }
            2 => {
                let Some((spot, _)) = self.chance.pick(&standing).cloned() else { return };
                self.stranger_runs(spot);
            }
            _ => {
                let strangers = self.room.bench.processes.values().filter(|p| p.lease.is_none());
                let pids: Vec<u32> = strangers.map(|p| p.pid).collect();
                let Some(pid) = self.chance.pick(&pids).copied() else { return };
                self.room.bench.stop(pid);
            }
        }
    }

    fn stranger_runs(&mut self, spot: Spot) {
        let id = self.room.bench.with(|node| {
            let instances = &node.gpus[spot.gpu].instances;
            instances.iter().find(|found| found.generation == spot.generation).map(|i| i.id)
        });
        let Some(Some(id)) = id else { return };
        let habits = Habits { listed: true, dies_of: None };
        if self.room.bench.start(None, &[(spot.gpu, Some(id))], habits).is_some() {
            self.coverage.count("stranger: process");
        }
    }

    fn stranger_creates(&mut self, gpu: usize, uuid: &GpuUuid) {
        let geometry = self.room.observed.gpu(uuid).and_then(|gpu| gpu.geometry.clone());
        let Some(geometry) = geometry else { return };
        let Some(profile) = self.chance.pick(&geometry.profiles) else { return };
        let places: Vec<_> = profile.placements().collect();
        // Half of them aim at a place where a plan of ours is about to make the same.
        let coming: Vec<PlacedProfile> = self
            .room
            .state
            .plans
            .values()
            .flat_map(|open| &open.targets)
            .filter(|target| target.key.gpu == *uuid && !target.reuse)
            .map(|t| PlacedProfile { placement: t.key.placement, profile: t.profile })
            .collect();
        let anywhere = self.chance.pick(&places);
        let anywhere = anywhere.map(|at| PlacedProfile { placement: *at, profile: profile.id });
        let aimed = if self.chance.one_in(2) { self.chance.pick(&coming).copied() } else { None };
        let Some(part) = aimed.or(anywhere) else { return };
        let key = SliceKey { gpu: uuid.clone(), placement: part.placement };
        let origin = match (self.room.stolen.contains(&key), self.is_intended(&key)) {
            (true, true) => Origin::Impostor,
            (false, true) => Origin::Doubtful,
            (_, false) => Origin::Foreign,
        };
        if self.room.bench.foreign_create(gpu, part, origin).is_ok() {
            self.coverage.count("stranger: instance made");
        }
    }

    /// Whether a record or an open intent of ours names the place, so that what somebody else puts
    /// there cannot be told from ours.
    fn is_intended(&self, key: &SliceKey) -> bool {
        let state = &self.room.state;
        let running = self.room.running.iter().flat_map(|r| &r.execution.plan().steps);
        let open = state.plans.values().flat_map(|open| &open.plan.steps);
        state.slices.contains_key(key)
            || state.orphans.iter().any(|orphan| orphan.key == *key)
            || open.chain(running).any(|step| step.names(&key.gpu, key.placement))
            || self.is_of_a_change(key)
            || state.fixed.get(&key.gpu).is_some_and(|fixed| {
                fixed.instances.iter().any(|there| there.placement == key.placement)
            })
    }

    /// Whether an open change may take back what lies at a place, whoever put it there.
    fn is_of_a_change(&self, key: &SliceKey) -> bool {
        let open = self.room.state.changes.values().filter(|change| change.is_open());
        let mut parts = open.filter_map(|change| change.gpus.get(&key.gpu));
        parts.any(|part| {
            let made = part.made.iter().map(|made| made.placement);
            let before = part.before.instances.iter().map(|instance| instance.placement);
            made.chain(before).any(|place| place == key.placement)
        })
    }

    /// Slices on a GPU that a lease has or that an open plan provides: its executor may have read
    /// them back already.
    fn promised(&self, gpu: &GpuUuid) -> Vec<SliceKey> {
        let leased = self.room.state.leases.values().flat_map(|lease| &lease.slices);
        let coming = self.room.state.plans.values().flat_map(|open| &open.targets);
        let keys = leased.map(|slice| &slice.key).chain(coming.map(|target| &target.key));
        keys.filter(|key| key.gpu == *gpu).cloned().collect()
    }

    pub(super) fn stranger_destroys(&mut self, key: &SliceKey) -> bool {
        let promised = self.promised(&key.gpu).contains(key);
        let Some(gpu) = self.room.bench.index(&key.gpu) else { return false };
        let done = self.room.bench.foreign_destroy(gpu, key.placement).is_ok();
        if done && promised {
            self.room.stolen.insert(key.clone());
        }
        done
    }

    pub(super) fn fault(&mut self) -> Act {
        if !self.course.faults {
            return Ok(());
        }
        match self.chance.below(16) {
            0..=4 => {
                self.coverage.count("fault: crash");
                self.crash()
            }
            5..=7 => {
                // The daemon dies between a driver call and its record.
                let ready: Vec<usize> =
                    (0..self.room.running.len()).filter(|at| self.room.may_advance(*at)).collect();
                if let Some(at) = self.chance.pick(&ready).copied() {
                    self.room.advance(at, None, Origin::Ours);
                    self.coverage.count("fault: crash after a driver call");
                }
                self.crash()
            }
            8 => self.restart(),
            9 => {
                self.coverage.count("fault: disk full");
                self.room.disk_full = true;
                self.disk_full_until = self.room.now.plus(Millis::from_secs(30));
                Ok(())
            }
            10 => {
                let Some((_, gpu)) = self.some_gpu() else { return Ok(()) };
                self.coverage.count("fault: hung GPU");
                self.hung_until.push((gpu.clone(), self.room.now.plus(Millis::from_secs(60))));
                self.room.hung.insert(gpu);
                Ok(())
            }
            11 => {
                self.reset_by_hand();
                Ok(())
            }
            12 => {
                self.tell_late();
                Ok(())
            }
            _ => {
                self.change_health();
                Ok(())
            }
        }
    }

    /// The daemon has had enough of waiting for a plan.
    fn tell_late(&mut self) {
        let running = &self.room.running;
        let mut late: Vec<usize> =
            (0..running.len()).filter(|at| !self.room.may_advance(*at)).collect();
        if late.is_empty() {
            late = (0..running.len()).collect();
        }
        let Some(at) = self.chance.pick(&late).copied() else { return };
        let plan = running[at].execution.id();
        self.coverage.count("fault: a call that does not come back is told of");
        let words = "a call does not come back".to_owned();
        self.room.tell(Command::PlanLate { plan, words });
    }

    fn crash(&mut self) -> Act {
        self.take_note();
        if let Err(error) = self.room.crash() {
            return Err(("a daemon starts again", error.to_string()));
        }
        self.disk_full_until = self.room.now;
        self.acknowledged_is_known()
    }

    /// After a restart a boot script may have made instances just like ours.
    fn restart(&mut self) -> Act {
        self.coverage.count("fault: reboot");
        let slices = self.room.state.slices.iter();
        let ours: Vec<(SliceKey, PlacedProfile)> = slices
            .map(|(key, record)| {
                let part =
                    PlacedProfile { placement: key.placement, profile: record.slice.profile };
                (key.clone(), part)
            })
            .collect();
        let script = self.chance.one_in(2) && self.course.strangers;
        self.hung_until.clear();
        self.take_note();
        if let Err(error) = self.room.rebooted() {
            return Err(("a machine starts again", error.to_string()));
        }
        if !self.course.auto_mig {
            // On Hopper and later the mode does not outlive a restart; its owner's script sets it.
            self.room.bench.enable_mig();
        }
        if script {
            for (key, part) in ours {
                let Some(gpu) = self.room.bench.index(&key.gpu) else { continue };
                let _ = self.room.bench.foreign_create(gpu, part, Origin::Foreign);
            }
        }
        self.crash()
    }

    /// Somebody resets a GPU that nobody uses, without asking migd.
    fn reset_by_hand(&mut self) {
        let Some((gpu, uuid)) = self.some_gpu() else { return };
        let leased = self.promised(&uuid);
        if self.room.bench.host.reset_gpu(gpu).is_ok() {
            self.coverage.count("fault: reset by hand");
            self.room.bench.attribute(gpu, Origin::Foreign);
            self.room.stolen.extend(leased);
        }
    }

    fn change_health(&mut self) {
        let Some((gpu, _)) = self.some_gpu() else { return };
        let ill = self.room.bench.with(|node| node.gpus[gpu].health != GpuHealth::Ok);
        let (health, recovery, words) = if ill == Some(true) {
            (GpuHealth::Ok, RecoveryAction::None, "fault: GPU back")
        } else {
            match self.chance.below(3) {
                0 => (GpuHealth::Lost, RecoveryAction::NodeReboot, "fault: lost GPU"),
                1 => (GpuHealth::ResetRequired, RecoveryAction::GpuReset, "fault: reset required"),
                _ => (GpuHealth::Ok, RecoveryAction::DrainAndReset, "fault: recovery advised"),
            }
        };
        self.coverage.count(words);
        self.room.bench.operate(|node, now| node.set_health(gpu, health, recovery, now));
    }

    /// Troubles that end by themselves.
    pub(super) fn troubles_end(&mut self) {
        let now = self.room.now;
        if self.room.disk_full && self.disk_full_until <= now {
            self.room.disk_full = false;
        }
        let hung = std::mem::take(&mut self.hung_until);
        for (gpu, until) in hung {
            if until <= now {
                self.room.hung.remove(&gpu);
            } else {
                self.room.silent(&gpu);
                self.hung_until.push((gpu, until));
            }
        }
    }
}

/// Whether a driver that answers so may have done what it was asked all the same.
pub(super) fn leaves_doubt(code: Return) -> bool {
    driver::NvmlReturn::from(code.code()).leaves_doubt()
}
