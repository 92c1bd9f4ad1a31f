//! GPUs as the placement sees them: shapes, who lies where, and who may be moved away.
//!
//! Must never hold a lease, a name of a person or anything else that does not bear on room.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use model::{Geometry, GpuInstanceProfileId, GpuUuid, PlacedProfile, ProfileName};

use crate::tables::{ClassId, GeometryTables, PartId};

/// Whether an occupant may be taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hold {
    /// Leased, busy, foreign, pinned or in flight: untouchable.
    Held,
    /// Ours, idle, one compute instance over the whole GPU instance: it can be granted as it is,
    /// or destroyed when its room is needed.
    Warm,
}

/// One GPU instance in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Occupant {
    /// What lies where.
    pub part: PlacedProfile,
    /// Whether it may be taken away.
    pub hold: Hold,
}

/// One GPU as the placement sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Which GPU.
    pub gpu: GpuUuid,
    /// Its legal shapes.
    pub geometry: Arc<Geometry>,
    /// What lies on it, in any order.
    pub occupants: Vec<Occupant>,
    /// Whether slices may be granted and made there now: healthy, MIG on, not under maintenance,
    /// not cordoned.
    pub usable: bool,
    /// Sets of parts that will be placed here once what is in their way is gone, each for itself:
    /// nothing is placed that would be in the way of any of them.
    pub promised: Vec<Vec<PlacedProfile>>,
}

impl Room {
    /// The parts of the occupants of one kind.
    pub fn parts(&self, hold: Hold) -> impl Iterator<Item = PlacedProfile> + '_ {
        self.occupants.iter().filter(move |o| o.hold == hold).map(|o| o.part)
    }

    /// Where the room stands in its tables; `None` when the driver reports something that the
    /// geometry forbids (then nothing more is created there).
    pub(crate) fn standing(&self, tables: &GeometryTables) -> Option<Standing> {
        let held = tables.class_of(self.parts(Hold::Held))?;
        let full = tables.extend(held, self.parts(Hold::Warm))?;
        Some(Standing { held, full })
    }

    /// The classes that must go on admitting what is placed here: with each promised set in the
    /// place of the held occupants that are in its way. `None` when a set does not go with the
    /// others; then nothing is placed here.
    pub(crate) fn shadows(&self, tables: &GeometryTables) -> Option<Vec<ClassId>> {
        self.shadows_without(tables, |_| false)
    }

    /// The same once some of the held occupants are gone.
    pub(crate) fn shadows_without(
        &self,
        tables: &GeometryTables,
        gone: impl Fn(PlacedProfile) -> bool,
    ) -> Option<Vec<ClassId>> {
        let shadow = |promised: &Vec<PlacedProfile>| {
            let class = tables.class_of(promised.iter().copied())?;
            // Those that overlap it, and those that have what the board has too few of.
            let in_the_way = |part: &PlacedProfile| {
                promised.iter().any(|kept| kept.placement.overlaps(part.placement))
                    || tables.extend(class, [*part]).is_none()
            };
            tables.extend(class, self.parts(Hold::Held).filter(|p| !gone(*p) && !in_the_way(p)))
        };
        self.promised.iter().map(shadow).collect()
    }
}

/// The most instances of `profile` that can be added at once, so that every class goes on as a
/// legal layout.
pub(crate) fn joint_capacity(
    tables: &GeometryTables,
    held: ClassId,
    shadows: &[ClassId],
    profile: GpuInstanceProfileId,
) -> u32 {
    if shadows.is_empty() {
        return tables.capacity(held, profile);
    }
    let parts: Vec<PartId> = tables.parts_of(profile).collect();
    let classes: Vec<ClassId> = core::iter::once(held).chain(shadows.iter().copied()).collect();
    fill(tables, &classes, &parts)
}

fn fill(tables: &GeometryTables, classes: &[ClassId], parts: &[PartId]) -> u32 {
    let mut most = 0;
    for (index, part) in parts.iter().enumerate() {
        if let Some(next) = after_all(tables, classes, *part) {
            most = most.max(1 + fill(tables, &next, &parts[index + 1..]));
        }
    }
    most
}

/// The classes after adding a part to each of them; `None` when one of them does not admit it.
pub(crate) fn after_all(
    tables: &GeometryTables,
    classes: &[ClassId],
    part: PartId,
) -> Option<Vec<ClassId>> {
    classes.iter().map(|class| tables.after(*class, part)).collect()
}

/// The classes of a room: of what cannot go, and of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Standing {
    /// Of the held occupants alone: warm slices count as free room.
    pub(crate) held: ClassId,
    /// Of all occupants.
    pub(crate) full: ClassId,
}

/// The planner: tables of the geometries it has met.
///
/// The tables are a cache and no more: every answer is the same with an empty one, only slower
/// (building the tables of an A100 takes milliseconds).
#[derive(Debug, Clone, Default)]
pub struct Planner {
    known: Vec<(Arc<Geometry>, Arc<GeometryTables>)>,
}

impl Planner {
    /// A planner that has met no geometry yet.
    pub const fn new() -> Self {
        Self { known: Vec::new() }
    }

    /// A planner that knows the geometries of `rooms`.
    pub fn for_rooms(rooms: &[Room]) -> Self {
        let mut planner = Self::new();
        for room in rooms {
            planner.learn(&room.geometry);
        }
        planner
    }

    /// Builds and keeps the tables of `geometry`, unless they are known.
    pub fn learn(&mut self, geometry: &Arc<Geometry>) -> Arc<GeometryTables> {
        if let Some(tables) = self.find(geometry) {
            return tables;
        }
        let tables = Arc::new(GeometryTables::new(geometry));
        self.known.push((Arc::clone(geometry), Arc::clone(&tables)));
        tables
    }

    /// The known geometry that equals this one: whoever keeps that instead has every later
    /// comparison done by address.
    pub fn known(&self, geometry: &Arc<Geometry>) -> Option<&Arc<Geometry>> {
        self.entry(geometry).map(|(known, _)| known)
    }

    fn find(&self, geometry: &Arc<Geometry>) -> Option<Arc<GeometryTables>> {
        self.entry(geometry).map(|(_, tables)| Arc::clone(tables))
    }

    fn entry(&self, geometry: &Arc<Geometry>) -> Option<&(Arc<Geometry>, Arc<GeometryTables>)> {
        let same =
            |(known, _): &&(Arc<Geometry>, Arc<GeometryTables>)| Arc::ptr_eq(known, geometry);
        let equal = |(known, _): &&(Arc<Geometry>, Arc<GeometryTables>)| known == geometry;
        self.known.iter().find(same).or_else(|| self.known.iter().find(equal))
    }

    /// The tables of `geometry`, built on the spot where they are not known.
    pub fn tables(&self, geometry: &Arc<Geometry>) -> Arc<GeometryTables> {
        self.find(geometry).unwrap_or_else(|| Arc::new(GeometryTables::new(geometry)))
    }

    /// The tables of every room, aligned with `rooms`; equal geometries share one.
    pub(crate) fn tables_of(&self, rooms: &[Room]) -> Boards {
        let mut boards = Boards { tables: Vec::new(), of_room: Vec::with_capacity(rooms.len()) };
        let mut geometries: Vec<&Arc<Geometry>> = Vec::new();
        for room in rooms {
            let same = geometries.iter().position(|known| Arc::ptr_eq(known, &room.geometry));
            let met = same.or_else(|| geometries.iter().position(|g| **g == room.geometry));
            let board = met.unwrap_or_else(|| {
                geometries.push(&room.geometry);
                boards.tables.push(self.tables(&room.geometry));
                geometries.len() - 1
            });
            boards.of_room.push(board);
        }
        boards
    }

    /// For each profile, how many more instances could be made on this room now; warm slices
    /// count as free. Empty for a room that is not usable.
    pub fn free_room(&self, room: &Room) -> Vec<(ProfileName, u32)> {
        let tables = self.tables(&room.geometry);
        let held = tables.class_of(room.parts(Hold::Held));
        let Some(class) = held.filter(|_| room.usable) else { return Vec::new() };
        let profiles = room.geometry.profiles.iter();
        profiles.map(|profile| (profile.name, tables.capacity(class, profile.id))).collect()
    }

    /// For each profile name, how many more instances could be made on `rooms` now, each profile
    /// taken alone; warm slices count as free.
    pub fn capacity(&self, rooms: &[Room]) -> BTreeMap<ProfileName, u32> {
        let mut sums = BTreeMap::new();
        for (name, count) in rooms.iter().flat_map(|room| self.free_room(room)) {
            *sums.entry(name).or_insert(0) += count;
        }
        sums
    }
}

/// The tables of a list of rooms.
#[derive(Debug)]
pub(crate) struct Boards {
    /// One per distinct geometry, in order of first mention.
    pub(crate) tables: Vec<Arc<GeometryTables>>,
    /// For each room, the index of its tables.
    pub(crate) of_room: Vec<usize>,
}

impl Boards {
    /// The tables of a room.
    pub(crate) fn of(&self, room: usize) -> &GeometryTables {
        &self.tables[self.of_room[room]]
    }
}
