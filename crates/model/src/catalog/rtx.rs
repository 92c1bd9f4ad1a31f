//! Workstation and server Blackwell: RTX PRO 6000, 5000 and 4500.
//!
//! Must never be taken for a board with eighths: the grid of RTX PRO 6000 has twelve units.
//!
//! `+me.all` takes every media engine, so that only `-me` profiles fit beside it. `+gfx` adds
//! graphics. Workstation cards must first be put in compute mode with NVIDIA's DisplayModeSelector.

use super::board::{Architecture, Board, Portion, Sm, named, nvidia, nvidia_subsystem, seen};
use super::fact::Confidence::{Derived, Doc, Unknown, Unverified, Verified};
use super::fact::{Trust, all, trust};
use super::family::{
    ALL_ME, ComputeStyle, Family, GFX, HALVES, ME, NO_ME, PLAIN, QUARTERS, Size, engines, shape,
};
use Sm::Known;

/// RTX PRO 6000: quarters, each of three grid units.
static FOUR: Family = Family {
    name: "gb202x4",
    grid: 12,
    grid_unit: "a twelfth of the GPU (a GPC of GB202), not a memory slice",
    max_instances: 4,
    engine_capacity: engines([4, 4, 4, 4, 1]),
    rules: &[],
    shares: QUARTERS,
    sizes: &[
        Size { slices: 1, portion: 0, span: 3, starts: &[0, 3, 6, 9] },
        Size { slices: 2, portion: 1, span: 6, starts: &[0, 6] },
        Size { slices: 4, portion: 2, span: 12, starts: &[0] },
    ],
    shapes: &[
        // size, attributes, (enum, id), max, [CE, DEC, ENC, JPEG, OFA]
        shape(0, PLAIN, (0, Some(14)), 4, [1, 1, 1, 1, 0]),
        shape(0, ME, (7, Some(21)), 1, [1, 1, 1, 1, 1]),
        shape(0, GFX, (10, Some(47)), 4, [1, 1, 1, 1, 0]),
        shape(0, ALL_ME, (15, Some(65)), 1, [1, 4, 4, 4, 1]),
        shape(0, NO_ME, (13, Some(67)), 4, [1, 0, 0, 0, 0]),
        shape(1, PLAIN, (1, Some(5)), 2, [2, 2, 2, 2, 0]),
        shape(1, GFX, (11, Some(35)), 2, [2, 2, 2, 2, 0]),
        shape(1, ALL_ME, (16, Some(64)), 1, [2, 4, 4, 4, 1]),
        shape(1, NO_ME, (14, Some(66)), 2, [2, 0, 0, 0, 0]),
        shape(2, PLAIN, (3, Some(0)), 1, [4, 4, 4, 4, 1]),
        shape(2, GFX, (12, Some(32)), 1, [4, 4, 4, 4, 1]),
    ],
    compute: ComputeStyle::Aligned,
};

/// Two halves: the places of a half GPU, whatever units the driver counts in.
const HALF_SIZES: &[Size] = &[
    Size { slices: 1, portion: 0, span: 1, starts: &[0, 1] },
    Size { slices: 2, portion: 1, span: 2, starts: &[0] },
];
const HALF_UNIT: &str = "half the GPU, normalised: the driver's own units are not known";

/// RTX PRO 5000 after the user guide of 2026. The guide of v580 lists a scheme of four slices
/// (1g.12gb to 4g.48gb); the kernel of driver 595 hides quarters on boards with two slices.
static TWO_5000: Family = Family {
    name: "two5000",
    grid: 2,
    grid_unit: HALF_UNIT,
    max_instances: 2,
    engine_capacity: engines([4, 3, 3, 1, 1]),
    rules: &[],
    shares: HALVES,
    sizes: HALF_SIZES,
    shapes: &[
        // size, attributes, (enum, id), max, [CE, DEC, ENC, JPEG, OFA]
        shape(0, PLAIN, (0, None), 2, [1, 1, 1, 0, 0]),
        shape(0, ME, (7, None), 1, [1, 1, 1, 1, 1]),
        shape(0, GFX, (10, None), 2, [1, 1, 1, 0, 0]),
        shape(0, ALL_ME, (15, None), 1, [1, 3, 3, 1, 1]),
        shape(0, NO_ME, (13, None), 2, [1, 0, 0, 0, 0]),
        shape(1, PLAIN, (1, None), 1, [4, 3, 3, 1, 1]),
        shape(1, GFX, (11, None), 1, [4, 3, 3, 1, 1]),
    ],
    compute: ComputeStyle::NotSeen,
};

/// RTX PRO 4500: no `+me` profile is listed.
static TWO_4500: Family = Family {
    name: "two4500",
    grid: 2,
    grid_unit: HALF_UNIT,
    max_instances: 2,
    engine_capacity: engines([2, 3, 3, 2, 1]),
    rules: &[],
    shares: HALVES,
    sizes: HALF_SIZES,
    shapes: &[
        // size, attributes, (enum, id), max, [CE, DEC, ENC, JPEG, OFA]
        shape(0, PLAIN, (0, None), 2, [1, 1, 1, 1, 0]),
        shape(0, GFX, (10, None), 2, [1, 1, 1, 1, 0]),
        shape(0, ALL_ME, (15, None), 1, [1, 3, 3, 2, 1]),
        shape(0, NO_ME, (13, None), 2, [1, 0, 0, 0, 0]),
        shape(1, PLAIN, (1, None), 1, [2, 3, 3, 2, 1]),
        shape(1, GFX, (11, None), 1, [2, 3, 3, 2, 1]),
    ],
    compute: ComputeStyle::NotSeen,
};

/// SMs of 1g, 2g and 4g.
const GB202_SMS: &[Sm] = &[Known(46), Known(94), Known(188)];
const SMS_UNKNOWN: &[Sm] = &[Sm::Unknown; 2];

/// Name, usable MiB, and MiB seen elsewhere, of a quarter, a half and the whole.
const RTX_96GB: &[Portion] =
    &[seen(24, 24192, &[23680]), seen(48, 48512, &[47616]), seen(96, 97408, &[95616])];

/// Assumed to be as on the server edition: only names, counts and engines are documented.
const LIKE_SERVER: Trust = trust([Derived, Derived, Derived, Doc, Derived, Doc]);
/// Only the user guide's table: names, counts and engines.
const GUIDE_ONLY: Trust = trust([Unknown, Unknown, Unknown, Doc, Unknown, Doc]);

/// What the boards have in common.
const RTX_PRO_6000: Board = Board {
    id: "",
    title: "",
    nvml_names: &[],
    architecture: Architecture::Blackwell,
    chip: "GB202",
    compute_capability: (12, 0),
    form_factor: "PCIe",
    pci: &[],
    nominal_gib: 96,
    total_mib: Some(97887),
    multiprocessors: Some(188),
    min_driver: Some("R575 (>= 575.51.03)"),
    min_cuda: Some("12"),
    min_vbios: None,
    confidence: Doc,
    family: &FOUR,
    portions: RTX_96GB,
    sms: GB202_SMS,
    trust: LIKE_SERVER,
    except: &[],
    sister: None,
};

/// The boards of the generation.
pub(crate) static BOARDS: &[Board] = &[
    // Full profile printed as 95.12 GiB in one capture and 95.00 in another.
    Board {
        id: "rtx-pro-6000-bse",
        title: "RTX PRO 6000 Blackwell Server Edition",
        nvml_names: &["NVIDIA RTX PRO 6000 Blackwell Server Edition"],
        pci: &[nvidia(0x2BB5)],
        confidence: Verified,
        trust: all(Verified),
        ..RTX_PRO_6000
    },
    // Needs DisplayModeSelector >= 1.72.0 to put the card in compute mode first.
    Board {
        id: "rtx-pro-6000-ws",
        title: "RTX PRO 6000 Blackwell Workstation Edition",
        nvml_names: &["NVIDIA RTX PRO 6000 Blackwell Workstation Edition"],
        pci: &[nvidia(0x2BB1)],
        min_vbios: Some("98.02.55.00.00"),
        ..RTX_PRO_6000
    },
    // Needs DisplayModeSelector >= 1.72.0 to put the card in compute mode first.
    Board {
        id: "rtx-pro-6000-maxq",
        title: "RTX PRO 6000 Blackwell Max-Q Workstation Edition",
        nvml_names: &["NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition"],
        pci: &[nvidia(0x2BB4)],
        min_vbios: Some("98.02.6A.00.00"),
        ..RTX_PRO_6000
    },
    // The guide gives 4 copy engines for 2g.48gb; the pattern elsewhere would be 2. The 72 GB
    // board has the same device id and another subsystem.
    Board {
        id: "rtx-pro-5000-48gb",
        title: "RTX PRO 5000 Blackwell (48 GB)",
        nvml_names: &["NVIDIA RTX PRO 5000 Blackwell"],
        pci: &[nvidia_subsystem(0x2BB3, 0x204D)],
        nominal_gib: 48,
        total_mib: None,
        multiprocessors: None,
        min_driver: Some("R575 (>= 575.57.08)"),
        min_vbios: Some("98.02.73.00.00"),
        family: &TWO_5000,
        portions: &[named(24), named(48)],
        sms: SMS_UNKNOWN,
        trust: GUIDE_ONLY,
        sister: Some("rtx-pro-6000-bse"),
        ..RTX_PRO_6000
    },
    // Not in the MIG supported-GPU table; geometry and names here assume it behaves as the
    // 48 GB board.
    Board {
        id: "rtx-pro-5000-72gb",
        title: "RTX PRO 5000 72GB Blackwell",
        nvml_names: &["NVIDIA RTX PRO 5000 72GB Blackwell"],
        pci: &[nvidia_subsystem(0x2BB3, 0x227A)],
        nominal_gib: 72,
        total_mib: None,
        multiprocessors: None,
        min_driver: None,
        min_cuda: None,
        confidence: Unverified,
        family: &TWO_5000,
        portions: &[named(36), named(72)],
        sms: SMS_UNKNOWN,
        trust: all(Unknown),
        sister: Some("rtx-pro-6000-bse"),
        ..RTX_PRO_6000
    },
    // The Server Edition (AWS g7) was seen live with 1g.16gb x2 and 2g.32gb x1; its
    // device id was not found.
    Board {
        id: "rtx-pro-4500-32gb",
        title: "RTX PRO 4500 Blackwell (32 GB)",
        nvml_names: &[
            "NVIDIA RTX PRO 4500 Blackwell",
            "NVIDIA RTX PRO 4500 Blackwell Server Edition",
        ],
        chip: "GB203",
        pci: &[nvidia(0x2C31)],
        nominal_gib: 32,
        total_mib: Some(32623),
        multiprocessors: None,
        min_driver: Some("R575 (>= 575.64)"),
        family: &TWO_4500,
        portions: &[named(16), named(32)],
        sms: SMS_UNKNOWN,
        trust: GUIDE_ONLY,
        sister: Some("rtx-pro-6000-bse"),
        ..RTX_PRO_6000
    },
];
