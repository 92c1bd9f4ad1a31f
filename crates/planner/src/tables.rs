//! Everything a decision needs to know about one geometry, worked out once.
//!
//! Layouts that can be continued in exactly the same ways are one *class*. Classes are computed
//! from [`Layout::admits`] alone, so that every rule of a board (overlap, maxima, engines, the
//! rules of Thor) is in them, whatever its grid. Must never decide legality in any other way.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use model::{Geometry, GpuInstanceProfileId, Layout, PlacedProfile, SliceMask};

/// A class of layouts that can be continued in the same ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(u16);

impl ClassId {
    /// The lowest and the highest, for ranges of ordered collections.
    pub(crate) const ALL: core::ops::RangeInclusive<Self> = Self(0)..=Self(u16::MAX);
}

/// A placed profile of a geometry: an index into [`GeometryTables::parts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartId(u16);

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
    /// `next[class * parts + part]`.
    next: Vec<u16>,
    /// `capacity[class * profiles + profile]`.
    capacity: Vec<u8>,
    /// For each class, how many parts can be added, one at a time.
    freedom: Vec<u32>,
    /// For each class, what its capacities are worth together.
    worth: Vec<u32>,
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
    classes: BTreeMap<Vec<(u16, u16)>, u16>,
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
        let class = *self.classes.entry(successors).or_insert(fresh);
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
        for (successors, class) in &classes {
            for (part, successor) in successors {
                next[usize::from(*class) * parts.len() + usize::from(*part)] = *successor;
            }
        }
        let mut tables = Self {
            geometry: Arc::clone(geometry),
            parts,
            profile_of,
            next,
            capacity: Vec::new(),
            freedom: Vec::new(),
            worth: Vec::new(),
            empty: ClassId(empty),
        };
        tables.fill_capacity(classes.len());
        let ids = (0..classes.len() as u16).map(ClassId);
        tables.freedom = ids.clone().map(|class| tables.count_freedom(class)).collect();
        tables.worth = ids.map(|class| tables.sum_worth(class)).collect();
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
        let found = self.parts.iter().enumerate().filter(move |(_, part)| part.profile == profile);
        found.map(|(index, _)| PartId(index as u16))
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
