//! The process lists, in the layouts of three versions.
//!
//! Must never list a process that has died.

use sim_gpu::{ContextKind, Return, RunningProcess};

use super::args::{Out, Outcome, put_list};
use super::structs::{ProcessDetail, fixed_version, sys};
use crate::call::Call;
use crate::types::{Device, Process, ProcessDetailList, ProcessUtilization, ProcessV1};

/// "No such instance" in NVML's process rows.
const NO_INSTANCE: u32 = u32::MAX;

fn rows(call: &Call, device: Device, kind: ContextKind) -> Outcome<Vec<RunningProcess>> {
    let found = call.device(device)?;
    call.swept().value.processes(found.gpu, found.target(), kind, call.caller())
}

fn list(
    call: &Call,
    device: Device,
    count: Out<u32>,
    infos: Out<Process>,
    kind: ContextKind,
) -> Outcome {
    call.device(device)?;
    count.check()?;
    let rows: Vec<Process> = rows(call, device, kind)?
        .into_iter()
        .map(|row| sys::nvmlProcessInfo_v2_st {
            pid: row.pid,
            usedGpuMemory: row.memory.bytes(),
            gpuInstanceId: row.gpu_instance.map_or(NO_INSTANCE, model::GpuInstanceId::get),
            computeInstanceId: row
                .compute_instance
                .map_or(NO_INSTANCE, model::ComputeInstanceId::get),
        })
        .collect();
    put_list(count, infos, &rows)
}

fn list_v1(
    call: &Call,
    device: Device,
    count: Out<u32>,
    infos: Out<ProcessV1>,
    kind: ContextKind,
) -> Outcome {
    call.device(device)?;
    count.check()?;
    let rows: Vec<ProcessV1> = rows(call, device, kind)?
        .into_iter()
        .map(|row| sys::nvmlProcessInfo_v1_t { pid: row.pid, usedGpuMemory: row.memory.bytes() })
        .collect();
    put_list(count, infos, &rows)
}

macro_rules! lists {
    ($($plain:ident, $first:ident: $kind:ident;)*) => {
        $(
            pub(crate) fn $plain(
                call: &Call,
                device: Device,
                count: Out<u32>,
                infos: Out<Process>,
            ) -> Outcome {
                list(call, device, count, infos, ContextKind::$kind)
            }

            pub(crate) fn $first(
                call: &Call,
                device: Device,
                count: Out<u32>,
                infos: Out<ProcessV1>,
            ) -> Outcome {
                list_v1(call, device, count, infos, ContextKind::$kind)
            }
        )*
    };
}

lists! {
    compute, compute_v1: Compute;
    graphics, graphics_v1: Graphics;
    mps, mps_v1: Mps;
}

pub(crate) fn details(call: &Call, device: Device, list: Out<ProcessDetailList>) -> Outcome {
    call.device(device)?;
    let version = list.cast::<u32>().get()?;
    fixed_version::<ProcessDetailList>(version, 1)?;
    let asked = list.get()?;
    let kind = match asked.mode {
        0 => ContextKind::Compute,
        1 => ContextKind::Graphics,
        2 => ContextKind::Mps,
        _ => return Err(Return::InvalidArgument),
    };
    let rows: Vec<ProcessDetail> = rows(call, device, kind)?
        .into_iter()
        .map(|row| ProcessDetail {
            pid: row.pid,
            used_gpu_memory: row.memory.bytes(),
            gpu_instance: row.gpu_instance.map_or(NO_INSTANCE, model::GpuInstanceId::get),
            compute_instance: row
                .compute_instance
                .map_or(NO_INSTANCE, model::ComputeInstanceId::get),
            protected_memory: 0,
        })
        .collect();
    list.put(ProcessDetailList { count: rows.len() as u32, ..asked })?;
    if rows.len() > asked.count as usize {
        return Err(Return::InsufficientSize);
    }
    Out::new(asked.array).fill(rows)
}

/// Per-process utilization: refused with MIG on; without MIG each compute process is shown with
/// the use of the whole GPU divided by their number.
pub(crate) fn utilization(
    call: &Call,
    device: Device,
    samples: Out<ProcessUtilization>,
    count: Out<u32>,
    _since: u64,
) -> Outcome {
    let gpu = call.device(device)?.gpu_or(Return::NotSupported)?;
    count.check()?;
    let node = call.swept();
    let used = node.value.utilization(gpu, call.session.host.now())?;
    let rows =
        node.value.processes(gpu, sim_gpu::Target::Gpu, ContextKind::Compute, call.caller())?;
    if rows.is_empty() {
        count.put(0)?;
        return Err(Return::NotFound);
    }
    let share = rows.len() as u32;
    let values: Vec<ProcessUtilization> = rows
        .into_iter()
        .map(|row| sys::nvmlProcessUtilizationSample_t {
            pid: row.pid,
            timeStamp: call.session.host.now().as_millis() * 1000,
            smUtil: used.gpu / share,
            memUtil: used.memory / share,
            encUtil: 0,
            decUtil: 0,
        })
        .collect();
    put_list(count, samples, &values)
}
