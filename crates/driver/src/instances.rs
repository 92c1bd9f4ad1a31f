//! Walking GPU instances, compute instances and MIG handles.
//!
//! Must never find instances through MIG handles alone where the driver lets us list them: a GPU
//! instance without a compute instance has no MIG handle.

use core::ffi::c_uint;

use model::{
    ComputeInstanceId, ComputeInstanceProfileId, Geometry, GpuInstanceId, GpuInstanceProfileId,
    Placement,
};
use nvml_wrapper_sys::bindings::{nvmlComputeInstanceInfo_t, nvmlGpuInstanceInfo_t};

use crate::raw::Plain;
use crate::returns::NvmlReturn;
use crate::session::{device, read};
use crate::symbols::{Call, CallError, ComputeInstanceHandle, Device, GpuInstanceHandle, Symbols};

/// A GPU instance with its handle; good until the next change of its GPU.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FoundInstance {
    pub(crate) handle: GpuInstanceHandle,
    pub(crate) id: GpuInstanceId,
    pub(crate) profile: GpuInstanceProfileId,
    pub(crate) placement: Placement,
}

/// A compute instance with its handle; good until the next change of its GPU.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FoundCompute {
    pub(crate) handle: ComputeInstanceHandle,
    pub(crate) id: ComputeInstanceId,
    pub(crate) profile: ComputeInstanceProfileId,
    pub(crate) placement: Placement,
    /// The MIG device; none where the driver gives only the parent.
    pub(crate) mig: Option<Device>,
}

/// A MIG device handle with the ids it stands for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FoundMig {
    pub(crate) device: Device,
    pub(crate) gpu_instance: GpuInstanceId,
    pub(crate) compute_instance: ComputeInstanceId,
}

/// A placement as NVML writes it, cut to what a board can have.
pub(crate) fn placement(start: c_uint, size: c_uint) -> Placement {
    Placement::new(start.min(255) as u8, size.min(255) as u8)
}

/// Describes the GPU instance behind a handle.
pub(crate) fn describe(symbols: &Symbols, handle: GpuInstanceHandle) -> Call<FoundInstance> {
    let mut info = nvmlGpuInstanceInfo_t::zeroed();
    symbols.nvmlGpuInstanceGetInfo(handle, &mut info)?;
    Ok(FoundInstance {
        handle,
        id: GpuInstanceId::new(info.id),
        profile: GpuInstanceProfileId::new(info.profileId),
        placement: placement(info.placement.start, info.placement.size),
    })
}

/// Every GPU instance, ascending by id, by listing each profile of the geometry.
pub(crate) fn gpu_instances(
    symbols: &Symbols,
    gpu: Device,
    geometry: &Geometry,
) -> Call<Vec<FoundInstance>> {
    let mut found: Vec<FoundInstance> = Vec::new();
    for profile in &geometry.profiles {
        found.extend(gpu_instances_of(symbols, gpu, profile.id)?);
    }
    found.sort_by_key(|instance| instance.id);
    found.dedup_by_key(|instance| instance.id);
    Ok(found)
}

/// The GPU instances of one profile; none where the driver does not know the profile.
pub(crate) fn gpu_instances_of(
    symbols: &Symbols,
    gpu: Device,
    profile: GpuInstanceProfileId,
) -> Call<Vec<FoundInstance>> {
    match symbols.gpu_instances(gpu, profile.get()) {
        Ok(handles) => handles
            .into_iter()
            .filter(|handle| *handle != GpuInstanceHandle::NONE)
            .map(|handle| describe(symbols, handle))
            .filter(|described| !is_gone(described))
            .collect(),
        Err(CallError::Returned(NvmlReturn::NotSupported | NvmlReturn::InvalidArgument)) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

/// Somebody destroyed it between listing and describing.
pub(crate) fn is_gone<T>(described: &Call<T>) -> bool {
    matches!(
        described,
        Err(CallError::Returned(NvmlReturn::NotFound | NvmlReturn::InvalidArgument))
    )
}

/// The GPU instance with this id, by lookup or, without that function, by listing.
pub(crate) fn gpu_instance(
    symbols: &Symbols,
    gpu: Device,
    geometry: Option<&Geometry>,
    id: GpuInstanceId,
) -> Call<FoundInstance> {
    let mut handle = GpuInstanceHandle::NONE;
    match (symbols.nvmlDeviceGetGpuInstanceById(gpu, id.get(), &mut handle), geometry) {
        (Ok(()), _) => describe(symbols, handle),
        (Err(CallError::Missing(_)), Some(geometry)) => gpu_instances(symbols, gpu, geometry)?
            .into_iter()
            .find(|instance| instance.id == id)
            .ok_or(CallError::Returned(NvmlReturn::NotFound)),
        (Err(error), _) => Err(error),
    }
}

/// Describes the compute instance behind a handle.
pub(crate) fn describe_compute(
    symbols: &Symbols,
    handle: ComputeInstanceHandle,
) -> Call<FoundCompute> {
    let mut info = nvmlComputeInstanceInfo_t::zeroed();
    let mig = match symbols.nvmlComputeInstanceGetInfo_v2(handle, &mut info) {
        Ok(()) => Some(Device::from_raw(info.device)).filter(|mig| *mig != Device::NONE),
        Err(error) if error.wants_older_form() => {
            // The old form fills in the parent where the new one has the MIG device.
            symbols.nvmlComputeInstanceGetInfo(handle, &mut info)?;
            None
        }
        Err(error) => return Err(error),
    };
    Ok(FoundCompute {
        handle,
        id: ComputeInstanceId::new(info.id),
        profile: ComputeInstanceProfileId::new(info.profileId),
        placement: placement(info.placement.start, info.placement.size),
        mig,
    })
}

/// The numbers compute instance profiles may have where the geometry does not tell (header 13.3).
const ANY_COMPUTE_PROFILE: core::ops::Range<u32> = 0..9;

/// Every compute instance of a GPU instance, ascending by id.
pub(crate) fn compute_instances(
    symbols: &Symbols,
    instance: &FoundInstance,
    geometry: Option<&Geometry>,
) -> Call<Vec<FoundCompute>> {
    let known = geometry.and_then(|geometry| geometry.profile(instance.profile));
    let mut ids: Vec<u32> = known.map_or_else(Vec::new, |profile| {
        profile.compute_profiles.iter().map(|compute| compute.id.get()).collect()
    });
    if ids.is_empty() {
        ids.extend(ANY_COMPUTE_PROFILE);
    }
    let mut found: Vec<FoundCompute> = Vec::new();
    for id in ids {
        found.extend(compute_instances_of(
            symbols,
            instance.handle,
            ComputeInstanceProfileId::new(id),
        )?);
    }
    found.sort_by_key(|compute| compute.id);
    found.dedup_by_key(|compute| compute.id);
    Ok(found)
}

/// The compute instances of one profile; none where the GPU instance does not know the profile.
pub(crate) fn compute_instances_of(
    symbols: &Symbols,
    instance: GpuInstanceHandle,
    profile: ComputeInstanceProfileId,
) -> Call<Vec<FoundCompute>> {
    match symbols.compute_instances(instance, profile.get()) {
        Ok(handles) => handles
            .into_iter()
            .filter(|handle| *handle != ComputeInstanceHandle::NONE)
            .map(|handle| describe_compute(symbols, handle))
            .filter(|described| !is_gone(described))
            .collect(),
        Err(CallError::Returned(NvmlReturn::NotSupported | NvmlReturn::InvalidArgument)) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

/// The compute instance with this id, by lookup or, without that function, by listing.
pub(crate) fn compute_instance(
    symbols: &Symbols,
    instance: &FoundInstance,
    geometry: Option<&Geometry>,
    id: ComputeInstanceId,
) -> Call<FoundCompute> {
    let mut handle = ComputeInstanceHandle::NONE;
    match symbols.nvmlGpuInstanceGetComputeInstanceById(instance.handle, id.get(), &mut handle) {
        Ok(()) => describe_compute(symbols, handle),
        Err(CallError::Missing(_)) => compute_instances(symbols, instance, geometry)?
            .into_iter()
            .find(|compute| compute.id == id)
            .ok_or(CallError::Returned(NvmlReturn::NotFound)),
        Err(error) => Err(error),
    }
}

/// Every MIG device of a GPU, in NVML's order; needs no rights.
pub(crate) fn mig_devices(symbols: &Symbols, gpu: Device) -> Call<Vec<FoundMig>> {
    let most: c_uint = read(|count| symbols.nvmlDeviceGetMaxMigDeviceCount(gpu, count))?;
    let mut found = Vec::new();
    for index in 0..most {
        match mig_device_at(symbols, gpu, index) {
            Ok(mig) => found.push(mig),
            // The count is the most there can be, not how many there are (go-nvml issue 60).
            Err(CallError::Returned(NvmlReturn::NotFound | NvmlReturn::InvalidArgument)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn mig_device_at(symbols: &Symbols, gpu: Device, index: c_uint) -> Call<FoundMig> {
    let mig = device(|mig| symbols.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index, mig))?;
    Ok(FoundMig {
        device: mig,
        gpu_instance: GpuInstanceId::new(read(|id| symbols.nvmlDeviceGetGpuInstanceId(mig, id))?),
        compute_instance: ComputeInstanceId::new(read(|id| {
            symbols.nvmlDeviceGetComputeInstanceId(mig, id)
        })?),
    })
}
