//! What the simulated driver knows of a board: taken from the catalog, adjusted to the driver.
//!
//! Must never be serialised with the node: the facts follow from the board's id and the driver
//! branch, and [`BoardCache`] makes them once.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use model::catalog::{self, Board};
use model::{Geometry, MemoryMib};

use crate::gpu::Gpu;
use crate::host_spec::HostSpecError;
use crate::memory;

/// One board under one driver branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoardFacts {
    /// The catalog's id.
    pub id: String,
    /// The name NVML gives.
    pub name: String,
    /// NVML's number of the architecture (7 Ampere, 9 Hopper, 10 Blackwell).
    pub architecture: u32,
    /// CUDA compute capability, major and minor.
    pub compute_capability: (u32, u32),
    /// PCI device and vendor packed as NVML does.
    pub pci_device_id: u32,
    /// PCI subsystem device and vendor packed as NVML does.
    pub pci_subsystem_id: u32,
    /// Total memory.
    pub total_memory: MemoryMib,
    /// Streaming multiprocessors of the whole GPU.
    pub multiprocessors: u32,
    /// Whether a change of MIG mode takes effect only by a reset.
    pub mode_change_needs_reset: bool,
    /// Whether the board and driver have GPM: Hopper and later.
    pub gpm: bool,
    /// Its legal shapes, with the memory sizes of this driver branch.
    pub geometry: Geometry,
}

impl BoardFacts {
    /// NVML's number of the Hopper architecture.
    pub const HOPPER: u32 = 9;

    /// The facts of a board of the catalog under the driver branch `branch`.
    pub fn new(board: &Board, branch: u32) -> Self {
        let architecture = board.architecture.nvml_value();
        let (major, minor) = board.compute_capability;
        let total_memory = board.total_memory();
        let mut geometry = board.geometry();
        let later = board.profiles().into_iter().filter_map(|profile| {
            profile.since_branch.filter(|since| *since > branch).map(|_| profile.nvml_enum)
        });
        let later: Vec<u32> = later.collect();
        geometry.profiles.retain(|profile| !later.contains(&profile.nvml_enum));
        for profile in &mut geometry.profiles {
            profile.memory = memory::in_branch(profile.memory, total_memory, architecture, branch);
        }
        let full = geometry.full_profile().map_or(0, |profile| profile.multiprocessors);
        let pci = board.pci.first();
        Self {
            id: board.id.to_string(),
            name: board
                .nvml_names
                .first()
                .map_or_else(|| alloc::format!("NVIDIA {}", board.title), ToString::to_string),
            architecture,
            compute_capability: (u32::from(major), u32::from(minor)),
            pci_device_id: pci.map_or(0, |pci| pci.device_and_vendor),
            pci_subsystem_id: pci
                .and_then(|pci| pci.subsystem)
                .map_or(0, |device| u32::from(device) << 16 | 0x10DE),
            total_memory,
            multiprocessors: board.multiprocessors.unwrap_or(full),
            mode_change_needs_reset: board.mig_toggle_needs_reset(),
            gpm: architecture >= Self::HOPPER,
            geometry,
        }
    }
}

impl BoardFacts {
    /// Whether the GPU has no memory of its own but uses the host's (Thor).
    pub fn shares_host_memory(&self) -> bool {
        self.total_memory == MemoryMib::default()
    }
}

/// The facts of every GPU of a node, in the node's order. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Boards {
    branch: u32,
    facts: Arc<Vec<Arc<BoardFacts>>>,
}

impl PartialEq for Boards {
    /// Always equal: what follows from the state is no part of the state.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Boards {}

impl Boards {
    pub(crate) fn get(&self, gpu: usize) -> Option<&Arc<BoardFacts>> {
        self.facts.get(gpu)
    }

    fn fit(&self, gpus: &[Gpu], branch: u32) -> bool {
        self.branch == branch
            && self.facts.len() == gpus.len()
            && self.facts.iter().zip(gpus).all(|(facts, gpu)| facts.id == gpu.board)
    }
}

/// Makes the facts of each board once.
#[derive(Debug, Clone, Default)]
pub struct BoardCache {
    known: Vec<(u32, Arc<BoardFacts>)>,
    last: Boards,
}

impl BoardCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// The facts of the board `id` under the driver branch `branch`.
    ///
    /// # Errors
    /// [`HostSpecError::UnknownBoard`] if the catalog does not have it.
    pub fn facts(&mut self, id: &str, branch: u32) -> Result<Arc<BoardFacts>, HostSpecError> {
        let known = self.known.iter().find(|(b, facts)| *b == branch && facts.id == id);
        if let Some((_, facts)) = known {
            return Ok(Arc::clone(facts));
        }
        let board = catalog::board(id).ok_or_else(|| HostSpecError::unknown_board(id))?;
        let facts = Arc::new(BoardFacts::new(board, branch));
        self.known.push((branch, Arc::clone(&facts)));
        Ok(facts)
    }

    pub(crate) fn boards(&mut self, gpus: &[Gpu], branch: u32) -> Result<Boards, HostSpecError> {
        if !self.last.fit(gpus, branch) {
            let facts: Result<Vec<_>, _> =
                gpus.iter().map(|gpu| self.facts(&gpu.board, branch)).collect();
            self.last = Boards { branch, facts: Arc::new(facts?) };
        }
        Ok(self.last.clone())
    }
}
