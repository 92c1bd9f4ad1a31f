//! Figures of boards that MIG does not depend on: power, clocks, PCIe.
//!
//! Must never be used for a decision: they make monitors show something sensible. From the
//! vendors' data sheets; where a board is not listed its architecture's usual figures stand in.

use sim_gpu::BoardFacts;

/// The figures of one board.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    /// Power limit in watts.
    pub(crate) limit_w: u32,
    /// Power when idle in watts.
    pub(crate) idle_w: u32,
    /// Highest SM clock in MHz.
    pub(crate) sm_mhz: u32,
    /// Memory clock in MHz.
    pub(crate) memory_mhz: u32,
    /// Width of the memory bus in bits.
    pub(crate) bus_bits: u32,
    /// PCIe generation.
    pub(crate) pcie: u32,
    /// FP32 lanes per streaming multiprocessor.
    pub(crate) cores_per_sm: u32,
}

const fn figures(
    limit_w: u32,
    idle_w: u32,
    sm_mhz: u32,
    memory_mhz: u32,
    bus_bits: u32,
    pcie: u32,
    cores_per_sm: u32,
) -> Figures {
    Figures { limit_w, idle_w, sm_mhz, memory_mhz, bus_bits, pcie, cores_per_sm }
}

const BY_PREFIX: &[(&str, Figures)] = &[
    ("a100-sxm4-80gb", figures(400, 60, 1410, 1593, 5120, 4, 64)),
    ("a100-sxm4", figures(400, 50, 1410, 1215, 5120, 4, 64)),
    ("a100-pcie-80gb", figures(300, 45, 1410, 1512, 5120, 4, 64)),
    ("a100", figures(250, 35, 1410, 1215, 5120, 4, 64)),
    ("a30", figures(165, 28, 1440, 1215, 3072, 4, 64)),
    ("h100-sxm", figures(700, 70, 1980, 2619, 5120, 5, 128)),
    ("h100-nvl", figures(400, 60, 1785, 2619, 6016, 5, 128)),
    ("h100", figures(350, 48, 1755, 1593, 5120, 5, 128)),
    ("h200", figures(700, 75, 1980, 3201, 6144, 5, 128)),
    ("b200", figures(1000, 140, 1965, 3996, 8192, 5, 128)),
    ("b300", figures(1100, 150, 2032, 3996, 8192, 6, 128)),
    ("rtx-pro-6000", figures(600, 30, 2430, 14001, 512, 5, 128)),
];

/// The figures of a board.
pub(crate) fn of(board: &BoardFacts) -> Figures {
    let found = BY_PREFIX.iter().find(|(prefix, _)| board.id.starts_with(prefix));
    found.map_or_else(
        || match board.architecture {
            ..=8 => figures(300, 40, 1410, 1512, 5120, 4, 64),
            9 => figures(700, 70, 1980, 2619, 5120, 5, 128),
            _ => figures(600, 60, 1965, 3996, 4096, 5, 128),
        },
        |(_, figures)| *figures,
    )
}
