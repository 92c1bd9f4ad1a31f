//! The PCIe link of a board.
//!
//! Must never answer for a MIG device.

use sim_gpu::{Query, Return};

use super::args::{Out, Outcome};
use super::figures;
use crate::call::Call;
use crate::types::Device;

/// Lanes of the link.
const WIDTH: u32 = 16;
/// `NVML_BUS_TYPE_PCIE`.
const BUS_PCIE: u32 = 2;

pub(crate) fn generation(call: &Call, device: Device, generation: Out<u32>) -> Outcome {
    let gpu = call.query(device, Query::Telemetry)?;
    generation.put(figures::of(call.node().board(gpu)?).pcie)
}

pub(crate) fn width(call: &Call, device: Device, width: Out<u32>) -> Outcome {
    call.query(device, Query::Telemetry)?;
    width.put(WIDTH)
}

/// Contexts of the simulator move nothing over the link.
pub(crate) fn throughput(call: &Call, device: Device, counter: u32, kib: Out<u32>) -> Outcome {
    call.query(device, Query::Telemetry)?;
    kib.check()?;
    if counter > 1 { Err(Return::InvalidArgument) } else { kib.put(0) }
}

pub(crate) fn replays(call: &Call, device: Device, value: Out<u32>) -> Outcome {
    call.query(device, Query::Telemetry)?;
    value.put(0)
}

/// Transfer rate of one lane in MT/s: 2,500, 5,000, 8,000, then doubling.
const fn rate(generation: u32) -> u32 {
    match generation {
        0 | 1 => 2500,
        2 => 5000,
        _ => 8000 << (generation - 3),
    }
}

pub(crate) fn speed(call: &Call, device: Device, mbps: Out<u32>) -> Outcome {
    let gpu = call.query(device, Query::Telemetry)?;
    mbps.put(rate(figures::of(call.node().board(gpu)?).pcie))
}

/// `NVML_PCIE_LINK_MAX_SPEED_*`: numbered like the generations.
pub(crate) fn max_speed(call: &Call, device: Device, speed: Out<u32>) -> Outcome {
    generation(call, device, speed)
}

pub(crate) fn bus_type(call: &Call, device: Device, bus: Out<u32>) -> Outcome {
    call.query(device, Query::Settings)?;
    bus.put(BUS_PCIE)
}
