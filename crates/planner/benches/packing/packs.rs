//! How many GPUs multisets of instances need, beside first fit decreasing.
//!
//! Must never give first fit an order that it would not have: large instances first, the places in
//! the geometry's order.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use model::catalog;
use planner::pack::{Demand, Packer, Patterns};
use planner::{ClassId, GeometryTables};

use crate::{Draw, at, taken};

/// GPUs by first fit, the largest instances first; GPUs that look alike are counted, so that it does
/// not lose by scanning.
fn first_fit(tables: &GeometryTables, demand: &Demand) -> usize {
    let profiles = &tables.geometry().profiles;
    let mut order: Vec<usize> = (0..profiles.len()).collect();
    order
        .sort_by_key(|profile| std::cmp::Reverse((profiles[*profile].size, profiles[*profile].id)));
    let mut gpus: Vec<ClassId> = Vec::new();
    for profile in order {
        let parts: Vec<_> = tables.parts_of(profiles[profile].id).collect();
        let mut from = 0;
        for _ in 0..demand.count(profile) {
            let next = |class| parts.iter().find_map(|part| tables.after(class, *part));
            // What had no room for one of these has none for the next.
            while gpus.get(from).is_some_and(|class| next(*class).is_none()) {
                from += 1;
            }
            match gpus.get_mut(from) {
                Some(class) => *class = next(*class).unwrap_or(*class),
                None => gpus.extend(next(tables.empty())),
            }
        }
    }
    gpus.len()
}

pub(crate) fn print() {
    let mut seen = BTreeSet::new();
    for board in catalog::boards() {
        let geometry = Arc::new(board.geometry());
        let patterns = Patterns::new(&geometry);
        let counts: Vec<Vec<u8>> = patterns.maximal().iter().map(|p| p.counts.clone()).collect();
        if !seen.insert(counts) {
            continue;
        }
        let start = Instant::now();
        let packer = Packer::new(&geometry);
        println!(
            "{}: {} layouts, {} count vectors, {} maximal, {} bounds, proved: {}, made in {:.1} ms",
            board.id,
            patterns.layout_count(),
            patterns.vector_count(),
            patterns.maximal().len(),
            packer.bounds().len(),
            packer.is_closed(),
            start.elapsed().as_secs_f64() * 1e3
        );
        let tables = GeometryTables::new(&geometry);
        for instances in [100, 10_000, 1_000_000] {
            one_size(&packer, &tables, instances);
        }
    }
}

fn one_size(packer: &Packer, tables: &GeometryTables, instances: usize) {
    let profiles = &packer.geometry().profiles;
    let grid = u64::from(packer.geometry().grid.get());
    let mut draw = Draw(instances as u64);
    let mut demand = Demand::none(packer.geometry());
    for _ in 0..instances {
        // The smaller the more, as in shared fleets.
        let pick = draw.below(profiles.len());
        let keep = grid / u64::from(profiles[pick].size.get());
        let profile = if draw.below(grid as usize) < keep as usize { pick } else { 0 };
        demand.add(profile, 1);
    }
    let least = packer.min_gpus(&demand).unwrap_or(0);
    let asked = taken(20_000, || packer.min_gpus(black_box(&demand)));
    let fits = taken(20_000, || packer.fits(black_box(&demand), least));
    let shown = taken(300, || packer.witness(black_box(&demand), least));
    let plain = taken(5, || first_fit(tables, black_box(&demand)));
    let plain_gpus = first_fit(tables, &demand);
    println!(
        "  {instances:>9} instances: min_gpus {} ns, fits {} ns, witness {:.1} us; \
         {least} GPUs, first fit decreasing {plain_gpus} ({:.4} of it) in {:.1} us ({:.0} times min_gpus)",
        at(&asked, 0.5),
        at(&fits, 0.5),
        at(&shown, 0.5) as f64 / 1e3,
        plain_gpus as f64 / least.max(1) as f64,
        at(&plain, 0.5) as f64 / 1e3,
        at(&plain, 0.5) as f64 / at(&asked, 0.5).max(1) as f64,
    );
}
