//! Jetson Thor: an integrated GPU with MIG and no memory of its own.
//!
//! Must never be judged by memory: every profile reports 0 because the memory is the host's.

use super::board::{Architecture, Board, Sm, seen};
use super::fact::Confidence::{Derived, Doc, Single, Unknown};
use super::fact::trust;
use super::family::{ComputeStyle, Family, GFX, ME, PLAIN, Size, engines, shape};
use crate::geometry::BoardRule;
use Sm::Known;

/// Three units, of which 2g takes the first two and 1g the last. At most one instance without
/// graphics and one with (MIG user guide); scripts make the pair 83 and 78 together.
static THOR: Family = Family {
    name: "thor",
    grid: 3,
    grid_unit: "a graphics processing cluster",
    max_instances: 2,
    engine_capacity: engines([1, 2, 2, 2, 1]),
    rules: &[BoardRule::OneComputeOneGraphics],
    shares: &[None],
    sizes: &[
        Size { slices: 1, portion: 0, span: 1, starts: &[2] },
        Size { slices: 2, portion: 0, span: 2, starts: &[0] },
        Size { slices: 3, portion: 0, span: 3, starts: &[0] },
    ],
    shapes: &[
        // size, attributes, (enum, id), max, [CE, DEC, ENC, JPEG, OFA]
        shape(0, ME, (7, Some(78)), 1, [1, 1, 1, 1, 1]),
        shape(0, PLAIN, (0, Some(80)), 1, [1, 1, 1, 1, 0]),
        shape(0, GFX, (10, Some(81)), 1, [1, 1, 1, 1, 0]),
        shape(1, PLAIN, (1, Some(82)), 1, [1, 1, 1, 1, 0]),
        shape(1, GFX, (11, Some(83)), 1, [1, 1, 1, 1, 0]),
        shape(2, PLAIN, (2, None), 1, [1, 2, 2, 2, 1]),
        shape(2, GFX, (17, None), 1, [1, 2, 2, 2, 1]),
    ],
    compute: ComputeStyle::NotSeen,
};

/// The boards of the generation.
pub(crate) static BOARDS: &[Board] = &[
    // Unified memory: every profile reports 0 GB, so names are 1g.0gb, 2g.0gb, 3g.0gb.
    // At most two instances: one compute and one +gfx; 3g stands alone. All 1g profiles
    // have the single placement {2}:1 and all 2g {0}:2, so two 1g never coexist.
    // Which of ids 80/81 and 82/83 is plain and which is +gfx: 83 = 2g.0gb+gfx and 78 =
    // 1g.0gb+me are stated in scripts; 80/81/82 assigned by order. 3g ids and placement not
    // seen.
    // 1g SM count: reported as 8 and as 6 by different sources; 2g is 12, whole GPU 20.
    // Compute capability: the guide says TBD; 11.0 is general CUDA 13 knowledge, not a
    // retrieved source.
    // One user reports creating 78 alone fails and the pair 83,78 must be created together.
    Board {
        id: "thor-igpu",
        title: "Jetson T5000 / AGX Thor iGPU",
        nvml_names: &["NVIDIA Thor"],
        architecture: Architecture::Blackwell,
        chip: "GB10B",
        compute_capability: (11, 0),
        form_factor: "integrated",
        pci: &[],
        nominal_gib: 0,
        total_mib: None,
        multiprocessors: Some(20),
        min_driver: Some("R595 (JetPack 7.2)"),
        min_cuda: Some("13"),
        min_vbios: None,
        confidence: Single,
        family: &THOR,
        portions: &[seen(0, 0, &[])],
        sms: &[Known(8), Known(12), Known(20)],
        trust: trust([Derived, Doc, Single, Doc, Single, Doc]),
        except: &[
            (&[7, 11], trust([Single, Doc, Single, Doc, Single, Doc])),
            (&[2, 17], trust([Unknown, Doc, Single, Doc, Derived, Doc])),
        ],
        sister: None,
    },
];
