//! GPU instances: profiles, placements, create, destroy, lists.
//!
//! Must never choose a placement; the simulated driver does.

use model::{GpuInstanceId, GpuInstanceProfile, GpuInstanceProfileId, Placement};
use serde_json::{Value, json};
use sim_gpu::{InstanceRef, Return};

use super::args::{In, Out, Outcome, fixed, put_all};
use super::structs::{sys, version_of};
use crate::call::{Call, instance_handle};
use crate::types::{Device, GiInfo, GiPlacement, GiProfile, GpuInstance};

/// Capability bit: peer-to-peer inside the instance.
pub(crate) const CAPABILITY_P2P: u32 = 1;
/// Capability bit: graphics.
pub(crate) const CAPABILITY_GRAPHICS: u32 = 2;

pub(crate) const fn capabilities(profile: &GpuInstanceProfile) -> u32 {
    let p2p = if profile.p2p { CAPABILITY_P2P } else { 0 };
    let graphics = if profile.name.attributes.graphics { CAPABILITY_GRAPHICS } else { 0 };
    p2p | graphics
}

pub(crate) fn profile_info(
    call: &Call,
    device: Device,
    profile: u32,
    info: Out<GiProfile>,
) -> Outcome {
    let gpu = call.gpu(device)?;
    info.check()?;
    let found = call.node().profile_by_enum(gpu, profile)?;
    info.put(sys::nvmlGpuInstanceProfileInfo_t {
        id: found.id.get(),
        isP2pSupported: u32::from(found.p2p),
        sliceCount: u32::from(found.name.slices),
        instanceCount: found.max_instances,
        multiprocessorCount: found.multiprocessors,
        copyEngineCount: found.engines.copy,
        decoderCount: found.engines.decoders,
        encoderCount: found.engines.encoders,
        jpegCount: found.engines.jpeg,
        ofaCount: found.engines.ofa,
        memorySizeMB: found.memory.get(),
    })
}

pub(crate) fn profile_info_v(call: &Call, device: Device, profile: u32, info: Out<u32>) -> Outcome {
    let gpu = call.gpu(device)?;
    let version = known_version(info)?;
    put_profile(info, version, call.node().profile_by_enum(gpu, profile)?)
}

pub(crate) fn profile_info_by_id(
    call: &Call,
    device: Device,
    profile_id: u32,
    info: Out<u32>,
) -> Outcome {
    let gpu = call.gpu(device)?;
    let version = known_version(info)?;
    let id = GpuInstanceProfileId::new(profile_id);
    put_profile(info, version, call.node().profile_by_id(gpu, id)?)
}

/// Reads the version word; versions 2 and 3 have the same size, so the high byte decides.
fn known_version(info: Out<u32>) -> Outcome<u32> {
    let version = info.get()?;
    let known = version == version_of::<sys::nvmlGpuInstanceProfileInfo_v2_t>(2)
        || version == version_of::<sys::nvmlGpuInstanceProfileInfo_v3_t>(3);
    if known { Ok(version) } else { Err(Return::ArgumentVersionMismatch) }
}

fn put_profile(info: Out<u32>, version: u32, found: &GpuInstanceProfile) -> Outcome {
    let name = fixed(&found.name.to_string());
    if version >> 24 == 2 {
        return info.cast().put(sys::nvmlGpuInstanceProfileInfo_v2_t {
            version,
            id: found.id.get(),
            isP2pSupported: u32::from(found.p2p),
            sliceCount: u32::from(found.name.slices),
            instanceCount: found.max_instances,
            multiprocessorCount: found.multiprocessors,
            copyEngineCount: found.engines.copy,
            decoderCount: found.engines.decoders,
            encoderCount: found.engines.encoders,
            jpegCount: found.engines.jpeg,
            ofaCount: found.engines.ofa,
            memorySizeMB: found.memory.get(),
            name,
        });
    }
    info.cast().put(sys::nvmlGpuInstanceProfileInfo_v3_t {
        version,
        id: found.id.get(),
        sliceCount: u32::from(found.name.slices),
        instanceCount: found.max_instances,
        multiprocessorCount: found.multiprocessors,
        copyEngineCount: found.engines.copy,
        decoderCount: found.engines.decoders,
        encoderCount: found.engines.encoders,
        jpegCount: found.engines.jpeg,
        ofaCount: found.engines.ofa,
        memorySizeMB: found.memory.get(),
        name,
        capabilities: capabilities(found),
    })
}

pub(crate) fn placements(
    call: &Call,
    device: Device,
    profile_id: u32,
    placements: Out<GiPlacement>,
    count: Out<u32>,
) -> Outcome {
    let gpu = call.gpu(device)?;
    count.check()?;
    let id = GpuInstanceProfileId::new(profile_id);
    let found = call.node().possible_placements(gpu, call.caller(), id)?;
    let values: Vec<GiPlacement> = found.into_iter().map(to_c).collect();
    put_all(count, placements, &values)
}

fn to_c(placement: Placement) -> GiPlacement {
    sys::nvmlGpuInstancePlacement_t {
        start: u32::from(placement.start.get()),
        size: u32::from(placement.size.get()),
    }
}

pub(crate) fn capacity(call: &Call, device: Device, profile_id: u32, count: Out<u32>) -> Outcome {
    let gpu = call.gpu(device)?;
    count.check()?;
    let id = GpuInstanceProfileId::new(profile_id);
    count.put(call.node().remaining_capacity(gpu, call.caller(), id)?)
}

pub(crate) fn create(
    call: &Call,
    device: Device,
    profile_id: u32,
    instance: Out<GpuInstance>,
) -> Outcome {
    let gpu = call.gpu(device)?;
    instance.check()?;
    let args = json!({"gpu": call.gpu_argument(gpu), "profile_id": profile_id});
    make(call, gpu, profile_id, None, args, instance)
}

pub(crate) fn create_at(
    call: &Call,
    device: Device,
    profile_id: u32,
    placement: In<GiPlacement>,
    instance: Out<GpuInstance>,
) -> Outcome {
    let gpu = call.gpu(device)?;
    instance.check()?;
    let wanted = placement.get()?;
    let args = json!({
        "gpu": call.gpu_argument(gpu),
        "profile_id": profile_id,
        "start": wanted.start,
        "size": wanted.size,
    });
    let placement = small_placement(wanted.start, wanted.size);
    make(call, gpu, profile_id, Some(placement), args, instance)
}

/// A placement of C numbers; what no grid has stays illegal when it is made small.
pub(crate) fn small_placement(start: u32, size: u32) -> Placement {
    let small = |number: u32| u8::try_from(number).unwrap_or(u8::MAX);
    Placement::new(small(start), small(size))
}

fn make(
    call: &Call,
    gpu: usize,
    profile_id: u32,
    placement: Option<Placement>,
    args: Value,
    instance: Out<GpuInstance>,
) -> Outcome {
    let id = GpuInstanceProfileId::new(profile_id);
    let caller = call.caller();
    let made = call.mutate(
        gpu,
        args,
        |node, now| {
            let made = node.create_gpu_instance(gpu, caller, id, placement, now)?;
            let placement = node.gpu_instance(gpu, made)?.placement;
            Ok((made, placement))
        },
        |(made, placement)| {
            json!({"gpu_instance": made.id.get(), "placement": placement.to_string()})
        },
    )?;
    instance.put(instance_handle(gpu, made.0))
}

pub(crate) fn destroy(call: &Call, instance: GpuInstance) -> Outcome {
    let (gpu, found) = call.instance(instance)?;
    let caller = call.caller();
    call.mutate(
        gpu,
        json!({"gpu": call.gpu_argument(gpu), "gpu_instance": found.id.get()}),
        |node, now| node.destroy_gpu_instance(gpu, caller, found, now).map(drop),
        |()| Value::Null,
    )
}

pub(crate) fn list(
    call: &Call,
    device: Device,
    profile_id: u32,
    instances: Out<GpuInstance>,
    count: Out<u32>,
) -> Outcome {
    let gpu = call.gpu(device)?;
    count.check()?;
    let id = GpuInstanceProfileId::new(profile_id);
    let found = call.node().gpu_instances(gpu, call.caller(), id)?;
    let handles: Vec<GpuInstance> =
        found.into_iter().map(|one: InstanceRef| instance_handle(gpu, one)).collect();
    put_all(count, instances, &handles)
}

pub(crate) fn by_id(call: &Call, device: Device, id: u32, instance: Out<GpuInstance>) -> Outcome {
    let gpu = call.gpu(device)?;
    instance.check()?;
    let found = call.node().gpu_instance_by_id(gpu, call.caller(), GpuInstanceId::new(id))?;
    instance.put(instance_handle(gpu, found))
}

pub(crate) fn info(call: &Call, instance: GpuInstance, info: Out<GiInfo>) -> Outcome {
    let (gpu, reference) = call.instance(instance)?;
    info.check()?;
    let found = call.node().gpu_instance(gpu, reference)?;
    info.put(sys::nvmlGpuInstanceInfo_t {
        device: call.gpu_handle(gpu)?.pointer(),
        id: found.id.get(),
        profileId: found.profile.get(),
        placement: to_c(found.placement),
    })
}
