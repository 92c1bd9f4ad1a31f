//! What an administrator does to layouts and modes: changes asked for, cancelled, GPUs handed back.
//!
//! Must never ask for what no administrator could.

use broker::{ChangeRefusal, ChangeSpec, Command, GpuChangeSpec, Refusal};
use model::{
    ChangeId, DesiredCompute, DesiredGpu, DesiredInstance, GpuUuid, Layout, PlacedProfile,
};

use super::World;
use crate::machine::{PEER_ADMIN, Rig};

impl World {
    pub(super) fn changes(&mut self) {
        match self.chance.below(6) {
            0..=3 => self.ask_for_a_change(),
            4 => {
                let open: Vec<ChangeId> = self.open_changes();
                let Some(change) = self.chance.pick(&open).copied() else { return };
                self.cancel(change);
            }
            _ => self.hand_back_all(),
        }
    }

    fn ask_for_a_change(&mut self) {
        let mut gpus: Vec<GpuUuid> = Vec::new();
        for _ in 0..=self.chance.below(2) {
            let gpu = self.some_gpu();
            if !gpus.contains(&gpu) {
                gpus.push(gpu);
            }
        }
        let mut parts = Vec::new();
        for gpu in gpus {
            let desired = self.desired(&gpu);
            let fix = self.chance.one_in(4).then(|| self.chance.one_in(2));
            parts.push(GpuChangeSpec { fix, ..self.rig.part(&gpu, desired) });
        }
        // Between the plan and its carrying out, the machine moves on.
        if self.chance.one_in(4) {
            self.execute();
            self.rig.observe();
        }
        let units =
            if self.chance.one_in(3) { vec!["nvidia-dcgm.service".into()] } else { Vec::new() };
        let wait_idle = self.chance.one_in(2);
        let spec = ChangeSpec { wait_idle, units, ..Rig::change_of_gpus(parts) };
        let asked = format!("{spec:?}");
        if let Err(refusal) = self.rig.change(spec) {
            let fair = matches!(
                refusal,
                Refusal::Change(ChangeRefusal::Busy(_) | ChangeRefusal::MachineChanged { .. })
            );
            // A plan that was blocked has no steps, and may be free by now.
            let empty = matches!(&refusal, Refusal::Change(ChangeRefusal::BadPlan(words))
                if words.contains("where it should"));
            assert!(fair || empty, "{refusal}: {asked}");
        }
    }

    fn desired(&mut self, gpu: &GpuUuid) -> DesiredGpu {
        match self.chance.below(8) {
            0 if self.course.auto_mig => DesiredGpu::Whole,
            1 => DesiredGpu::Sliced,
            2 | 3 => {
                let there = &self.rig.observed.gpu(gpu).expect("a GPU").instances;
                let ids: Vec<_> = there.iter().map(|instance| instance.id).collect();
                let some = self.chance.pick(&ids).copied();
                DesiredGpu::Without { instances: some.into_iter().collect(), computes: Vec::new() }
            }
            _ => DesiredGpu::Exactly(self.layout(gpu)),
        }
    }

    /// A legal layout, grown at random.
    fn layout(&mut self, gpu: &GpuUuid) -> Vec<DesiredInstance> {
        let geometry = self.rig.machine.gpu(gpu).geometry.clone().expect("a MIG board");
        let mut placed: Vec<PlacedProfile> = Vec::new();
        let mut wanted = Vec::new();
        for _ in 0..self.chance.below(6) {
            let Some(profile) = self.chance.pick(&geometry.profiles) else { continue };
            let places: Vec<_> = profile.placements().collect();
            let Some(placement) = self.chance.pick(&places).copied() else { continue };
            let part = PlacedProfile { placement, profile: profile.id };
            let layout = Layout::new(&geometry, placed.iter().copied()).expect("legal so far");
            let whole = profile.whole_compute_profile();
            let (Ok(()), Some(whole)) = (layout.admits(&geometry, part), whole) else { continue };
            placed.push(part);
            let computes = vec![DesiredCompute { profile: whole.id, placement: None }];
            let placement = self.chance.one_in(2).then_some(placement);
            wanted.push(DesiredInstance { profile: profile.id, placement, computes });
        }
        // Those without a place may not find one beside the others; then they all say theirs.
        for (instance, part) in wanted.iter_mut().zip(&placed) {
            instance.placement = Some(part.placement);
        }
        wanted
    }

    fn open_changes(&self) -> Vec<ChangeId> {
        let changes = self.rig.state.changes.values();
        changes.filter(|change| change.is_open()).map(|change| change.id).collect()
    }

    fn cancel(&mut self, change: ChangeId) {
        let refused = self.rig.command(Command::CancelChange { change, by: PEER_ADMIN }).err();
        let over = |refusal| matches!(refusal, Refusal::Change(ChangeRefusal::Over { .. }));
        assert!(refused.is_none_or(over));
    }

    fn hand_back_all(&mut self) {
        let gpus: Vec<GpuUuid> = self.rig.state.fixed.keys().cloned().collect();
        for gpu in gpus {
            let refused = self.rig.command(Command::HandBack { gpu, by: PEER_ADMIN }).err();
            let busy = |refusal| matches!(refusal, Refusal::Change(ChangeRefusal::Busy(_)));
            assert!(refused.is_none_or(busy));
        }
    }

    /// Every change is brought to its end and every GPU handed back.
    pub(super) fn changes_are_over(&mut self) {
        if !self.course.changes {
            return;
        }
        for change in self.open_changes() {
            self.cancel(change);
        }
        self.rest();
        assert!(self.open_changes().is_empty(), "{:?}", self.rig.state.changes);
        assert!(self.rig.stopped.is_empty(), "units stay stopped: {:?}", self.rig.stopped);
        self.hand_back_all();
    }
}
