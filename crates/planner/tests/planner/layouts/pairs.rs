//! Every pair of plain layouts, and many seeded pairs of full ones, each with its own busy and
//! leased instances.

use super::oracle::{Board, Case, Dice};
use crate::world::*;

/// Pairs of full layouts on each geometry.
const PAIRS: usize = 20_000;

/// Every pair whose first layout is one of every `of`, from `from` on.
fn all_pairs(board: &Board, from: usize, of: usize) {
    let mut dice = Dice(from as u64);
    for first in board.layouts.iter().skip(from).step_by(of) {
        for second in &board.layouts {
            let places = dice.below(4);
            let mut other = Dice(dice.0);
            let pinned = || places > 0 && other.below(4) < places;
            board.judge(&Case::new(*first, *second, || dice.who(), pinned));
        }
    }
}

fn seeded_pairs(id: &str) {
    let board = Board::of(id);
    let mut dice = Dice(PAIRS as u64);
    for _ in 0..PAIRS {
        let mut one = || board.layouts[dice.below(board.layouts.len())];
        let (first, second) = (one(), one());
        let places = dice.below(4);
        let mut other = Dice(dice.0);
        let pinned = || places > 0 && other.below(4) < places;
        board.judge(&Case::new(first, second, || dice.who(), pinned));
    }
}

#[test]
fn every_pair_of_plain_layouts_of_the_eight_grid_first_half() {
    let board = Board::plain("a100-sxm4-40gb");
    assert_eq!(board.layouts.len(), 298);
    all_pairs(&board, 0, 2);
}

#[test]
fn every_pair_of_plain_layouts_of_the_eight_grid_second_half() {
    all_pairs(&Board::plain("a100-sxm4-40gb"), 1, 2);
}

/// Those with attributes included, each pair with three sets of holders.
#[test]
fn every_pair_of_layouts_of_the_a30() {
    let board = Board::of("a30");
    assert_eq!(board.layouts.len(), 76);
    for _ in 0..3 {
        all_pairs(&board, 0, 1);
    }
}

/// Of plans that disturb as little, the one that leaves the most room.
#[test]
fn no_plan_that_costs_as_little_leaves_more_room() {
    for id in ["a100-sxm4-40gb", "a30", "rtx-pro-6000-bse"] {
        let board = Board::of(id);
        let mut dice = Dice(7);
        for _ in 0..300 {
            let mut one = || board.layouts[dice.below(board.layouts.len())];
            let (first, second) = (one(), one());
            board.no_tie_leaves_more(&Case::new(first, second, || dice.who(), || false));
        }
    }
}

/// The geometries that are named below are all there are.
#[test]
fn no_geometry_is_left_out() {
    let named = [
        "a100-sxm4-40gb",
        "a30",
        "h100-sxm5-80gb",
        "h100-pcie-80gb",
        "b200",
        "b300",
        "rtx-pro-6000-bse",
        "rtx-pro-5000-48gb",
        "rtx-pro-4500-32gb",
        "thor-igpu",
    ];
    let found: Vec<&str> = geometries().iter().map(|(id, _)| *id).collect();
    assert_eq!(found, named);
}

macro_rules! seeded {
    ($($name:ident: $id:literal;)*) => {
        $(
            #[test]
            fn $name() {
                seeded_pairs($id);
            }
        )*
    };
}

seeded! {
    seeded_pairs_of_a100: "a100-sxm4-40gb";
    seeded_pairs_of_h100_sxm: "h100-sxm5-80gb";
    seeded_pairs_of_h100_pcie: "h100-pcie-80gb";
    seeded_pairs_of_b200: "b200";
    seeded_pairs_of_b300: "b300";
    seeded_pairs_of_the_twelve_grid: "rtx-pro-6000-bse";
    seeded_pairs_of_rtx_pro_5000: "rtx-pro-5000-48gb";
    seeded_pairs_of_rtx_pro_4500: "rtx-pro-4500-32gb";
    seeded_pairs_of_thor: "thor-igpu";
}
