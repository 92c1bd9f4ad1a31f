//! Compute instances: profiles, placements, create, destroy, lists.
//!
//! Must never make one by itself when a GPU instance is made: `nvidia-smi -C` makes two calls.

use model::{
    ComputeInstanceId, ComputeInstanceProfile, ComputeInstanceProfileId, GpuInstanceProfile,
    Placement, ProfileName,
};
use serde_json::{Value, json};
use sim_gpu::{ComputeInstanceRequest, InstanceRef, Return};

use super::args::{In, Out, Outcome, fixed, put_all};
use super::gpu_instance::{capabilities, small_placement};
use super::structs::{sys, version_of};
use crate::call::{Call, compute_handle, instance_handle, mig_handle};
use crate::types::{CiInfo, CiPlacement, CiProfile, ComputeInstance, GpuInstance};

/// The only engine profile: engines are shared.
const ENGINE_SHARED: u32 = 0;

fn find_profile(
    call: &Call,
    instance: GpuInstance,
    profile: u32,
    engine: u32,
) -> Outcome<(&GpuInstanceProfile, &ComputeInstanceProfile)> {
    let (gpu, reference) = call.instance(instance)?;
    if engine != ENGINE_SHARED {
        return Err(Return::InvalidArgument);
    }
    let compute = call.node().compute_profile_by_enum(gpu, reference, profile)?;
    let id = call.node().gpu_instance(gpu, reference)?.profile;
    Ok((call.node().profile_by_id(gpu, id)?, compute))
}

pub(crate) fn profile_info(
    call: &Call,
    instance: GpuInstance,
    profile: u32,
    engine: u32,
    info: Out<CiProfile>,
) -> Outcome {
    call.instance(instance)?;
    info.check()?;
    let (whole, found) = find_profile(call, instance, profile, engine)?;
    info.put(sys::nvmlComputeInstanceProfileInfo_t {
        id: found.id.get(),
        sliceCount: u32::from(found.slices),
        instanceCount: found.max_count,
        multiprocessorCount: found.multiprocessors,
        sharedCopyEngineCount: whole.engines.copy,
        sharedDecoderCount: whole.engines.decoders,
        sharedEncoderCount: whole.engines.encoders,
        sharedJpegCount: whole.engines.jpeg,
        sharedOfaCount: whole.engines.ofa,
    })
}

pub(crate) fn profile_info_v(
    call: &Call,
    instance: GpuInstance,
    profile: u32,
    engine: u32,
    info: Out<u32>,
) -> Outcome {
    call.instance(instance)?;
    let version = info.get()?;
    let second = version_of::<sys::nvmlComputeInstanceProfileInfo_v2_t>(2);
    let third = version_of::<sys::nvmlComputeInstanceProfileInfo_v3_t>(3);
    if version != second && version != third {
        return Err(Return::ArgumentVersionMismatch);
    }
    let (whole, found) = find_profile(call, instance, profile, engine)?;
    let part = (found.slices < whole.name.slices).then_some(found.slices);
    let name = fixed(&ProfileName { compute: part, ..whole.name }.to_string());
    let plain = sys::nvmlComputeInstanceProfileInfo_v2_t {
        version,
        id: found.id.get(),
        sliceCount: u32::from(found.slices),
        instanceCount: found.max_count,
        multiprocessorCount: found.multiprocessors,
        sharedCopyEngineCount: whole.engines.copy,
        sharedDecoderCount: whole.engines.decoders,
        sharedEncoderCount: whole.engines.encoders,
        sharedJpegCount: whole.engines.jpeg,
        sharedOfaCount: whole.engines.ofa,
        name,
    };
    if version == second {
        return info.cast().put(plain);
    }
    info.cast().put(sys::nvmlComputeInstanceProfileInfo_v3_t {
        version,
        id: plain.id,
        sliceCount: plain.sliceCount,
        instanceCount: plain.instanceCount,
        multiprocessorCount: plain.multiprocessorCount,
        sharedCopyEngineCount: plain.sharedCopyEngineCount,
        sharedDecoderCount: plain.sharedDecoderCount,
        sharedEncoderCount: plain.sharedEncoderCount,
        sharedJpegCount: plain.sharedJpegCount,
        sharedOfaCount: plain.sharedOfaCount,
        name,
        // Compute instances know only the graphics bit, which is bit 0 of theirs.
        capabilities: capabilities(whole) >> 1,
    })
}

pub(crate) fn capacity(
    call: &Call,
    instance: GpuInstance,
    profile_id: u32,
    count: Out<u32>,
) -> Outcome {
    let (gpu, found) = call.instance(instance)?;
    count.check()?;
    let id = ComputeInstanceProfileId::new(profile_id);
    count.put(call.node().compute_remaining_capacity(gpu, call.caller(), found, id)?)
}

pub(crate) fn placements(
    call: &Call,
    instance: GpuInstance,
    profile_id: u32,
    placements: Out<CiPlacement>,
    count: Out<u32>,
) -> Outcome {
    let (gpu, found) = call.instance(instance)?;
    count.check()?;
    let id = ComputeInstanceProfileId::new(profile_id);
    let legal = call.node().compute_possible_placements(gpu, call.caller(), found, id)?;
    let values: Vec<CiPlacement> = legal.into_iter().map(to_c).collect();
    put_all(count, placements, &values)
}

fn to_c(placement: Placement) -> CiPlacement {
    sys::nvmlComputeInstancePlacement_t {
        start: u32::from(placement.start.get()),
        size: u32::from(placement.size.get()),
    }
}

pub(crate) fn create(
    call: &Call,
    instance: GpuInstance,
    profile_id: u32,
    compute: Out<ComputeInstance>,
) -> Outcome {
    let (gpu, found) = call.instance(instance)?;
    compute.check()?;
    let args = json!({
        "gpu": call.gpu_argument(gpu),
        "gpu_instance": found.id.get(),
        "profile_id": profile_id,
    });
    make(call, gpu, request(found, profile_id, None), args, compute)
}

pub(crate) fn create_at(
    call: &Call,
    instance: GpuInstance,
    profile_id: u32,
    placement: In<CiPlacement>,
    compute: Out<ComputeInstance>,
) -> Outcome {
    let (gpu, found) = call.instance(instance)?;
    compute.check()?;
    let wanted = placement.get()?;
    let args = json!({
        "gpu": call.gpu_argument(gpu),
        "gpu_instance": found.id.get(),
        "profile_id": profile_id,
        "start": wanted.start,
        "size": wanted.size,
    });
    let placement = small_placement(wanted.start, wanted.size);
    make(call, gpu, request(found, profile_id, Some(placement)), args, compute)
}

const fn request(
    instance: InstanceRef,
    profile_id: u32,
    placement: Option<Placement>,
) -> ComputeInstanceRequest {
    ComputeInstanceRequest {
        instance,
        profile: ComputeInstanceProfileId::new(profile_id),
        placement,
    }
}

fn make(
    call: &Call,
    gpu: usize,
    request: ComputeInstanceRequest,
    args: Value,
    compute: Out<ComputeInstance>,
) -> Outcome {
    let caller = call.caller();
    let made = call.mutate(
        gpu,
        args,
        |node, now| node.create_compute_instance(gpu, caller, request, now),
        |made| json!({"compute_instance": made.id.get()}),
    )?;
    compute.put(compute_handle(gpu, made))
}

pub(crate) fn destroy(call: &Call, compute: ComputeInstance) -> Outcome {
    let (gpu, found) = call.compute(compute)?;
    let caller = call.caller();
    let args = json!({
        "gpu": call.gpu_argument(gpu),
        "gpu_instance": found.instance.id.get(),
        "compute_instance": found.id.get(),
    });
    call.mutate(
        gpu,
        args,
        |node, now| node.destroy_compute_instance(gpu, caller, found, now).map(drop),
        |()| Value::Null,
    )
}

pub(crate) fn list(
    call: &Call,
    instance: GpuInstance,
    profile_id: u32,
    computes: Out<ComputeInstance>,
    count: Out<u32>,
) -> Outcome {
    let (gpu, found) = call.instance(instance)?;
    count.check()?;
    let id = ComputeInstanceProfileId::new(profile_id);
    let all = call.node().compute_instances(gpu, call.caller(), found, id)?;
    let handles: Vec<ComputeInstance> =
        all.into_iter().map(|one| compute_handle(gpu, one)).collect();
    put_all(count, computes, &handles)
}

pub(crate) fn by_id(
    call: &Call,
    instance: GpuInstance,
    id: u32,
    compute: Out<ComputeInstance>,
) -> Outcome {
    let (gpu, found) = call.instance(instance)?;
    compute.check()?;
    let id = ComputeInstanceId::new(id);
    let one = call.node().compute_instance_by_id(gpu, call.caller(), found, id)?;
    compute.put(compute_handle(gpu, one))
}

/// The first version names the GPU as the device, the second one the MIG device.
fn describe(call: &Call, compute: ComputeInstance, mig: bool) -> Outcome<CiInfo> {
    let (gpu, reference) = call.compute(compute)?;
    let (instance, found) = call.node().compute_instance(gpu, reference)?;
    let device = if mig { mig_handle(gpu, reference) } else { call.gpu_handle(gpu)? };
    Ok(sys::nvmlComputeInstanceInfo_t {
        device: device.pointer(),
        gpuInstance: instance_handle(gpu, instance.reference()).pointer(),
        id: found.id.get(),
        profileId: found.profile.get(),
        placement: to_c(found.placement),
    })
}

pub(crate) fn info(call: &Call, compute: ComputeInstance, info: Out<CiInfo>) -> Outcome {
    let found = describe(call, compute, false)?;
    info.put(found)
}

pub(crate) fn info_v2(call: &Call, compute: ComputeInstance, info: Out<CiInfo>) -> Outcome {
    let found = describe(call, compute, true)?;
    info.put(found)
}
