//! Everything a decision needs to know about one geometry, worked out once.
//!
//! Layouts that take the same units and can be continued in exactly the same ways are one *class*.
//! Classes are computed from [`Layout::admits`] alone, so that every rule of a board (overlap, maxima, engines, the
//! rules of Thor) is in them, whatever its grid. Must never decide legality in any other way.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use model::{Geometry, GpuInstanceProfileId, Layout, PlacedProfile, SliceMask};

use crate::baselines::Shapes;
use crate::effects::Effects;
use crate::flp::Blocks;

/// A class of layouts that take the same units and can be continued in the same ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(pub(crate) u16);

impl ClassId {
    /// The lowest and the highest, for ranges of ordered collections.
    pub(crate) const ALL: core::ops::RangeInclusive<Self> = Self(0)..=Self(u16::MAX);
}

/// A placed profile of a geometry: an index into [`GeometryTables::parts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartId(pub(crate) u16);

/// No successor.
const NONE: u16 = u16::MAX;

/// The classes of one geometry and how they lead to each other.
#[derive(Debug, Clone)]
pub struct GeometryTables {
    geometry: Arc<Geometry>,
    /// Every placed profile, sorted by placement, then profile.
    parts: Vec<PlacedProfile>,
    /// The index into `geometry.profiles` of each part.
    profile_of: Vec<usize>,
    /// The parts of each profile, ascending by start.
    of_profile: Vec<Vec<PartId>>,
    /// `next[class * parts + part]`.
    next: Vec<u16>,
    /// `capacity[class * profiles + profile]`.
    capacity: Vec<u8>,
    /// For each class, how many parts can be added, one at a time.
    freedom: Vec<u32>,
    /// For each class, what its capacities are worth together.
    worth: Vec<u32>,
    /// For each class, the units that are taken.
    masks: Vec<SliceMask>,
    /// By profile, how much capacity adding a part costs.
    losses: Effects<Vec<u8>>,
    shapes: Shapes,
    blocks: Blocks,
    empty: ClassId,
}

/// What room for one grid unit of a profile is worth in plans for a whole GPU, where no forecast
/// is at hand. Policy: the same order as the priors of [`crate::Forecast`].
const WORTH_PLAIN: u32 = 20;
const WORTH_DOUBLE_MEMORY: u32 = 5;
const WORTH_ATTRIBUTES: u32 = 1;

/// What decides how a layout can continue: which units are taken, and how many instances of each
/// profile exist (engines and board rules follow from those counts).
type Key = (SliceMask, Vec<u8>);

struct Builder<'a> {
    geometry: &'a Geometry,
    parts: &'a [PlacedProfile],
    profile_of: &'a [usize],
    seen: BTreeMap<Key, u16>,
    classes: BTreeMap<(SliceMask, Vec<(u16, u16)>), u16>,
}

impl Builder<'_> {
    fn class(&mut self, layout: &Layout, key: Key) -> u16 {
        if let Some(class) = self.seen.get(&key) {
            return *class;
        }
        let mut successors = Vec::new();
        for (index, part) in self.parts.iter().enumerate() {
            let Ok(next) = layout.with(self.geometry, *part) else { continue };
            let mut counts = key.1.clone();
            counts[self.profile_of[index]] += 1;
            let class = self.class(&next, (key.0.union(part.placement.mask()), counts));
            successors.push((index as u16, class));
        }
        let fresh = self.classes.len() as u16;
        let class = *self.classes.entry((key.0, successors)).or_insert(fresh);
        self.seen.insert(key, class);
        class
    }
}

impl GeometryTables {
    /// Works the tables out; milliseconds for the largest boards.
    pub fn new(geometry: &Arc<Geometry>) -> Self {
        let mut parts: Vec<PlacedProfile> = geometry
            .profiles
            .iter()
            .flat_map(|p| {
                p.placements().map(|placement| PlacedProfile { placement, profile: p.id })
            })
            .collect();
        parts.sort_unstable();
        parts.dedup();
        let profile_index = |id| geometry.profiles.iter().position(|p| p.id == id).unwrap_or(0);
        let profile_of: Vec<usize> = parts.iter().map(|part| profile_index(part.profile)).collect();
        let mut builder = Builder {
            geometry,
            parts: &parts,
            profile_of: &profile_of,
            seen: BTreeMap::new(),
            classes: BTreeMap::new(),
        };
        let nothing = alloc::vec![0; geometry.profiles.len()];
        let empty = builder.class(&Layout::empty(), (SliceMask::EMPTY, nothing));
        let classes = builder.classes;
        let mut next = alloc::vec![NONE; classes.len() * parts.len()];
        let mut masks = alloc::vec![SliceMask::EMPTY; classes.len()];
        for ((mask, successors), class) in &classes {
            masks[usize::from(*class)] = *mask;
            for (part, successor) in successors {
                next[usize::from(*class) * parts.len() + usize::from(*part)] = *successor;
            }
        }
        let of_profile = (0..geometry.profiles.len()).map(|profile| {
            let found = profile_of.iter().enumerate().filter(|(_, of)| **of == profile);
            found.map(|(index, _)| PartId(index as u16)).collect()
        });
        let of_profile = of_profile.collect();
        let mut tables = Self {
            geometry: Arc::clone(geometry),
            parts,
            profile_of,
            of_profile,
            next,
            capacity: Vec::new(),
            freedom: Vec::new(),
            worth: Vec::new(),
            masks,
            losses: Effects::default(),
            shapes: Shapes::default(),
            blocks: Blocks::default(),
            empty: ClassId(empty),
        };
        tables.fill_capacity(classes.len());
        let ids = (0..classes.len() as u16).map(ClassId);
        tables.freedom = ids.clone().map(|class| tables.count_freedom(class)).collect();
        tables.worth = ids.map(|class| tables.sum_worth(class)).collect();
        tables.losses = Effects::new(&tables, |from, to| tables.lost(from, to));
        tables.shapes = Shapes::new(&tables);
        tables.blocks = Blocks::new(&tables);
        tables
    }

    /// A class is numbered after all that it leads to, so one pass in order is enough.
    fn fill_capacity(&mut self, classes: usize) {
        let profiles = self.geometry.profiles.len();
        self.capacity = alloc::vec![0; classes * profiles];
        for class in 0..classes {
            for (part, profile) in self.profile_of.iter().enumerate() {
                let successor = self.next[class * self.parts.len() + part];
                if successor != NONE {
                    let then = self.capacity[usize::from(successor) * profiles + profile] + 1;
                    let slot = &mut self.capacity[class * profiles + profile];
                    *slot = (*slot).max(then);
                }
            }
        }
    }

    /// The geometry the tables were made from.
    pub const fn geometry(&self) -> &Arc<Geometry> {
        &self.geometry
    }

    /// Number of classes.
    pub fn class_count(&self) -> usize {
        self.next.len().checked_div(self.parts.len()).unwrap_or(1)
    }

    /// The class of the empty GPU.
    pub const fn empty(&self) -> ClassId {
        self.empty
    }

    /// Every placed profile of the geometry, sorted by placement, then profile.
    pub fn parts(&self) -> &[PlacedProfile] {
        &self.parts
    }

    /// The index of a placed profile; `None` if it is not legal on this geometry.
    pub fn part_id(&self, part: PlacedProfile) -> Option<PartId> {
        self.parts.binary_search(&part).ok().map(|index| PartId(index as u16))
    }

    /// The placed profile of an index.
    pub fn part(&self, id: PartId) -> PlacedProfile {
        self.parts[usize::from(id.0)]
    }

    /// The index of a part's profile in the geometry's profiles.
    pub fn profile_index(&self, part: PartId) -> usize {
        self.profile_of[usize::from(part.0)]
    }

    /// The class after adding a part; `None` when it may not be added.
    pub fn after(&self, class: ClassId, part: PartId) -> Option<ClassId> {
        let next = self.next[usize::from(class.0) * self.parts.len() + usize::from(part.0)];
        if next == NONE { None } else { Some(ClassId(next)) }
    }

    /// The class after adding several parts; `None` when they may not be added together.
    pub fn extend(
        &self,
        class: ClassId,
        parts: impl IntoIterator<Item = PlacedProfile>,
    ) -> Option<ClassId> {
        parts.into_iter().try_fold(class, |class, part| self.after(class, self.part_id(part)?))
    }

    /// The class of a set of parts, in any order; `None` when they are not a legal layout.
    pub fn class_of(&self, parts: impl IntoIterator<Item = PlacedProfile>) -> Option<ClassId> {
        self.extend(self.empty, parts)
    }

    /// Every placement of one profile, ascending by start, legal now or not.
    pub fn parts_of(&self, profile: GpuInstanceProfileId) -> impl Iterator<Item = PartId> + '_ {
        let index = self.geometry.profiles.iter().position(|p| p.id == profile);
        index.into_iter().flat_map(|index| self.of_profile[index].iter().copied())
    }

    /// The most instances of `profile` that can be added at once to a layout of `class`.
    pub fn capacity(&self, class: ClassId, profile: GpuInstanceProfileId) -> u32 {
        let index = self.geometry.profiles.iter().position(|p| p.id == profile);
        index.map_or(0, |index| u32::from(self.capacities(class)[index]))
    }

    /// The same for every profile, in the order of the geometry's profiles.
    pub fn capacities(&self, class: ClassId) -> &[u8] {
        let profiles = self.geometry.profiles.len();
        let from = usize::from(class.0) * profiles;
        &self.capacity[from..from + profiles]
    }

    /// How many parts could be added to a layout of `class`, one at a time.
    pub fn freedom(&self, class: ClassId) -> u32 {
        self.freedom[usize::from(class.0)]
    }

    /// What the capacities of `class` are worth together, in grid units weighted by how likely a
    /// profile is asked for; only for comparison within one geometry.
    pub fn worth(&self, class: ClassId) -> u32 {
        self.worth[usize::from(class.0)]
    }

    /// Every class, the empty GPU last.
    pub(crate) fn classes(&self) -> impl Iterator<Item = ClassId> + use<> {
        (0..self.class_count() as u16).map(ClassId)
    }

    /// The grid units that the layouts of a class take.
    pub fn mask(&self, class: ClassId) -> SliceMask {
        self.masks[usize::from(class.0)]
    }

    /// By profile, how much capacity adding a part costs.
    pub(crate) const fn losses(&self) -> &Effects<Vec<u8>> {
        &self.losses
    }

    fn lost(&self, from: ClassId, to: ClassId) -> Vec<u8> {
        let pairs = self.capacities(from).iter().zip(self.capacities(to));
        pairs.map(|(before, after)| before.saturating_sub(*after)).collect()
    }

    /// What the baselines know of the classes.
    pub(crate) const fn shapes(&self) -> &Shapes {
        &self.shapes
    }

    /// Free room as blocks.
    pub(crate) const fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// The index of every part.
    pub(crate) fn part_ids(&self) -> impl Iterator<Item = PartId> + use<> {
        (0..self.parts.len() as u16).map(PartId)
    }

    /// Bytes on the heap, about: what the tables cost beside the geometry itself.
    pub fn bytes(&self) -> usize {
        let parts = self.parts.len() * (size_of::<PlacedProfile>() + size_of::<usize>());
        let classes = self.capacity.len() + 4 * (self.freedom.len() + self.worth.len());
        let masks = self.masks.len() * size_of::<SliceMask>();
        let losses = self.losses.bytes(self.geometry.profiles.len());
        let figures = losses + self.shapes.bytes() + self.blocks.bytes();
        parts + 2 * self.next.len() + classes + masks + figures
    }

    fn count_freedom(&self, class: ClassId) -> u32 {
        let from = usize::from(class.0) * self.parts.len();
        self.next[from..from + self.parts.len()].iter().filter(|next| **next != NONE).count() as u32
    }

    fn sum_worth(&self, class: ClassId) -> u32 {
        let profiles = self.geometry.profiles.iter().zip(self.capacities(class));
        let worth = profiles.map(|(profile, count)| {
            let unit = if !profile.name.attributes.is_plain() {
                WORTH_ATTRIBUTES
            } else if self.geometry.is_double_memory(profile) {
                WORTH_DOUBLE_MEMORY
            } else {
                WORTH_PLAIN
            };
            unit * u32::from(profile.size.get()) * u32::from(*count)
        });
        worth.sum()
    }
}
