//! MIG devices: handles without gaps, and what they are made of.
//!
//! Must never keep an index.

use sim_gpu::Return;

use super::args::{Out, Outcome};
use super::structs::sys;
use crate::call::{Call, mig_handle};
use crate::types::{Attributes, Device};

pub(crate) fn is_mig(call: &Call, device: Device, is: Out<u32>) -> Outcome {
    let found = call.device(device)?;
    is.put(u32::from(found.mig.is_some()))
}

pub(crate) fn gpu_instance_id(call: &Call, device: Device, id: Out<u32>) -> Outcome {
    let mig = call.device(device)?.mig.ok_or(Return::NotSupported)?;
    id.put(mig.instance.id.get())
}

pub(crate) fn compute_instance_id(call: &Call, device: Device, id: Out<u32>) -> Outcome {
    let mig = call.device(device)?.mig.ok_or(Return::NotSupported)?;
    id.put(mig.id.get())
}

pub(crate) fn max_count(call: &Call, device: Device, count: Out<u32>) -> Outcome {
    let gpu = call.gpu(device)?;
    count.check()?;
    count.put(call.node().max_mig_devices(gpu)?)
}

pub(crate) fn by_index(call: &Call, device: Device, index: u32, mig: Out<Device>) -> Outcome {
    let gpu = call.gpu(device)?;
    mig.check()?;
    let found = call.node().mig_device_by_index(gpu, index as usize)?;
    mig.put(mig_handle(gpu, found))
}

pub(crate) fn parent(call: &Call, mig: Device, device: Out<Device>) -> Outcome {
    let found = call.device(mig)?;
    device.check()?;
    found.mig.ok_or(Return::InvalidArgument)?;
    device.put(call.gpu_handle(found.gpu)?)
}

pub(crate) fn attributes(call: &Call, device: Device, attributes: Out<Attributes>) -> Outcome {
    let found = call.device(device)?;
    attributes.check()?;
    let mig = call.node().mig_device(found.gpu, found.mig.ok_or(Return::NotSupported)?)?;
    attributes.put(sys::nvmlDeviceAttributes_t {
        multiprocessorCount: mig.multiprocessors,
        sharedCopyEngineCount: mig.engines.copy,
        sharedDecoderCount: mig.engines.decoders,
        sharedEncoderCount: mig.engines.encoders,
        sharedJpegCount: mig.engines.jpeg,
        sharedOfaCount: mig.engines.ofa,
        gpuInstanceSliceCount: u32::from(mig.gpu_instance_slices),
        computeInstanceSliceCount: u32::from(mig.compute_instance_slices),
        memorySizeMB: mig.memory.get(),
    })
}
