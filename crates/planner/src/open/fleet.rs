//! A fleet with who lies where and what it costs to move each, kept up to date change by change.
//!
//! Must never let an illegal layout in: what does not fit is refused.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use model::PlacedProfile;

use crate::room::{Hold, Planner, Room};
use crate::tables::{ClassId, GeometryTables, PartId};

/// What keeps an instance where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tie {
    /// Nobody has it: it goes when its room is needed, at no cost, and comes back nowhere.
    Idle,
    /// It can be stopped and started anew elsewhere, at this price. Prices are the caller's:
    /// low for what can be restarted, higher for what must be checkpointed first.
    Movable(u64),
    /// It stays: pinned, in flight, or its holder was not asked.
    Held,
}

/// A place on a GPU of the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spot {
    /// The number of the GPU in its fleet.
    pub gpu: usize,
    /// Profile and placement.
    pub part: PlacedProfile,
}

/// An instance of the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Resident {
    pub(crate) part: PartId,
    pub(crate) tie: Tie,
}

/// One GPU of the fleet.
#[derive(Debug, Clone)]
pub(crate) struct Gpu {
    pub(crate) board: usize,
    pub(crate) usable: bool,
    /// Of all that is not idle.
    pub(crate) class: ClassId,
    pub(crate) residents: Vec<Resident>,
}

impl Gpu {
    /// The instances that are not idle.
    pub(crate) fn staying(&self) -> impl Iterator<Item = Resident> + '_ {
        self.residents.iter().copied().filter(|resident| resident.tie != Tie::Idle)
    }
}

/// GPUs of one or more boards with what lies on them.
#[derive(Debug, Clone)]
pub struct Fleet {
    pub(crate) boards: Vec<Arc<GeometryTables>>,
    pub(crate) gpus: Vec<Gpu>,
    /// Usable GPUs by board and class, idle instances left out; no empty groups.
    pub(crate) groups: BTreeMap<(usize, ClassId), BTreeSet<usize>>,
    /// By board and profile, the usable GPUs that have room for one more.
    hosts: Vec<Vec<u32>>,
}

impl Fleet {
    /// A fleet without GPUs on boards of these geometries.
    pub fn new(boards: Vec<Arc<GeometryTables>>) -> Self {
        let none = |tables: &Arc<GeometryTables>| alloc::vec![0; tables.geometry().profiles.len()];
        let hosts = boards.iter().map(none).collect();
        Self { boards, gpus: Vec::new(), groups: BTreeMap::new(), hosts }
    }

    /// The fleet of a list of rooms, numbered as they are: warm slices are idle, held ones movable
    /// at their `price` or held where they have none. A room that is not usable, that is promised to
    /// somebody, or that holds what its geometry forbids, is neither opened nor filled.
    pub fn of_rooms(
        planner: &Planner,
        rooms: &[Room],
        price: &dyn Fn(usize, PlacedProfile) -> Option<u64>,
    ) -> Self {
        let tables = planner.tables_of(rooms);
        let mut fleet = Self::new(tables.tables.clone());
        for (index, room) in rooms.iter().enumerate() {
            let gpu = fleet.add(tables.of_room[index]);
            let mut usable = room.usable && room.promised.is_empty();
            for occupant in &room.occupants {
                let tie = match (occupant.hold, price(index, occupant.part)) {
                    (Hold::Warm, _) => Tie::Idle,
                    (Hold::Held, Some(price)) => Tie::Movable(price),
                    (Hold::Held, None) => Tie::Held,
                };
                usable &= fleet.put(Spot { gpu, part: occupant.part }, tie);
            }
            fleet.set_usable(gpu, usable);
        }
        fleet
    }

    /// Adds an empty, usable GPU of a board and returns its number.
    pub fn add(&mut self, board: usize) -> usize {
        let class = self.boards[board].empty();
        self.gpus.push(Gpu { board, usable: true, class, residents: Vec::new() });
        self.enter(self.gpus.len() - 1);
        self.gpus.len() - 1
    }

    /// Number of GPUs.
    pub const fn len(&self) -> usize {
        self.gpus.len()
    }

    /// Whether there is no GPU.
    pub const fn is_empty(&self) -> bool {
        self.gpus.is_empty()
    }

    /// The tables of a board.
    pub fn tables(&self, board: usize) -> &Arc<GeometryTables> {
        &self.boards[board]
    }

    /// The board of a GPU.
    pub fn board(&self, gpu: usize) -> usize {
        self.gpus[gpu].board
    }

    /// What lies on a GPU, in no order, with what keeps it there.
    pub fn on(&self, gpu: usize) -> impl Iterator<Item = (PlacedProfile, Tie)> + '_ {
        let tables = &self.boards[self.gpus[gpu].board];
        self.gpus[gpu].residents.iter().map(|resident| (tables.part(resident.part), resident.tie))
    }

    /// What moving an instance costs; nothing for one that is not there or stays.
    pub(crate) fn price(&self, spot: Spot) -> u64 {
        match self.on(spot.gpu).find(|(part, _)| *part == spot.part) {
            Some((_, Tie::Movable(price))) => price,
            _ => 0,
        }
    }

    /// Puts an instance on a GPU. False, and nothing changes, where the layout of the GPU, idle
    /// instances included, does not admit it.
    pub fn put(&mut self, spot: Spot, tie: Tie) -> bool {
        let tables = Arc::clone(&self.boards[self.gpus[spot.gpu].board]);
        let Some(part) = tables.part_id(spot.part) else { return false };
        let gpu = &self.gpus[spot.gpu];
        let all = gpu.residents.iter().map(|resident| resident.part);
        if class_of(&tables, all.chain([part])).is_none() {
            return false;
        }
        self.change(spot.gpu, |residents| residents.push(Resident { part, tie }));
        true
    }

    /// Takes an instance away; false if it is not there.
    pub fn take(&mut self, spot: Spot) -> bool {
        let Some(part) = self.boards[self.gpus[spot.gpu].board].part_id(spot.part) else {
            return false;
        };
        let before = self.gpus[spot.gpu].residents.len();
        self.change(spot.gpu, |residents| residents.retain(|resident| resident.part != part));
        self.gpus[spot.gpu].residents.len() < before
    }

    /// Sets whether slices may be made on a GPU; what is not usable is neither opened nor filled.
    pub fn set_usable(&mut self, gpu: usize, usable: bool) {
        self.leave(gpu);
        self.gpus[gpu].usable = usable;
        self.enter(gpu);
    }

    fn change(&mut self, gpu: usize, change: impl FnOnce(&mut Vec<Resident>)) {
        self.leave(gpu);
        let there = &mut self.gpus[gpu];
        change(&mut there.residents);
        let tables = &self.boards[there.board];
        let staying = there.staying().map(|resident| resident.part);
        // A part of a legal layout is legal.
        there.class = class_of(tables, staying).unwrap_or(there.class);
        self.enter(gpu);
    }

    fn enter(&mut self, gpu: usize) {
        let Gpu { board, usable, class, .. } = self.gpus[gpu];
        if usable {
            self.groups.entry((board, class)).or_default().insert(gpu);
            self.count(board, class, |hosts| *hosts += 1);
        }
    }

    fn leave(&mut self, gpu: usize) {
        let Gpu { board, usable, class, .. } = self.gpus[gpu];
        if !usable {
            return;
        }
        if let Some(gpus) = self.groups.get_mut(&(board, class)) {
            gpus.remove(&gpu);
            if gpus.is_empty() {
                self.groups.remove(&(board, class));
            }
        }
        self.count(board, class, |hosts| *hosts -= 1);
    }

    fn count(&mut self, board: usize, class: ClassId, change: impl Fn(&mut u32)) {
        let capacities = self.boards[board].capacities(class).iter();
        let with_room = self.hosts[board].iter_mut().zip(capacities).filter(|(_, room)| **room > 0);
        with_room.for_each(|(hosts, _)| change(hosts));
    }

    /// How many usable GPUs of a board have room for one more of a profile, by its index.
    pub(crate) fn hosts(&self, board: usize, profile: usize) -> u32 {
        self.hosts[board][profile]
    }

    pub(crate) fn spot(&self, gpu: usize, part: PartId) -> Spot {
        Spot { gpu, part: self.boards[self.gpus[gpu].board].part(part) }
    }
}

/// The class of parts in any order; `None` when they are not a legal layout.
pub(crate) fn class_of(
    tables: &GeometryTables,
    mut parts: impl Iterator<Item = PartId>,
) -> Option<ClassId> {
    parts.try_fold(tables.empty(), |class, part| tables.after(class, part))
}
