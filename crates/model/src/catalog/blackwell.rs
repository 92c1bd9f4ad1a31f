//! Data centre Blackwell: B200, GB200, B300 and GB300, all with seven compute slices.
//!
//! Must never take a hint for a fact: of 3g, 4g and 7g neither memory nor SMs have been published.

use super::board::{Architecture, Board, Sm, named, nvidia, seen};
use super::fact::Confidence::{Derived, Doc, Single, Unknown, Verified};
use super::fact::trust;
use super::family::{
    ComputeStyle, EIGHTH_UNIT, EIGHTHS, Family, G1, G1_DOUBLE, G2, G3, G4, G7, ME, PLAIN,
    SEVEN_SIZES, engines, shape,
};
use Sm::{Hint, Known};

/// GB100 and GB110 with seven of eight slices; twice the copy engines of Hopper. The starts are
/// those of the tree common to all boards with eighths; no table of these boards shows them.
static SEVEN: Family = Family {
    name: "seven",
    grid: 8,
    grid_unit: EIGHTH_UNIT,
    max_instances: 7,
    engine_capacity: engines([16, 7, 0, 7, 1]),
    rules: &[],
    shares: EIGHTHS,
    sizes: SEVEN_SIZES,
    shapes: &[
        // size, attributes, (enum, id), max, [CE, DEC, ENC, JPEG, OFA]
        shape(G1, PLAIN, (0, Some(19)), 7, [2, 1, 0, 1, 0]),
        shape(G1, ME, (7, Some(20)), 1, [2, 1, 0, 1, 1]),
        shape(G1_DOUBLE, PLAIN, (9, Some(15)), 4, [2, 1, 0, 1, 0]),
        shape(G2, PLAIN, (1, Some(14)), 3, [4, 2, 0, 2, 0]),
        shape(G3, PLAIN, (2, Some(9)), 2, [6, 3, 0, 3, 0]),
        shape(G4, PLAIN, (3, Some(5)), 1, [8, 4, 0, 4, 0]),
        shape(G7, PLAIN, (4, Some(0)), 1, [16, 7, 0, 7, 1]),
    ],
    compute: ComputeStyle::Aligned,
};

const SMS_UNKNOWN: &[Sm] = &[Sm::Unknown; 6];

/// What the boards have in common.
const GB100: Board = Board {
    id: "",
    title: "",
    nvml_names: &[],
    architecture: Architecture::Blackwell,
    chip: "GB100",
    compute_capability: (10, 0),
    form_factor: "SXM",
    pci: &[],
    nominal_gib: 180,
    total_mib: None,
    multiprocessors: Some(148),
    min_driver: Some("R570 (>= 570.133.20)"),
    min_cuda: Some("12"),
    min_vbios: None,
    confidence: Single,
    family: &SEVEN,
    portions: &[seen(23, 20992, &[22528]), seen(45, 45312, &[]), named(90), named(180)],
    sms: &[Known(18), Known(30), Known(36), Hint(70), Hint(72), Hint(148)],
    trust: trust([Single, Single, Single, Single, Derived, Verified]),
    except: &[(&[2, 3, 4], trust([Derived, Unknown, Unknown, Doc, Derived, Verified]))],
    sister: None,
};

/// The boards of the generation.
///
/// Portions: name, usable MiB, and MiB seen elsewhere, of an eighth, a quarter, a half and the
/// whole. SMs: of 1g, double-memory 1g, 2g, 3g, 4g and 7g.
pub(crate) static BOARDS: &[Board] = &[
    // 3g/4g/7g rows of the published -lgip tables could not be retrieved;
    // multiprocessors_hint values are unconfirmed (7g = whole GPU 148 SM, 4g = 4 x 18, 3g
    // recalled only).
    // user guide's B200 hardware columns (NVDEC 1 for 2g/3g/4g/7g, 3 copy engines for 2g)
    // contradict the real -lgip head (2 DEC, 4 CE for 2g). The DEC/JPEG values here follow
    // the real pattern; 3g/4g/7g copy engines follow the guide (6/8/16).
    // go-nvml's mock uses device id 0x2B00, 126 SM for 7g and encoders > 0: all wrong.
    // CUDA reports 182631 MiB and 148 SM for the whole GPU; the profile names need an NVML
    // total that rounds up to 180 GiB.
    Board {
        id: "b200",
        title: "B200 180GB",
        nvml_names: &["NVIDIA B200"],
        pci: &[nvidia(0x2901)],
        ..GB100
    },
    // Names shift with the driver: an early driver showed 1g.24gb with 20.00 GiB; the
    // family then reads 1g.24gb/47/95/189, because the total rounds to 189 GiB. Later
    // drivers show 1g.23gb/47/93/186. mig-parted still ships both 7g.186gb and 7g.189gb,
    // 3g.93gb and 3g.95gb (mig-parted issue 227).
    Board {
        id: "gb200",
        title: "GB200 (HGX / NVL72)",
        nvml_names: &["NVIDIA GB200"],
        form_factor: "superchip",
        pci: &[nvidia(0x2941)],
        nominal_gib: 186,
        multiprocessors: None,
        portions: &[seen(23, 22528, &[20480]), seen(47, 46592, &[]), named(93), named(186)],
        sms: &[Known(18), Known(32), Known(38), Sm::Unknown, Sm::Unknown, Hint(152)],
        ..GB100
    },
    // Profile names and counts from mig-parted and gpu-operator release data only; ids, SM,
    // engines assumed as B200.
    // One public test says CUDA sees 33.75 GiB in a 1g.34gb.
    Board {
        id: "b300",
        title: "B300 SXM6",
        nvml_names: &["NVIDIA B300 SXM6 AC"],
        chip: "GB110",
        compute_capability: (10, 3),
        form_factor: "SXM6",
        pci: &[nvidia(0x3182)],
        nominal_gib: 269,
        multiprocessors: None,
        min_driver: Some("R580 (>= 580.82.07)"),
        min_cuda: Some("12.9"),
        confidence: Doc,
        portions: &[named(34), named(67), named(135), named(269)],
        sms: SMS_UNKNOWN,
        trust: trust([Derived, Unknown, Unknown, Derived, Derived, Doc]),
        except: &[],
        sister: Some("b200"),
        ..GB100
    },
    // Names and ids 19/20/15/14/9/5/0 from NVIDIA's DGX Station playbook; SM, memory,
    // engines unknown.
    Board {
        id: "gb300",
        title: "GB300",
        nvml_names: &["NVIDIA GB300"],
        chip: "GB110",
        compute_capability: (10, 3),
        form_factor: "superchip",
        pci: &[nvidia(0x31C2)],
        nominal_gib: 278,
        multiprocessors: None,
        min_driver: Some("R595 (>= 595.58.03) for DGX Station"),
        min_cuda: Some("13"),
        confidence: Doc,
        portions: &[named(35), named(70), named(139), named(278)],
        sms: SMS_UNKNOWN,
        trust: trust([Doc, Unknown, Unknown, Derived, Derived, Doc]),
        except: &[],
        sister: Some("gb200"),
        ..GB100
    },
];
