//! What an administrator does to layouts and modes by hand and by file: changes asked for, cancelled,
//! GPUs handed back; and what the end of a change must have come to.
//!
//! Must never ask for what no administrator could.

use broker::changes::planned;
use broker::{ChangeRefusal, ChangeSpec, Command, GpuChangeSpec, Planned, Refusal};
use model::{
    ChangeId, DesiredCompute, DesiredGpu, DesiredInstance, GpuShape, GpuUuid, Layout,
    PlacedProfile, Purpose,
};
use planner::Rules;

use super::users::ADMIN;
use super::world::{Act, World};
use crate::room::{NotDone, STUBBORN_UNIT};

/// A unit that stops and starts when it is told.
const UNIT: &str = "nvidia-dcgm.service";

impl World {
    /// One act of an administrator who changes layouts.
    pub(super) fn change(&mut self) {
        if !self.course.changes {
            return;
        }
        match self.chance.below(8) {
            0..=4 => self.ask_for_a_change(),
            5..=6 => {
                let open = self.open_changes();
                let Some(change) = self.chance.pick(&open).copied() else { return };
                self.cancel(change);
            }
            _ => self.hand_back_all(),
        }
        self.room.work();
    }

    fn ask_for_a_change(&mut self) {
        let mut gpus: Vec<GpuUuid> = Vec::new();
        for _ in 0..=self.chance.below(2) {
            let Some((_, gpu)) = self.some_gpu() else { continue };
            if !gpus.contains(&gpu) && self.room.observed.gpu(&gpu).is_some() {
                gpus.push(gpu);
            }
        }
        if gpus.is_empty() {
            return;
        }
        let reset = self.chance.one_in(2);
        let mut parts = Vec::new();
        for gpu in gpus {
            let Some(desired) = self.desired(&gpu) else { return };
            let fix = self.chance.one_in(4).then(|| self.chance.one_in(2));
            parts.extend(self.part(gpu, desired, reset, fix));
        }
        // Between the plan and its carrying out, the machine moves on.
        if self.chance.one_in(4) {
            self.execute();
        }
        let units = match self.chance.below(6) {
            0 => vec![UNIT.to_owned()],
            1 => vec![UNIT.to_owned(), STUBBORN_UNIT.to_owned()],
            _ => Vec::new(),
        };
        let wait_idle = self.chance.one_in(2);
        let (words, leaving) = ("by hand".to_owned(), Vec::new());
        let spec = ChangeSpec { words, gpus: parts, units, leaving, reset, wait_idle };
        if let Err(NotDone::Refused(refusal)) =
            self.room.ask(Command::Change { spec: spec.clone(), by: ADMIN })
        {
            let fair = match &refusal {
                Refusal::Change(ChangeRefusal::Busy(_) | ChangeRefusal::MachineChanged { .. }) => {
                    true
                }
                // A plan that was blocked has no steps, and may be free by now.
                Refusal::Change(ChangeRefusal::BadPlan(words)) => words.contains("where it should"),
                _ => false,
            };
            if !fair {
                self.break_law("a fair change is not refused", format!("{refusal}: {spec:?}"));
            }
        }
    }

    /// A wish for one GPU with what it would come to now, as a plan document holds it.
    fn part(
        &self,
        gpu: GpuUuid,
        desired: DesiredGpu,
        reset: bool,
        fix: Option<bool>,
    ) -> Option<GpuChangeSpec> {
        let room = &self.room;
        let seen = room.observed.gpu(&gpu)?;
        let before = GpuShape::of(seen);
        let rules = Rules { mode: true, reset, ..Rules::default() };
        let purpose = Purpose::Apply("by hand".to_owned());
        let world = room.world();
        let steps = match planned(&room.state, &world, seen, &desired, &rules, purpose) {
            Planned::Steps(plan, _) => plan.steps,
            Planned::Blocked { .. } => Vec::new(),
        };
        Some(GpuChangeSpec { gpu, desired, before, steps, fix })
    }

    fn desired(&mut self, gpu: &GpuUuid) -> Option<DesiredGpu> {
        Some(match self.chance.below(8) {
            0 if self.course.auto_mig => DesiredGpu::Whole,
            1 => DesiredGpu::Sliced,
            2 | 3 => {
                let there = &self.room.observed.gpu(gpu)?.instances;
                let ids: Vec<_> = there.iter().map(|instance| instance.id).collect();
                let some = self.chance.pick(&ids).copied();
                DesiredGpu::Without { instances: some.into_iter().collect(), computes: Vec::new() }
            }
            4 => DesiredGpu::Beside {
                instances: self.layout(gpu)?.into_iter().take(1).collect(),
                computes: Vec::new(),
            },
            _ => DesiredGpu::Exactly(self.layout(gpu)?),
        })
    }

    /// A legal layout, grown at random.
    fn layout(&mut self, gpu: &GpuUuid) -> Option<Vec<DesiredInstance>> {
        let geometry = self.room.observed.gpu(gpu)?.geometry.clone()?;
        let mut placed: Vec<PlacedProfile> = Vec::new();
        let mut wanted = Vec::new();
        for _ in 0..=self.chance.below(6) {
            let Some(profile) = self.chance.pick(&geometry.profiles) else { continue };
            let places: Vec<_> = profile.placements().collect();
            let Some(placement) = self.chance.pick(&places).copied() else { continue };
            let part = PlacedProfile { placement, profile: profile.id };
            let Ok(layout) = Layout::new(&geometry, placed.iter().copied()) else { continue };
            let whole = profile.whole_compute_profile();
            let (Ok(()), Some(whole)) = (layout.admits(&geometry, part), whole) else { continue };
            placed.push(part);
            let computes = vec![DesiredCompute { profile: whole.id, placement: None }];
            wanted.push(DesiredInstance {
                profile: profile.id,
                placement: Some(placement),
                computes,
            });
        }
        Some(wanted)
    }

    fn open_changes(&self) -> Vec<ChangeId> {
        let changes = self.room.state.changes.values();
        changes.filter(|change| change.is_open()).map(|change| change.id).collect()
    }

    fn cancel(&mut self, change: ChangeId) {
        match self.room.ask(Command::CancelChange { change, by: ADMIN }) {
            Ok(_)
            | Err(
                NotDone::DiskFull | NotDone::Refused(Refusal::Change(ChangeRefusal::Over { .. })),
            ) => {}
            Err(NotDone::Refused(refusal)) => {
                self.break_law("an open change can be cancelled", format!("{change}: {refusal}"));
            }
        }
    }

    fn hand_back_all(&mut self) {
        let gpus: Vec<GpuUuid> = self.room.state.fixed.keys().cloned().collect();
        for gpu in gpus {
            match self.room.ask(Command::HandBack { gpu: gpu.clone(), by: ADMIN }) {
                Ok(_)
                | Err(
                    NotDone::DiskFull
                    | NotDone::Refused(
                        Refusal::Change(ChangeRefusal::Busy(_) | ChangeRefusal::NotFixed(_))
                        // A GPU that was not there when the daemon began.
                        | Refusal::UnknownGpu(_),
                    ),
                ) => {}
                Err(NotDone::Refused(refusal)) => {
                    self.break_law("a fixed GPU can be handed back", format!("{gpu}: {refusal}"));
                }
            }
        }
    }

    /// Every change is brought to its end, every unit runs, and every GPU is handed back.
    pub(super) fn changes_are_over(&mut self) -> Act {
        for change in self.open_changes() {
            self.cancel(change);
        }
        self.rest()?;
        let open = self.open_changes();
        if !open.is_empty() {
            let text = format!("{open:?}: {:?}", self.room.state.changes);
            return Err(("L6: a change that is cancelled comes to its end", text));
        }
        if !self.room.stopped.is_empty() {
            let text = format!("{:?}: {:?}", self.room.stopped, self.room.state.changes);
            return Err(("L6: units that a change stopped are started again", text));
        }
        self.hand_back_all();
        if !self.room.state.fixed.is_empty() {
            let text = format!("{:?}", self.room.state.fixed);
            return Err(("L6: a GPU that is handed back is managed again", text));
        }
        Ok(())
    }
}
