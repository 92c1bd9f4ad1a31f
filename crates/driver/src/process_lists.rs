//! The calls that list processes, in each form NVML ever had.
//!
//! Must never take a list that was too long for its buffer for a short one.

#![allow(unsafe_code, reason = "hands buffers to NVML")]

use core::ffi::c_uint;

use nvml_wrapper_sys::bindings::{nvmlProcessInfo_t, nvmlProcessInfo_v1_t};

use crate::raw::{Plain, newest};
use crate::returns::NvmlReturn;
use crate::symbols::{Call, Device, Symbols};

/// Which list of processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProcessKind {
    /// CUDA and other compute contexts.
    Compute,
    /// Graphics contexts.
    Graphics,
    /// Clients of an MPS server.
    Mps,
}

/// Asks with ever more room while the answer is INSUFFICIENT_SIZE.
fn growing<T: Plain>(call: impl Fn(&mut c_uint, *mut T) -> Call<()>) -> Call<Vec<T>> {
    const MOST: usize = 1 << 16;
    let mut room = 32;
    loop {
        let mut items = vec![T::zeroed(); room];
        let mut count = room as c_uint;
        match call(&mut count, items.as_mut_ptr()) {
            Ok(()) => {
                items.truncate(count as usize);
                return Ok(items);
            }
            Err(error) if error.is(NvmlReturn::InsufficientSize) && room < MOST => {
                // The count says what is needed; a few more may have come meanwhile.
                room = (room * 2).max(count as usize + 8).min(MOST);
            }
            Err(error) => return Err(error),
        }
    }
}

fn old_process(old: &nvmlProcessInfo_v1_t) -> nvmlProcessInfo_t {
    let none = u32::MAX;
    nvmlProcessInfo_t {
        pid: old.pid,
        usedGpuMemory: old.usedGpuMemory,
        gpuInstanceId: none,
        computeInstanceId: none,
    }
}

impl Symbols {
    /// Processes of one kind, by the newest form of the call there is.
    pub(crate) fn processes(
        &self,
        device: Device,
        kind: ProcessKind,
    ) -> Call<Vec<nvmlProcessInfo_t>> {
        newest(&[
            &|| growing(|count, buffer| self.processes_v3(device, kind, count, buffer)),
            &|| growing(|count, buffer| self.processes_v2(device, kind, count, buffer)),
            &|| {
                let old = growing(|count, buffer| self.processes_v1(device, kind, count, buffer));
                old.map(|list| list.iter().map(old_process).collect())
            },
        ])
    }

    fn processes_v3(
        &self,
        device: Device,
        kind: ProcessKind,
        count: &mut c_uint,
        buffer: *mut nvmlProcessInfo_t,
    ) -> Call<()> {
        match kind {
            // SAFETY: `growing` gives a buffer with as much room as the count says.
            ProcessKind::Compute => unsafe {
                self.nvmlDeviceGetComputeRunningProcesses_v3(device, count, buffer)
            },
            // SAFETY: see above.
            ProcessKind::Graphics => unsafe {
                self.nvmlDeviceGetGraphicsRunningProcesses_v3(device, count, buffer)
            },
            // SAFETY: see above.
            ProcessKind::Mps => unsafe {
                self.nvmlDeviceGetMPSComputeRunningProcesses_v3(device, count, buffer)
            },
        }
    }

    fn processes_v2(
        &self,
        device: Device,
        kind: ProcessKind,
        count: &mut c_uint,
        buffer: *mut nvmlProcessInfo_t,
    ) -> Call<()> {
        match kind {
            // SAFETY: `growing` gives a buffer with as much room as the count says.
            ProcessKind::Compute => unsafe {
                self.nvmlDeviceGetComputeRunningProcesses_v2(device, count, buffer)
            },
            // SAFETY: see above.
            ProcessKind::Graphics => unsafe {
                self.nvmlDeviceGetGraphicsRunningProcesses_v2(device, count, buffer)
            },
            // SAFETY: see above.
            ProcessKind::Mps => unsafe {
                self.nvmlDeviceGetMPSComputeRunningProcesses_v2(device, count, buffer)
            },
        }
    }

    fn processes_v1(
        &self,
        device: Device,
        kind: ProcessKind,
        count: &mut c_uint,
        buffer: *mut nvmlProcessInfo_v1_t,
    ) -> Call<()> {
        match kind {
            // SAFETY: `growing` gives a buffer with as much room as the count says.
            ProcessKind::Compute => unsafe {
                self.nvmlDeviceGetComputeRunningProcesses(device, count, buffer)
            },
            // SAFETY: see above.
            ProcessKind::Graphics => unsafe {
                self.nvmlDeviceGetGraphicsRunningProcesses(device, count, buffer)
            },
            // SAFETY: see above.
            ProcessKind::Mps => unsafe {
                self.nvmlDeviceGetMPSComputeRunningProcesses(device, count, buffer)
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbols::CallError;

    #[test]
    fn growing_stops_where_sizes_never_suffice() {
        let never = growing::<nvmlProcessInfo_t>(|_, _| {
            Err(CallError::Returned(NvmlReturn::InsufficientSize))
        });
        assert_eq!(never.unwrap_err(), CallError::Returned(NvmlReturn::InsufficientSize));
    }
}
