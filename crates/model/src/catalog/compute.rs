//! How the GPU instances of a board divide into compute instances.
//!
//! Must never guess: what real `nvidia-smi mig -lcip` tables leave open stays `None`.

use alloc::vec::Vec;

use super::board::Board;
use super::family::{ComputeStyle, Size};

/// NVML's value and the driver's id of the 1-slice profile with the SMs of a double-memory 1g.
const REV1: u32 = 7;
/// NVML's value and the driver's id of A100's second whole-GPU profile.
const SEVEN_NVL: u32 = 8;
/// Compute slices and NVML's enum value, which equals the id, of the ordinary profiles.
const ORDINARY: [(u8, u32); 5] = [(1, 0), (2, 1), (3, 2), (4, 3), (7, 4)];

/// What is known of a compute instance profile inside one GPU instance profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComputeFacts {
    /// NVML's enum value.
    pub nvml_enum: u32,
    /// The driver's id.
    pub id: u32,
    /// Compute slices.
    pub slices: u8,
    /// Streaming multiprocessors.
    pub multiprocessors: Option<u32>,
    /// How many fit in an empty GPU instance.
    pub max_count: Option<u32>,
    /// Legal starts in compute slices.
    pub starts: Option<Vec<u8>>,
    /// Compute slices between two legal starts of neighbours: two for the REV1 profile, which takes
    /// a pair.
    pub(crate) pitch: u8,
}

/// The compute instance profiles of the GPU instances of size `index`. All `-lcip` tables seen
/// follow one rule: C slices of G exist if C = G or 2C ≤ G + 1, floor(G / C) times.
pub(crate) fn facts(board: &Board, index: usize) -> Vec<ComputeFacts> {
    let size = &board.family.sizes[index];
    let double = double_multiprocessors(board);
    let own = board.sms[index].known();
    let is_double = smallest_of(board, size.slices) != Some(index);
    if let (true, Some(multiprocessors)) = (is_double, double) {
        let whole = ComputeFacts {
            nvml_enum: REV1,
            id: REV1,
            slices: 1,
            multiprocessors: Some(multiprocessors),
            max_count: Some(1),
            starts: Some(alloc::vec![0]),
            pitch: 2,
        };
        return alloc::vec![whole];
    }
    let mut found: Vec<ComputeFacts> = ORDINARY
        .iter()
        .filter(|(slices, _)| *slices == size.slices || 2 * slices <= size.slices + 1)
        .map(|(slices, number)| ordinary(board, size, own, *slices, *number))
        .collect();
    if let Some(multiprocessors) = double.filter(|_| size.slices > 1) {
        found.push(rev1(size, multiprocessors));
    }
    if board.family.compute == ComputeStyle::Anywhere && size.slices == 7 {
        let whole = ordinary(board, size, own, 7, SEVEN_NVL);
        found.push(whole);
    }
    found
}

fn ordinary(board: &Board, size: &Size, own: Option<u32>, part: u8, number: u32) -> ComputeFacts {
    let style = board.family.compute;
    let whole = part == size.slices;
    let multiprocessors = match style {
        ComputeStyle::NotSeen => None,
        ComputeStyle::Anywhere | ComputeStyle::Aligned if whole => own,
        ComputeStyle::Anywhere | ComputeStyle::Aligned => {
            smallest_of(board, part).and_then(|index| board.sms[index].known())
        }
    };
    let count_seen = !(style == ComputeStyle::NotSeen && size.slices == 3 && part == 1);
    ComputeFacts {
        nvml_enum: number,
        id: number,
        slices: part,
        multiprocessors,
        max_count: count_seen.then_some(u32::from(size.slices / part)),
        starts: starts(style, size.slices, part),
        pitch: part,
    }
}

fn starts(style: ComputeStyle, slices: u8, part: u8) -> Option<Vec<u8>> {
    if part == slices {
        return Some(alloc::vec![0]);
    }
    let pitch = match (style, slices, part) {
        (ComputeStyle::NotSeen, _, _) | (_, 7, 3) | (ComputeStyle::Anywhere, 7, 4) => return None,
        (ComputeStyle::Anywhere, _, _) => 1,
        (ComputeStyle::Aligned, _, _) => part,
    };
    Some(aligned(slices, part, pitch))
}

/// The starts of parts of `part` slices every `pitch` slices.
pub(crate) fn aligned(slices: u8, part: u8, pitch: u8) -> Vec<u8> {
    (0..=slices.saturating_sub(part)).step_by(usize::from(pitch.max(1))).collect()
}

/// The 1-slice profile that has the SMs of a double-memory 1g: seen in a 2g of H100 SXM
/// (go-nvml issue 146), derived elsewhere; how many a 3g or 7g takes is open.
fn rev1(size: &Size, multiprocessors: u32) -> ComputeFacts {
    let settled = size.slices.is_multiple_of(2);
    ComputeFacts {
        nvml_enum: REV1,
        id: REV1,
        slices: 1,
        multiprocessors: Some(multiprocessors),
        max_count: settled.then_some(u32::from(size.slices / 2)),
        starts: settled.then(|| aligned(size.slices, 2, 2)),
        pitch: 2,
    }
}

/// The SMs of a double-memory 1g where they are more than those of the ordinary one: SXM Hopper and
/// data centre Blackwell.
fn double_multiprocessors(board: &Board) -> Option<u32> {
    let mut ones = board.family.sizes.iter().zip(board.sms).filter(|(size, _)| size.slices == 1);
    let single = ones.next()?.1.known()?;
    let double = ones.next()?.1.known()?;
    (double > single).then_some(double)
}

/// The size with `slices` compute slices and the least memory.
pub(crate) fn smallest_of(board: &Board, slices: u8) -> Option<usize> {
    board.family.sizes.iter().position(|size| size.slices == slices)
}
