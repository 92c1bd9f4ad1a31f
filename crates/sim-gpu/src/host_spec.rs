//! How a simulated host is described, and the presets.
//!
//! Must never read a file: `sim-nvml` fills a [`HostSpec`] from TOML.

use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use model::{GpuMinor, GpuUuid, MigMode, PciAddress, catalog};

use crate::board::BoardCache;
use crate::clients::Holder;
use crate::gpu::{ChipKind, Gpu, GpuHealth, RecoveryAction, Virtualization};
use crate::identity;
use crate::knobs::Knobs;
use crate::node::{Driver, Node};
use crate::topology::{CpuRange, NvLinks};

/// The most GPUs a node can have: capability minors are laid out for 32.
pub(crate) const MAX_GPUS: usize = 32;

/// One GPU of a host to be. What is `None` is made up from the host's name and the position.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GpuSpec {
    /// Id of its board in the catalog.
    pub board: String,
    /// Which slice its chip lacks.
    pub chip: ChipKind,
    /// Bare metal or virtual.
    pub virtualization: Virtualization,
    /// Overrides whether a mode change needs a reset.
    pub resetless: Option<bool>,
    /// Whether MIG is refused although the board has it.
    pub mig_refused: bool,
    /// Whether persistence mode is on.
    pub persistence: bool,
    /// Its UUID, `GPU-…`.
    pub uuid: Option<GpuUuid>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Where it sits.
    pub pci: Option<PciAddress>,
    /// The N of `/dev/nvidiaN`; by default its index.
    pub minor: Option<GpuMinor>,
    /// NUMA node of its PCIe root.
    pub numa_node: Option<u8>,
    /// PCIe switch it hangs off.
    pub pcie_switch: Option<u8>,
    /// Processors near it.
    pub cpus: Option<Vec<CpuRange>>,
}

impl GpuSpec {
    /// A GPU of which only the board is decided.
    pub fn new(board: impl Into<String>) -> Self {
        Self { board: board.into(), ..Self::default() }
    }
}

/// A host to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostSpec {
    /// Its name.
    pub host: String,
    /// Its driver.
    pub driver: Driver,
    /// Its GPUs.
    pub gpus: Vec<GpuSpec>,
    /// Its NVLinks.
    pub nvlinks: NvLinks,
    /// Its knobs.
    pub knobs: Knobs,
    /// Holders it starts with.
    pub holders: Vec<Holder>,
}

/// Why a host cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostSpecError {
    /// The catalog does not have the board.
    #[error("no board `{asked}` in the catalog; nearest: {}", nearest.join(", "))]
    UnknownBoard {
        /// What was asked for.
        asked: String,
        /// The most similar ids.
        nearest: Vec<String>,
    },
    /// Neither a preset nor `<board>:<count>`.
    #[error("`{asked}` is neither a preset ({}) nor <board>:<count> such as a30:2", HostSpec::PRESETS.join(", "))]
    UnknownHost {
        /// What was asked for.
        asked: String,
    },
    /// Not 1 to 32 GPUs.
    #[error("a simulated host has 1 to {MAX_GPUS} GPUs, not {0}")]
    Count(usize),
    /// Two GPUs at one address, or with one minor number or UUID.
    #[error("two GPUs of the host have the same {0}")]
    Duplicate(&'static str),
}

impl HostSpecError {
    pub(crate) fn unknown_board(id: &str) -> Self {
        let nearest = catalog::nearest_ids(id).into_iter().map(ToString::to_string).collect();
        Self::UnknownBoard { asked: id.to_string(), nearest }
    }
}

/// What a preset knows of a machine: PCI buses, NUMA nodes and processors per GPU.
struct Machine {
    board: &'static str,
    buses: &'static [u8],
    /// NUMA node, PCIe switch, first and last processor of both hyper-threads.
    near: &'static [(u8, u8, [u16; 4])],
    nvlinks: u8,
}

/// DGX A100: buses, NUMA nodes and processors as `nvidia-smi topo -m` prints them there; pairs of
/// GPUs share PCIe switches, twelve links each into six NVSwitches.
const DGX_A100: Machine = Machine {
    board: "a100-sxm4-40gb",
    buses: &[0x07, 0x0f, 0x47, 0x4e, 0x87, 0x90, 0xb7, 0xbd],
    near: &[
        (3, 0, [48, 63, 176, 191]),
        (3, 0, [48, 63, 176, 191]),
        (1, 1, [16, 31, 144, 159]),
        (1, 1, [16, 31, 144, 159]),
        (7, 2, [112, 127, 240, 255]),
        (7, 2, [112, 127, 240, 255]),
        (5, 3, [80, 95, 208, 223]),
        (5, 3, [80, 95, 208, 223]),
    ],
    nvlinks: 12,
};

/// DGX H100 and its successors: two sockets, a PCIe switch per GPU, eighteen links each into four
/// NVSwitches.
const DGX_H100: Machine = Machine {
    board: "h100-sxm5-80gb",
    buses: &[0x1b, 0x43, 0x52, 0x61, 0x9d, 0xc3, 0xd1, 0xdf],
    near: &[
        (0, 0, [0, 55, 112, 167]),
        (0, 1, [0, 55, 112, 167]),
        (0, 2, [0, 55, 112, 167]),
        (0, 3, [0, 55, 112, 167]),
        (1, 4, [56, 111, 168, 223]),
        (1, 5, [56, 111, 168, 223]),
        (1, 6, [56, 111, 168, 223]),
        (1, 7, [56, 111, 168, 223]),
    ],
    nvlinks: 18,
};

/// A two-socket server with cards: half of them per socket, no NVLink.
const CARDS: Machine = Machine {
    board: "a30",
    buses: &[0x17, 0x2a, 0x3d, 0x63, 0x98, 0xab, 0xbd, 0xe3],
    near: &[
        (0, 0, [0, 31, 64, 95]),
        (0, 1, [0, 31, 64, 95]),
        (0, 2, [0, 31, 64, 95]),
        (0, 3, [0, 31, 64, 95]),
        (1, 4, [32, 63, 96, 127]),
        (1, 5, [32, 63, 96, 127]),
        (1, 6, [32, 63, 96, 127]),
        (1, 7, [32, 63, 96, 127]),
    ],
    nvlinks: 0,
};

impl Machine {
    fn spec(&self, host: &str, board: &str, positions: &[usize]) -> HostSpec {
        let gpus = positions.iter().map(|position| {
            let (numa_node, switch, cpus) = self.near[*position % self.near.len()];
            let domain = (*position / self.buses.len()) as u32;
            GpuSpec {
                board: board.into(),
                pci: Some(PciAddress {
                    domain,
                    bus: self.buses[*position % self.buses.len()],
                    device: 0,
                }),
                numa_node: Some(numa_node),
                pcie_switch: Some(switch + (domain as u8) * 16),
                cpus: Some(alloc::vec![
                    CpuRange { first: cpus[0], last: cpus[1] },
                    CpuRange { first: cpus[2], last: cpus[3] },
                ]),
                ..GpuSpec::default()
            }
        });
        HostSpec {
            host: host.into(),
            gpus: gpus.collect(),
            nvlinks: if self.nvlinks == 0 {
                NvLinks::None
            } else {
                NvLinks::Switched(self.nvlinks)
            },
            ..HostSpec::default()
        }
    }
}

impl HostSpec {
    /// The names [`Self::named`] knows.
    pub const PRESETS: [&'static str; 7] =
        ["dgx-a100", "dgx-a100-80", "dgx-h100", "hgx-h200", "dgx-b200", "a30x4", "rtx-pro-6000x8"];

    /// The host called `host` of the kind `kind`: a preset, or `<board>:<count>` with a board of
    /// the catalog.
    ///
    /// # Errors
    /// [`HostSpecError`] if there is no such preset or board, or the count is not 1 to 32.
    pub fn named(host: &str, kind: &str) -> Result<Self, HostSpecError> {
        let eight = [0, 1, 2, 3, 4, 5, 6, 7];
        let unknown = || HostSpecError::UnknownHost { asked: kind.to_string() };
        Ok(match kind {
            "dgx-a100" => DGX_A100.spec(host, DGX_A100.board, &eight),
            "dgx-a100-80" => DGX_A100.spec(host, "a100-sxm4-80gb", &eight),
            "dgx-h100" => DGX_H100.spec(host, DGX_H100.board, &eight),
            "hgx-h200" => DGX_H100.spec(host, "h200-sxm-141gb", &eight),
            "dgx-b200" => DGX_H100.spec(host, "b200", &eight),
            "a30x4" => CARDS.spec(host, CARDS.board, &[0, 1, 4, 5]),
            "rtx-pro-6000x8" => CARDS.spec(host, "rtx-pro-6000-bse", &eight),
            other => {
                let (board, count) = other.rsplit_once(':').ok_or_else(unknown)?;
                let count: usize = count.parse().map_err(|_| unknown())?;
                Self::cards(host, board, count)?
            }
        })
    }

    /// A host with `count` cards of one board.
    ///
    /// # Errors
    /// [`HostSpecError`] if there is no such board, or the count is not 1 to 32.
    pub fn cards(host: &str, board: &str, count: usize) -> Result<Self, HostSpecError> {
        let known = catalog::board(board).ok_or_else(|| HostSpecError::unknown_board(board))?;
        if count == 0 || count > MAX_GPUS {
            return Err(HostSpecError::Count(count));
        }
        let positions: Vec<usize> = (0..count).collect();
        Ok(CARDS.spec(host, known.id, &positions))
    }

    /// Adds `count` GPUs like `spec`; its address, UUID, serial and minor number, if given, are
    /// the first one's.
    pub fn add(&mut self, spec: &GpuSpec, count: usize) {
        for number in 0..count {
            let mut next = spec.clone();
            if number > 0 {
                (next.uuid, next.serial, next.pci, next.minor) = (None, None, None, None);
            }
            self.gpus.push(next);
        }
    }

    pub(crate) fn build(&self, cache: &mut BoardCache) -> Result<Node, HostSpecError> {
        if self.gpus.is_empty() || self.gpus.len() > MAX_GPUS {
            return Err(HostSpecError::Count(self.gpus.len()));
        }
        let fallback = CARDS.spec(&self.host, "", &(0..MAX_GPUS).collect::<Vec<_>>());
        let taken: Vec<PciAddress> = self.gpus.iter().filter_map(|gpu| gpu.pci).collect();
        let mut spare =
            fallback.gpus.iter().filter(|gpu| gpu.pci.is_some_and(|pci| !taken.contains(&pci)));
        let mut filled: Vec<(PciAddress, &GpuSpec, &GpuSpec)> = Vec::new();
        for spec in &self.gpus {
            let like = if spec.pci.is_some() { fallback.gpus.first() } else { spare.next() };
            let like = like.ok_or(HostSpecError::Count(self.gpus.len()))?;
            let pci = spec.pci.or(like.pci).ok_or(HostSpecError::Duplicate("PCI address"))?;
            filled.push((pci, spec, like));
        }
        filled.sort_by_key(|(pci, _, _)| *pci);
        let gpus: Result<Vec<Gpu>, HostSpecError> = filled
            .into_iter()
            .enumerate()
            .map(|(index, (pci, spec, like))| {
                let board = catalog::board(&spec.board)
                    .ok_or_else(|| HostSpecError::unknown_board(&spec.board))?;
                Ok(self.gpu(index, board.id, pci, spec, like))
            })
            .collect();
        let gpus = gpus?;
        distinct(&gpus)?;
        let mut node = self.node(gpus);
        node.attach(cache)?;
        Ok(node)
    }

    fn gpu(
        &self,
        index: usize,
        board: &str,
        pci: PciAddress,
        spec: &GpuSpec,
        like: &GpuSpec,
    ) -> Gpu {
        let uuid = spec.uuid.clone();
        let serial = spec.serial.clone();
        Gpu {
            board: board.to_string(),
            uuid: uuid.unwrap_or_else(|| identity::gpu_uuid(&self.host, index)),
            pci,
            minor: spec.minor.unwrap_or(GpuMinor::new(index as u32)),
            serial: serial.unwrap_or_else(|| identity::serial(&self.host, index)),
            chip: spec.chip,
            virtualization: spec.virtualization,
            resetless: spec.resetless,
            mig_refused: spec.mig_refused,
            current: MigMode::Disabled,
            pending: MigMode::Disabled,
            persistence: spec.persistence,
            instances: Vec::new(),
            generation: 0,
            health: GpuHealth::Ok,
            recovery: RecoveryAction::None,
            numa_node: spec.numa_node.or(like.numa_node).unwrap_or(0),
            pcie_switch: spec.pcie_switch.or(like.pcie_switch).unwrap_or(0),
            cpus: spec.cpus.clone().or_else(|| like.cpus.clone()).unwrap_or_default(),
            ecc_corrected: 0,
            ecc_uncorrected: 0,
        }
    }

    fn node(&self, gpus: Vec<Gpu>) -> Node {
        Node {
            host: self.host.clone(),
            driver: self.driver.clone(),
            gpus,
            nvlinks: self.nvlinks,
            sessions: Vec::new(),
            contexts: Vec::new(),
            holders: self.holders.clone(),
            knobs: self.knobs.clone(),
            faults: Vec::new(),
            events: VecDeque::new(),
            boots: 1,
            next_event: 1,
            next_generation: 1,
            next_context: 1,
            boards: crate::board::Boards::default(),
        }
    }
}

fn distinct(gpus: &[Gpu]) -> Result<(), HostSpecError> {
    for (index, gpu) in gpus.iter().enumerate() {
        for other in &gpus[..index] {
            let what = match () {
                () if gpu.pci == other.pci => "PCI address",
                () if gpu.minor == other.minor => "minor number",
                () if gpu.uuid == other.uuid => "UUID",
                () => continue,
            };
            return Err(HostSpecError::Duplicate(what));
        }
    }
    Ok(())
}
