//! ECC mode and counters, remapped rows.
//!
//! Must never count an error that nobody injected.

use sim_gpu::{Gpu, Query, Return};

use super::args::{Out, Outcome};
use super::structs::sys;
use crate::call::Call;
use crate::types::{Device, EccCounts, RowRemapper};

/// Number of memory locations in `nvmlMemoryLocation_t`.
const LOCATIONS: u32 = 8;
/// `NVML_MEMORY_LOCATION_DEVICE_MEMORY`.
const DEVICE_MEMORY: u32 = 2;
/// Banks of the row remapper.
const BANKS: u32 = 640;

fn gpu_of(call: &Call, device: Device) -> Outcome<&Gpu> {
    let gpu = call.query(device, Query::Ecc)?;
    call.node().working_gpu(gpu)
}

pub(crate) fn mode(call: &Call, device: Device, current: Out<u32>, pending: Out<u32>) -> Outcome {
    gpu_of(call, device)?;
    current.check()?;
    pending.check()?;
    current.put(1)?;
    pending.put(1)
}

pub(crate) fn default_mode(call: &Call, device: Device, mode: Out<u32>) -> Outcome {
    gpu_of(call, device)?;
    mode.put(1)
}

fn errors(gpu: &Gpu, error: u32, counter: u32) -> Outcome<u64> {
    match (error, counter) {
        (0, 0 | 1) => Ok(gpu.ecc_corrected),
        (1, 0 | 1) => Ok(gpu.ecc_uncorrected),
        _ => Err(Return::InvalidArgument),
    }
}

pub(crate) fn total(
    call: &Call,
    device: Device,
    error: u32,
    counter: u32,
    count: Out<u64>,
) -> Outcome {
    let gpu = gpu_of(call, device)?;
    count.check()?;
    count.put(errors(gpu, error, counter)?)
}

pub(crate) fn at_location(
    call: &Call,
    device: Device,
    error: u32,
    counter: u32,
    location: u32,
    count: Out<u64>,
) -> Outcome {
    let gpu = gpu_of(call, device)?;
    count.check()?;
    let all = errors(gpu, error, counter)?;
    match location {
        DEVICE_MEMORY => count.put(all),
        0..LOCATIONS => count.put(0),
        _ => Err(Return::InvalidArgument),
    }
}

pub(crate) fn detailed(
    call: &Call,
    device: Device,
    error: u32,
    counter: u32,
    counts: Out<EccCounts>,
) -> Outcome {
    let gpu = gpu_of(call, device)?;
    counts.check()?;
    counts.put(sys::nvmlEccErrorCounts_t {
        l1Cache: 0,
        l2Cache: 0,
        deviceMemory: errors(gpu, error, counter)?,
        registerFile: 0,
    })
}

pub(crate) fn remapped_rows(
    call: &Call,
    device: Device,
    corrected: Out<u32>,
    uncorrected: Out<u32>,
    pending: Out<u32>,
    failed: Out<u32>,
) -> Outcome {
    call.query(device, Query::RemappedRows)?;
    let all = [corrected, uncorrected, pending, failed];
    all.iter().try_for_each(|out| out.check())?;
    all.iter().try_for_each(|out| out.put(0))
}

pub(crate) fn row_histogram(call: &Call, device: Device, values: Out<RowRemapper>) -> Outcome {
    call.query(device, Query::RemappedRows)?;
    values.put(sys::nvmlRowRemapperHistogramValues_t {
        max: BANKS,
        high: 0,
        partial: 0,
        low: 0,
        none: 0,
    })
}
