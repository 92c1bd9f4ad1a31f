//! Hopper: H100, H800, H20, H200 and GH200, all with seven compute slices.
//!
//! Must never mix SXM and PCIe: they share profile names but not SM counts, and the double-memory
//! 1g of SXM boards is a larger machine than their 1g.
//!
//! MIG mode changes without a reset.

use super::board::{Architecture, Board, Portion, Sm, named, nvidia, seen};
use super::fact::Confidence::{Derived, Doc, Single, Unknown, Unverified, Verified};
use super::fact::{Trust, all, trust};
use super::family::{
    ComputeStyle, EIGHTH_UNIT, EIGHTHS, Family, G1, G1_DOUBLE, G2, G3, G4, G7, ME, PLAIN,
    SEVEN_SIZES, engines, shape,
};
use Sm::Known;

/// GH100 with seven of eight slices.
static SEVEN: Family = Family {
    name: "seven",
    grid: 8,
    grid_unit: EIGHTH_UNIT,
    max_instances: 7,
    engine_capacity: engines([8, 7, 0, 7, 1]),
    rules: &[],
    shares: EIGHTHS,
    sizes: SEVEN_SIZES,
    shapes: &[
        // size, attributes, (enum, id), max, [CE, DEC, ENC, JPEG, OFA]
        shape(G1, PLAIN, (0, Some(19)), 7, [1, 1, 0, 1, 0]),
        shape(G1, ME, (7, Some(20)), 1, [1, 1, 0, 1, 1]),
        shape(G1_DOUBLE, PLAIN, (9, Some(15)), 4, [1, 1, 0, 1, 0]),
        shape(G2, PLAIN, (1, Some(14)), 3, [2, 2, 0, 2, 0]),
        shape(G3, PLAIN, (2, Some(9)), 2, [3, 3, 0, 3, 0]),
        shape(G4, PLAIN, (3, Some(5)), 1, [4, 4, 0, 4, 0]),
        shape(G7, PLAIN, (4, Some(0)), 1, [8, 7, 0, 7, 1]),
    ],
    compute: ComputeStyle::Aligned,
};

/// SMs of 1g, double-memory 1g, 2g, 3g, 4g and 7g.
const GH100_SXM: &[Sm] = &[Known(16), Known(26), Known(32), Known(60), Known(64), Known(132)];
const GH100_PCIE: &[Sm] = &[Known(14), Known(14), Known(30), Known(46), Known(62), Known(114)];
const SMS_UNKNOWN: &[Sm] = &[Sm::Unknown; 6];

/// Name, usable MiB, and MiB seen elsewhere, of an eighth, a quarter, a half and the whole.
const HBM_80GB: &[Portion] = &[
    seen(10, 9984, &[9856]),
    seen(20, 20096, &[19968]),
    seen(40, 40448, &[40192]),
    seen(80, 81152, &[80896]),
];
const HBM_94GB: &[Portion] = &[
    seen(12, 11008, &[]),
    seen(24, 22144, &[22016]),
    seen(47, 47488, &[47232]),
    seen(94, 95360, &[]),
];
const HBM_96GB: &[Portion] =
    &[seen(12, 11264, &[]), seen(24, 23552, &[]), seen(48, 47616, &[]), seen(96, 95232, &[])];
const HBM_141GB: &[Portion] = &[
    seen(18, 16384, &[]),
    seen(35, 33024, &[33280]),
    seen(71, 71168, &[]),
    seen(141, 143_360, &[]),
];

/// Assumed to be as on H100: only names, counts and engines are documented.
const LIKE_H100: Trust = trust([Derived, Derived, Derived, Doc, Derived, Doc]);
/// The same with SM counts that nobody tells.
const LIKE_H100_SM_UNKNOWN: Trust = trust([Derived, Derived, Unknown, Doc, Derived, Doc]);

/// What most boards with GH100 have in common.
const H100: Board = Board {
    id: "",
    title: "",
    nvml_names: &[],
    architecture: Architecture::Hopper,
    chip: "GH100",
    compute_capability: (9, 0),
    form_factor: "SXM5",
    pci: &[],
    nominal_gib: 80,
    total_mib: None,
    multiprocessors: Some(132),
    min_driver: Some("R525 (>= 525.85.12)"),
    min_cuda: Some("12"),
    min_vbios: None,
    confidence: Doc,
    family: &SEVEN,
    portions: HBM_80GB,
    sms: GH100_SXM,
    trust: LIKE_H100,
    except: &[],
    sister: None,
};

/// The boards of the generation.
pub(crate) static BOARDS: &[Board] = &[
    // The double-memory 1g.20gb has 26 SM, 10 more than 1g.10gb: it is not a 1g.10gb with
    // more memory.
    Board {
        id: "h100-sxm5-80gb",
        title: "H100 SXM5 80GB",
        nvml_names: &["NVIDIA H100 80GB HBM3"],
        pci: &[nvidia(0x2330)],
        total_mib: Some(81559),
        confidence: Verified,
        trust: all(Verified),
        ..H100
    },
    // SM counts differ from SXM5: 14/30/46/62/114, and 1g.20gb has 14.
    Board {
        id: "h100-pcie-80gb",
        title: "H100 PCIe 80GB",
        nvml_names: &["NVIDIA H100 PCIe"],
        form_factor: "PCIe",
        pci: &[nvidia(0x2331)],
        total_mib: Some(81559),
        multiprocessors: Some(114),
        confidence: Verified,
        sms: GH100_PCIE,
        trust: all(Verified),
        ..H100
    },
    Board {
        id: "h100-nvl-94gb",
        title: "H100 NVL 94GB",
        nvml_names: &["NVIDIA H100 NVL"],
        form_factor: "PCIe NVL",
        pci: &[nvidia(0x2321)],
        nominal_gib: 94,
        confidence: Verified,
        portions: HBM_94GB,
        trust: all(Verified),
        ..H100
    },
    // Memory copied from H100 NVL.
    Board {
        id: "h100-sxm5-94gb",
        title: "H100 SXM5 94GB",
        nvml_names: &["NVIDIA H100"],
        pci: &[nvidia(0x2339)],
        nominal_gib: 94,
        portions: HBM_94GB,
        ..H100
    },
    // Memory copied from GH200 96GB.
    Board {
        id: "h100-96gb",
        title: "H100 96GB",
        pci: &[nvidia(0x233D), nvidia(0x2338)],
        nominal_gib: 96,
        portions: HBM_96GB,
        ..H100
    },
    // Profile names 1g.8gb, 1g.8gb+me, 1g.16gb, 2g.16gb, 3g.32gb, 4g.32gb, 7g.64gb from
    // NVIDIA's vGPU types; SM counts unknown.
    Board {
        id: "h100-sxm5-64gb",
        title: "H100 SXM5 64GB",
        pci: &[nvidia(0x2337)],
        nominal_gib: 64,
        multiprocessors: None,
        portions: &[named(8), named(16), named(32), named(64)],
        sms: SMS_UNKNOWN,
        trust: trust([Derived, Unknown, Unknown, Doc, Derived, Doc]),
        sister: Some("h100-sxm5-80gb"),
        ..H100
    },
    Board {
        id: "h800-sxm5-80gb",
        title: "H800 SXM5 80GB",
        nvml_names: &["NVIDIA H800"],
        pci: &[nvidia(0x2324)],
        total_mib: Some(81559),
        ..H100
    },
    Board {
        id: "h800-pcie-80gb",
        title: "H800 PCIe 80GB",
        nvml_names: &["NVIDIA H800 PCIe"],
        form_factor: "PCIe",
        pci: &[nvidia(0x2322)],
        total_mib: Some(81559),
        multiprocessors: Some(114),
        sms: GH100_PCIE,
        ..H100
    },
    Board {
        id: "h800-nvl-94gb",
        title: "H800 NVL 94GB",
        nvml_names: &["NVIDIA H800 NVL"],
        form_factor: "PCIe NVL",
        pci: &[nvidia(0x233A)],
        nominal_gib: 94,
        multiprocessors: None,
        portions: HBM_94GB,
        ..H100
    },
    // No MIG source found.
    Board {
        id: "h100-cnx",
        title: "H100 CNX converged accelerator",
        form_factor: "PCIe + ConnectX-7",
        pci: &[nvidia(0x2313)],
        multiprocessors: None,
        confidence: Unverified,
        sms: GH100_PCIE,
        trust: all(Unknown),
        ..H100
    },
    // 78 SM in total (public spec quoted second hand); per-profile SM counts not found.
    // Memory copied from GH200 96GB. Real nvidia-smi -L shows 3g.48gb + 1g.24gb + 2 x
    // 1g.12gb coexisting.
    Board {
        id: "h20-96gb",
        title: "H20 96GB",
        nvml_names: &["NVIDIA H20"],
        pci: &[nvidia(0x2329)],
        nominal_gib: 96,
        multiprocessors: Some(78),
        min_driver: Some("R535 (>= 535.161.07)"),
        portions: HBM_96GB,
        sms: SMS_UNKNOWN,
        trust: LIKE_H100_SM_UNKNOWN,
        ..H100
    },
    // 'NVIDIA H20-3e MIG 4g.71gb' seen as a CUDA device name. SM per profile not found.
    Board {
        id: "h20-3e-141gb",
        title: "H20-3e 141GB",
        nvml_names: &["NVIDIA H20-3e"],
        pci: &[nvidia(0x232C)],
        nominal_gib: 141,
        multiprocessors: Some(78),
        min_driver: Some("R535 (>= 535.161.07)"),
        portions: HBM_141GB,
        sms: SMS_UNKNOWN,
        trust: LIKE_H100_SM_UNKNOWN,
        ..H100
    },
    // No MIG source found; memory size not established.
    Board {
        id: "h20-nvl16",
        title: "H20 NVL16",
        nvml_names: &["NVIDIA H20 NVL16"],
        pci: &[nvidia(0x230E)],
        nominal_gib: 141,
        multiprocessors: None,
        confidence: Unverified,
        portions: &[named(18), named(35), named(71), named(141)],
        sms: SMS_UNKNOWN,
        trust: all(Unknown),
        sister: Some("h20-3e-141gb"),
        ..H100
    },
    // go-nvml's mock uses device id 0x2333 and name 'NVIDIA H200 141GB HBM3e'; the driver
    // uses 0x2335 and 'NVIDIA H200'.
    Board {
        id: "h200-sxm-141gb",
        title: "H200 SXM 141GB",
        nvml_names: &["NVIDIA H200"],
        pci: &[nvidia(0x2335)],
        nominal_gib: 141,
        total_mib: Some(143_771),
        min_driver: Some("R550 (>= 550.90.07)"),
        confidence: Verified,
        portions: HBM_141GB,
        trust: trust([Verified, Single, Verified, Verified, Derived, Verified]),
        ..H100
    },
    // 0x233B is missing from the all-1g.35gb filter in mig-parted.
    Board {
        id: "h200-nvl-141gb",
        title: "H200 NVL 141GB",
        nvml_names: &["NVIDIA H200 NVL"],
        form_factor: "PCIe NVL",
        pci: &[nvidia(0x233B)],
        nominal_gib: 141,
        total_mib: Some(143_771),
        min_driver: Some("R550 (>= 550.90.07)"),
        portions: HBM_141GB,
        ..H100
    },
    // The name's 480GB/120GB is the Grace LPDDR size, not GPU memory.
    Board {
        id: "gh200-96gb",
        title: "GH200 96GB HBM3",
        nvml_names: &["NVIDIA GH200 480GB", "NVIDIA GH200 120GB"],
        form_factor: "superchip",
        pci: &[nvidia(0x2342)],
        nominal_gib: 96,
        confidence: Verified,
        portions: HBM_96GB,
        trust: trust([Verified, Verified, Verified, Verified, Derived, Verified]),
        ..H100
    },
    // 3g/4g/7g memory not retrieved (names 3g.72gb, 4g.72gb, 7g.144gb from mig-parted).
    Board {
        id: "gh200-144gb",
        title: "GH200 144G HBM3e",
        nvml_names: &["NVIDIA GH200 144G HBM3e"],
        form_factor: "superchip",
        pci: &[nvidia(0x2348)],
        nominal_gib: 144,
        confidence: Single,
        portions: &[seen(18, 17920, &[]), seen(36, 36096, &[]), named(72), named(144)],
        trust: trust([Single, Single, Single, Single, Derived, Single]),
        except: &[(&[2, 3, 4], trust([Single, Unknown, Derived, Single, Derived, Single]))],
        ..H100
    },
];
