//! Settings of a board other than MIG.
//!
//! Must never accept a setting that the simulated board would not keep.

use serde_json::{Value, json};
use sim_gpu::{Query, Return};

use super::args::{Out, Outcome};
use super::structs::sys;
use crate::call::Call;
use crate::types::{ConfComputeMemory, Device};

/// Entries the driver keeps for accounting.
const ACCOUNTING_ENTRIES: u32 = 4000;

pub(crate) fn persistence(call: &Call, device: Device, mode: Out<u32>) -> Outcome {
    let gpu = call.query(device, Query::Settings)?;
    mode.put(u32::from(call.node().gpu(gpu)?.persistence))
}

pub(crate) fn set_persistence(call: &Call, device: Device, mode: u32) -> Outcome {
    let gpu = call.query(device, Query::Settings)?;
    if mode > 1 {
        return Err(Return::InvalidArgument);
    }
    let caller = call.caller();
    call.mutate(
        gpu,
        json!({"gpu": call.gpu_argument(gpu), "mode": mode}),
        |node, _| node.set_persistence(gpu, caller, mode == 1),
        |()| Value::Null,
    )
}

/// Always the default: several contexts per device.
pub(crate) fn compute(call: &Call, device: Device, mode: Out<u32>) -> Outcome {
    call.query(device, Query::ComputeMode)?;
    mode.put(0)
}

/// Display, display mode, accounting: off on these boards.
pub(crate) fn off(call: &Call, device: Device, mode: Out<u32>) -> Outcome {
    call.query(device, Query::Settings)?;
    mode.put(0)
}

/// Off is what it is; on is not simulated, and refused with MIG on as in the real driver.
pub(crate) fn set_accounting(call: &Call, device: Device, mode: u32) -> Outcome {
    call.query(device, Query::SetAccounting)?;
    match mode {
        0 => Ok(()),
        1 => Err(Return::NotSupported),
        _ => Err(Return::InvalidArgument),
    }
}

pub(crate) fn accounting_buffer(call: &Call, device: Device, size: Out<u32>) -> Outcome {
    call.query(device, Query::Settings)?;
    size.put(ACCOUNTING_ENTRIES)
}

pub(crate) fn accounting_pids(
    call: &Call,
    device: Device,
    count: Out<u32>,
    _pids: Out<u32>,
) -> Outcome {
    call.query(device, Query::Settings)?;
    count.put(0)
}

pub(crate) fn host_vgpu(call: &Call, device: Device, mode: Out<u32>) -> Outcome {
    call.query(device, Query::Settings)?;
    mode.check()?;
    Err(Return::NotSupported)
}

pub(crate) fn confidential_memory(
    call: &Call,
    device: Device,
    info: Out<ConfComputeMemory>,
) -> Outcome {
    let gpu = call.query(device, Query::Settings)?;
    let board = call.node().board(gpu)?;
    info.check()?;
    if !board.gpm {
        return Err(Return::NotSupported);
    }
    info.put(sys::nvmlConfComputeMemSizeInfo_st {
        protectedMemSizeKib: 0,
        unprotectedMemSizeKib: board.total_memory.get() * 1024,
    })
}
