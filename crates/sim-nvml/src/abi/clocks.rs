//! Clocks: the board's own, at their usual values.
//!
//! Must never pretend to have changed one.

use sim_gpu::{Query, Return, Rights};

use super::args::{Out, Outcome, put_list};
use super::figures;
use crate::call::Call;
use crate::types::Device;

/// Number of clocks in `nvmlClockType_t`: graphics, SM, memory, video.
const KINDS: u32 = 4;
/// Number of `nvmlClockId_t` values.
const IDS: u32 = 4;
/// The clock of an idle board in MHz.
const IDLE_MHZ: u32 = 210;

fn full(call: &Call, gpu: usize, clock: u32) -> Outcome<u32> {
    let figures = figures::of(call.node().board(gpu)?);
    match clock {
        0 | 1 => Ok(figures.sm_mhz),
        2 => Ok(figures.memory_mhz),
        3 => Ok(figures.sm_mhz * 9 / 10),
        _ => Err(Return::InvalidArgument),
    }
}

fn busy(call: &Call, gpu: usize) -> bool {
    call.node().contexts.iter().any(|context| context.gpu == gpu)
}

pub(crate) fn current(call: &Call, device: Device, clock: u32, mhz: Out<u32>) -> Outcome {
    let gpu = call.query(device, Query::Telemetry)?;
    mhz.check()?;
    let full = full(call, gpu, clock)?;
    mhz.put(if clock == 2 || busy(call, gpu) { full } else { IDLE_MHZ })
}

pub(crate) fn maximum(call: &Call, device: Device, clock: u32, mhz: Out<u32>) -> Outcome {
    let gpu = call.query(device, Query::Telemetry)?;
    mhz.check()?;
    mhz.put(full(call, gpu, clock)?)
}

pub(crate) fn by_id(call: &Call, device: Device, clock: u32, id: u32, mhz: Out<u32>) -> Outcome {
    if id >= IDS || clock >= KINDS {
        call.query(device, Query::Telemetry)?;
        return Err(Return::InvalidArgument);
    }
    if id == 0 { current(call, device, clock, mhz) } else { maximum(call, device, clock, mhz) }
}

pub(crate) fn supported_memory(
    call: &Call,
    device: Device,
    count: Out<u32>,
    mhz: Out<u32>,
) -> Outcome {
    let gpu = call.query(device, Query::Telemetry)?;
    count.check()?;
    put_list(count, mhz, &[figures::of(call.node().board(gpu)?).memory_mhz])
}

pub(crate) fn supported_graphics(
    call: &Call,
    device: Device,
    memory: u32,
    count: Out<u32>,
    mhz: Out<u32>,
) -> Outcome {
    let gpu = call.query(device, Query::Telemetry)?;
    count.check()?;
    let figures = figures::of(call.node().board(gpu)?);
    if memory != figures.memory_mhz {
        return Err(Return::NotFound);
    }
    let clocks: Vec<u32> = (IDLE_MHZ..=figures.sm_mhz).rev().step_by(15).collect();
    put_list(count, mhz, &clocks)
}

/// Idle (bit 0) when nothing runs, nothing otherwise.
pub(crate) fn event_reasons(call: &Call, device: Device, reasons: Out<u64>) -> Outcome {
    let gpu = call.query(device, Query::Telemetry)?;
    reasons.put(u64::from(!busy(call, gpu)))
}

pub(crate) fn supported_reasons(call: &Call, device: Device, reasons: Out<u64>) -> Outcome {
    call.query(device, Query::Telemetry)?;
    reasons.put(0x1ff)
}

fn may_set(call: &Call, device: Device) -> Outcome<usize> {
    let gpu = call.query(device, Query::Telemetry)?;
    if call.caller().rights < Rights::Root {
        return Err(Return::NoPermission);
    }
    Ok(gpu)
}

/// Accepts the clocks the board has, as Slurm's plugin sets them; they stay as they are.
pub(crate) fn set_applications(call: &Call, device: Device, memory: u32, graphics: u32) -> Outcome {
    let gpu = may_set(call, device)?;
    let figures = figures::of(call.node().board(gpu)?);
    let known = memory == figures.memory_mhz && (IDLE_MHZ..=figures.sm_mhz).contains(&graphics);
    if known { Ok(()) } else { Err(Return::InvalidArgument) }
}

pub(crate) fn lock(call: &Call, device: Device, min: u32, max: u32) -> Outcome {
    may_set(call, device)?;
    if min <= max { Ok(()) } else { Err(Return::InvalidArgument) }
}

pub(crate) fn reset(call: &Call, device: Device) -> Outcome {
    may_set(call, device).map(drop)
}
