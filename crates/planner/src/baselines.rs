//! What the published rules look at, per class: free units, runs of them, blocked placements.
//!
//! Counted over the profiles without attributes: `+me` and its like lie where their plain sisters
//! lie, and the rules do not know them. Must never be asked by a policy of ours.

use alloc::vec::Vec;

use crate::tables::{ClassId, GeometryTables, PartId};

/// Figures of the classes of one geometry.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shapes {
    /// By class.
    free_units: Vec<u32>,
    longest_run: Vec<u32>,
    freedom: Vec<u32>,
    fragmentation: Vec<u32>,
    /// By part.
    preference: Vec<u32>,
}

impl Shapes {
    /// Counts them; of the tables nothing but parts, masks and successors is asked.
    pub(crate) fn new(tables: &GeometryTables) -> Self {
        let each = |count: fn(&GeometryTables, ClassId) -> u32| {
            tables.classes().map(|class| count(tables, class)).collect()
        };
        Self {
            free_units: each(free_units),
            longest_run: each(longest_run),
            freedom: each(freedom),
            fragmentation: each(fragmentation),
            preference: preference(tables),
        }
    }

    /// Bytes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        4 * (4 * self.free_units.len() + self.preference.len())
    }

    /// Grid units that nothing lies on.
    pub(crate) fn free_units(&self, class: ClassId) -> u32 {
        self.free_units[usize::from(class.0)]
    }

    /// The most free units side by side.
    pub(crate) fn longest_run(&self, class: ClassId) -> u32 {
        self.longest_run[usize::from(class.0)]
    }

    /// Placements that could be added, one at a time.
    pub(crate) fn freedom(&self, class: ClassId) -> u32 {
        self.freedom[usize::from(class.0)]
    }

    /// F of arXiv 2511.18906: over every profile that is no larger than what is free, the units of
    /// its placements that something lies on.
    pub(crate) fn fragmentation(&self, class: ClassId) -> u32 {
        self.fragmentation[usize::from(class.0)]
    }

    /// The place of a part in the index order of arXiv 2409.06646, from 0: on an otherwise empty GPU
    /// first the start that spoils fewest placements, then the lowest. On an A100 that gives the
    /// published 6, 4, 5, 0, 1, 2, 3 for the smallest profile and 4, 0, 2 for the next.
    pub(crate) fn preference(&self, part: PartId) -> u32 {
        self.preference[usize::from(part.0)]
    }
}

fn free_units(tables: &GeometryTables, class: ClassId) -> u32 {
    u32::from(tables.geometry().grid.get()) - tables.mask(class).len()
}

fn longest_run(tables: &GeometryTables, class: ClassId) -> u32 {
    let (mut longest, mut run) = (0, 0);
    for unit in 0..tables.geometry().grid.get() {
        run = if tables.mask(class).bits() >> unit & 1 == 0 { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

/// The parts of profiles without attributes.
fn plain(tables: &GeometryTables) -> impl Iterator<Item = PartId> + '_ {
    let profiles = tables.geometry().profiles.iter();
    profiles.filter(|p| p.name.attributes.is_plain()).flat_map(|p| tables.parts_of(p.id))
}

fn freedom(tables: &GeometryTables, class: ClassId) -> u32 {
    plain(tables).filter(|part| tables.after(class, *part).is_some()).count() as u32
}

fn fragmentation(tables: &GeometryTables, class: ClassId) -> u32 {
    let (taken, free) = (tables.mask(class), free_units(tables, class));
    let places = plain(tables).map(|part| tables.part(part).placement);
    let blocked = places
        .filter(|place| u32::from(place.size.get()) <= free && place.mask().intersects(taken));
    blocked.map(|place| u32::from(place.size.get())).sum()
}

fn preference(tables: &GeometryTables) -> Vec<u32> {
    let left = |part: PartId| {
        let to = tables.after(tables.empty(), part);
        to.map_or(0, |class| freedom(tables, class))
    };
    let before = |part: PartId| {
        let of = tables.part(part);
        let better = tables.parts_of(of.profile).filter(|other| {
            let at = tables.part(*other).placement.start;
            (left(part), at) < (left(*other), of.placement.start)
        });
        better.count() as u32
    };
    tables.part_ids().map(before).collect()
}
