//! Waiting for the driver's events on GPUs.
//!
//! Must never be taken for state: events are hints, and whoever gets one reads the GPU again.

use std::sync::Arc;
use std::time::Duration;

use model::{ComputeInstanceId, GpuInstanceId, GpuUuid};
use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlEventData_t};

use crate::answers::{DriverEvent, DriverEventKind};
use crate::driver::Driver;
use crate::error::DriverError;
use crate::raw::Plain;
use crate::returns::NvmlReturn;
use crate::session::{Session, device, read};
use crate::symbols::{CallError, Device, EventSet};

const XID: u64 = 0x8;
const MIG_CONFIG: u64 = 0x100;
const GPU_UNAVAILABLE: u64 = 0x4000;
const RECOVERY_ACTION: u64 = 0x8000;
const WANTED: u64 = XID | MIG_CONFIG | GPU_UNAVAILABLE | RECOVERY_ACTION;

/// A set of GPUs whose MIG configuration changes and Xids are waited for.
///
/// It keeps the NVML session alive: drop it before closing the driver for a reset. A listener
/// without rights gets events of whole GPUs only.
#[derive(Debug)]
pub struct EventWatch {
    session: Arc<Session>,
    set: EventSet,
    gpus: Vec<(Device, GpuUuid)>,
}

impl Driver {
    /// Watches GPUs, for the events each of them supports.
    ///
    /// # Errors
    /// If a GPU is not found or refuses registration; a GPU that supports no event is left out.
    pub fn watch(&self, gpus: &[GpuUuid]) -> Result<EventWatch, DriverError> {
        let session = self.session()?;
        let symbols = session.symbols();
        let mut set = EventSet::NONE;
        symbols
            .nvmlEventSetCreate(&mut set)
            .map_err(|error| session.failure(error, None, "create a set of events"))?;
        let mut watch = EventWatch { session: Arc::clone(&session), set, gpus: Vec::new() };
        for gpu in gpus {
            let handle = session.gpu(gpu)?;
            let supported: u64 =
                read(|types| symbols.nvmlDeviceGetSupportedEventTypes(handle, types)).unwrap_or(0);
            if supported & WANTED == 0 {
                continue;
            }
            symbols
                .nvmlDeviceRegisterEvents(handle, supported & WANTED, set)
                .map_err(|error| session.failure(error, Some(gpu), "watch for events"))?;
            watch.gpus.push((handle, gpu.clone()));
        }
        Ok(watch)
    }
}

impl EventWatch {
    /// The GPUs that are watched.
    pub fn gpus(&self) -> impl Iterator<Item = &GpuUuid> {
        self.gpus.iter().map(|(_, gpu)| gpu)
    }

    /// Waits for the next event, at most `timeout` (NVML counts whole milliseconds); `None` if none
    /// came.
    ///
    /// # Errors
    /// [`DriverError::Call`]; `GPU_IS_LOST` when a watched GPU fell off the bus.
    pub fn wait(&self, timeout: Duration) -> Result<Option<DriverEvent>, DriverError> {
        let milliseconds = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        let mut data = nvmlEventData_t::zeroed();
        match self.session.symbols().nvmlEventSetWait_v2(self.set, &mut data, milliseconds) {
            Ok(()) => Ok(Some(self.event(&data))),
            Err(CallError::Returned(NvmlReturn::Timeout)) => Ok(None),
            Err(error) => Err(self.session.failure(error, None, "wait for events")),
        }
    }

    fn event(&self, data: &nvmlEventData_t) -> DriverEvent {
        let id = |id: u32| (id != u32::MAX).then_some(id);
        DriverEvent {
            gpu: self.gpu_of(data.device),
            kind: kind_of(data.eventType, data.eventData),
            gpu_instance: id(data.gpuInstanceId).map(GpuInstanceId::new),
            compute_instance: id(data.computeInstanceId).map(ComputeInstanceId::new),
        }
    }

    fn gpu_of(&self, raw: nvmlDevice_t) -> Option<GpuUuid> {
        let handle = Device::from_raw(raw);
        if let Some((_, gpu)) = self.gpus.iter().find(|(watched, _)| *watched == handle) {
            return Some(gpu.clone());
        }
        let symbols = self.session.symbols();
        let parent =
            device(|gpu| symbols.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle, gpu));
        symbols.uuid(parent.unwrap_or(handle)).ok().map(GpuUuid::new)
    }
}

impl Drop for EventWatch {
    fn drop(&mut self) {
        // Nobody can act on a failure; the set ends with the session at the latest.
        let _ = self.session.symbols().nvmlEventSetFree(self.set);
    }
}

fn kind_of(bits: u64, data: u64) -> DriverEventKind {
    match bits {
        XID => DriverEventKind::Xid(data),
        MIG_CONFIG => DriverEventKind::MigConfigChanged,
        GPU_UNAVAILABLE => DriverEventKind::GpuUnavailable,
        RECOVERY_ACTION => DriverEventKind::RecoveryActionChanged,
        other => DriverEventKind::Other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_bits_become_kinds() {
        assert_eq!(kind_of(0x8, 79), DriverEventKind::Xid(79));
        assert_eq!(kind_of(0x100, 0), DriverEventKind::MigConfigChanged);
        assert_eq!(kind_of(0x2, 0), DriverEventKind::Other(2));
    }
}
