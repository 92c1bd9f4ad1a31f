//! Which looks at a GPU still tell the truth: those that began after the last plan opened or ended
//! there, and none while a plan is at work.
//!
//! Must never let a look that began before a change pass for what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use broker::{OpenPlan, State};
use model::{GpuUuid, Plan};

/// Looks and the plans that make them void. Whoever looks notes the epoch before the look begins.
#[derive(Debug, Default)]
pub struct Looks {
    /// Counts plans opened and ended.
    epoch: Arc<AtomicU64>,
    /// For each GPU, the epoch of the last plan opened or ended there; the greatest number while a
    /// plan is open.
    changed_at: BTreeMap<GpuUuid, u64>,
}

impl Looks {
    /// Looks counted by `epoch`, which everybody who looks reads.
    pub const fn new(epoch: Arc<AtomicU64>) -> Self {
        Self { epoch, changed_at: BTreeMap::new() }
    }

    /// The epoch of a look that begins now.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Whether a look that began at `epoch` tells more than is known of a GPU.
    pub fn is_news(&self, epoch: u64, gpu: &GpuUuid) -> bool {
        self.changed_at.get(gpu).is_none_or(|changed| *changed <= epoch)
    }

    /// A plan was opened: looks at these GPUs that began before now are void, and so are those that
    /// end before the plan does.
    pub fn opened<'g>(&mut self, gpus: impl IntoIterator<Item = &'g GpuUuid>) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        for gpu in gpus {
            self.changed_at.insert(gpu.clone(), u64::MAX);
        }
    }

    /// A plan ended. The executor's own look comes with the new epoch; older looks of the GPUs it
    /// worked on are void. GPUs on which a plan is still open stay closed to looks.
    pub fn ended(&mut self, state: &State) {
        let epoch = self.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        for changed in self.changed_at.values_mut() {
            if *changed == u64::MAX {
                *changed = epoch;
            }
        }
        let open = state.plans.values().filter(|open| changes(&open.plan, &open.whole));
        for gpu in open.flat_map(OpenPlan::gpus) {
            self.changed_at.insert(gpu.clone(), u64::MAX);
        }
    }
}

/// Whether looks during a plan could get something wrong. A slice that is handed over as it is stays
/// as it was; a whole GPU has its MIG mode and processes to itself from then on.
pub const fn changes(plan: &Plan, whole: &[GpuUuid]) -> bool {
    !plan.steps.is_empty() || !whole.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_counts_if_it_began_after_the_last_change() {
        let mut looks = Looks::default();
        let gpu = GpuUuid::new("GPU-1");
        let early = looks.epoch();
        assert!(looks.is_news(early, &gpu));
        looks.opened([&gpu]);
        let during = looks.epoch();
        assert!(!looks.is_news(early, &gpu) && !looks.is_news(during, &gpu));
        // The executor's own.
        assert!(looks.is_news(u64::MAX, &gpu));
        looks.ended(&State::default());
        assert!(!looks.is_news(early, &gpu) && !looks.is_news(during, &gpu));
        assert!(looks.is_news(looks.epoch(), &gpu));
    }
}
