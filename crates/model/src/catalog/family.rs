//! What the boards of one shape share: grid, sizes, profiles, ids and engines.
//!
//! Must never hold what differs between two boards of a family (memory, SM counts, trust).

use crate::geometry::{BoardRule, EngineCounts};
use crate::profile::{Attributes, Media};

/// A part of the GPU's memory: one of `of` equal parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share {
    /// Into how many parts the memory is cut.
    pub of: u8,
}

/// The boards of one shape.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// What people call the shape.
    pub name: &'static str,
    /// Units of the placement grid.
    pub grid: u8,
    /// What one unit of the grid is.
    pub grid_unit: &'static str,
    /// The most GPU instances at once.
    pub max_instances: u32,
    /// The engines of the whole GPU. Copy engines are those of the full profile.
    pub engine_capacity: EngineCounts,
    /// Rules beyond overlap, maxima and engines.
    pub rules: &'static [BoardRule],
    /// The memory shares of its sizes, smallest first; a board's portions are in the same order.
    /// `None` where the GPU has no memory of its own.
    pub(crate) shares: &'static [Option<Share>],
    /// Its sizes; a board's SM counts are in the same order.
    pub(crate) sizes: &'static [Size],
    /// Its profiles.
    pub(crate) shapes: &'static [Shape],
    /// How its GPU instances divide into compute instances.
    pub(crate) compute: ComputeStyle,
}

/// One size of GPU instance: compute, memory and places.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// The g number.
    pub(crate) slices: u8,
    /// Index of its memory share.
    pub(crate) portion: usize,
    /// Grid units.
    pub(crate) span: u8,
    /// Legal starts.
    pub(crate) starts: &'static [u8],
}

/// A profile: a size with attributes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Index of its size.
    pub(crate) size: usize,
    pub(crate) attributes: Attributes,
    pub(crate) nvml_enum: u32,
    pub(crate) id: Option<u32>,
    pub(crate) max_instances: u32,
    pub(crate) engines: EngineCounts,
    /// Driver branch that brought it, where later than the board's first.
    pub(crate) since: Option<u32>,
}

impl Shape {
    pub(crate) const fn since(self, branch: u32) -> Self {
        Self { since: Some(branch), ..self }
    }
}

/// How GPU instances of a family divide into compute instances (MIG user guide; `-lcip` tables).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ComputeStyle {
    /// A100: two-slice instances start anywhere, and the full profile has a second, NVL one.
    Anywhere,
    /// Parts start at multiples of their size.
    Aligned,
    /// Nobody has shown where parts start and how many SMs they have.
    NotSeen,
}

pub(crate) const PLAIN: Attributes = Attributes { media: Media::Share, graphics: false };
pub(crate) const ME: Attributes = Attributes { media: Media::Extensions, graphics: false };
pub(crate) const ALL_ME: Attributes = Attributes { media: Media::All, graphics: false };
pub(crate) const NO_ME: Attributes = Attributes { media: Media::None, graphics: false };
pub(crate) const GFX: Attributes = Attributes { media: Media::Share, graphics: true };

/// Engines in the order of `nvidia-smi mig -lgip`: CE, DEC, ENC, JPEG, OFA.
pub(crate) const fn engines(counts: [u32; 5]) -> EngineCounts {
    let [copy, decoders, encoders, jpeg, ofa] = counts;
    EngineCounts { copy, decoders, encoders, jpeg, ofa }
}

/// A profile of size `size`: (NVML enum value, driver id), how many at once, engines.
pub(crate) const fn shape(
    size: usize,
    attributes: Attributes,
    (nvml_enum, id): (u32, Option<u32>),
    max_instances: u32,
    counts: [u32; 5],
) -> Shape {
    Shape { size, attributes, nvml_enum, id, max_instances, engines: engines(counts), since: None }
}

pub(crate) const EIGHTHS: &[Option<Share>] =
    &[Some(Share { of: 8 }), Some(Share { of: 4 }), Some(Share { of: 2 }), Some(Share { of: 1 })];
pub(crate) const QUARTERS: &[Option<Share>] =
    &[Some(Share { of: 4 }), Some(Share { of: 2 }), Some(Share { of: 1 })];
pub(crate) const HALVES: &[Option<Share>] = &[Some(Share { of: 2 }), Some(Share { of: 1 })];

/// The sizes of the boards with seven compute and eight memory slices. The double-memory 1g has
/// the places of an eighth pair, the last one included, which 2g may not use.
pub(crate) const SEVEN_SIZES: &[Size] = &[
    Size { slices: 1, portion: 0, span: 1, starts: &[0, 1, 2, 3, 4, 5, 6] },
    Size { slices: 1, portion: 1, span: 2, starts: &[0, 2, 4, 6] },
    Size { slices: 2, portion: 1, span: 2, starts: &[0, 2, 4] },
    Size { slices: 3, portion: 2, span: 4, starts: &[0, 4] },
    Size { slices: 4, portion: 2, span: 4, starts: &[0] },
    Size { slices: 7, portion: 3, span: 8, starts: &[0] },
];

// Indexes into SEVEN_SIZES.
pub(crate) const G1: usize = 0;
pub(crate) const G1_DOUBLE: usize = 1;
pub(crate) const G2: usize = 2;
pub(crate) const G3: usize = 3;
pub(crate) const G4: usize = 4;
pub(crate) const G7: usize = 5;

/// Why the grid of the `seven` boards counts in eighths.
pub(crate) const EIGHTH_UNIT: &str = "an eighth of the memory";
