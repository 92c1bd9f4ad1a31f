//! How busy a GPU or a GPU instance was between two moments (GPM, Hopper and later).
//!
//! Must never report a figure the driver did not give: unknown is not idle.

use std::sync::Arc;

use model::{GpuInstanceId, GpuUuid};
use nvml_wrapper_sys::bindings::nvmlGpmSupport_t;
use serde::{Deserialize, Serialize};

use crate::driver::Driver;
use crate::error::DriverError;
use crate::raw::{GpmMetricsRequest, Plain};
use crate::returns::NvmlReturn;
use crate::session::Session;
use crate::symbols::{CallError, GpmSampleHandle};

/// `NVML_GPM_SUPPORT_VERSION`: a plain number, unlike other version words.
const SUPPORT_VERSION: u32 = 1;

/// What was used between two samples, in percent of what the device has. `None` where the driver
/// did not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Activity {
    /// Time in which any graphics or compute engine was active.
    pub graphics_percent: Option<f64>,
    /// Streaming multiprocessors that were busy.
    pub sm_percent: Option<f64>,
    /// Warps that were resident, of those that could be.
    pub sm_occupancy_percent: Option<f64>,
    /// Memory bandwidth.
    pub dram_percent: Option<f64>,
}

/// Counters of one device at one moment. It keeps the NVML session alive: drop it before closing
/// the driver for a reset. Counters of an instance that was made again since mean nothing.
#[derive(Debug)]
pub struct ActivitySample {
    session: Arc<Session>,
    handle: GpmSampleHandle,
    gpu: GpuUuid,
    instance: Option<GpuInstanceId>,
}

impl Driver {
    /// Takes a sample of a GPU, or of one GPU instance; `None` if the GPU does not measure itself
    /// (before Hopper) or the driver cannot tell.
    ///
    /// # Errors
    /// If the GPU is not found or refuses: `NO_PERMISSION`, `NOT_FOUND` for an instance that is
    /// gone.
    pub fn activity_sample(
        &self,
        gpu: &GpuUuid,
        instance: Option<GpuInstanceId>,
    ) -> Result<Option<ActivitySample>, DriverError> {
        let change = self.change(gpu, "measure activity".into())?;
        let symbols = change.symbols();
        let mut support = nvmlGpmSupport_t::zeroed();
        support.version = SUPPORT_VERSION;
        let asked = symbols.nvmlGpmQueryDeviceSupport(change.device, &mut support);
        if asked.is_err() || support.isSupportedDevice == 0 {
            return Ok(None);
        }
        let mut handle = GpmSampleHandle::NONE;
        change.checked(symbols.nvmlGpmSampleAlloc(&mut handle))?;
        let session = Arc::clone(&change.session);
        let sample = ActivitySample { session, handle, gpu: gpu.clone(), instance };
        let taken = match instance {
            Some(id) => symbols.nvmlGpmMigSampleGet(change.device, id.get(), handle),
            None => symbols.nvmlGpmSampleGet(change.device, handle),
        };
        match taken {
            Ok(()) => Ok(Some(sample)),
            Err(CallError::Missing(_) | CallError::Returned(NvmlReturn::NotSupported)) => Ok(None),
            Err(error) => change.checked(Err(error)),
        }
    }
}

impl ActivitySample {
    /// What was used since `earlier`, a sample of the same device taken at least 100 ms before.
    ///
    /// # Errors
    /// [`DriverError::Changed`] if the samples are of different devices, [`DriverError::Call`] if
    /// NVML cannot compare them.
    pub fn since(&self, earlier: &Self) -> Result<Activity, DriverError> {
        if (&self.gpu, self.instance) != (&earlier.gpu, earlier.instance) {
            return Err(DriverError::Changed {
                operation: "compare samples".into(),
                gpu: self.gpu.clone(),
                found: "they are of different devices".into(),
            });
        }
        let mut request = GpmMetricsRequest::new(earlier.handle, self.handle);
        let symbols = self.session.symbols();
        symbols
            .gpm_metrics(&mut request)
            .map_err(|error| self.session.failure(error, Some(&self.gpu), "measure activity"))?;
        let value = |index: usize| -> Option<f64> {
            let metric = &request.metrics[index];
            let told = metric.result == 0 && metric.value.is_finite();
            told.then_some(metric.value)
        };
        Ok(Activity {
            graphics_percent: value(0),
            sm_percent: value(1),
            sm_occupancy_percent: value(2),
            dram_percent: value(3),
        })
    }
}

impl Drop for ActivitySample {
    fn drop(&mut self) {
        // Nobody can act on a failure; the sample ends with the session at the latest.
        let _ = self.session.symbols().nvmlGpmSampleFree(self.handle);
    }
}
