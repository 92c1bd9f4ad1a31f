//! Whether a request can be met now, later or never, and who is in its way.
//!
//! Must never count warm slices as obstacles: they go when their room is needed.

use alloc::vec::Vec;

use model::{GpuInstanceProfileId, PlacedProfile};

use crate::choose::Want;
use crate::room::{Hold, Planner, Room};
use crate::tables::GeometryTables;

/// Whether a request can be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// There is room now (some warm slices may have to go).
    Now,
    /// There is room once held occupants left or GPUs became usable again: worth waiting.
    Later,
    /// Even empty, the allowed GPUs hold at most this many: to be refused at once.
    Never {
        /// The most slices of the wanted profiles that the allowed GPUs could ever hold.
        most: u32,
    },
}

/// A held occupant whose end a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blocker {
    /// Index of the room it is in.
    pub room: usize,
    /// What lies where.
    pub part: PlacedProfile,
}

impl Planner {
    /// Whether `count` slices as in `want` could be had. GPUs that are not usable now count as
    /// usable later; rooms the caller wants to exclude for good have no profile in `want`.
    pub fn could_ever_fit(&self, rooms: &[Room], want: &Want, count: u32) -> Verdict {
        let boards = self.tables_of(rooms);
        let (mut now, mut most) = (0u32, 0u32);
        for (index, room) in rooms.iter().enumerate() {
            let (tables, Some(profile)) = (boards.of(index), want.profile(index)) else { continue };
            most += tables.capacity(tables.empty(), profile);
            let held = room.standing(tables).filter(|_| room.usable);
            now += held.map_or(0, |standing| tables.capacity(standing.held, profile));
        }
        if now >= count {
            Verdict::Now
        } else if most >= count {
            Verdict::Later
        } else {
            Verdict::Never { most }
        }
    }

    /// The smallest set of held occupants whose end would make room for `count` slices; among
    /// equally small sets the one that takes the fewest units, then the first. Empty when there is
    /// room already; `None` when no set of occupants on usable GPUs suffices.
    pub fn blockers(&self, rooms: &[Room], want: &Want, count: u32) -> Option<Vec<Blocker>> {
        if matches!(self.could_ever_fit(rooms, want, count), Verdict::Never { .. }) {
            return None;
        }
        let boards = self.tables_of(rooms);
        let wanted = count as usize;
        // best[k]: the cheapest way to make room for k slices with the rooms seen so far.
        let mut best: Vec<Option<Way>> = alloc::vec![None; wanted + 1];
        best[0] = Some(Way::default());
        for (index, room) in rooms.iter().enumerate() {
            let Some(profile) = want.profile(index).filter(|_| room.usable) else { continue };
            let ways = ways_of(boards.of(index), room, index, profile);
            let mut better = best.clone();
            for (gain, way) in ways.iter().enumerate().skip(1) {
                for (sofar, known) in best.iter().enumerate() {
                    let Some(known) = known else { continue };
                    let slot = &mut better[(sofar + gain).min(wanted)];
                    let joined = known.joined(way);
                    if slot.as_ref().is_none_or(|slot| joined.price() < slot.price()) {
                        *slot = Some(joined);
                    }
                }
            }
            best = better;
        }
        best.pop().flatten().map(|way| way.gone)
    }
}

/// A set of occupants to wait for.
#[derive(Debug, Clone, Default)]
struct Way {
    gone: Vec<Blocker>,
    units: u32,
}

impl Way {
    fn price(&self) -> (usize, u32) {
        (self.gone.len(), self.units)
    }

    fn joined(&self, other: &Self) -> Self {
        let gone = self.gone.iter().chain(&other.gone).copied().collect();
        Self { gone, units: self.units + other.units }
    }
}

/// For each k, the cheapest set of held occupants of one room whose end makes room for k slices.
fn ways_of(
    tables: &GeometryTables,
    room: &Room,
    index: usize,
    profile: GpuInstanceProfileId,
) -> Vec<Way> {
    let mut held: Vec<PlacedProfile> = room.parts(Hold::Held).collect();
    held.sort_unstable();
    let most = tables.capacity(tables.empty(), profile) as usize;
    let mut ways: Vec<Option<Way>> = alloc::vec![None; most + 1];
    // No board has more than 15 GPU instances; beyond that only the first 16 are considered.
    for gone in 0..1u32 << held.len().min(16) {
        let leaves = |i: &usize| gone >> i & 1 == 1;
        let stays = (0..held.len()).filter(|i| !leaves(i)).map(|i| held[i]);
        let Some(class) = tables.class_of(stays) else { continue };
        let gain = tables.capacity(class, profile) as usize;
        let leaving =
            (0..held.len()).filter(leaves).map(|i| Blocker { room: index, part: held[i] });
        let gone: Vec<Blocker> = leaving.collect();
        let units = gone.iter().map(|b| u32::from(b.part.placement.size.get())).sum();
        let way = Way { gone, units };
        for slot in &mut ways[..=gain] {
            if slot.as_ref().is_none_or(|known| way.price() < known.price()) {
                *slot = Some(way.clone());
            }
        }
    }
    ways.into_iter().map_while(|way| way).collect()
}
