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
    grid_unit: "a GPC: two in the 2g, one in the 1g",
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
    // 83 = 2g.0gb+gfx and 78 = 1g.0gb+me are stated in scripts; 80, 81 and 82 are assigned by
    // order. Ids and place of 3g were not seen. The SMs of 1g are reported as 8 and as 6; 2g has
    // 12, the whole GPU 20. The guide leaves the compute capability open; 11.0 is what CUDA 13
    // calls it. One user reports that 78 alone fails: 83 and 78 must be made together.
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
