//! What must hold of a node after every call.
//!
//! Must never repair anything: a broken node is a bug of this crate.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;

use model::{Layout, MigMode, PlacedProfile, SliceMask};

use crate::clients::Target;
use crate::gpu::{Gpu, GpuInstance};
use crate::identity::gpu_instance_id;
use crate::node::Node;

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

impl Node {
    /// Checks everything that must hold: legal layouts, ids that follow from placements, compute
    /// instances inside their GPU instance, no instance with MIG off, contexts on what exists and
    /// within its memory, unique generations, events in order.
    ///
    /// # Errors
    /// The first thing that does not hold, in words.
    pub fn check_invariants(&self) -> Result<(), String> {
        let mut generations = BTreeSet::new();
        for (index, gpu) in self.gpus.iter().enumerate() {
            self.check_gpu(index, gpu)?;
            for instance in &gpu.instances {
                let compute = instance.compute.iter().map(|compute| compute.generation);
                for generation in core::iter::once(instance.generation).chain(compute) {
                    ensure(generations.insert(generation), || {
                        format!("generation {generation} was given twice")
                    })?;
                }
            }
        }
        for context in &self.contexts {
            let exists = match context.target {
                Target::Gpu => self.gpus.get(context.gpu).is_some_and(|gpu| !gpu.mig_on()),
                Target::Instance(_) => false,
                Target::Compute(gi, ci) => self
                    .gpus
                    .get(context.gpu)
                    .and_then(|gpu| gpu.instance(gi))
                    .is_some_and(|gi| gi.compute.iter().any(|compute| compute.id == ci)),
            };
            ensure(exists, || format!("{context:?} is on nothing that exists"))?;
            let used = self.memory_of(context.gpu, context.target);
            let fits = used.is_ok_and(|memory| memory.used <= memory.total)
                || self.board(context.gpu).is_ok_and(|board| board.shares_host_memory());
            ensure(fits, || format!("{context:?} is part of more memory than there is"))?;
        }
        let ordered = self.events.iter().zip(self.events.iter().skip(1));
        let mut ordered = ordered.map(|(a, b)| a.sequence + 1 == b.sequence);
        ensure(ordered.all(|next| next), || "events are not numbered in order".into())?;
        let last = self.events.back().is_none_or(|event| event.sequence == self.last_event());
        ensure(last, || "the latest event is not the last one numbered".into())
    }

    fn check_gpu(&self, index: usize, gpu: &Gpu) -> Result<(), String> {
        let board = self.board(index).map_err(|_| format!("GPU {index} has no board facts"))?;
        let off = gpu.current == MigMode::Disabled;
        ensure(!off || gpu.instances.is_empty(), || {
            format!("GPU {index} has instances with MIG off")
        })?;
        let parts = gpu.instances.iter().map(|instance| PlacedProfile {
            placement: instance.placement,
            profile: instance.profile,
        });
        Layout::new(&board.geometry, parts).map_err(|error| format!("GPU {index}: {error}"))?;
        let ids = gpu.instances.iter().zip(gpu.instances.iter().skip(1));
        let mut ascending = ids.map(|(a, b)| a.id < b.id);
        ensure(ascending.all(|next| next), || format!("GPU {index}: ids repeat or are unsorted"))?;
        for instance in &gpu.instances {
            let id = gpu_instance_id(gpu.chip, board.geometry.grid.get(), instance.placement);
            ensure(id == instance.id, || {
                format!("GPU {index}: {} at {} should be {id}", instance.id, instance.placement)
            })?;
            let profile = board.geometry.profile(instance.profile);
            let slices = profile.map_or(0, |profile| profile.name.slices);
            check_compute(instance, slices).map_err(|error| format!("GPU {index}: {error}"))?;
        }
        Ok(())
    }
}

fn check_compute(instance: &GpuInstance, slices: u8) -> Result<(), String> {
    let mut used = SliceMask::EMPTY;
    let mut slots = BTreeSet::new();
    for compute in &instance.compute {
        let at = compute.placement;
        ensure(at.end() <= slices, || format!("{at} is outside of a {slices}g instance"))?;
        ensure(!used.intersects(at.mask()), || format!("compute instances overlap at {at}"))?;
        used = used.union(at.mask());
        let free = compute.id.get() < 8 && slots.insert(compute.id);
        ensure(free, || format!("compute instance id {} repeats or is not a slot", compute.id))?;
    }
    Ok(())
}
