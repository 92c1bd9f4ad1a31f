//! Online placement: where one more slice goes, or several at once.
//!
//! Must never touch a held occupant, nor destroy a warm slice while a free placement exists.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Ordering;

use model::{GpuInstanceProfileId, PlacedProfile};

use crate::arrange::{Arrangement, Arranging};
use crate::forecast::Forecast;
use crate::lasting::{Delay, Lasting};
use crate::policy::Policy;
use crate::rank::{Candidate, Rank, Ranking};
use crate::room::{Boards, Hold, Occupant, Planner, Room, Standing, after_all, joint_capacity};
use crate::scar::Pool;
use crate::tables::{ClassId, GeometryTables};

/// What is wanted, room by room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// Aligned with the rooms: the profile that answers the request there; `None` where the
    /// request may not go. A shorter list means `None` for the rest.
    pub profiles: Vec<Option<GpuInstanceProfileId>>,
    /// How several lie to each other.
    pub arrangement: Arrangement,
}

impl Want {
    /// These profiles, arranged as it suits the rooms.
    pub const fn of(profiles: Vec<Option<GpuInstanceProfileId>>) -> Self {
        Self { profiles, arrangement: Arrangement::Any }
    }

    /// The profile wanted in a room.
    pub fn profile(&self, room: usize) -> Option<GpuInstanceProfileId> {
        self.profiles.get(room).copied().flatten()
    }
}

/// Where a slice goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Index of the room.
    pub room: usize,
    /// The slice: profile and placement.
    pub part: PlacedProfile,
    /// Whether a warm slice is granted as it is, and nothing is created.
    pub reuse: bool,
    /// Warm slices to destroy before, sorted.
    pub evict: Vec<PlacedProfile>,
}

/// The rooms of one decision with all that was looked up about them.
pub(crate) struct Decision<'a> {
    rooms: &'a [Room],
    want: &'a Want,
    /// Rooms that may take this one; all that want it, where there is no such list.
    pub(crate) only: Option<Vec<usize>>,
    boards: &'a Boards,
    standings: Vec<Option<Standing>>,
    /// Aligned with the rooms: what else must admit a part that is placed there.
    shadows: Vec<Vec<ClassId>>,
    ranking: Ranking,
    policy: Policy,
    /// How many more of what is wanted the allowed rooms can hold, and how many of them must stay
    /// possible after this choice.
    room_for: u32,
    must_remain: u32,
    pub(crate) lasting: Option<Lasting<'a>>,
}

impl<'a> Decision<'a> {
    pub(crate) fn new(
        rooms: &'a [Room],
        want: &'a Want,
        boards: &'a Boards,
        forecast: &Forecast,
        policy: Policy,
        must_remain: u32,
    ) -> Self {
        let mut standings: Vec<Option<Standing>> = Vec::with_capacity(rooms.len());
        let mut shadows = Vec::with_capacity(rooms.len());
        for (index, room) in rooms.iter().enumerate() {
            let tables = boards.of(index);
            let kept = room.shadows(tables);
            standings.push(room.standing(tables).filter(|_| room.usable && kept.is_some()));
            shadows.push(kept.unwrap_or_default());
        }
        let tables: Vec<&GeometryTables> = boards.tables.iter().map(AsRef::as_ref).collect();
        let mut pools: Vec<Pool> = tables.iter().map(|t| Pool::new(t, forecast)).collect();
        let mut room_for = 0;
        for (index, standing) in standings.iter().enumerate() {
            let Some(standing) = standing else { continue };
            pools[boards.of_room[index]].add(boards.of(index), standing.held, 1);
            let more = |p| joint_capacity(boards.of(index), standing.held, &shadows[index], p);
            room_for += want.profile(index).map_or(0, more);
        }
        let ranking = Ranking::new(policy, &pools, &tables);
        let only = None;
        Self {
            rooms,
            want,
            only,
            boards,
            standings,
            shadows,
            ranking,
            policy,
            room_for,
            must_remain,
            lasting: None,
        }
    }

    /// Rooms that may take the request, with their profile; those whose turn it is first.
    fn open(&self) -> impl Iterator<Item = (usize, GpuInstanceProfileId, Standing)> + '_ {
        let may = |room: &usize| self.only.as_ref().is_none_or(|only| only.contains(room));
        let first = self.policy.begin().min(self.rooms.len());
        (first..self.rooms.len()).chain(0..first).filter(may).filter_map(|room| {
            Some((room, self.want.profile(room)?, self.standings.get(room).copied().flatten()?))
        })
    }

    /// The rank of putting `part` in a room; `None` when it may not be added to what is held, or
    /// when too few of the same kind would remain possible.
    fn rank(
        &self,
        room: usize,
        standing: Standing,
        part: PlacedProfile,
        evictions: usize,
    ) -> Option<Rank> {
        let tables = self.boards.of(room);
        let id = tables.part_id(part)?;
        let to = tables.after(standing.held, id)?;
        let kept = after_all(tables, &self.shadows[room], id)?;
        let before = joint_capacity(tables, standing.held, &self.shadows[room], part.profile);
        let lost = before.saturating_sub(joint_capacity(tables, to, &kept, part.profile));
        if self.room_for.saturating_sub(lost) < self.must_remain {
            return None;
        }
        let board = self.boards.of_room[room];
        let delay = self.delay(room);
        let candidate = Candidate { board, room, standing, part: id, to, evictions, delay };
        Some(self.ranking.of(tables, &candidate))
    }

    /// What the slice does to the time at which a room becomes empty, where that counts.
    fn delay(&self, room: usize) -> Delay {
        let counts = self.lasting.filter(|_| self.policy.goes_by_ends());
        counts.map_or_else(Delay::default, |lasting| lasting.delay(room))
    }

    /// A warm slice of exactly the wanted profile: the one whose use leaves most.
    fn reuse(&self) -> Option<Choice> {
        let warm = self.open().flat_map(|(room, profile, standing)| {
            let parts = self.rooms[room].parts(Hold::Warm).filter(move |p| p.profile == profile);
            parts.filter_map(move |part| Some((self.rank(room, standing, part, 0)?, part)))
        });
        let (rank, part) = warm.min_by(|(a, _), (b, _)| a.order(b))?;
        Some(Choice { room: rank.room(), part, reuse: true, evict: Vec::new() })
    }

    /// A placement that is free of everything. Rooms that look alike are ranked once.
    fn free(&self) -> Option<Choice> {
        let mut groups = BTreeMap::new();
        for (room, profile, standing) in self.open() {
            let kept = &self.shadows[room];
            let key = (self.boards.of_room[room], profile, standing, kept);
            let nearer = |known: &mut usize| {
                if self.delay(room) < self.delay(*known) {
                    *known = room;
                }
            };
            groups.entry(key).and_modify(nearer).or_insert(room);
        }
        let candidates = groups.into_iter().flat_map(|((_, profile, standing, _), room)| {
            let tables = self.boards.of(room);
            let legal =
                tables.parts_of(profile).filter(move |p| tables.after(standing.full, *p).is_some());
            legal.filter_map(move |part| {
                let part = tables.part(part);
                Some((self.rank(room, standing, part, 0)?, part))
            })
        });
        let (rank, part) = candidates.min_by(|(a, _), (b, _)| a.order(b))?;
        Some(Choice { room: rank.room(), part, reuse: false, evict: Vec::new() })
    }

    /// A placement that is free once the fewest warm slices are gone.
    fn evicting(&self) -> Option<Choice> {
        let mut best: Option<(Rank, Choice)> = None;
        for (room, profile, standing) in self.open() {
            let tables = self.boards.of(room);
            let mut warm: Vec<PlacedProfile> = self.rooms[room].parts(Hold::Warm).collect();
            warm.sort_unstable();
            for part in tables.parts_of(profile).map(|id| tables.part(id)) {
                let Some(evict) = evictions(tables, standing.held, &warm, part) else { continue };
                let Some(rank) = self.rank(room, standing, part, evict.len()) else { continue };
                if best.as_ref().is_none_or(|(known, _)| rank.order(known) == Ordering::Less) {
                    best = Some((rank, Choice { room, part, reuse: false, evict }));
                }
            }
        }
        best.map(|(_, choice)| choice)
    }
}

/// The fewest warm slices whose end makes room for `part` beside what is held; among equally many
/// the ones that take the fewest units. `None` when what is held excludes it.
pub(crate) fn evictions(
    tables: &GeometryTables,
    held: ClassId,
    warm: &[PlacedProfile],
    part: PlacedProfile,
) -> Option<Vec<PlacedProfile>> {
    let with = tables.after(held, tables.part_id(part)?)?;
    let stays = |other: &PlacedProfile| tables.extend(with, [*other]).is_some();
    let (may_stay, must_go): (Vec<PlacedProfile>, Vec<PlacedProfile>) =
        warm.iter().partition(|other| stays(other));
    let chosen = |set: u32| may_stay.iter().enumerate().filter(move |(i, _)| set >> i & 1 == 1);
    let units = |set: u32| chosen(set).map(|(_, p)| u32::from(p.placement.size.get())).sum::<u32>();
    let all = 1u32 << may_stay.len().min(16);
    let fitting = (0..all).filter(|gone| {
        let staying = may_stay.iter().enumerate().filter(|(i, _)| gone >> i & 1 == 0);
        tables.extend(with, staying.map(|(_, part)| *part)).is_some()
    });
    let gone = fitting.min_by_key(|gone| (gone.count_ones(), units(*gone), *gone))?;
    let mut evict: Vec<PlacedProfile> = chosen(gone).map(|(_, part)| *part).collect();
    evict.extend(must_go);
    evict.sort_unstable();
    Some(evict)
}

impl Planner {
    /// Where one more slice goes: a warm slice of that profile, else a free placement, else one
    /// that is free once the fewest warm slices are destroyed. `None` when held occupants leave no
    /// room.
    pub fn choose(&self, rooms: &[Room], want: &Want, forecast: &Forecast) -> Option<Choice> {
        self.choose_by(Policy::Scar, rooms, want, forecast)
    }

    /// The same under another policy.
    pub fn choose_by(
        &self,
        policy: Policy,
        rooms: &[Room],
        want: &Want,
        forecast: &Forecast,
    ) -> Option<Choice> {
        let boards = self.tables_of(rooms);
        decide(&Decision::new(rooms, want, &boards, forecast, policy, 0))
    }

    /// Exactly this part in this room: the warm slice that is it, or its making with the fewest
    /// warm slices destroyed before. `None` when held occupants or promises exclude it.
    pub fn choose_place(&self, rooms: &[Room], room: usize, part: PlacedProfile) -> Option<Choice> {
        let chosen = rooms.get(room).filter(|room| room.usable)?;
        let tables = self.tables(&chosen.geometry);
        let id = tables.part_id(part)?;
        let standing = chosen.standing(&tables)?;
        after_all(&tables, &chosen.shadows(&tables)?, id)?;
        tables.after(standing.held, id)?;
        if chosen.parts(Hold::Warm).any(|warm| warm == part) {
            return Some(Choice { room, part, reuse: true, evict: Vec::new() });
        }
        let mut warm: Vec<PlacedProfile> = chosen.parts(Hold::Warm).collect();
        warm.sort_unstable();
        let evict = evictions(&tables, standing.held, &warm, part)?;
        Some(Choice { room, part, reuse: false, evict })
    }

    /// Where `count` slices go, all of them or none, in the order they are to be made. No slice is
    /// chosen twice, and no choice makes a later one impossible: whenever there is room for all,
    /// they are found.
    ///
    /// [`Want::arrangement`] is kept to: [`Arrangement::SameGpu`] and [`Arrangement::OtherGpu`]
    /// whatever it costs, [`Arrangement::Pack`] and [`Arrangement::Spread`] as far as there is
    /// room.
    pub fn choose_many(
        &self,
        rooms: &[Room],
        want: &Want,
        count: u32,
        forecast: &Forecast,
    ) -> Option<Vec<Choice>> {
        self.choose_many_by(Policy::Scar, rooms, want, count, forecast)
    }

    /// The same under another policy.
    pub fn choose_many_by(
        &self,
        policy: Policy,
        rooms: &[Room],
        want: &Want,
        count: u32,
        forecast: &Forecast,
    ) -> Option<Vec<Choice>> {
        self.choose_many_lasting(policy, rooms, want, count, forecast, None)
    }

    /// The same; a request whose probable end is known goes, between places that are equally good, where it
    /// puts off least that the GPU becomes empty.
    pub fn choose_many_lasting(
        &self,
        policy: Policy,
        rooms: &[Room],
        want: &Want,
        count: u32,
        forecast: &Forecast,
        lasting: Option<Lasting<'_>>,
    ) -> Option<Vec<Choice>> {
        Arranging::new(self, rooms, want, forecast, policy, lasting).choose(count)
    }
}

pub(crate) fn decide(decision: &Decision<'_>) -> Option<Choice> {
    decision.reuse().or_else(|| decision.free()).or_else(|| decision.evicting())
}

impl Room {
    /// Makes the room look as after `choice`: evicted slices gone, the chosen one held.
    pub fn take(&mut self, choice: &Choice) {
        self.occupants.retain(|occupant| {
            let goes = choice.evict.contains(&occupant.part) || occupant.part == choice.part;
            occupant.hold == Hold::Held || !goes
        });
        self.occupants.push(Occupant { part: choice.part, hold: Hold::Held });
    }
}
