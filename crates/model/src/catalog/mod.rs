//! Boards that can do MIG, with what is known of each and how well.
//!
//! Must never be preferred to what a live driver says: names, ids, memory and placement units vary
//! with the driver and the board. It serves the simulator, planning offline and sanity checks.
//!
//! The data is in one table per generation (`ampere`, `hopper`, `blackwell`, `rtx`, `thor`). A
//! [`Family`] holds what all boards of a shape share (grid, legal starts, ids, engines); a [`Board`]
//! adds its memory, its SM counts and how far each column is trusted. What no source tells is
//! `None` there, never 0. [`Board::geometry`] fills such holes by the rules of [`Rule`], and
//! [`Board::derived`] lists every value so made.
//!
//! ```
//! use model::catalog;
//!
//! let board = catalog::board("a100-sxm4-40gb").expect("a known board");
//! assert_eq!(board.geometry().grid.get(), 8);
//! assert!(catalog::board("a30").expect("a known board").derived().is_empty());
//! assert_eq!(catalog::nearest_ids("a100-sxm-40gb")[0], "a100-sxm4-40gb");
//! ```

mod ampere;
mod blackwell;
mod board;
mod compute;
mod derive;
mod fact;
mod family;
mod hopper;
mod rtx;
mod thor;

use alloc::vec::Vec;

pub use board::{Architecture, Board, PciId, ProfileFacts};
pub use compute::ComputeFacts;
pub use derive::{DerivedFact, Field, Rule};
pub use fact::{Confidence, Fact};
pub use family::{Family, Share};

/// Every board of the catalog, by generation.
pub fn boards() -> impl Iterator<Item = &'static Board> + Clone {
    let generations: [&'static [Board]; 5] =
        [ampere::BOARDS, hopper::BOARDS, blackwell::BOARDS, rtx::BOARDS, thor::BOARDS];
    generations.into_iter().flatten()
}

/// The board with this catalog id (`a100-sxm4-40gb`), whatever its case.
pub fn board(id: &str) -> Option<&'static Board> {
    boards().find(|board| board.id.eq_ignore_ascii_case(id.trim()))
}

/// The board that NVML names `name`. The leading `NVIDIA` may be missing, as older drivers print
/// it (MIG user guide v580).
pub fn by_nvml_name(name: &str) -> Option<&'static Board> {
    let wanted = without_vendor(name.trim());
    boards().find(|board| {
        board.nvml_names.iter().any(|known| without_vendor(known).eq_ignore_ascii_case(wanted))
    })
}

fn without_vendor(name: &str) -> &str {
    match name.split_once(' ') {
        Some((vendor, rest)) if vendor.eq_ignore_ascii_case("NVIDIA") => rest,
        _ => name,
    }
}

/// The one board with this PCI device, as NVML packs it (`0x20B010DE`: device, then vendor), and
/// subsystem (device, then vendor, or the device alone).
///
/// `None` if no board has it, or if several do and the subsystem does not tell them apart: device
/// 0x2BB3 is an RTX PRO 5000 with 48 or with 72 GB.
pub fn by_pci(device_and_vendor: u32, subsystem: Option<u32>) -> Option<&'static Board> {
    let mut found = all_by_pci(device_and_vendor, subsystem);
    let first = found.next();
    if found.next().is_some() { None } else { first }
}

/// Every board with this PCI device; see [`by_pci`].
pub fn all_by_pci(
    device_and_vendor: u32,
    subsystem: Option<u32>,
) -> impl Iterator<Item = &'static Board> {
    boards().filter(move |board| board.pci.iter().any(|pci| pci.is(device_and_vendor, subsystem)))
}

/// The ids most like `typed`, best first, at most three: those that begin with it, then those that
/// contain it, then those that differ in the fewest letters. For an error message.
pub fn nearest_ids(typed: &str) -> Vec<&'static str> {
    let typed = typed.trim().to_ascii_lowercase();
    let mut ids: Vec<&'static str> = boards().map(|board| board.id).collect();
    ids.sort_by_key(|id| (!id.starts_with(&*typed), !id.contains(&*typed), distance(id, &typed)));
    ids.truncate(3);
    ids
}

/// Levenshtein's distance in bytes.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, a) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, b) in right.bytes().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
