//! A machine: the simulated driver behind the real one, and a record of who made each instance.
//!
//! Must never change what the driver shows by other means than hardware, its operator or a driver
//! call would.

use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::Arc;

use broker::{GrantedSlice, SliceKey};
use driver::{Driver, DriverError, Resolver};
use host::{Reset, ResetError};
use model::{GpuSnapshot, GpuUuid, MigMode, Placement, Timestamp};
use sim_gpu::{ComputeInstanceRequest, GpuInstance, HostSpec, Latencies, Node, Return};
use sim_nvml::{HostOptions, SimHost};

use crate::processes::Process;

/// One making of an instance: another one at the same place is another spot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// Index of its GPU.
    pub gpu: usize,
    /// Number of its creation.
    pub generation: u32,
}

/// Who made an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A step of one of our plans.
    Ours,
    /// Somebody else.
    Foreign,
    /// A change by hand or by file made it or took it over: ours only where a record says so.
    Hand,
    /// Somebody else, but just where and what an open intent of ours names, or a driver that lied
    /// about it, so that nobody can tell.
    Doubtful,
    /// Somebody else, in place of a leased slice that he took away: until the broker learns of it,
    /// the processes of that lease come here.
    Impostor,
}

/// An instance that stands: who made it, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Who made it.
    pub origin: Origin,
    /// Where it lies.
    pub key: SliceKey,
}

/// What came and went on a GPU.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub(crate) made: Vec<SliceKey>,
    pub(crate) gone: Vec<Made>,
}

/// A simulated machine with virtual processes. Belongs to the thread that made it.
#[derive(Debug)]
pub struct Bench {
    pub(crate) host: Arc<SimHost>,
    driver: Driver,
    reset: SimReset,
    uuids: Vec<GpuUuid>,
    /// Who made each instance that stands.
    pub(crate) origins: BTreeMap<Spot, Made>,
    /// Every process that matters, by pid.
    pub(crate) processes: BTreeMap<u32, Process>,
    pub(crate) next_pid: u32,
}

#[derive(Debug)]
struct SimReset {
    host: Arc<SimHost>,
}

impl Reset for SimReset {
    fn reset(&self, gpu: &GpuSnapshot) -> Result<(), ResetError> {
        let done = self.host.reset_gpu(gpu.index.get() as usize);
        done.map_err(|source| ResetError::Failed { pci: gpu.pci, source: Box::new(source) })
    }
}

impl executor::Machine for Bench {
    fn driver(&self) -> &Driver {
        &self.driver
    }

    fn reset(&self) -> &dyn Reset {
        &self.reset
    }

    fn pause(&self) {}
}

fn open_driver(host: &Arc<SimHost>) -> Result<Driver, DriverError> {
    sim_nvml::attach_thread(Some(Arc::clone(host)));
    let resolver: Resolver =
        Arc::new(|name| sim_nvml::symbol(name).and_then(|symbol| NonNull::new(symbol.cast_mut())));
    Ok(Driver::open(resolver)?.without_pauses())
}

/// Why a bench cannot be built.
pub type BenchError = Box<dyn std::error::Error + Send + Sync>;

impl Bench {
    /// A machine as `spec` says, all its calls immediate.
    ///
    /// # Errors
    /// If the catalog lacks a board.
    pub fn new(spec: &HostSpec) -> Result<Self, BenchError> {
        let options = HostOptions { latencies: Some(Latencies::ZERO), shared: false };
        let host = Arc::new(SimHost::in_memory(spec, &options)?);
        let driver = open_driver(&host)?;
        let node = host.node()?;
        let uuids = node.value.gpus.iter().map(|gpu| gpu.uuid.clone()).collect();
        let reset = SimReset { host: Arc::clone(&host) };
        let (origins, processes) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { host, driver, reset, uuids, origins, processes, next_pid: 100 })
    }

    /// The GPUs in NVML's order.
    pub fn gpus(&self) -> &[GpuUuid] {
        &self.uuids
    }

    /// The position of a GPU.
    pub fn index(&self, gpu: &GpuUuid) -> Option<usize> {
        self.uuids.iter().position(|known| known == gpu)
    }

    /// A daemon died: its NVML session is gone, and the next one opens its own.
    ///
    /// # Errors
    /// If NVML does not start.
    pub fn reopen(&mut self) -> Result<(), BenchError> {
        // The dead driver's session must not end the new one's when it is dropped.
        let _ = self.driver.close();
        self.host.change(|node, _| node.sessions.clear())?;
        self.driver = open_driver(&self.host)?;
        Ok(())
    }

    /// Looks at the hardware itself.
    pub fn with<R>(&self, look: impl FnOnce(&Node) -> R) -> Option<R> {
        self.host.node().ok().map(|version| look(&version.value))
    }

    /// Changes the hardware as its operator would.
    pub fn operate<R>(&self, act: impl FnOnce(&mut Node, Timestamp) -> R) -> Option<R> {
        self.host.change(act).ok()
    }

    /// Every instance on a GPU.
    pub(crate) fn spots(&self, gpu: usize) -> Vec<(Spot, SliceKey)> {
        let uuid = &self.uuids[gpu];
        self.with(|node| {
            let key = |placement| SliceKey { gpu: uuid.clone(), placement };
            let instances = node.gpus[gpu].instances.iter();
            instances
                .map(|found| (Spot { gpu, generation: found.generation }, key(found.placement)))
                .collect()
        })
        .unwrap_or_default()
    }

    /// The instance at a place, whoever made it.
    pub(crate) fn at(&self, gpu: usize, placement: Placement) -> Option<GpuInstance> {
        self.with(|node| {
            node.gpus[gpu].instances.iter().find(|found| found.placement == placement).cloned()
        })?
    }

    /// Whether a slice stands as it was granted.
    pub(crate) fn exists(&self, slice: &GrantedSlice) -> bool {
        let Some(gpu) = self.index(&slice.key.gpu) else { return false };
        let as_granted = |node: &Node| {
            node.gpus[gpu].instances.iter().any(|found| {
                found.id == slice.gpu_instance
                    && found.placement == slice.key.placement
                    && found.profile == slice.profile
                    && found.compute.len() == 1
                    && found.compute[0].id == slice.compute_instance
            })
        };
        self.with(as_granted).unwrap_or(false)
    }

    /// Notes who made what stands on a GPU now, and returns what came and what went.
    pub(crate) fn attribute(&mut self, gpu: usize, maker: Origin) -> Change {
        let mut change = Change::default();
        let now = self.spots(gpu);
        let range = Spot { gpu, generation: 0 }..=Spot { gpu, generation: u32::MAX };
        let known: Vec<Spot> = self.origins.range(range).map(|(spot, _)| *spot).collect();
        for spot in known {
            if now.iter().all(|(stands, _)| *stands != spot) {
                change.gone.extend(self.origins.remove(&spot));
            }
        }
        for (spot, key) in now {
            self.origins.entry(spot).or_insert_with(|| {
                change.made.push(key.clone());
                Made { origin: maker, key }
            });
        }
        change
    }

    /// Makes a whole slice as `nvidia-smi mig -cgi … -C` would.
    ///
    /// # Errors
    /// What the driver answers.
    pub(crate) fn foreign_create(
        &mut self,
        gpu: usize,
        part: model::PlacedProfile,
        origin: Origin,
    ) -> Result<(), Return> {
        let caller = self.host.caller();
        let made = self.operate(|node, now| {
            let made =
                node.create_gpu_instance(gpu, caller, part.profile, Some(part.placement), now)?;
            let profile = node.profile_by_id(gpu, part.profile)?.whole_compute_profile();
            let profile = profile.ok_or(Return::NotSupported)?.id;
            let instance = made;
            let request = ComputeInstanceRequest { instance, profile, placement: None };
            node.create_compute_instance(gpu, caller, request, now).map(drop)
        });
        self.attribute(gpu, origin);
        made.unwrap_or(Err(Return::Unknown))
    }

    /// Destroys an idle instance as somebody with root could.
    ///
    /// # Errors
    /// What the driver answers.
    pub(crate) fn foreign_destroy(
        &mut self,
        gpu: usize,
        placement: Placement,
    ) -> Result<(), Return> {
        let caller = self.host.caller();
        let instance = self.at(gpu, placement).ok_or(Return::NotFound)?;
        let computes: Vec<_> =
            instance.compute.iter().map(|c| instance.compute_reference(c)).collect();
        let done = self.operate(|node, now| {
            let mut draft = node.clone();
            for compute in computes {
                draft.destroy_compute_instance(gpu, caller, compute, now)?;
            }
            draft.destroy_gpu_instance(gpu, caller, instance.reference(), now)?;
            *node = draft;
            Ok(())
        });
        self.attribute(gpu, Origin::Foreign);
        done.unwrap_or(Err(Return::Unknown))
    }

    /// Enables MIG everywhere, as an administrator did before migd came.
    pub fn enable_mig(&self) {
        self.enable_mig_but(&[]);
    }

    /// Enables MIG on all GPUs but these.
    pub(crate) fn enable_mig_but(&self, but: &[usize]) {
        self.operate(|node, _| {
            for gpu in (0..node.gpus.len()).filter(|gpu| !but.contains(gpu)) {
                if node.mig_capable(gpu).unwrap_or(false) {
                    node.gpus[gpu].current = MigMode::Enabled;
                    node.gpus[gpu].pending = MigMode::Enabled;
                }
            }
        });
    }

    /// The machine restarts: every process and instance is gone.
    ///
    /// # Errors
    /// As [`Bench::reopen`].
    pub fn reboot(&mut self) -> Result<(), BenchError> {
        self.host.reboot()?;
        self.processes.clear();
        self.origins.clear();
        self.reopen()
    }

    /// Sets the machine's clock.
    pub fn set_now(&self, now: Timestamp) {
        self.host.set_now(now);
    }
}
