//! Packing against brute force and against an integer program, and what moves make of a fleet.

use std::sync::{Arc, OnceLock};

use planner::pack::Packer;

use crate::world::geometries;

mod defrag;
mod ilp;
mod openings;
mod small;

pub(crate) use ilp::Draw;

/// The packers of all geometries.
fn packers() -> &'static [(&'static str, Packer)] {
    static ALL: OnceLock<Vec<(&'static str, Packer)>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut known: Vec<(&'static str, Packer)> = Vec::new();
        for (board, geometry) in geometries() {
            // What was proved of the same patterns is not proved again.
            let patterns = planner::pack::Patterns::new(geometry);
            let same = known.iter().find(|(_, packer)| alike(packer, &patterns));
            if same.is_none() {
                known.push((board, Packer::new(&Arc::clone(geometry))));
            }
        }
        known
    })
}

fn alike(packer: &Packer, patterns: &planner::pack::Patterns) -> bool {
    let counts = |patterns: &planner::pack::Patterns| {
        let all = patterns.maximal().iter().map(|pattern| pattern.counts.clone());
        all.collect::<Vec<_>>()
    };
    counts(packer.patterns()) == counts(patterns)
}
