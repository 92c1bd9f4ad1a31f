//! How much memory there is and how much is taken.
//!
//! Must never show a MIG device the memory of its whole GPU.

use sim_gpu::MemoryUse;

use super::args::{Out, Outcome};
use super::figures;
use super::structs::{fixed_version, sys};
use crate::call::Call;
use crate::types::{Bar1, Device, Memory, MemoryV2};

fn use_of(call: &Call, device: Device) -> Outcome<MemoryUse> {
    let found = call.device(device)?;
    call.node().memory(found.gpu, found.target(), call.caller())
}

/// The first version has no place for what the driver keeps: it counts as used.
pub(crate) fn info(call: &Call, device: Device, memory: Out<Memory>) -> Outcome {
    call.device(device)?;
    memory.check()?;
    let found = use_of(call, device)?;
    memory.put(sys::nvmlMemory_t {
        total: found.total.bytes(),
        free: found.free.bytes(),
        used: found.used.saturating_add(found.reserved).bytes(),
    })
}

pub(crate) fn info_v2(call: &Call, device: Device, memory: Out<MemoryV2>) -> Outcome {
    call.device(device)?;
    let version = memory.cast::<u32>().get()?;
    fixed_version::<MemoryV2>(version, 2)?;
    let found = use_of(call, device)?;
    memory.put(sys::nvmlMemory_v2_t {
        version,
        total: found.total.bytes(),
        reserved: found.reserved.bytes(),
        free: found.free.bytes(),
        used: found.used.bytes(),
    })
}

pub(crate) fn bar1(call: &Call, device: Device, memory: Out<Bar1>) -> Outcome {
    let target = call.device(device)?;
    memory.check()?;
    let found = call.node().bar1(target.gpu, target.target(), call.caller())?;
    memory.put(sys::nvmlBAR1Memory_t {
        bar1Total: found.total.bytes(),
        bar1Free: found.free.bytes(),
        bar1Used: found.used.bytes(),
    })
}

pub(crate) fn bus_width(call: &Call, device: Device, bits: Out<u32>) -> Outcome {
    let found = call.device(device)?;
    bits.put(figures::of(call.node().board(found.gpu)?).bus_bits)
}
