//! Packing against its definition, and costs against the sum that they stand for.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use model::{Geometry, Layout, catalog};

use super::*;
use crate::forecast::Forecast;

fn tables(board: &str) -> GeometryTables {
    GeometryTables::new(&Arc::new(catalog::board(board).unwrap().geometry()))
}

/// The profile index and the kind's units, kind by kind, largest first.
fn kinds(tables: &GeometryTables) -> Vec<(u32, Vec<u32>)> {
    let blocks = tables.blocks();
    let first = |kind: usize| {
        let holding = blocks.served.iter().filter(move |s| s.from.iter().any(|f| f.kind == kind));
        holding.map(|s| s.weight).max().unwrap()
    };
    let holds = |kind: usize| {
        let by = |s: &Served| s.from.iter().find(|f| f.kind == kind).map_or(0, |f| f.holds);
        blocks.served.iter().map(by).collect()
    };
    let mut kinds: Vec<_> = (0..blocks.kinds()).map(|kind| (first(kind), holds(kind))).collect();
    kinds.sort();
    kinds.reverse();
    kinds
}

#[test]
fn an_a100_is_cut_as_published() {
    let tables = tables("a100-sxm4-80gb");
    let geometry = tables.geometry();
    let order = tables.blocks().served.iter().map(|s| geometry.profiles[s.profile].name);
    let order: Vec<_> = order.map(|name| alloc::format!("{name}")).collect();
    let expected = ["7g.80gb", "4g.40gb", "3g.40gb", "2g.20gb", "1g.20gb", "1g.10gb", "1g.10gb+me"];
    assert_eq!(order, expected);
    // The whole, the left half, the right half, the pair, the last pair, the unit: how many of each
    // profile, in that order, one holds.
    let expected = [
        (8, alloc::vec![1, 1, 2, 3, 4, 7, 7]),
        (4, alloc::vec![0, 1, 1, 2, 2, 4, 4]),
        (4, alloc::vec![0, 0, 1, 1, 2, 3, 3]),
        (2, alloc::vec![0, 0, 0, 1, 1, 2, 2]),
        (2, alloc::vec![0, 0, 0, 0, 1, 1, 1]),
        (1, alloc::vec![0, 0, 0, 0, 0, 1, 1]),
    ];
    assert_eq!(kinds(&tables), expected);
}

/// The fewest grid units of a demand that find no room on these layouts, by trying everything.
fn fewest(
    geometry: &Geometry,
    gpus: &[Layout],
    demand: &BTreeMap<usize, u32>,
    known: &mut BTreeMap<(Vec<Layout>, BTreeMap<usize, u32>), u64>,
) -> u64 {
    let Some((profile, _)) = demand.iter().find(|(_, count)| **count > 0) else { return 0 };
    let key = (gpus.to_vec(), demand.clone());
    if let Some(found) = known.get(&key) {
        return *found;
    }
    let about = &geometry.profiles[*profile];
    let mut less = demand.clone();
    *less.get_mut(profile).unwrap() -= 1;
    let mut best = u64::from(about.size.get()) + fewest(geometry, gpus, &less, known);
    for (index, gpu) in gpus.iter().enumerate() {
        if gpus[..index].contains(gpu) {
            continue;
        }
        for placement in gpu.free_placements(geometry, about.id) {
            let part = model::PlacedProfile { placement, profile: about.id };
            let mut then = gpus.to_vec();
            then[index] = gpu.with(geometry, part).unwrap();
            then.sort();
            best = best.min(fewest(geometry, &then, &less, known));
        }
    }
    known.insert(key, best);
    best
}

/// A cheap, repeatable sequence.
fn draw(state: &mut u64, below: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize % below
}

/// Random small fleets and demands over the profiles without attributes (media engines, which others
/// may use up, are not counted in blocks): what packing leaves
/// unserved is never below the optimum, is nothing exactly where everything fits, and stays within a
/// small share of the optimum elsewhere (large profiles come first, whatever they cost the small).
#[test]
fn packing_is_exact_where_all_fits() {
    for board in ["a100-sxm4-80gb", "a30", "rtx-pro-6000-bse"] {
        let tables = tables(board);
        let (geometry, blocks) = (Arc::clone(tables.geometry()), tables.blocks());
        let plain: Vec<usize> = (0..geometry.profiles.len())
            .filter(|p| geometry.profiles[*p].name.attributes.is_plain())
            .collect();
        let lie: Vec<model::PlacedProfile> = plain
            .iter()
            .flat_map(|p| tables.parts_of(geometry.profiles[*p].id))
            .map(|part| tables.part(part))
            .collect();
        let (mut state, mut known) = (7, BTreeMap::new());
        let (mut fitted, mut short) = (0, 0);
        for _ in 0..150 {
            let gpus = 1 + draw(&mut state, 2);
            let mut layouts = alloc::vec![Layout::empty(); gpus];
            for _ in 0..draw(&mut state, 8) {
                let gpu = draw(&mut state, gpus);
                let part = lie[draw(&mut state, lie.len())];
                layouts[gpu] = layouts[gpu].with(&geometry, part).unwrap_or(layouts[gpu].clone());
            }
            layouts.sort();
            let mut demand = BTreeMap::new();
            for _ in 0..draw(&mut state, 9) {
                *demand.entry(plain[draw(&mut state, plain.len())]).or_insert(0) += 1;
            }
            let mut free = alloc::vec![0; blocks.kinds()];
            for layout in &layouts {
                let class = tables.class_of(layout.placed().iter().copied()).unwrap();
                free.iter_mut().zip(blocks.free(class)).for_each(|(sum, more)| *sum += more);
            }
            let wanted: Vec<u32> = blocks
                .served
                .iter()
                .map(|s| demand.get(&s.profile).copied().unwrap_or(0))
                .collect();
            let ours = unserved(&blocks.served, &free, &wanted, &mut Vec::new());
            let best = fewest(&geometry, &layouts, &demand, &mut known);
            assert!(ours >= best, "{board}: {layouts:?} {demand:?}");
            assert_eq!(ours == 0, best == 0, "{board}: {layouts:?} {demand:?}");
            if best == 0 { fitted += 1 } else { short += 1 }
        }
        assert!(fitted > 20 && short > 20, "{board}: {fitted} {short}");
    }
}

/// The same as [`unserved`], one request at a time.
fn one_by_one(served: &[Served], free: &[u32], demand: &[u32]) -> u64 {
    let mut room = free.to_vec();
    let mut sum = 0;
    for (served, wanted) in served.iter().zip(demand) {
        for _ in 0..*wanted {
            let source = served.from.iter().find(|source| room[source.kind] > 0);
            let Some(source) = source else {
                sum += u64::from(served.weight);
                continue;
            };
            room[source.kind] -= 1;
            let left = if source.holds == 1 { &source.full } else { &source.left[1] };
            for (kind, more) in left {
                room[*kind] += more;
            }
        }
    }
    sum
}

/// Batches, skipped horizons and the closed form for full fleets change nothing but the time.
#[test]
fn costs_are_the_sums_they_stand_for() {
    for board in ["a100-sxm4-80gb", "a30", "h100-sxm5-80gb", "rtx-pro-6000-bse"] {
        let tables = tables(board);
        let blocks = tables.blocks();
        let mut state = 3;
        for gpus in [1u32, 7, 60] {
            let mut pool = Pool::new(&tables, &Forecast::unknown());
            let mut class = tables.empty();
            for _ in 0..gpus {
                let part = PartId(draw(&mut state, tables.parts().len()) as u16);
                class = tables.after(class, part).unwrap_or(class);
                pool.add(&tables, class, 1);
            }
            let ahead = Lookahead::new(core::slice::from_ref(&pool), &[&tables]);
            let outlook = pool.outlook(&tables);
            let direct = |part: PartId| {
                let to = tables.after(class, part)?;
                let pairs = blocks.free(class).iter().zip(blocks.free(to)).zip(pool.blocks());
                let free: Vec<u32> =
                    pairs.map(|((before, after), all)| all + after - before).collect();
                let lengths = outlook.horizons().iter().enumerate();
                let lengths = lengths.filter(|(_, h)| **h <= pool.longest(&tables));
                let each = lengths.map(|(index, h)| {
                    let futures = outlook.futures(index);
                    let all: u64 = futures.map(|d| one_by_one(&blocks.served, &free, d)).sum();
                    all as f64 / f64::from(*h) / outlook::FUTURES as f64
                });
                Some(each.sum::<f64>() / f64::from(tables.geometry().grid.get()))
            };
            let costs: Vec<(f64, f64)> = tables
                .part_ids()
                .filter_map(|part| Some((ahead.cost(0, &tables, class, part), direct(part)?)))
                .collect();
            for (cost, direct) in &costs {
                let (ours, theirs) = (cost - costs[0].0, direct - costs[0].1);
                assert!((ours - theirs).abs() < 1e-9, "{board} {gpus}: {costs:?}");
            }
        }
    }
}

#[test]
fn futures_follow_the_forecast_and_grow() {
    let shares = [0.5, 0.3, 0.2];
    let outlook = Outlook::new(&shares, 100_000);
    let last = outlook.horizons().len() - 1;
    assert_eq!(outlook.horizons()[..5], [1, 2, 3, 5, 8]);
    for (index, horizon) in outlook.horizons().iter().enumerate() {
        let mean = |profile: usize| {
            let sum: u32 = outlook.futures(index).map(|demand| demand[profile]).sum();
            f64::from(sum) / outlook::FUTURES as f64
        };
        for (profile, share) in shares.iter().enumerate() {
            let expected = share * f64::from(*horizon);
            let spread = 0.7 + libm::sqrt(expected);
            assert!((mean(profile) - expected).abs() < spread, "{horizon} {profile}");
        }
        if index < last {
            let pairs = outlook.futures(index).zip(outlook.futures(index + 1));
            assert!(pairs.flat_map(|(a, b)| a.iter().zip(b)).all(|(a, b)| a <= b));
        }
    }
    // Not all futures are the same.
    let firsts: Vec<u32> = outlook.futures(last).map(|demand| demand[0]).collect();
    assert!(firsts.iter().any(|first| *first != firsts[0]));
}
