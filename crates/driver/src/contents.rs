//! What lies on a GPU with MIG on: instances, MIG devices and the processes on them.
//!
//! Must never guess a placement: where the driver hides it from an unprivileged caller it is
//! [`UNKNOWN_START`], never a number drawn from an instance id.

use model::{
    ComputeInstance, ComputeInstanceProfileId, Geometry, GpuInstance, GpuInstanceProfile,
    GpuProcess, MigUuid, Placement, SliceCount, SliceIndex,
};
use nvml_wrapper_sys::bindings::nvmlDeviceAttributes_t;

use crate::geometry::KnownGeometry;
use crate::instances::{
    FoundCompute, FoundInstance, FoundMig, compute_instances, describe_compute, gpu_instances,
    is_gone, mig_devices,
};
use crate::processes::{Processes, joined};
use crate::raw::Plain;
use crate::returns::NvmlReturn;
use crate::symbols::{Call, CallError, Device, Symbols};

/// The start of a placement that the driver told nobody: an unprivileged caller sees MIG devices,
/// but neither lists nor places of GPU instances. It covers no unit of any grid.
pub const UNKNOWN_START: SliceIndex = SliceIndex::new(u8::MAX);

/// Everything found, and every return value that was not a success.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) instances: Vec<GpuInstance>,
    pub(crate) processes: Vec<GpuProcess>,
    pub(crate) failures: Vec<NvmlReturn>,
    /// Questions without whose answer the contents cannot be relied on, and why there was none.
    pub(crate) gaps: Vec<String>,
}

impl Contents {
    /// As [`Contents::ask`] for what must be known: whatever was returned counts against the GPU.
    fn demand<T>(&mut self, answer: Call<T>, question: &str) -> Option<T> {
        if let Err(error) = answer {
            let why = match error {
                CallError::Missing(name) => format!("NVML has no {name}"),
                CallError::Returned(result) => result.text().to_owned(),
            };
            let gap = format!("cannot {question}: {why}");
            if !self.gaps.contains(&gap) {
                self.gaps.push(gap);
            }
        }
        self.ask(answer)
    }

    /// The processes of a device for a caller who may list instances, and so may see processes: a
    /// refusal leaves a device of which nobody knows whether it is idle.
    fn processes(&mut self, answer: Call<Processes>, question: &str) -> Processes {
        if let Err(CallError::Returned(NvmlReturn::NotSupported)) = answer {
            return Processes::default();
        }
        self.demand(answer, question).unwrap_or_default()
    }

    fn ask<T>(&mut self, answer: Call<T>) -> Option<T> {
        match answer {
            Ok(value) => Some(value),
            Err(CallError::Missing(_)) => None,
            Err(CallError::Returned(result)) => {
                self.failures.push(result);
                None
            }
        }
    }
}

/// Asks once more after a failure: one bad answer must not make a slice look unusable.
fn twice<T>(ask: impl Fn() -> Call<T>) -> Call<T> {
    ask().or_else(|_| ask())
}

/// The processes of a GPU or MIG device.
pub(crate) fn processes(symbols: &Symbols, device: Device) -> Call<Processes> {
    Processes::of(symbols, device)
}

/// Reads a GPU with MIG on. `known` is corrected by what living instances tell.
pub(crate) fn read(symbols: &Symbols, gpu: Device, known: Option<&mut KnownGeometry>) -> Contents {
    let mut contents = Contents::default();
    // The aggregate needs the right to monitor; each MIG device's own list needs none.
    let aggregate = twice(|| processes(symbols, gpu));
    let geometry = known.as_ref().map(|known| known.geometry.clone());
    let listed = match &geometry {
        Some(geometry) => gpu_instances(symbols, gpu, geometry),
        None => Err(CallError::Returned(NvmlReturn::NoPermission)),
    };
    match listed {
        Ok(found) => {
            let aggregate = contents.processes(aggregate, "list the processes of the GPU");
            contents.processes = aggregate.on_whole_gpu();
            let mut walk = Walk { symbols, gpu, aggregate, migs: None };
            walk.listed(&found, known, &mut contents);
        }
        Err(
            CallError::Missing(_)
            | CallError::Returned(NvmlReturn::NoPermission | NvmlReturn::FunctionNotFound),
        ) => {
            let aggregate = contents.ask(aggregate).unwrap_or_default();
            contents.processes = aggregate.on_whole_gpu();
            let walk = Walk { symbols, gpu, aggregate, migs: None };
            walk.by_mig_devices(geometry.as_deref(), &mut contents);
        }
        Err(CallError::Returned(result)) => {
            contents.ask(aggregate);
            // Whatever was returned: instances that were not listed are not gone.
            let refused: Call<()> = Err(CallError::Returned(result));
            contents.demand(refused, "list the GPU instances");
        }
    }
    contents
}

struct Walk<'a> {
    symbols: &'a Symbols,
    gpu: Device,
    aggregate: Processes,
    /// MIG devices, walked only where compute instances do not name theirs.
    migs: Option<Vec<FoundMig>>,
}

impl Walk<'_> {
    fn listed(
        &mut self,
        found: &[FoundInstance],
        mut known: Option<&mut KnownGeometry>,
        contents: &mut Contents,
    ) {
        for instance in found {
            if let Some(known) = known.as_deref_mut() {
                known.correct(self.symbols, instance.profile, instance.handle);
            }
            let geometry = known.as_ref().map(|known| known.geometry.clone());
            let computes = twice(|| compute_instances(self.symbols, instance, geometry.as_deref()));
            let computes = match computes {
                // It went away meanwhile.
                Err(CallError::Returned(NvmlReturn::NotFound)) => continue,
                computes => contents.demand(computes, "list the compute instances"),
            };
            let computes = computes.unwrap_or_default();
            let compute_instances =
                computes.iter().map(|compute| self.compute(instance, compute, contents)).collect();
            contents.instances.push(GpuInstance {
                id: instance.id,
                profile: instance.profile,
                placement: instance.placement,
                compute_instances,
            });
        }
    }

    fn compute(
        &mut self,
        instance: &FoundInstance,
        compute: &FoundCompute,
        contents: &mut Contents,
    ) -> ComputeInstance {
        let mut told = Contents::default();
        let mig = compute.mig.or_else(|| self.mig_of(instance, compute, &mut told));
        let mut on_it = self.aggregate.on(instance.id, compute.id);
        let mut uuid = None;
        if let Some(mig) = mig {
            let answer = twice(|| self.symbols.uuid(mig));
            uuid = told.demand(answer, "read the UUID of a MIG device").map(MigUuid::new);
            let own = twice(|| processes(self.symbols, mig));
            let own = told.processes(own, "list the processes of a MIG device");
            on_it = joined(on_it, own.all());
        }
        // What was destroyed between listing and asking owes no answers.
        if told.gaps.is_empty() || !is_gone(&describe_compute(self.symbols, compute.handle)) {
            contents.failures.append(&mut told.failures);
            contents.gaps.append(&mut told.gaps);
        }
        ComputeInstance {
            id: compute.id,
            profile: compute.profile,
            placement: compute.placement,
            uuid,
            processes: on_it,
        }
    }

    /// The MIG device of a compute instance, for drivers that do not name it themselves.
    fn mig_of(
        &mut self,
        instance: &FoundInstance,
        compute: &FoundCompute,
        told: &mut Contents,
    ) -> Option<Device> {
        if self.migs.is_none() {
            let walked = twice(|| mig_devices(self.symbols, self.gpu));
            // A walk that failed is not kept: the next instance asks again.
            self.migs = told.demand(walked, "list the MIG devices");
        }
        let migs = self.migs.as_ref()?;
        let found = migs
            .iter()
            .find(|mig| mig.gpu_instance == instance.id && mig.compute_instance == compute.id);
        if found.is_none() {
            told.gaps.push(format!(
                "compute instance {} of GPU instance {} has no MIG device",
                compute.id, instance.id
            ));
        }
        found.map(|mig| mig.device)
    }

    /// What an unprivileged caller can see: MIG devices, with profiles told by their attributes.
    fn by_mig_devices(&self, geometry: Option<&Geometry>, contents: &mut Contents) {
        let migs = contents.ask(mig_devices(self.symbols, self.gpu)).unwrap_or_default();
        for mig in migs {
            let mut attributes = nvmlDeviceAttributes_t::zeroed();
            let told = self.symbols.nvmlDeviceGetAttributes_v2(mig.device, &mut attributes);
            if contents.ask(told).is_none() {
                continue;
            }
            let profile = geometry.and_then(|geometry| profile_of(geometry, &attributes));
            let Some(profile) = profile else { continue };
            let uuid = contents.ask(self.symbols.uuid(mig.device)).map(MigUuid::new);
            let own = contents.ask(processes(self.symbols, mig.device)).unwrap_or_default();
            let aggregate = self.aggregate.on(mig.gpu_instance, mig.compute_instance);
            let compute = ComputeInstance {
                id: mig.compute_instance,
                profile: compute_profile_of(profile, &attributes),
                placement: Placement {
                    start: UNKNOWN_START,
                    size: SliceCount::new(attributes.computeInstanceSliceCount.min(255) as u8),
                },
                uuid,
                processes: joined(aggregate, own.all()),
            };
            add(contents, &mig, profile, compute);
        }
    }
}

fn add(
    contents: &mut Contents,
    mig: &FoundMig,
    profile: &GpuInstanceProfile,
    compute: ComputeInstance,
) {
    let known = contents.instances.iter_mut().find(|known| known.id == mig.gpu_instance);
    if let Some(known) = known {
        known.compute_instances.push(compute);
    } else {
        // A profile with one legal place lies there and nowhere else.
        let start = match profile.starts.as_slice() {
            [only] => *only,
            _ => UNKNOWN_START,
        };
        contents.instances.push(GpuInstance {
            id: mig.gpu_instance,
            profile: profile.id,
            placement: Placement { start, size: profile.size },
            compute_instances: vec![compute],
        });
    }
}

/// The profile whose size and engines a MIG device shows: engines are exact, memory (which drifts
/// between drivers) decides between the rest.
fn profile_of<'a>(
    geometry: &'a Geometry,
    attributes: &nvmlDeviceAttributes_t,
) -> Option<&'a GpuInstanceProfile> {
    let fits = |profile: &&GpuInstanceProfile| {
        u32::from(profile.name.slices) == attributes.gpuInstanceSliceCount
    };
    let distance = |profile: &&GpuInstanceProfile| {
        let engines = profile.engines;
        let differing = u32::from(engines.decoders != attributes.sharedDecoderCount)
            + u32::from(engines.encoders != attributes.sharedEncoderCount)
            + u32::from(engines.jpeg != attributes.sharedJpegCount)
            + u32::from(engines.ofa != attributes.sharedOfaCount)
            + u32::from(engines.copy != attributes.sharedCopyEngineCount);
        // Memory of two profiles of one compute size differs by a factor of two or not at all.
        let memory = profile.memory.get().abs_diff(attributes.memorySizeMB);
        let far = memory * 4 > attributes.memorySizeMB;
        (far, differing, memory, profile.nvml_enum)
    };
    geometry.profiles.iter().filter(fits).min_by_key(distance)
}

/// The compute profile with that many slices; 0, the id of one slice everywhere, if none has.
fn compute_profile_of(
    profile: &GpuInstanceProfile,
    attributes: &nvmlDeviceAttributes_t,
) -> ComputeInstanceProfileId {
    let matching = profile
        .compute_profiles
        .iter()
        .filter(|compute| u32::from(compute.slices) == attributes.computeInstanceSliceCount);
    let nearest = matching.min_by_key(|compute| {
        (compute.multiprocessors.abs_diff(attributes.multiprocessorCount), compute.id)
    });
    nearest.map_or(ComputeInstanceProfileId::new(0), |compute| compute.id)
}

/// Whether the driver told where an instance lies.
pub const fn placement_is_known(placement: Placement) -> bool {
    placement.start.get() != UNKNOWN_START.get()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::catalog;

    fn shown(slices: u32, memory: u64, decoders: u32, jpeg: u32) -> nvmlDeviceAttributes_t {
        nvmlDeviceAttributes_t {
            gpuInstanceSliceCount: slices,
            computeInstanceSliceCount: 1,
            memorySizeMB: memory,
            sharedDecoderCount: decoders,
            sharedJpegCount: jpeg,
            sharedOfaCount: jpeg,
            sharedCopyEngineCount: 1,
            ..nvmlDeviceAttributes_t::zeroed()
        }
    }

    #[test]
    fn attributes_name_the_profile_though_memory_drifts() {
        let geometry = catalog::board("a100-sxm4-40gb").unwrap().geometry();
        let id = |attributes| profile_of(&geometry, &attributes).map(|profile| profile.id.get());
        assert_eq!(id(shown(1, 4800, 0, 0)), Some(19));
        assert_eq!(id(shown(1, 4900, 1, 1)), Some(20));
        assert_eq!(id(shown(1, 9984, 1, 0)), Some(15));
        assert_eq!(id(shown(5, 9984, 1, 0)), None);
    }

    #[test]
    fn an_unknown_start_covers_nothing() {
        let placement = Placement { start: UNKNOWN_START, size: SliceCount::new(4) };
        assert!(placement.mask().is_empty());
        assert!(!placement_is_known(placement));
        assert!(placement_is_known(Placement::new(0, 4)));
    }
}
