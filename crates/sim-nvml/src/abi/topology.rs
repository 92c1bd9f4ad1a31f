//! How GPUs reach each other and the processors.
//!
//! Must never name a processor or a memory node that the machine does not have: Slurm's plugin
//! then discards the GPU.

use model::topology::TopologyLevel;
use sim_gpu::{Query, Return};

use super::args::{Out, Outcome, put_list};
use crate::call::Call;
use crate::types::Device;

/// Number of peer-to-peer capabilities in `nvmlGpuP2PCapsIndex_t`.
const P2P_KINDS: u32 = 6;
/// The NVLink kind of peer-to-peer capability.
const P2P_NVLINK: u32 = 2;
/// `NVML_P2P_STATUS_OK`.
const P2P_OK: u32 = 0;
/// `NVML_P2P_STATUS_CHIPSET_NOT_SUPPORTED`.
const P2P_CHIPSET: u32 = 1;
/// `NVML_P2P_STATUS_NOT_SUPPORTED`.
const P2P_NOT_SUPPORTED: u32 = 5;

fn pair(call: &Call, first: Device, second: Device) -> Outcome<(usize, usize)> {
    Ok((call.query(first, Query::Links)?, call.query(second, Query::Links)?))
}

pub(crate) fn common_ancestor(
    call: &Call,
    first: Device,
    second: Device,
    level: Out<u32>,
) -> Outcome {
    let (a, b) = pair(call, first, second)?;
    level.check()?;
    level.put(call.node().common_ancestor(a, b)?.nvml_value())
}

pub(crate) fn nearest(
    call: &Call,
    device: Device,
    level: u32,
    count: Out<u32>,
    devices: Out<Device>,
) -> Outcome {
    let gpu = call.query(device, Query::Links)?;
    count.check()?;
    let node = call.node();
    let mut found = Vec::new();
    for other in (0..node.gpus.len()).filter(|other| *other != gpu) {
        if node.common_ancestor(gpu, other)?.nvml_value() == level {
            found.push(call.gpu_handle(other)?);
        }
    }
    if devices.is_null() {
        return count.put(found.len() as u32);
    }
    put_list(count, devices, &found)
}

pub(crate) fn gpus_of_cpu(call: &Call, cpu: u32, count: Out<u32>, devices: Out<Device>) -> Outcome {
    count.check()?;
    let node = call.node();
    let mut found = Vec::new();
    for gpu in 0..node.gpus.len() {
        if node.cpu_affinity(gpu)?.iter().any(|near| u32::from(*near) == cpu) {
            found.push(call.gpu_handle(gpu)?);
        }
    }
    if devices.is_null() {
        return count.put(found.len() as u32);
    }
    put_list(count, devices, &found)
}

/// Peer-to-peer works between whole GPUs on NVLinks or under one socket; never with MIG on.
pub(crate) fn p2p(
    call: &Call,
    first: Device,
    second: Device,
    index: u32,
    status: Out<u32>,
) -> Outcome {
    let (a, b) = pair(call, first, second)?;
    status.check()?;
    if index >= P2P_KINDS || a == b {
        return Err(Return::InvalidArgument);
    }
    let node = call.node();
    let mig = node.gpu(a)?.mig_on() || node.gpu(b)?.mig_on();
    let linked = node.active_nvlinks(a)? > 0 && node.active_nvlinks(b)? > 0;
    let near = node.common_ancestor(a, b)? != TopologyLevel::System;
    status.put(match () {
        () if mig => P2P_NOT_SUPPORTED,
        () if linked => P2P_OK,
        () if index == P2P_NVLINK => P2P_NOT_SUPPORTED,
        () if near => P2P_OK,
        () => P2P_CHIPSET,
    })
}

/// Numbers of the list `path` of the kernel (`0-3,8`), or nothing.
fn kernel_list(path: &str) -> Vec<u32> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut numbers = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) {
            numbers.extend(first..=last.min(first.saturating_add(4096)));
        }
    }
    numbers
}

fn put_mask(numbers: &[u32], words: u32, set: Out<u64>) -> Outcome {
    set.check()?;
    if words == 0 {
        return Err(Return::InvalidArgument);
    }
    // No list is longer than this; the rest of a longer buffer is cleared word by word.
    let mut mask = vec![0u64; words as usize];
    for number in numbers {
        match mask.get_mut(*number as usize / 64) {
            Some(word) => *word |= 1 << (number % 64),
            None => return Err(Return::InsufficientSize),
        }
    }
    set.fill(mask)
}

/// The GPU's processors that this machine has; all it has if that leaves none.
fn near_cpus(call: &Call, gpu: usize) -> Outcome<Vec<u32>> {
    let here = kernel_list("/sys/devices/system/cpu/online");
    let wanted = call.node().cpu_affinity(gpu)?;
    let near: Vec<u32> =
        wanted.into_iter().map(u32::from).filter(|cpu| here.contains(cpu)).collect();
    Ok(if near.is_empty() { here } else { near })
}

pub(crate) fn cpu_affinity(call: &Call, device: Device, words: u32, set: Out<u64>) -> Outcome {
    let gpu = call.query(device, Query::Links)?;
    put_mask(&near_cpus(call, gpu)?, words, set)
}

pub(crate) fn cpu_affinity_in(
    call: &Call,
    device: Device,
    words: u32,
    set: Out<u64>,
    scope: u32,
) -> Outcome {
    call.query(device, Query::Links)?;
    if scope > 1 {
        return Err(Return::InvalidArgument);
    }
    cpu_affinity(call, device, words, set)
}

fn near_node(call: &Call, gpu: usize) -> Outcome<u32> {
    let here = kernel_list("/sys/devices/system/node/online");
    let wanted = u32::from(call.node().gpu(gpu)?.numa_node);
    Ok(if here.contains(&wanted) { wanted } else { here.first().copied().unwrap_or(0) })
}

pub(crate) fn memory_affinity(
    call: &Call,
    device: Device,
    words: u32,
    set: Out<u64>,
    scope: u32,
) -> Outcome {
    let gpu = call.query(device, Query::Links)?;
    if scope > 1 {
        return Err(Return::InvalidArgument);
    }
    put_mask(&[near_node(call, gpu)?], words, set)
}

/// Only GPUs whose memory is a NUMA node of the machine have one (Grace): none here.
pub(crate) fn numa_node(call: &Call, device: Device, node: Out<u32>) -> Outcome {
    call.query(device, Query::Links)?;
    node.check()?;
    Err(Return::NotSupported)
}

/// Binding the caller's thread to the GPU's processors: accepted, without effect.
pub(crate) fn set_cpu_affinity(call: &Call, device: Device) -> Outcome {
    call.query(device, Query::Links).map(drop)
}
