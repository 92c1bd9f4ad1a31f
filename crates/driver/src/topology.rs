//! How the GPUs of a machine reach each other, and which processors and memory lie near them.
//!
//! Must never describe MIG devices: slices have no links.

use model::topology::TopologyLevel;
use nvml_wrapper_sys::bindings::nvmlPciInfo_t;

use crate::answers::{GpuPath, Near, TopologyMatrix};
use crate::driver::Driver;
use crate::error::DriverError;
use crate::raw::Plain;
use crate::session::read;
use crate::symbols::{CallError, Device, Symbols};

/// Links asked for at most; header 13.3 has 36.
const MOST_LINKS: u32 = 36;
/// `NVML_NVLINK_DEVICE_TYPE_SWITCH`.
const LINK_TO_SWITCH: u32 = 2;

impl Driver {
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
        let near = gpus
            .iter()
            .map(|gpu| session.gpu(gpu).map(|device| near(symbols, device)).unwrap_or_default());
        let near = near.collect();
        Ok(TopologyMatrix { gpus, paths, near })
    }
}

/// An empty list says as little as none.
fn near(symbols: &Symbols, device: Device) -> Near {
    let told = |list: Vec<u32>| (!list.is_empty()).then_some(list);
    Near {
        cpus: symbols.cpu_affinity(device).ok().and_then(told),
        memory_nodes: symbols.memory_affinity(device).ok().and_then(told),
        own_node: read(|node| symbols.nvmlDeviceGetNumaNodeId(device, node)).ok(),
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
