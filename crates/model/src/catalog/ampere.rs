//! Ampere: A100 and A800 with seven compute slices, A30 with four.
//!
//! Must never hold a number without a source: what is assumed of a sister board says so.
//!
//! A MIG mode change needs a GPU reset here and only here. 4g and 3g together need driver R510.

use super::board::{Architecture, Board, Portion, Sm, named, nvidia, seen};
use super::fact::Confidence::{Derived, Doc, Unknown, Unverified, Verified};
use super::fact::{Trust, all, trust};
use super::family::{
    ComputeStyle, EIGHTH_UNIT, EIGHTHS, Family, G1, G1_DOUBLE, G2, G3, G4, G7, ME, PLAIN, QUARTERS,
    SEVEN_SIZES, Size, engines, shape,
};
use Sm::Known;

/// GA100 with seven of eight slices. `+me` came with R470, the double-memory 1g with R525.
static SEVEN: Family = Family {
    name: "seven",
    grid: 8,
    grid_unit: EIGHTH_UNIT,
    max_instances: 7,
    engine_capacity: engines([7, 5, 0, 1, 1]),
    rules: &[],
    shares: EIGHTHS,
    sizes: SEVEN_SIZES,
    shapes: &[
        // size, attributes, (enum, id), max, [CE, DEC, ENC, JPEG, OFA]
        shape(G1, PLAIN, (0, Some(19)), 7, [1, 0, 0, 0, 0]),
        shape(G1, ME, (7, Some(20)), 1, [1, 1, 0, 1, 1]).since(470),
        shape(G1_DOUBLE, PLAIN, (9, Some(15)), 4, [1, 1, 0, 0, 0]).since(525),
        shape(G2, PLAIN, (1, Some(14)), 3, [2, 1, 0, 0, 0]),
        shape(G3, PLAIN, (2, Some(9)), 2, [3, 2, 0, 0, 0]),
        shape(G4, PLAIN, (3, Some(5)), 1, [4, 2, 0, 0, 0]),
        shape(G7, PLAIN, (4, Some(0)), 1, [7, 5, 0, 1, 1]),
    ],
    compute: ComputeStyle::Anywhere,
};

/// A30: the two `+me` profiles exclude each other, for there is one JPEG and one OFA engine.
///
/// Early drivers placed its instances on a grid of eight; this is the grid since about R470.
static A30: Family = Family {
    name: "a30",
    grid: 4,
    grid_unit: "a quarter of the memory",
    max_instances: 4,
    engine_capacity: engines([4, 4, 0, 1, 1]),
    rules: &[],
    shares: QUARTERS,
    sizes: &[
        Size { slices: 1, portion: 0, span: 1, starts: &[0, 1, 2, 3] },
        Size { slices: 2, portion: 1, span: 2, starts: &[0, 2] },
        Size { slices: 4, portion: 2, span: 4, starts: &[0] },
    ],
    shapes: &[
        shape(0, PLAIN, (0, Some(14)), 4, [1, 1, 0, 0, 0]),
        shape(0, ME, (7, Some(21)), 1, [1, 1, 0, 1, 1]).since(470),
        shape(1, PLAIN, (1, Some(5)), 2, [2, 2, 0, 0, 0]),
        shape(1, ME, (8, Some(6)), 1, [2, 2, 0, 1, 1]).since(525),
        shape(2, PLAIN, (3, Some(0)), 1, [4, 4, 0, 1, 1]),
    ],
    compute: ComputeStyle::Aligned,
};

/// SMs of 1g, double-memory 1g, 2g, 3g, 4g and 7g.
const GA100_SMS: &[Sm] = &[Known(14), Known(14), Known(28), Known(42), Known(56), Known(98)];
/// SMs of 1g, 2g and 4g.
const A30_SMS: &[Sm] = &[Known(14), Known(28), Known(56)];

/// Name, usable MiB, and MiB seen elsewhere, of an eighth, a quarter, a half and the whole.
const A100_40GB: &[Portion] = &[
    seen(5, 4864, &[]),
    seen(10, 9856, &[9984]),
    seen(20, 19968, &[20096]),
    seen(40, 40192, &[40320, 40448]),
];
const A100_80GB: &[Portion] = &[
    seen(10, 9728, &[9856]),
    seen(20, 19968, &[]),
    seen(40, 40192, &[40448]),
    seen(80, 80896, &[80384, 80640, 81152]),
];
/// Of a quarter, a half and the whole.
const A30_24GB: &[Portion] = &[seen(6, 5952, &[]), seen(12, 11968, &[]), seen(24, 24000, &[24064])];

/// Assumed to be as on A100: only names and counts are documented.
const LIKE_A100: Trust = trust([Derived, Derived, Derived, Derived, Derived, Doc]);

/// What the boards with GA100 and 80 GB have in common.
const A100: Board = Board {
    id: "",
    title: "",
    nvml_names: &[],
    architecture: Architecture::Ampere,
    chip: "GA100",
    compute_capability: (8, 0),
    form_factor: "SXM4",
    pci: &[],
    nominal_gib: 80,
    total_mib: Some(81920),
    multiprocessors: Some(108),
    min_driver: Some("R450 (>= 450.80.02)"),
    min_cuda: Some("11"),
    min_vbios: None,
    confidence: Verified,
    family: &SEVEN,
    portions: A100_80GB,
    sms: GA100_SMS,
    trust: all(Verified),
    except: &[],
    sister: None,
};

/// What the boards with half a GA100 have in common.
const A30_BOARD: Board = Board {
    id: "",
    title: "",
    nvml_names: &[],
    architecture: Architecture::Ampere,
    chip: "GA100",
    compute_capability: (8, 0),
    form_factor: "PCIe",
    pci: &[],
    nominal_gib: 24,
    total_mib: Some(24576),
    multiprocessors: Some(56),
    min_driver: Some("R460 (>= 460.73.01)"),
    min_cuda: Some("11"),
    min_vbios: None,
    confidence: Verified,
    family: &A30,
    portions: A30_24GB,
    sms: A30_SMS,
    trust: all(Verified),
    except: &[],
    sister: None,
};

/// The boards of the generation.
pub(crate) static BOARDS: &[Board] = &[
    Board {
        id: "a100-sxm4-40gb",
        title: "A100-SXM4-40GB",
        nvml_names: &["NVIDIA A100-SXM4-40GB"],
        pci: &[nvidia(0x20B0)],
        nominal_gib: 40,
        total_mib: Some(40960),
        portions: A100_40GB,
        ..A100
    },
    // mig-parted lists 0x20B1 too; the 595 name table has only 0x20F1.
    Board {
        id: "a100-pcie-40gb",
        title: "A100-PCIE-40GB",
        nvml_names: &["NVIDIA A100-PCIE-40GB"],
        form_factor: "PCIe",
        pci: &[nvidia(0x20F1), nvidia(0x20B1)],
        nominal_gib: 40,
        total_mib: Some(40960),
        portions: A100_40GB,
        ..A100
    },
    // When NVML's total rounds up to 79 GiB the full profile is named 7g.79gb (seen in HAMi
    // and nos configs).
    Board {
        id: "a100-sxm4-80gb",
        title: "A100-SXM4-80GB",
        nvml_names: &["NVIDIA A100-SXM4-80GB"],
        pci: &[nvidia(0x20B2)],
        except: &[(&[9], trust([Derived, Derived, Derived, Derived, Derived, Verified]))],
        ..A100
    },
    // go-nvml's mock calls it 'NVIDIA A100-PCIE-80GB', a string the driver does not use.
    Board {
        id: "a100-pcie-80gb",
        title: "A100 80GB PCIe",
        nvml_names: &["NVIDIA A100 80GB PCIe"],
        form_factor: "PCIe",
        pci: &[nvidia(0x20B5)],
        except: &[(&[9], trust([Derived, Derived, Derived, Derived, Derived, Verified]))],
        ..A100
    },
    // Same silicon and profile names as A100-80GB in mig-parted; no A800 SXM -lgip seen.
    Board {
        id: "a800-sxm4-80gb",
        title: "A800-SXM4-80GB",
        nvml_names: &["NVIDIA A800-SXM4-80GB"],
        pci: &[nvidia(0x20F3)],
        confidence: Derived,
        trust: LIKE_A100,
        ..A100
    },
    Board {
        id: "a800-pcie-80gb",
        title: "A800 80GB PCIe",
        nvml_names: &["NVIDIA A800 80GB PCIe", "NVIDIA A800 80GB PCIe LC"],
        form_factor: "PCIe",
        pci: &[nvidia(0x20F5)],
        confidence: Derived,
        trust: LIKE_A100,
        ..A100
    },
    // 0x20BD is missing from mig-parted's device filters.
    Board {
        id: "a800-sxm4-40gb",
        title: "A800-SXM4-40GB",
        nvml_names: &["NVIDIA A800-SXM4-40GB"],
        pci: &[nvidia(0x20BD)],
        nominal_gib: 40,
        total_mib: Some(40960),
        confidence: Derived,
        portions: A100_40GB,
        trust: LIKE_A100,
        ..A100
    },
    Board {
        id: "a800-40gb-active",
        title: "A800 40GB Active",
        nvml_names: &["NVIDIA A800 40GB Active"],
        form_factor: "PCIe workstation",
        pci: &[nvidia(0x20F6)],
        nominal_gib: 40,
        total_mib: Some(40960),
        confidence: Derived,
        portions: A100_40GB,
        trust: LIKE_A100,
        ..A100
    },
    // Names 1g.12gb/2g.24gb/3g.48gb/7g.96gb come from mig-parted only.
    Board {
        id: "pg506-232",
        title: "PG506-232 (GA100 96 GB)",
        nvml_names: &["NVIDIA PG506-232"],
        form_factor: "board",
        pci: &[nvidia(0x20B6)],
        nominal_gib: 96,
        total_mib: None,
        confidence: Derived,
        portions: &[named(12), named(24), named(48), named(96)],
        trust: LIKE_A100,
        sister: Some("a100-sxm4-80gb"),
        ..A100
    },
    // No source names its MIG profiles; the names here follow the naming rule. SM counts
    // are assumed to be the A100's and may differ.
    Board {
        id: "a100-sxm-64gb",
        title: "A100-SXM-64GB",
        nvml_names: &["NVIDIA A100-SXM-64GB"],
        form_factor: "SXM4 custom",
        pci: &[nvidia(0x20B3)],
        nominal_gib: 64,
        total_mib: None,
        confidence: Unverified,
        portions: &[named(8), named(16), named(32), named(64)],
        trust: all(Unknown),
        sister: Some("a100-sxm4-80gb"),
        ..A100
    },
    // Not in NVIDIA's MIG supported-GPU table; MIG is advertised for it, no profile list
    // found.
    Board {
        id: "a100x",
        title: "A100X converged accelerator",
        form_factor: "PCIe + BlueField",
        pci: &[nvidia(0x20B8)],
        total_mib: None,
        confidence: Unverified,
        trust: all(Unknown),
        ..A100
    },
    // As A100X.
    Board {
        id: "ax800",
        title: "AX800 converged accelerator",
        nvml_names: &["NVIDIA AX800"],
        form_factor: "PCIe + BlueField",
        pci: &[nvidia(0x20FD)],
        total_mib: None,
        confidence: Unverified,
        trust: all(Unknown),
        ..A100
    },
    // NVML reports wrong profiles for A30 in some states: mig-parted hard-codes these five
    // (discovery.go), and one A30 offered a second profile called 1g.6gb with id 15 (mig-parted
    // issue 157). The user guide lists no decoder for 1g.6gb; real tables show one.
    Board {
        id: "a30",
        title: "A30",
        nvml_names: &["NVIDIA A30"],
        pci: &[nvidia(0x20B7)],
        ..A30_BOARD
    },
    // No MIG source found; assumed equal to A30.
    Board {
        id: "a30x",
        title: "A30X converged accelerator",
        pci: &[nvidia(0x20B9)],
        confidence: Unverified,
        trust: all(Unknown),
        ..A30_BOARD
    },
];
