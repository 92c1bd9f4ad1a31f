//! What can become of one GPU: who stays, who leaves, and what comes instead.
//!
//! Must never list a way that another beats: one that costs no more and leaves no less room.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::open::{Fleet, Gpu, Tie};
use crate::tables::{ClassId, GeometryTables, PartId};

/// One way for GPUs that look alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Column {
    /// Price of those that leave.
    pub(crate) cost: u64,
    /// By profile, what comes less what leaves; last, whether the GPU is left without instances.
    pub(crate) net: Vec<i64>,
    /// Those that leave.
    pub(crate) leaves: Vec<PartId>,
    /// The places that there are for others.
    pub(crate) comes: Vec<PartId>,
}

/// GPUs that look alike, prices included, with all that can become of each.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) gpus: Vec<usize>,
    /// The first is the one that changes nothing but fills what is free.
    pub(crate) columns: Vec<Column>,
}

/// The usable GPUs of a board in groups.
pub(crate) fn groups(fleet: &Fleet, board: usize) -> Vec<Group> {
    let tables = fleet.tables(board);
    let mut alike: BTreeMap<Vec<(PartId, Tie)>, Vec<usize>> = BTreeMap::new();
    for (index, gpu) in fleet.gpus.iter().enumerate() {
        if gpu.board == board && gpu.usable {
            alike.entry(content(gpu)).or_default().push(index);
        }
    }
    let mut completions = Completions { tables, known: BTreeMap::new() };
    let group = |(content, gpus): (Vec<(PartId, Tie)>, Vec<usize>)| Group {
        columns: columns(&mut completions, &content),
        gpus,
    };
    alike.into_iter().map(group).collect()
}

fn content(gpu: &Gpu) -> Vec<(PartId, Tie)> {
    let mut all: Vec<(PartId, Tie)> = gpu.staying().map(|r| (r.part, r.tie)).collect();
    all.sort_unstable();
    all
}

/// The ways to fill up a layout, by class; of each the places for one maximal set.
struct Completions<'a> {
    tables: &'a GeometryTables,
    known: BTreeMap<ClassId, Vec<Vec<PartId>>>,
}

impl Completions<'_> {
    fn of(&mut self, class: ClassId) -> &[Vec<PartId>] {
        let tables = self.tables;
        self.known.entry(class).or_insert_with(|| {
            let mut found: BTreeMap<Vec<i64>, Vec<PartId>> = BTreeMap::new();
            let parts: Vec<PartId> =
                tables.parts().iter().filter_map(|part| tables.part_id(*part)).collect();
            fill(tables, class, &parts, &mut Vec::new(), &mut found);
            let below = |counts: &Vec<i64>| {
                let covers =
                    |o: &Vec<i64>| o != counts && o.iter().zip(counts).all(|(a, b)| a >= b);
                found.keys().any(covers)
            };
            let maximal = found.iter().filter(|(counts, _)| !below(counts));
            maximal.map(|(_, parts)| parts.clone()).collect()
        })
    }
}

fn fill(
    tables: &GeometryTables,
    class: ClassId,
    parts: &[PartId],
    stack: &mut Vec<PartId>,
    found: &mut BTreeMap<Vec<i64>, Vec<PartId>>,
) {
    if tables.freedom(class) == 0 {
        found.entry(counts(tables, stack)).or_insert_with(|| stack.clone());
        return;
    }
    let mut last = true;
    for (index, part) in parts.iter().enumerate() {
        if let Some(next) = tables.after(class, *part) {
            last = false;
            stack.push(*part);
            fill(tables, next, &parts[index + 1..], stack, found);
            stack.pop();
        }
    }
    if last {
        found.entry(counts(tables, stack)).or_insert_with(|| stack.clone());
    }
}

fn counts(tables: &GeometryTables, parts: &[PartId]) -> Vec<i64> {
    let mut counts = alloc::vec![0; tables.geometry().profiles.len()];
    for part in parts {
        counts[tables.profile_index(*part)] += 1;
    }
    counts
}

/// Every way for a GPU with this content that no other beats.
fn columns(completions: &mut Completions<'_>, content: &[(PartId, Tie)]) -> Vec<Column> {
    let tables = completions.tables;
    let movable: Vec<(PartId, u64)> = content
        .iter()
        .filter_map(|(part, tie)| match tie {
            Tie::Movable(price) => Some((*part, *price)),
            Tie::Held | Tie::Idle => None,
        })
        .collect();
    let held = content.len() - movable.len();
    let mut best: BTreeMap<Vec<i64>, Column> = BTreeMap::new();
    // No board has more than 15 GPU instances; of more only the first 16 are considered.
    for set in 0..1u32 << movable.len().min(16) {
        let goes = |index: usize| index < 16 && set >> index & 1 == 1;
        let leaves: Vec<PartId> =
            movable.iter().enumerate().filter(|(i, _)| goes(*i)).map(|(_, (p, _))| *p).collect();
        let cost = movable.iter().enumerate().filter(|(i, _)| goes(*i));
        let cost = cost.fold(0u64, |sum, (_, (_, price))| sum.saturating_add(*price));
        let stays = content.iter().filter(|(part, _)| !leaves.contains(part));
        let Some(class) = crate::open::class_of(tables, stays.map(|(part, _)| *part)) else {
            continue;
        };
        let gone = counts(tables, &leaves);
        let mut offer = |comes: &[PartId], empty: bool| {
            let pairs = counts(tables, comes).into_iter().zip(&gone);
            let mut net: Vec<i64> = pairs.map(|(comes, gone)| comes - gone).collect();
            net.push(i64::from(empty));
            let column = Column { cost, net, leaves: leaves.clone(), comes: comes.to_vec() };
            let known = best.get(&column.net);
            if known
                .is_none_or(|known| (cost, column.leaves.len()) < (known.cost, known.leaves.len()))
            {
                best.insert(column.net.clone(), column);
            }
        };
        if held == 0 && leaves.len() == movable.len() {
            offer(&[], true);
        }
        for comes in completions.of(class) {
            offer(comes, false);
        }
    }
    let mut all: Vec<Column> = best.into_values().collect();
    all.sort_unstable();
    let mut kept: Vec<Column> = Vec::new();
    for column in all {
        let beaten = |known: &Column| known.net.iter().zip(&column.net).all(|(a, b)| a >= b);
        if !kept.iter().any(beaten) {
            kept.push(column);
        }
    }
    kept
}
