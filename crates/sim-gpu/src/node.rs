//! The whole simulated machine as one value.
//!
//! Must never hold what can be computed: the encoded state is read on every driver call.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use model::{GpuUuid, PciAddress};
use serde::{Deserialize, Serialize};

use crate::board::{BoardCache, BoardFacts, Boards};
use crate::clients::{Context, Holder, Session};
use crate::event::Event;
use crate::fault::Fault;
use crate::gpu::{Gpu, GpuHealth};
use crate::host_spec::{HostSpec, HostSpecError};
use crate::knobs::Knobs;
use crate::ret::Return;
use crate::topology::NvLinks;

/// The driver a node runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Driver {
    /// Its version: `580.126.09`.
    pub version: String,
    /// The CUDA version it brings, as NVML gives it: 13000.
    pub cuda: u32,
}

impl Driver {
    /// The first number of its version; 0 if there is none.
    pub fn branch(&self) -> u32 {
        self.version.split('.').next().and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// What `nvmlSystemGetNVMLVersion` says: CUDA's major version before the driver's.
    pub fn nvml_version(&self) -> String {
        alloc::format!("{}.{}", self.cuda / 1000, self.version)
    }
}

impl Default for Driver {
    fn default() -> Self {
        Self { version: "580.126.09".into(), cuda: 13000 }
    }
}

/// The simulated machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its host name; the identities of its GPUs follow from it.
    pub host: String,
    /// Its driver.
    pub driver: Driver,
    /// Its GPUs, ascending by PCI address: the position is NVML's index.
    pub gpus: Vec<Gpu>,
    /// Its NVLinks.
    pub nvlinks: NvLinks,
    /// Processes with an NVML session.
    pub sessions: Vec<Session>,
    /// Processes that compute.
    pub contexts: Vec<Context>,
    /// Holders invented by a test.
    pub holders: Vec<Holder>,
    /// Its knobs.
    pub knobs: Knobs,
    /// Faults in waiting.
    pub faults: Vec<Fault>,
    /// The latest events, ascending by number.
    pub events: VecDeque<Event>,
    /// How often it was booted.
    pub boots: u32,
    pub(crate) next_event: u64,
    pub(crate) next_generation: u32,
    pub(crate) next_context: u32,
    #[serde(skip)]
    pub(crate) boards: Boards,
}

impl Node {
    /// The node that `spec` describes, all its GPUs without MIG.
    ///
    /// # Errors
    /// [`HostSpecError`] if a board is unknown or there are too many GPUs.
    pub fn new(spec: &HostSpec, cache: &mut BoardCache) -> Result<Self, HostSpecError> {
        spec.build(cache)
    }

    /// Gives a decoded node its board facts back. Must be called before anything else.
    ///
    /// # Errors
    /// [`HostSpecError::UnknownBoard`] if the catalog lacks one of its boards.
    pub fn attach(&mut self, cache: &mut BoardCache) -> Result<(), HostSpecError> {
        self.boards = cache.boards(&self.gpus, self.driver.branch())?;
        Ok(())
    }

    /// The GPU with this NVML index.
    ///
    /// # Errors
    /// INVALID_ARGUMENT if there is none.
    pub fn gpu(&self, gpu: usize) -> Result<&Gpu, Return> {
        self.gpus.get(gpu).ok_or(Return::InvalidArgument)
    }

    /// The GPU with this index, if calls on it work.
    ///
    /// # Errors
    /// INVALID_ARGUMENT, GPU_IS_LOST or RESET_REQUIRED.
    pub fn working_gpu(&self, gpu: usize) -> Result<&Gpu, Return> {
        let found = self.gpu(gpu)?;
        match found.health {
            GpuHealth::Ok => Ok(found),
            GpuHealth::Lost => Err(Return::GpuIsLost),
            GpuHealth::ResetRequired => Err(Return::ResetRequired),
        }
    }

    pub(crate) fn gpu_mut(&mut self, gpu: usize) -> Result<&mut Gpu, Return> {
        self.gpus.get_mut(gpu).ok_or(Return::InvalidArgument)
    }

    /// The board facts of a GPU.
    ///
    /// # Errors
    /// INVALID_ARGUMENT if there is no such GPU, or the node was not attached.
    pub fn board(&self, gpu: usize) -> Result<&Arc<BoardFacts>, Return> {
        self.boards.get(gpu).ok_or(Return::InvalidArgument)
    }

    /// The index of the GPU with this UUID.
    pub fn gpu_by_uuid(&self, uuid: &GpuUuid) -> Option<usize> {
        self.gpus.iter().position(|gpu| gpu.uuid == *uuid)
    }

    /// The index of the GPU at this PCI address.
    pub fn gpu_by_pci(&self, pci: PciAddress) -> Option<usize> {
        self.gpus.iter().position(|gpu| gpu.pci == pci)
    }

    pub(crate) fn take_generation(&mut self) -> u32 {
        let generation = self.next_generation;
        self.next_generation = generation.wrapping_add(1);
        generation
    }
}
