//! Whether a request can be met now, later or never, and who is in its way.
//!
//! Must never count warm slices as obstacles: they go when their room is needed.

use alloc::vec::Vec;

use model::{GpuInstanceProfileId, PlacedProfile};

use crate::arrange::Arrangement;
use crate::choose::Want;
use crate::room::{Hold, Planner, Room, joint_capacity};
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
            most = together(want.arrangement, most, tables.capacity(tables.empty(), profile));
            let held = room.standing(tables).filter(|_| room.usable);
            let (Some(standing), Some(kept)) = (held, room.shadows(tables)) else { continue };
            let here = joint_capacity(tables, standing.held, &kept, profile);
            now = together(want.arrangement, now, here);
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
        self.blockers_among(rooms, want, count, &|_, _| Some(0))
    }

    /// The same among the occupants that have a price; the others stay. Among sets that are equally
    /// small and take equally few units the cheapest one.
    pub fn blockers_among(
        &self,
        rooms: &[Room],
        want: &Want,
        count: u32,
        price: &dyn Fn(usize, PlacedProfile) -> Option<u64>,
    ) -> Option<Vec<Blocker>> {
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
            let mut ways = ways_of(boards.of(index), room, index, profile, price);
            match want.arrangement {
                Arrangement::OtherGpu => ways.truncate(2),
                Arrangement::SameGpu => {
                    if let Some(way) = ways.get(wanted) {
                        let slot = &mut best[wanted];
                        if slot.as_ref().is_none_or(|slot| way.price() < slot.price()) {
                            *slot = Some(way.clone());
                        }
                    }
                    continue;
                }
                Arrangement::Any | Arrangement::Pack | Arrangement::Spread => {}
            }
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

/// What `here` on one more GPU adds to a number of slices that can be had together.
fn together(arrangement: Arrangement, sofar: u32, here: u32) -> u32 {
    match arrangement {
        Arrangement::Any | Arrangement::Pack | Arrangement::Spread => sofar + here,
        Arrangement::SameGpu => sofar.max(here),
        Arrangement::OtherGpu => sofar + here.min(1),
    }
}

/// A set of occupants to wait for.
#[derive(Debug, Clone, Default)]
struct Way {
    gone: Vec<Blocker>,
    units: u32,
    cost: u64,
}

impl Way {
    fn price(&self) -> (usize, u32, u64) {
        (self.gone.len(), self.units, self.cost)
    }

    fn joined(&self, other: &Self) -> Self {
        let gone = self.gone.iter().chain(&other.gone).copied().collect();
        let cost = self.cost.saturating_add(other.cost);
        Self { gone, units: self.units + other.units, cost }
    }
}

/// For each k, the cheapest set of held occupants of one room whose end makes room for k slices.
fn ways_of(
    tables: &GeometryTables,
    room: &Room,
    index: usize,
    profile: GpuInstanceProfileId,
    price: &dyn Fn(usize, PlacedProfile) -> Option<u64>,
) -> Vec<Way> {
    let (mut movable, mut fixed) = (Vec::new(), Vec::new());
    for part in room.parts(Hold::Held) {
        match price(index, part) {
            Some(cost) => movable.push((part, cost)),
            None => fixed.push(part),
        }
    }
    movable.sort_unstable();
    let most = tables.capacity(tables.empty(), profile) as usize;
    let mut ways: Vec<Option<Way>> = alloc::vec![None; most + 1];
    // No board has more than 15 GPU instances; beyond that only the first 16 are considered.
    for gone in 0..1u32 << movable.len().min(16) {
        let leaves = |i: &usize| gone >> i & 1 == 1;
        let stays = (0..movable.len()).filter(|i| !leaves(i)).map(|i| movable[i].0);
        let leaving: Vec<(PlacedProfile, u64)> =
            (0..movable.len()).filter(leaves).map(|i| movable[i]).collect();
        let Some(class) = tables.class_of(stays.chain(fixed.iter().copied())) else { continue };
        let has_left = |part| leaving.iter().any(|(gone, _)| *gone == part);
        let Some(kept) = room.shadows_without(tables, has_left) else { continue };
        let gain = joint_capacity(tables, class, &kept, profile) as usize;
        let gone: Vec<Blocker> =
            leaving.iter().map(|(part, _)| Blocker { room: index, part: *part }).collect();
        let units = gone.iter().map(|b| u32::from(b.part.placement.size.get())).sum();
        let cost = leaving.iter().fold(0u64, |sum, (_, cost)| sum.saturating_add(*cost));
        let way = Way { gone, units, cost };
        for slot in &mut ways[..=gain] {
            if slot.as_ref().is_none_or(|known| way.price() < known.price()) {
                *slot = Some(way.clone());
            }
        }
    }
    ways.into_iter().map_while(|way| way).collect()
}
