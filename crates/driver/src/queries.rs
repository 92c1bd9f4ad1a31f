//! Questions of the command line beside snapshots: telemetry, MIG devices, capacity, topology.
//!
//! Must never change anything.

use model::topology::TopologyLevel;
use model::{
    ComputeInstanceId, EngineCounts, GpuInstanceId, GpuInstanceProfileId, GpuUuid, MemoryMib,
    MigUuid,
};
use nvml_wrapper_sys::bindings::{
    nvmlDeviceAttributes_t, nvmlMemory_t, nvmlPciInfo_t, nvmlUtilization_t,
};

use crate::answers::{GpuExtras, GpuPath, MemoryUse, MigAttributes, MigDevice, TopologyMatrix};
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
/// Links asked for at most; header 13.3 has 36.
const MOST_LINKS: u32 = 36;
/// `NVML_NVLINK_DEVICE_TYPE_SWITCH`.
const LINK_TO_SWITCH: u32 = 2;

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

    /// How the GPUs reach each other. Through an NVSwitch every pair with links on both sides counts
    /// as joined by the fewer of the two, as `nvidia-smi topo -m` shows it.
    ///
    /// # Errors
    /// If the GPUs cannot be listed. What a pair does not tell is left open.
    pub fn topology(&self) -> Result<TopologyMatrix, DriverError> {
        let session = self.session()?;
        let symbols = session.symbols();
        let gpus = self.gpus()?;
        let links: Vec<Option<(Device, Links)>> = gpus
            .iter()
            .map(|gpu| session.gpu(gpu).ok().map(|device| (device, Links::of(symbols, device))))
            .collect();
        let path = |from: usize, to: usize| {
            (from != to).then(|| match (&links[from], &links[to]) {
                (Some(from), Some(to)) => path(symbols, from, to),
                (_, _) => GpuPath::default(),
            })
        };
        let row = |from| (0..gpus.len()).map(|to| path(from, to)).collect();
        let paths = (0..gpus.len()).map(row).collect();
        Ok(TopologyMatrix { gpus, paths })
    }
}

/// Active NVLinks of a GPU.
#[derive(Debug, Default)]
struct Links {
    /// Bus of this GPU.
    own: Option<(u32, u32, u32)>,
    /// Links to switches.
    to_switches: u32,
    /// The other end of each direct link.
    peers: Vec<(u32, u32, u32)>,
}

impl Links {
    /// An error of one link means that there is no such link (NVML guide); the next is asked.
    fn of(symbols: &Symbols, device: Device) -> Self {
        let address = |pci: &nvmlPciInfo_t| (pci.domain, pci.bus, pci.device);
        let mut pci = nvmlPciInfo_t::zeroed();
        let own = symbols.nvmlDeviceGetPciInfo_v3(device, &mut pci).ok().map(|()| address(&pci));
        let mut links = Self { own, ..Self::default() };
        for link in 0..MOST_LINKS {
            let active = read(|active| symbols.nvmlDeviceGetNvLinkState(device, link, active));
            match active {
                Ok(1) => {}
                Ok(_) | Err(CallError::Returned(_)) => continue,
                Err(CallError::Missing(_)) => break,
            }
            let kind = read(|kind| symbols.nvmlDeviceGetNvLinkRemoteDeviceType(device, link, kind));
            let mut remote = nvmlPciInfo_t::zeroed();
            if kind == Ok(LINK_TO_SWITCH) {
                links.to_switches += 1;
            } else if symbols.nvmlDeviceGetNvLinkRemotePciInfo_v2(device, link, &mut remote).is_ok()
            {
                links.peers.push(address(&remote));
            }
        }
        links
    }

    fn direct_to(&self, other: &Self) -> u32 {
        self.peers.iter().filter(|peer| Some(**peer) == other.own).count() as u32
    }
}

fn path(symbols: &Symbols, from: &(Device, Links), to: &(Device, Links)) -> GpuPath {
    let level = read(|level| symbols.nvmlDeviceGetTopologyCommonAncestor(from.0, to.0, level));
    let through_switches = from.1.to_switches.min(to.1.to_switches);
    GpuPath {
        level: level.ok().and_then(level_of),
        nvlinks: from.1.direct_to(&to.1) + through_switches,
    }
}

fn level_of(value: u32) -> Option<TopologyLevel> {
    [
        TopologyLevel::Internal,
        TopologyLevel::Single,
        TopologyLevel::Multiple,
        TopologyLevel::HostBridge,
        TopologyLevel::Node,
        TopologyLevel::System,
    ]
    .into_iter()
    .find(|level| level.nvml_value() == value)
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
