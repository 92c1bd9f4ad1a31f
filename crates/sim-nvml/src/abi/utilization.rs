//! Utilization of a whole GPU.
//!
//! Must never answer with MIG on, nor for a MIG device: the real driver refuses both.

use sim_gpu::Return;

use super::args::{Out, Outcome, put_list};
use super::structs::sys;
use crate::call::Call;
use crate::types::{Device, Sample, Utilization};

/// The driver's sampling period in microseconds.
const PERIOD_US: u32 = 167_000;
/// Number of kinds of samples in `nvmlSamplingType_t`.
const SAMPLE_KINDS: u32 = 9;
/// `NVML_VALUE_TYPE_UNSIGNED_INT`.
pub(crate) const VALUE_UNSIGNED_INT: u32 = 1;

fn whole(call: &Call, device: Device) -> Outcome<sim_gpu::Utilization> {
    let gpu = call.device(device)?.gpu_or(Return::NotSupported)?;
    call.node().utilization(gpu, call.session.host.now())
}

pub(crate) fn rates(call: &Call, device: Device, rates: Out<Utilization>) -> Outcome {
    call.device(device)?;
    rates.check()?;
    let used = whole(call, device)?;
    rates.put(sys::nvmlUtilization_t { gpu: used.gpu, memory: used.memory })
}

/// Encoder, decoder, JPEG and OFA: contexts of the simulator use none of them.
pub(crate) fn engine(call: &Call, device: Device, percent: Out<u32>, period: Out<u32>) -> Outcome {
    call.device(device)?;
    percent.check()?;
    period.check()?;
    whole(call, device)?;
    percent.put(0)?;
    period.put(PERIOD_US)
}

pub(crate) fn samples(
    call: &Call,
    device: Device,
    kind: u32,
    _since: u64,
    value_type: Out<u32>,
    count: Out<u32>,
    samples: Out<Sample>,
) -> Outcome {
    call.device(device)?;
    count.check()?;
    value_type.check()?;
    let used = whole(call, device)?;
    let value = match kind {
        1 => used.gpu,
        2 => used.memory,
        3 | 4 => 0,
        0 | 5.. if kind < SAMPLE_KINDS => return Err(Return::NotSupported),
        _ => return Err(Return::InvalidArgument),
    };
    value_type.put(VALUE_UNSIGNED_INT)?;
    if samples.is_null() {
        return count.put(1);
    }
    let sample = sys::nvmlSample_t {
        timeStamp: call.session.host.now().as_millis() * 1000,
        sampleValue: sys::nvmlValue_t { uiVal: value },
    };
    put_list(count, samples, &[sample])
}
