//! What others and bad luck do: foreign instances, strangers on slices, crashes, sick GPUs.
//!
//! Must never do what no machine could: a driver refuses strangers, too.

use broker::SliceKey;
use model::{GpuUuid, Health, PlacedProfile, Step};

use super::World;
use crate::machine::{Advance, Origin};

impl World {
    pub(super) fn some_gpu(&mut self) -> GpuUuid {
        let at = self.chance.below(self.rig.machine.node.gpus.len());
        self.rig.machine.node.gpus[at].uuid.clone()
    }

    pub(super) fn stranger(&mut self) {
        let gpu = self.some_gpu();
        let keys: Vec<SliceKey> =
            self.rig.machine.origins.keys().filter(|key| key.gpu == gpu).cloned().collect();
        match self.chance.below(4) {
            0 => self.stranger_creates(&gpu),
            1 => {
                let Some(key) = self.chance.pick(&keys).cloned() else { return };
                self.stranger_destroys(&key);
            }
            2 => {
                let whole = |key: &&SliceKey| {
                    let instance = self.rig.machine.gpu(&gpu).instance_at(key.placement);
                    instance.is_some_and(|instance| !instance.compute_instances.is_empty())
                };
                let keys: Vec<SliceKey> = keys.iter().filter(whole).cloned().collect();
                let Some(key) = self.chance.pick(&keys).cloned() else { return };
                self.rig.stranger_on(&key);
            }
            _ => {
                let strangers = self.rig.machine.processes.iter().filter(|p| p.lease.is_none());
                let pids: Vec<u32> = strangers.map(|p| p.pid).collect();
                let Some(pid) = self.chance.pick(&pids).copied() else { return };
                self.rig.machine.stop(pid);
                for at in 0..self.rig.machine.node.gpus.len() {
                    let gpu = self.rig.machine.node.gpus[at].uuid.clone();
                    self.rig.disturb(&gpu);
                }
            }
        }
    }

    fn stranger_creates(&mut self, gpu: &GpuUuid) {
        let geometry = self.rig.machine.gpu(gpu).geometry.clone().expect("MIG boards");
        let Some(profile) = self.chance.pick(&geometry.profiles) else { return };
        let places: Vec<_> = profile.placements().collect();
        // Half of them aim at a place where a plan of ours is about to make the same.
        let coming = self.rig.running.iter().flat_map(|running| &running.targets);
        let coming: Vec<PlacedProfile> = coming
            .filter(|target| target.key.gpu == *gpu && !target.reuse)
            .map(|t| PlacedProfile { placement: t.key.placement, profile: t.profile })
            .collect();
        let anywhere = self.chance.pick(&places);
        let anywhere = anywhere.map(|at| PlacedProfile { placement: *at, profile: profile.id });
        let aimed = if self.chance.one_in(2) { self.chance.pick(&coming).copied() } else { None };
        let Some(part) = aimed.or(anywhere) else { return };
        let key = SliceKey { gpu: gpu.clone(), placement: part.placement };
        let ours = self.rig.state.orphans.iter().any(|orphan| orphan.key == key)
            || self.rig.state.slices.contains_key(&key)
            || self.made_by_an_open_plan(&key)
            || self.is_to_come_back(&key);
        let origin = if ours { Origin::Doubtful } else { Origin::Foreign };
        if self.rig.machine.foreign_create(gpu, part, origin).is_ok() {
            self.rig.disturb(gpu);
        }
    }

    /// Whether a change that is open took a slice of ours away there: what lies there when it is taken
    /// back cannot be told from it.
    fn is_to_come_back(&self, key: &SliceKey) -> bool {
        let open = self.rig.state.change_on(&key.gpu).and_then(|change| change.gpus.get(&key.gpu));
        open.is_some_and(|part| part.ours.iter().any(|slice| slice.key == *key))
    }

    /// Whether a plan that is still open has made an instance there: what somebody else puts in its
    /// place has the same id and cannot be told from it.
    fn made_by_an_open_plan(&self, key: &SliceKey) -> bool {
        self.rig.state.plans.values().any(|open| {
            let done = open.plan.steps.iter().take(open.done.len());
            done.into_iter().any(|step| {
                matches!(step, Step::CreateGpuInstance { gpu, placement, .. }
                    if *gpu == key.gpu && *placement == key.placement)
            })
        })
    }

    pub(super) fn stranger_destroys(&mut self, key: &SliceKey) {
        let leases = self.rig.state.leases.values();
        let leased = leases.flat_map(|lease| &lease.slices).any(|slice| slice.key == *key);
        if self.rig.machine.foreign_destroy(key).is_ok() {
            if leased {
                self.rig.stolen.insert(key.clone());
            }
            self.rig.disturb(&key.gpu);
        }
    }

    pub(super) fn fault(&mut self) {
        match self.chance.below(10) {
            0..=3 => self.rig.crash(),
            4..=5 => {
                // The daemon dies between a driver call and its record.
                let started = (0..self.rig.running.len())
                    .filter(|at| self.rig.running[*at].proof.is_some())
                    .collect::<Vec<_>>();
                if let Some(at) = self.chance.pick(&started).copied() {
                    let more = self.rig.running[at].done < self.rig.running[at].plan.steps.len();
                    if more {
                        self.rig.advance(at, Advance::Unheard);
                    }
                }
                self.rig.crash();
            }
            6 => {
                if self.chance.one_in(4) {
                    self.restart();
                }
            }
            _ => {
                let uuid = self.some_gpu();
                let gpu = self.rig.machine.gpu_mut(&uuid);
                let ill = gpu.health != Health::Ok;
                gpu.health = if ill { Health::Ok } else { Health::ResetRequired };
                self.rig.disturb(&uuid);
            }
        }
    }

    /// After a restart a boot script may have made instances just like ours.
    fn restart(&mut self) {
        let ours: Vec<(SliceKey, PlacedProfile)> = self
            .rig
            .state
            .slices
            .iter()
            .map(|(key, record)| {
                let profile = record.slice.profile;
                (key.clone(), PlacedProfile { placement: key.placement, profile })
            })
            .collect();
        let script = self.chance.one_in(2);
        self.rig.machine.reboot();
        if script && self.course.strangers {
            for (key, part) in ours {
                let _ = self.rig.machine.foreign_create(&key.gpu, part, Origin::Foreign);
            }
        }
        self.rig.restarted();
    }
}
