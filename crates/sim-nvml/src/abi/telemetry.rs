//! Power, temperature, fans: the board's own.
//!
//! Must never answer for a MIG device.

use sim_gpu::{Query, Return};

use super::args::{Out, Outcome};
use super::figures;
use super::structs::fixed_version;
use crate::call::Call;
use crate::types::{Device, Temperature};

/// Degrees of an idle board.
const IDLE_CELSIUS: u32 = 32;
/// Degrees more under full load.
const LOAD_CELSIUS: u32 = 36;

/// How busy a GPU is in percent; with MIG on its contexts' activity weighs by number of GPU
/// instances, which is enough for a power figure.
fn load(call: &Call, gpu: usize) -> u32 {
    let node = call.node();
    let now = crate::process::now();
    if let Ok(used) = node.utilization(gpu, now) {
        return used.gpu;
    }
    let slots = node.gpu(gpu).map_or(1, |gpu| gpu.instances.len().max(1)) as u32;
    let busy = node.contexts.iter().filter(|context| context.gpu == gpu);
    let sum: u32 = busy.map(|c| u32::from(c.activity.at(now.since(c.started_at)).0)).sum();
    (sum / slots).min(100)
}

fn milliwatts(call: &Call, gpu: usize) -> Outcome<u32> {
    let figures = figures::of(call.node().board(gpu)?);
    let span = (figures.limit_w - figures.idle_w) * 10;
    Ok(figures.idle_w * 1000 + span * load(call, gpu))
}

pub(crate) fn power_usage(call: &Call, device: Device, milliwatts_out: Out<u32>) -> Outcome {
    let gpu = call.query(device, Query::Telemetry)?;
    milliwatts_out.check()?;
    milliwatts_out.put(milliwatts(call, gpu)?)
}

pub(crate) fn power_management_mode(call: &Call, device: Device, mode: Out<u32>) -> Outcome {
    call.query(device, Query::Telemetry)?;
    mode.put(1)
}

pub(crate) fn power_limit(call: &Call, device: Device, milliwatts: Out<u32>) -> Outcome {
    let gpu = call.query(device, Query::Telemetry)?;
    milliwatts.put(figures::of(call.node().board(gpu)?).limit_w * 1000)
}

pub(crate) fn power_constraints(
    call: &Call,
    device: Device,
    min: Out<u32>,
    max: Out<u32>,
) -> Outcome {
    let gpu = call.query(device, Query::Telemetry)?;
    min.check()?;
    max.check()?;
    let limit = figures::of(call.node().board(gpu)?).limit_w * 1000;
    min.put(limit / 4)?;
    max.put(limit)
}

/// Energy since the epoch of the simulation at idle power: it grows, nothing more.
pub(crate) fn energy(call: &Call, device: Device, millijoules: Out<u64>) -> Outcome {
    let gpu = call.query(device, Query::Telemetry)?;
    let idle = u64::from(figures::of(call.node().board(gpu)?).idle_w);
    millijoules.put(crate::process::now().as_millis() % (1 << 40) * idle)
}

pub(crate) fn power_source(call: &Call, device: Device, source: Out<u32>) -> Outcome {
    call.query(device, Query::Telemetry)?;
    source.put(0)
}

pub(crate) fn performance_state(call: &Call, device: Device, state: Out<u32>) -> Outcome {
    call.query(device, Query::Telemetry)?;
    state.put(0)
}

fn celsius(call: &Call, gpu: usize) -> u32 {
    IDLE_CELSIUS + LOAD_CELSIUS * load(call, gpu) / 100
}

pub(crate) fn temperature(
    call: &Call,
    device: Device,
    sensor: u32,
    celsius_out: Out<u32>,
) -> Outcome {
    let gpu = call.query(device, Query::Telemetry)?;
    celsius_out.check()?;
    if sensor != 0 {
        return Err(Return::InvalidArgument);
    }
    celsius_out.put(celsius(call, gpu))
}

pub(crate) fn temperature_v(call: &Call, device: Device, temperature: Out<Temperature>) -> Outcome {
    let gpu = call.query(device, Query::Telemetry)?;
    let version = temperature.cast::<u32>().get()?;
    fixed_version::<Temperature>(version, 1)?;
    let asked = temperature.get()?;
    if asked.sensor != 0 {
        return Err(Return::InvalidArgument);
    }
    temperature.put(Temperature { temperature: celsius(call, gpu).cast_signed(), ..asked })
}

/// Shutdown, slowdown, memory maximum, GPU maximum.
pub(crate) fn temperature_threshold(
    call: &Call,
    device: Device,
    kind: u32,
    celsius: Out<u32>,
) -> Outcome {
    const THRESHOLDS: [u32; 4] = [92, 89, 95, 85];
    call.query(device, Query::Telemetry)?;
    celsius.check()?;
    match THRESHOLDS.get(kind as usize) {
        Some(value) => celsius.put(*value),
        None if kind < 9 => Err(Return::NotSupported),
        None => Err(Return::InvalidArgument),
    }
}

/// The boards simulated here are cooled by the machine: no fan of their own.
pub(crate) fn fan_count(call: &Call, device: Device, count: Out<u32>) -> Outcome {
    call.query(device, Query::Telemetry)?;
    count.put(0)
}

pub(crate) fn fan_speed(call: &Call, device: Device, percent: Out<u32>) -> Outcome {
    call.query(device, Query::Telemetry)?;
    percent.check()?;
    Err(Return::NotSupported)
}

pub(crate) fn fan_speed_of(call: &Call, device: Device, _fan: u32, percent: Out<u32>) -> Outcome {
    fan_speed(call, device, percent)
}
