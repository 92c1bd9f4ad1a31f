//! Online placement: where one more slice goes, or several at once.
//!
//! Must never touch a held occupant, nor destroy a warm slice while a free placement exists.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Ordering;

use model::{GpuInstanceProfileId, PlacedProfile};

use crate::forecast::Forecast;
use crate::policy::Policy;
use crate::room::{Boards, Hold, Occupant, Planner, Room, Standing};
use crate::scar::{Pool, Prices};
use crate::tables::{ClassId, GeometryTables};

/// What is wanted, room by room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// Aligned with the rooms: the profile that answers the request there; `None` where the
    /// request may not go. A shorter list means `None` for the rest.
    pub profiles: Vec<Option<GpuInstanceProfileId>>,
}

impl Want {
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

/// How good a candidate is; less is better.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rank {
    pub(crate) evictions: usize,
    pub(crate) cost: f64,
    /// Placements left on the GPU, so that the fullest comes first.
    pub(crate) freedom: (u32, u32),
    pub(crate) room: usize,
    pub(crate) start: u8,
}

impl Rank {
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        self.evictions
            .cmp(&other.evictions)
            .then_with(|| self.cost.total_cmp(&other.cost))
            .then_with(|| self.freedom.cmp(&other.freedom))
            .then_with(|| self.room.cmp(&other.room))
            .then_with(|| self.start.cmp(&other.start))
    }
}

/// Ranks one placement; shared with the census.
pub(crate) struct Ranking<'a> {
    pub(crate) policy: Policy,
    pub(crate) prices: &'a Prices,
}

impl Ranking<'_> {
    /// `(cost, freedom)` of adding a part that leads from `standing.held` to `to`.
    pub(crate) fn of(
        &self,
        board: usize,
        tables: &GeometryTables,
        standing: Standing,
        to: ClassId,
    ) -> (f64, (u32, u32)) {
        let left = tables.freedom(standing.held);
        match self.policy {
            Policy::Scar => {
                let cost = self.prices.cost(board, tables, standing.held, to);
                (cost, (left, tables.freedom(standing.full)))
            }
            Policy::FirstFit => (0.0, (0, 0)),
            Policy::BestFit => (f64::from(left), (left - tables.freedom(to).min(left), 0)),
        }
    }
}

/// The rooms of one decision with all that was looked up about them.
struct Decision<'a> {
    rooms: &'a [Room],
    want: &'a Want,
    boards: &'a Boards,
    standings: Vec<Option<Standing>>,
    prices: Prices,
    policy: Policy,
    /// How many more of what is wanted the allowed rooms can hold, and how many of them must stay
    /// possible after this choice.
    room_for: u32,
    must_remain: u32,
}

impl<'a> Decision<'a> {
    fn new(
        rooms: &'a [Room],
        want: &'a Want,
        boards: &'a Boards,
        forecast: &Forecast,
        policy: Policy,
        must_remain: u32,
    ) -> Self {
        let standings: Vec<Option<Standing>> = rooms
            .iter()
            .enumerate()
            .map(|(index, room)| room.standing(boards.of(index)).filter(|_| room.usable))
            .collect();
        let tables: Vec<&GeometryTables> = boards.tables.iter().map(AsRef::as_ref).collect();
        let mut pools: Vec<Pool> = tables.iter().map(|t| Pool::new(t, forecast)).collect();
        let mut room_for = 0;
        for (index, standing) in standings.iter().enumerate() {
            let Some(standing) = standing else { continue };
            pools[boards.of_room[index]].add(boards.of(index), standing.held, 1);
            let wanted = want.profile(index);
            room_for += wanted.map_or(0, |p| boards.of(index).capacity(standing.held, p));
        }
        let prices = Prices::new(&pools, &tables);
        Self { rooms, want, boards, standings, prices, policy, room_for, must_remain }
    }

    /// Rooms that may take the request, with their profile.
    fn open(&self) -> impl Iterator<Item = (usize, GpuInstanceProfileId, Standing)> + '_ {
        (0..self.rooms.len()).filter_map(|room| {
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
        let to = tables.after(standing.held, tables.part_id(part)?)?;
        let before = tables.capacity(standing.held, part.profile);
        let lost = before.saturating_sub(tables.capacity(to, part.profile));
        if self.room_for.saturating_sub(lost) < self.must_remain {
            return None;
        }
        let ranking = Ranking { policy: self.policy, prices: &self.prices };
        let (cost, freedom) = ranking.of(self.boards.of_room[room], tables, standing, to);
        Some(Rank { evictions, cost, freedom, room, start: part.placement.start.get() })
    }

    /// A warm slice of exactly the wanted profile: the one whose use leaves most.
    fn reuse(&self) -> Option<Choice> {
        let warm = self.open().flat_map(|(room, profile, standing)| {
            let parts = self.rooms[room].parts(Hold::Warm).filter(move |p| p.profile == profile);
            parts.filter_map(move |part| Some((self.rank(room, standing, part, 0)?, part)))
        });
        let (rank, part) = warm.min_by(|(a, _), (b, _)| a.order(b))?;
        Some(Choice { room: rank.room, part, reuse: true, evict: Vec::new() })
    }

    /// A placement that is free of everything. Rooms that look alike are ranked once.
    fn free(&self) -> Option<Choice> {
        let mut groups = BTreeMap::new();
        for (room, profile, standing) in self.open() {
            groups.entry((self.boards.of_room[room], profile, standing)).or_insert(room);
        }
        let candidates = groups.into_iter().flat_map(|((_, profile, standing), room)| {
            let tables = self.boards.of(room);
            let legal =
                tables.parts_of(profile).filter(move |p| tables.after(standing.full, *p).is_some());
            legal.filter_map(move |part| {
                let part = tables.part(part);
                Some((self.rank(room, standing, part, 0)?, part))
            })
        });
        let (rank, part) = candidates.min_by(|(a, _), (b, _)| a.order(b))?;
        Some(Choice { room: rank.room, part, reuse: false, evict: Vec::new() })
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

    /// Where `count` slices go, all of them or none, in the order they are to be made. No slice is
    /// chosen twice, and no choice makes a later one impossible: whenever there is room for all,
    /// they are found.
    pub fn choose_many(
        &self,
        rooms: &[Room],
        want: &Want,
        count: u32,
        forecast: &Forecast,
    ) -> Option<Vec<Choice>> {
        let boards = self.tables_of(rooms);
        let mut rooms = rooms.to_vec();
        let mut choices = Vec::new();
        for left in (0..count).rev() {
            let decision = Decision::new(&rooms, want, &boards, forecast, Policy::Scar, left);
            let choice = decide(&decision)?;
            rooms[choice.room].take(&choice);
            choices.push(choice);
        }
        Some(choices)
    }
}

fn decide(decision: &Decision<'_>) -> Option<Choice> {
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
