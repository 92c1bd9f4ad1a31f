//! Questions of the command line beside snapshots: telemetry, MIG devices, capacity.
//!
//! Must never change anything.

use model::{
    ComputeInstanceId, EngineCounts, GpuInstanceId, GpuInstanceProfileId, GpuUuid, MemoryMib,
    MigUuid,
};
use nvml_wrapper_sys::bindings::{nvmlDeviceAttributes_t, nvmlMemory_t, nvmlUtilization_t};

use crate::answers::{GpuExtras, MemoryUse, MigAttributes, MigDevice};
use crate::driver::Driver;
use crate::error::DriverError;
use crate::raw::Plain;
use crate::returns::NvmlReturn;
use crate::session::{device, read};
use crate::symbols::{Call, CallError, Device, Symbols};

/// NVML's temperature sensor of the core.
const SENSOR_GPU: u32 = 0;
/// NVML's field for "MIG mode can be toggled without a reset".
const FIELD_RESETLESS_MIG: u32 = 184;

impl Driver {
    /// Telemetry and properties of a GPU that snapshots leave out. What fails is `None`.
    ///
    /// # Errors
    /// If the GPU cannot be found.
    pub fn gpu_extras(&self, gpu: &GpuUuid) -> Result<GpuExtras, DriverError> {
        let session = self.session()?;
        let device = session.gpu(gpu)?;
        let symbols = session.symbols();
        let mut rates = nvmlUtilization_t::zeroed();
        let rates_told = symbols.nvmlDeviceGetUtilizationRates(device, &mut rates);
        let number = |answer: Call<u32>| answer.ok();
        Ok(GpuExtras {
            serial: symbols.serial(device).ok(),
            architecture: number(read(|a| symbols.nvmlDeviceGetArchitecture(device, a))),
            power_milliwatts: number(read(|p| symbols.nvmlDeviceGetPowerUsage(device, p))),
            power_limit_milliwatts: number(read(|p| {
                symbols.nvmlDeviceGetEnforcedPowerLimit(device, p)
            })),
            temperature_celsius: number(read(|t| {
                symbols.nvmlDeviceGetTemperature(device, SENSOR_GPU, t)
            })),
            memory: memory_use(symbols, device),
            utilization_percent: rates_told.ok().map(|()| rates.gpu),
            persistence: number(read(|p| symbols.nvmlDeviceGetPersistenceMode(device, p)))
                .map(|mode| mode != 0),
            resetless_mig: symbols.field(device, FIELD_RESETLESS_MIG).ok().map(|told| told != 0),
        })
    }

    /// One MIG device by UUID.
    ///
    /// # Errors
    /// [`DriverError::Call`] with `NOT_FOUND` if there is none.
    pub fn mig_device(&self, uuid: &MigUuid) -> Result<MigDevice, DriverError> {
        let session = self.session()?;
        let symbols = session.symbols();
        let failed = |error| session.failure(error, None, format!("read MIG device {uuid}"));
        let text = std::ffi::CString::new(uuid.as_str())
            .map_err(|_| failed(CallError::Returned(NvmlReturn::NotFound)))?;
        let mig = symbols.handle_by_uuid(&text).map_err(failed)?;
        let gpu = device(|gpu| symbols.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(mig, gpu));
        let gpu = gpu.and_then(|gpu| symbols.uuid(gpu)).map_err(failed)?;
        let instance = read(|id| symbols.nvmlDeviceGetGpuInstanceId(mig, id)).map_err(failed)?;
        let compute = read(|id| symbols.nvmlDeviceGetComputeInstanceId(mig, id)).map_err(failed)?;
        Ok(MigDevice {
            uuid: uuid.clone(),
            gpu: GpuUuid::new(gpu),
            gpu_instance: GpuInstanceId::new(instance),
            compute_instance: ComputeInstanceId::new(compute),
            name: symbols.name(mig).ok(),
            memory: memory_use(symbols, mig),
            attributes: attributes(symbols, mig),
        })
    }

    /// How many more instances of a profile the driver says fit now. It reserves nothing.
    ///
    /// # Errors
    /// [`DriverError::Call`] with `NOT_SUPPORTED` with MIG off, `NO_PERMISSION` for plain users.
    pub fn remaining_capacity(
        &self,
        gpu: &GpuUuid,
        profile: GpuInstanceProfileId,
    ) -> Result<u32, DriverError> {
        let change = self.change(gpu, format!("read the room left for profile {profile}"))?;
        change.checked(read(|count| {
            let symbols = change.symbols();
            symbols.nvmlDeviceGetGpuInstanceRemainingCapacity(change.device, profile.get(), count)
        }))
    }
}

fn memory_use(symbols: &Symbols, device: Device) -> Option<MemoryUse> {
    let mut memory = nvmlMemory_t::zeroed();
    symbols.nvmlDeviceGetMemoryInfo(device, &mut memory).ok()?;
    Some(MemoryUse {
        total: MemoryMib::from_bytes(memory.total),
        used: MemoryMib::from_bytes(memory.used),
    })
}

fn attributes(symbols: &Symbols, mig: Device) -> Option<MigAttributes> {
    let mut told = nvmlDeviceAttributes_t::zeroed();
    symbols.nvmlDeviceGetAttributes_v2(mig, &mut told).ok()?;
    Some(MigAttributes {
        multiprocessors: told.multiprocessorCount,
        engines: EngineCounts {
            copy: told.sharedCopyEngineCount,
            decoders: told.sharedDecoderCount,
            encoders: told.sharedEncoderCount,
            jpeg: told.sharedJpegCount,
            ofa: told.sharedOfaCount,
        },
        gpu_slices: told.gpuInstanceSliceCount,
        compute_slices: told.computeInstanceSliceCount,
        memory: MemoryMib::new(told.memorySizeMB),
    })
}
