//! One initialised NVML session and the GPU handles fetched in it.
//!
//! Must never keep a MIG handle: they die with every change. GPU handles live as long as the
//! session, and are forgotten when their GPU's mode changes.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::GpuUuid;

use crate::error::DriverError;
use crate::raw::newest;
use crate::returns::NvmlReturn;
use crate::symbols::{Call, CallError, Device, Symbols};

/// An initialised NVML. Dropping it shuts NVML down.
#[derive(Debug)]
pub(crate) struct Session {
    symbols: Arc<Symbols>,
    gpus: Mutex<BTreeMap<GpuUuid, Device>>,
}

/// Takes a lock that nobody can poison into something wrong: the maps behind our locks are only ever
/// inserted into and removed from.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    pub(crate) fn start(symbols: Arc<Symbols>) -> Result<Self, DriverError> {
        let started = newest(&[&|| symbols.nvmlInit_v2(), &|| symbols.nvmlInit()]);
        match started {
            Ok(()) => Ok(Self { symbols, gpus: Mutex::default() }),
            Err(error) => Err(failure(&symbols, error, None, "initialise NVML".into())),
        }
    }

    pub(crate) fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    /// Turns a call's failure into one that says what was attempted.
    pub(crate) fn failure(
        &self,
        error: CallError,
        gpu: Option<&GpuUuid>,
        operation: impl Into<String>,
    ) -> DriverError {
        failure(&self.symbols, error, gpu, operation.into())
    }

    /// How many GPUs there are.
    pub(crate) fn gpu_count(&self) -> Result<u32, DriverError> {
        let symbols = self.symbols();
        let count = newest(&[&|| read(|count| symbols.nvmlDeviceGetCount_v2(count)), &|| {
            read(|count| symbols.nvmlDeviceGetCount(count))
        }]);
        count.map_err(|error| self.failure(error, None, "count the GPUs"))
    }

    /// The GPU at `index` in NVML's order.
    pub(crate) fn gpu_at(&self, index: u32) -> Call<Device> {
        let symbols = self.symbols();
        newest(&[&|| device(|found| symbols.nvmlDeviceGetHandleByIndex_v2(index, found)), &|| {
            device(|found| symbols.nvmlDeviceGetHandleByIndex(index, found))
        }])
    }

    /// The handle of a GPU: remembered, or looked up by UUID, which may take seconds on machines
    /// with many GPUs. No lock is held meanwhile.
    pub(crate) fn gpu(&self, gpu: &GpuUuid) -> Result<Device, DriverError> {
        if let Some(handle) = lock(&self.gpus).get(gpu) {
            return Ok(*handle);
        }
        let handle = self.look_up(gpu)?;
        self.remember(gpu, handle);
        Ok(handle)
    }

    fn look_up(&self, gpu: &GpuUuid) -> Result<Device, DriverError> {
        let unknown = || DriverError::UnknownGpu { gpu: gpu.clone() };
        // NVML's lookup takes MIG UUIDs too, and would give a handle of the wrong kind.
        if gpu.as_str().starts_with("MIG-") {
            return Err(unknown());
        }
        let text = CString::new(gpu.as_str()).map_err(|_| unknown())?;
        match self.symbols.handle_by_uuid(&text) {
            Ok(handle) => Ok(handle),
            Err(CallError::Missing(_)) => self.search(gpu),
            Err(CallError::Returned(NvmlReturn::NotFound | NvmlReturn::InvalidArgument)) => {
                Err(unknown())
            }
            Err(error) => Err(self.failure(error, Some(gpu), "find the GPU")),
        }
    }

    /// Without a lookup by UUID: asks every GPU for its own.
    fn search(&self, gpu: &GpuUuid) -> Result<Device, DriverError> {
        for index in 0..self.gpu_count()? {
            let Ok(handle) = self.gpu_at(index) else { continue };
            if self.symbols.uuid(handle).is_ok_and(|uuid| uuid == gpu.as_str()) {
                return Ok(handle);
            }
        }
        Err(DriverError::UnknownGpu { gpu: gpu.clone() })
    }

    /// Keeps a handle for the rest of the session.
    pub(crate) fn remember(&self, gpu: &GpuUuid, handle: Device) {
        lock(&self.gpus).insert(gpu.clone(), handle);
    }

    /// Drops the handle of a GPU whose mode changed: `nvml.h` says to fetch it again.
    pub(crate) fn forget(&self, gpu: &GpuUuid) {
        lock(&self.gpus).remove(gpu);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Nobody can act on a failure: the library forgets the session at the end of the process.
        let _ = self.symbols.nvmlShutdown();
    }
}

fn failure(
    symbols: &Symbols,
    error: CallError,
    gpu: Option<&GpuUuid>,
    operation: String,
) -> DriverError {
    match error {
        CallError::Missing(name) => DriverError::MissingSymbol { name },
        CallError::Returned(result) => DriverError::Call {
            operation,
            gpu: gpu.cloned(),
            result,
            text: symbols.text_of(result),
        },
    }
}

/// Reads one number.
pub(crate) fn read<T: Default>(call: impl FnOnce(&mut T) -> Call<()>) -> Call<T> {
    let mut value = T::default();
    call(&mut value)?;
    Ok(value)
}

/// Reads one device handle.
pub(crate) fn device(call: impl FnOnce(&mut Device) -> Call<()>) -> Call<Device> {
    let mut handle = Device::NONE;
    call(&mut handle)?;
    Ok(handle)
}
