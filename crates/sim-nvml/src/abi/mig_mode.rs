//! MIG mode with its two results.
//!
//! Must never take a pending mode for one in force.

use model::MigMode;
use serde_json::json;
use sim_gpu::Return;

use super::args::{Out, Outcome};
use crate::call::Call;
use crate::types::Device;

const fn number(mode: MigMode) -> u32 {
    match mode {
        MigMode::Disabled => 0,
        MigMode::Enabled => 1,
    }
}

pub(crate) fn get(call: &Call, device: Device, current: Out<u32>, pending: Out<u32>) -> Outcome {
    let gpu = call.gpu(device)?;
    current.check()?;
    pending.check()?;
    let (now, next) = call.node().mig_mode(gpu)?;
    current.put(number(now))?;
    pending.put(number(next))
}

pub(crate) fn set(call: &Call, device: Device, mode: u32, activation: Out<u32>) -> Outcome {
    let gpu = call.gpu(device)?;
    activation.check()?;
    let wish = match mode {
        0 => MigMode::Disabled,
        1 => MigMode::Enabled,
        _ => return Err(Return::InvalidArgument),
    };
    let caller = call.caller();
    let change = call.mutate(
        gpu,
        json!({"gpu": call.gpu_argument(gpu), "mode": mode}),
        |node, now| node.set_mig_mode(gpu, caller, wish, now),
        |change| json!({"activation": change.activation.name()}),
    )?;
    activation.put(change.activation.code())
}
