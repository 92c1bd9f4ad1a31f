//! Reading machines and GPUs into snapshots.
//!
//! Must never fail as a whole because one GPU does: that GPU appears with its health and what is
//! known of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::catalog::Board;
use model::{
    GpuIndex, GpuMinor, GpuSnapshot, GpuUuid, Health, MemoryMib, MigMode, MigState, NodeSnapshot,
    PciAddress, Timestamp,
};
use nvml_wrapper_sys::bindings::{nvmlMemory_t, nvmlPciInfo_t};

use crate::contents;
use crate::driver::Driver;
use crate::error::DriverError;
use crate::geometry::{KnownGeometry, board_of, read_geometry};
use crate::raw::Plain;
use crate::returns::NvmlReturn;
use crate::session::{Session, lock, read};
use crate::symbols::{Call, CallError, Device, Symbols};

/// NVML's field for what mends the GPU (`NVML_FI_DEV_GET_GPU_RECOVERY_ACTION`).
const FIELD_RECOVERY_ACTION: u32 = 230;

impl Driver {
    /// Reads every GPU of the machine.
    ///
    /// A GPU that fell off the bus keeps its name from an earlier snapshot; one that was never seen
    /// whole appears as `GPU-unknown-INDEX`. Instances of a GPU that is not [`Health::Ok`] may be
    /// missing from the snapshot.
    ///
    /// # Errors
    /// If NVML cannot count GPUs or tell the driver version: no single GPU is to blame then.
    pub fn snapshot(&self, now: Timestamp) -> Result<NodeSnapshot, DriverError> {
        let session = self.session()?;
        let versions = self.versions()?;
        let mut gpus: Vec<GpuSnapshot> = Vec::new();
        for index in 0..session.gpu_count()? {
            let gpu = self.read_at(&session, GpuIndex::new(index), &versions.driver, &gpus);
            gpus.push(gpu);
        }
        Ok(NodeSnapshot {
            taken_at: now,
            driver_version: versions.driver,
            cuda_version: versions.cuda,
            gpus,
        })
    }

    /// Reads one GPU.
    ///
    /// # Errors
    /// [`DriverError::UnknownGpu`]; a [`DriverError::Call`] if the GPU cannot be reached and was
    /// never seen before. A GPU seen before comes back with its health instead.
    pub fn gpu_snapshot(&self, gpu: &GpuUuid) -> Result<GpuSnapshot, DriverError> {
        let session = self.session()?;
        let version = session.symbols().driver_version();
        let driver =
            version.map_err(|error| session.failure(error, None, "read the driver version"))?;
        match session.gpu(gpu) {
            Ok(device) => {
                let index = read(|index| session.symbols().nvmlDeviceGetIndex(device, index));
                let known = self.known(gpu);
                let index = index.ok().map(GpuIndex::new).or(known.as_ref().map(|gpu| gpu.index));
                let index = index.unwrap_or(GpuIndex::new(u32::MAX));
                Ok(self.read_gpu(&session, device, index, gpu, &driver))
            }
            Err(error) => match (error.nvml_return(), self.known(gpu)) {
                (Some(result), Some(mut known)) => {
                    known.health = ill(result).unwrap_or_else(|| failing(result));
                    Ok(known)
                }
                (_, _) => Err(error),
            },
        }
    }

    fn known(&self, gpu: &GpuUuid) -> Option<GpuSnapshot> {
        lock(&self.last_seen).values().find(|seen| seen.uuid == *gpu).cloned()
    }

    fn read_at(
        &self,
        session: &Session,
        index: GpuIndex,
        driver: &str,
        before: &[GpuSnapshot],
    ) -> GpuSnapshot {
        let reached = session.gpu_at(index.get()).and_then(|device| {
            let uuid = GpuUuid::new(session.symbols().uuid(device)?);
            session.remember(&uuid, device);
            Ok((device, uuid))
        });
        match reached {
            Ok((device, uuid)) => self.read_gpu(session, device, index, &uuid, driver),
            Err(error) => {
                let known = lock(&self.last_seen).get(&index).cloned();
                let known = known.filter(|known| before.iter().all(|gpu| gpu.uuid != known.uuid));
                let mut gpu = known.unwrap_or_else(|| nameless(index));
                gpu.health = match error {
                    CallError::Returned(result) => ill(result).unwrap_or_else(|| failing(result)),
                    CallError::Missing(name) => Health::Failing(format!("NVML has no {name}")),
                };
                gpu
            }
        }
    }

    fn read_gpu(
        &self,
        session: &Session,
        device: Device,
        index: GpuIndex,
        uuid: &GpuUuid,
        driver: &str,
    ) -> GpuSnapshot {
        let known = self.known(uuid);
        let mut reader = Reader { symbols: session.symbols(), device, health: Health::Ok };
        let mut gpu = known.unwrap_or_else(|| nameless(index));
        gpu.uuid = uuid.clone();
        gpu.index = index;
        reader.read_identity(&mut gpu);
        reader.read_mode(&mut gpu);
        if gpu.mig == MigState::Unsupported {
            gpu.geometry = None;
        } else {
            self.read_known_geometry(&mut reader, &mut gpu, driver);
        }
        let mut seen = gpu.clone();
        seen.health = Health::Ok;
        lock(&self.last_seen).insert(index, seen);
        reader.read_recovery_action();
        if reader.health != Health::Lost {
            self.read_contents(&mut reader, &mut gpu, session);
        }
        gpu.health = reader.health;
        if gpu.health != Health::Ok {
            // A handle from before a reset answers nothing any more; the next look fetches it anew.
            session.forget(uuid);
        }
        gpu
    }

    /// Fills in the geometry, read once per GPU and driver version and once more when MIG comes on
    /// after NVML had told nothing with MIG off.
    fn read_known_geometry(&self, reader: &mut Reader<'_>, gpu: &mut GpuSnapshot, driver: &str) {
        let enabled = matches!(gpu.mig, MigState::Supported { current: MigMode::Enabled, .. });
        let known = lock(&self.geometries).get(&gpu.uuid).cloned();
        let known = known.filter(|known| known.driver == driver && (known.from_nvml || !enabled));
        if let Some(known) = known {
            gpu.geometry = Some(known.geometry);
            return;
        }
        let pci = reader.pci().unwrap_or_else(|_| nvmlPciInfo_t::zeroed());
        let board = board_of(pci.pciDeviceId, pci.pciSubSystemId, &gpu.name);
        // Memory of a GPU with MIG on is hidden from those without the right to monitor.
        if gpu.memory.get() == 0 {
            gpu.memory = board.map_or(gpu.memory, Board::total_memory);
        }
        let total = gpu.memory;
        let read = read_geometry(reader.symbols, reader.device, total, board);
        if let Some(Some((geometry, from_nvml))) = reader.ask(read) {
            let geometry = Arc::new(geometry);
            gpu.geometry = Some(Arc::clone(&geometry));
            let driver = driver.to_owned();
            let known =
                KnownGeometry { driver, geometry, from_nvml, compute_read: BTreeSet::new() };
            lock(&self.geometries).insert(gpu.uuid.clone(), known);
        }
    }

    fn read_contents(&self, reader: &mut Reader<'_>, gpu: &mut GpuSnapshot, session: &Session) {
        let enabled = matches!(gpu.mig, MigState::Supported { current: MigMode::Enabled, .. });
        if !enabled {
            let processes = contents::processes(session.symbols(), reader.device);
            if let Err(CallError::Returned(refused)) = processes
                && !matches!(refused, NvmlReturn::NotSupported | NvmlReturn::NoPermission)
                && ill(refused).is_none()
            {
                let why = refused.text();
                reader.worsen(Health::Failing(format!(
                    "cannot list the processes of the GPU: {why}"
                )));
            }
            gpu.processes = reader.ask(processes).map(|found| found.all()).unwrap_or_default();
            return;
        }
        let mut known = lock(&self.geometries).get(&gpu.uuid).cloned();
        let found = contents::read(reader.symbols, reader.device, known.as_mut());
        // What could be read counts even where something failed.
        gpu.instances = found.instances;
        gpu.processes = found.processes;
        for gap in found.gaps {
            reader.worsen(Health::Failing(gap));
        }
        for result in found.failures {
            reader.note(result);
        }
        if let Some(known) = known {
            gpu.geometry = Some(Arc::clone(&known.geometry));
            lock(&self.geometries).insert(gpu.uuid.clone(), known);
        }
    }
}

/// A GPU of which nothing is known.
fn nameless(index: GpuIndex) -> GpuSnapshot {
    GpuSnapshot {
        uuid: GpuUuid::new(format!("GPU-unknown-{index}")),
        index,
        minor: GpuMinor::new(index.get()),
        pci: PciAddress { domain: 0, bus: 0, device: 0 },
        name: "unknown GPU".into(),
        pci_device_id: 0,
        pci_subsystem_id: None,
        memory: MemoryMib::new(0),
        compute_capability: None,
        mig: MigState::Unsupported,
        geometry: None,
        instances: Vec::new(),
        processes: Vec::new(),
        health: Health::Ok,
    }
}

fn failing(result: NvmlReturn) -> Health {
    Health::Failing(result.text().into())
}

/// What a return value says about the GPU's health; `None` if it speaks of the question only.
fn ill(result: NvmlReturn) -> Option<Health> {
    match result {
        NvmlReturn::GpuIsLost => Some(Health::Lost),
        NvmlReturn::ResetRequired => Some(Health::ResetRequired),
        NvmlReturn::Success
        | NvmlReturn::InvalidArgument
        | NvmlReturn::NotSupported
        | NvmlReturn::NoPermission
        | NvmlReturn::AlreadyInitialized
        | NvmlReturn::NotFound
        | NvmlReturn::FunctionNotFound
        | NvmlReturn::NoData
        | NvmlReturn::VgpuEccNotSupported
        | NvmlReturn::ArgumentVersionMismatch
        | NvmlReturn::Deprecated => None,
        NvmlReturn::Uninitialized
        | NvmlReturn::InsufficientSize
        | NvmlReturn::InsufficientPower
        | NvmlReturn::DriverNotLoaded
        | NvmlReturn::Timeout
        | NvmlReturn::IrqIssue
        | NvmlReturn::LibraryNotFound
        | NvmlReturn::CorruptedInforom
        | NvmlReturn::OperatingSystem
        | NvmlReturn::LibraryVersionMismatch
        | NvmlReturn::InUse
        | NvmlReturn::InsufficientMemory
        | NvmlReturn::InsufficientResources
        | NvmlReturn::InvalidFrequency
        | NvmlReturn::NotReady
        | NvmlReturn::GpuNotFound
        | NvmlReturn::InvalidState
        | NvmlReturn::ResetTypeNotSupported
        | NvmlReturn::Unknown
        | NvmlReturn::Other(_) => Some(failing(result)),
    }
}

/// Asks one GPU and keeps the worst it heard about its health.
struct Reader<'a> {
    symbols: &'a Symbols,
    device: Device,
    health: Health,
}

impl Reader<'_> {
    fn ask<T>(&mut self, answer: Call<T>) -> Option<T> {
        match answer {
            Ok(value) => Some(value),
            Err(CallError::Missing(_)) => None,
            Err(CallError::Returned(result)) => {
                self.note(result);
                None
            }
        }
    }

    fn note(&mut self, result: NvmlReturn) {
        if let Some(health) = ill(result) {
            self.worsen(health);
        }
    }

    fn worsen(&mut self, health: Health) {
        let rank = |health: &Health| match health {
            Health::Ok => 0,
            Health::Failing(_) => 1,
            Health::ResetRequired => 2,
            Health::Lost => 3,
        };
        if rank(&health) > rank(&self.health) {
            self.health = health;
        }
    }

    fn pci(&self) -> Call<nvmlPciInfo_t> {
        let mut pci = nvmlPciInfo_t::zeroed();
        // The older struct is a prefix of the newer one up to the subsystem id.
        let mut found = self.symbols.nvmlDeviceGetPciInfo_v3(self.device, &mut pci);
        if found.is_err_and(CallError::wants_older_form) {
            found = self.symbols.nvmlDeviceGetPciInfo_v2(self.device, &mut pci);
        }
        found.map(|()| pci)
    }

    /// Everything that does not change while the GPU lives; what is not told stays as it was known.
    fn read_identity(&mut self, gpu: &mut GpuSnapshot) {
        let (symbols, device) = (self.symbols, self.device);
        if let Some(name) = self.ask(symbols.name(device)) {
            gpu.name = name;
        }
        let minor = read(|minor| symbols.nvmlDeviceGetMinorNumber(device, minor));
        if let Some(minor) = self.ask(minor) {
            gpu.minor = GpuMinor::new(minor);
        }
        let pci = self.pci();
        if let Some(pci) = self.ask(pci) {
            gpu.pci =
                PciAddress { domain: pci.domain, bus: pci.bus as u8, device: pci.device as u8 };
            gpu.pci_device_id = pci.pciDeviceId;
            // Zero is what drivers fill in that do not know it; no board has it.
            gpu.pci_subsystem_id = Some(pci.pciSubSystemId).filter(|id| *id != 0);
        }
        let mut memory = nvmlMemory_t::zeroed();
        if self.ask(symbols.nvmlDeviceGetMemoryInfo(device, &mut memory)).is_some() {
            gpu.memory = MemoryMib::from_bytes(memory.total);
        }
        let (mut major, mut minor) = (0, 0);
        let told = symbols.nvmlDeviceGetCudaComputeCapability(device, &mut major, &mut minor);
        if self.ask(told).is_some() {
            let number = |part: i32| u32::try_from(part).ok();
            gpu.compute_capability = number(major).zip(number(minor));
        }
    }

    fn read_mode(&mut self, gpu: &mut GpuSnapshot) {
        match mig_mode(self.symbols, self.device) {
            Ok(state) => gpu.mig = state,
            Err(error) => {
                self.ask::<()>(Err(error));
            }
        }
    }

    /// A GPU may answer every query and yet ask to be reset.
    fn read_recovery_action(&mut self) {
        let Ok(action) = self.symbols.field(self.device, FIELD_RECOVERY_ACTION) else { return };
        match action {
            0 => {}
            1 | 4 => self.worsen(Health::ResetRequired),
            2 => self.worsen(Health::Failing("the driver asks for a reboot".into())),
            3 => self.worsen(Health::Failing("the driver asks to drain peer-to-peer".into())),
            other => {
                self.worsen(Health::Failing(format!("the driver asks for recovery {other}")));
            }
        }
    }
}

/// MIG mode, now and after the next reset; a GPU or a driver without MIG is `Unsupported`.
pub(crate) fn mig_mode(symbols: &Symbols, device: Device) -> Call<MigState> {
    let (mut current, mut pending) = (0, 0);
    let mode = |value| if value == 0 { MigMode::Disabled } else { MigMode::Enabled };
    match symbols.nvmlDeviceGetMigMode(device, &mut current, &mut pending) {
        Ok(()) => Ok(MigState::Supported { current: mode(current), pending: mode(pending) }),
        Err(
            CallError::Missing(_)
            | CallError::Returned(NvmlReturn::NotSupported | NvmlReturn::FunctionNotFound),
        ) => Ok(MigState::Unsupported),
        Err(error) => Err(error),
    }
}
