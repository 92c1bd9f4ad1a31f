//! The search for the cheapest opening.
//!
//! Must never overlook a cheaper one: every set of at most so many moves is considered, unless what
//! it costs already exceeds the best.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::rc::Rc;
use alloc::vec::Vec;

use model::{GpuInstanceProfileId, PlacedProfile};

use super::candidate::{Candidate, View, candidates, profiles_with_room};
use super::fleet::{Fleet, Gpu, Spot, Tie};
use super::order::{Move, Relocation, in_order};
use crate::choose::evictions;
use crate::tables::{ClassId, PartId};

/// Room for one more instance, and how to get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// What the moves cost together.
    pub cost: u64,
    /// Idle instances that go first, sorted.
    pub evict: Vec<Spot>,
    /// The moves, in an order in which each finds its place free. What moves twice or has to wait
    /// for others does so only where the moves go round in a circle.
    pub moves: Vec<Relocation>,
    /// Where there is room then.
    pub place: Spot,
}

/// A GPU that is no longer as the fleet has it.
#[derive(Debug, Clone)]
struct Changed {
    gpu: usize,
    class: ClassId,
    gone: u32,
    come: Vec<PartId>,
}

impl Changed {
    fn view(&self) -> View<'_> {
        View { gpu: self.gpu, gone: self.gone, come: &self.come }
    }
}

/// An instance that needs a place: where it comes from, or `None` for the one that is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pending {
    pub(crate) board: usize,
    /// Index of its profile.
    pub(crate) profile: usize,
    pub(crate) from: Option<(usize, PartId)>,
}

/// A whole answer that was found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// What the moves beyond those that were asked for cost, and how many they are.
    pub(crate) price: (u64, u32),
    /// The new place of each.
    pub(crate) placed: Vec<(Pending, usize, PartId)>,
}

struct Search<'a> {
    fleet: &'a Fleet,
    most: u32,
    /// By board and profile, ascending.
    lists: BTreeMap<(usize, usize), Rc<Vec<Candidate>>>,
    changed: Vec<Changed>,
    placed: Vec<(Pending, usize, PartId)>,
    best: Option<Found>,
    /// How often it may still look for a place.
    looks: usize,
}

impl Fleet {
    /// The cheapest way to room for one more instance with at most `most` moves, each instance
    /// moved to a free place, or to one that another move leaves, on a GPU of the same board.
    /// `wanted[board]` is the profile that answers the request there. Among equally cheap ways the
    /// one with fewer moves, then the one that costs its GPU least worth, then the first.
    ///
    /// Where there is room already the answer has no moves. `None` where no such set of moves
    /// exists. The cost grows with the number of GPUs for the first move; for each further one with
    /// the number of sets that seem to help and do not.
    pub fn opening(&self, wanted: &[Option<GpuInstanceProfileId>], most: usize) -> Option<Opening> {
        let mut search = Search::new(self, most, usize::MAX);
        for (board, tables) in self.boards.iter().enumerate() {
            let Some(id) = wanted.get(board).copied().flatten() else { continue };
            let Some(profile) = tables.geometry().profiles.iter().position(|p| p.id == id) else {
                continue;
            };
            search.settle(&[Pending { board, profile, from: None }], (0, 0));
        }
        let found = search.best?;
        self.opened(&found)
    }

    /// Places for all of these with at most `most` moves of others, without looking for a place more
    /// than `looks` times: what is found need not be the cheapest then, and nothing may be found.
    pub(crate) fn settle(&self, pending: &[Pending], most: usize, looks: usize) -> Option<Found> {
        let mut search = Search::new(self, most, looks);
        search.settle(pending, (0, 0));
        search.best
    }

    /// What was found, with the idle instances that are in its way and the moves in order.
    fn opened(&self, found: &Found) -> Option<Opening> {
        let (mut moves, mut place) = (Vec::new(), None);
        for (pending, gpu, part) in &found.placed {
            let to = self.spot(*gpu, *part);
            match pending.from {
                None => place = Some(to),
                Some((from, old)) => moves.push(Move { from: self.spot(from, old), to }),
            }
        }
        let place = place?;
        let evict = self.evicted(&moves, &[place])?;
        let moves = in_order(self, &evict, &moves);
        Some(Opening { cost: found.price.0, evict, moves, place })
    }

    /// The idle instances that are in the way of what comes, once all that leaves has left; sorted.
    pub(crate) fn evicted(&self, moves: &[Move], places: &[Spot]) -> Option<Vec<Spot>> {
        let mut coming: BTreeMap<usize, Vec<PlacedProfile>> = BTreeMap::new();
        for spot in moves.iter().map(|one| &one.to).chain(places) {
            coming.entry(spot.gpu).or_default().push(spot.part);
        }
        let leaving: BTreeSet<Spot> = moves.iter().map(|one| one.from).collect();
        let mut all = Vec::new();
        for (gpu, parts) in coming {
            let tables = self.tables(self.board(gpu));
            let stays = |part: &PlacedProfile| !leaving.contains(&Spot { gpu, part: *part });
            let of = |idle: bool| {
                let there = self.on(gpu).filter(move |(_, tie)| (*tie == Tie::Idle) == idle);
                there.map(|(part, _)| part).filter(stays)
            };
            let mut class = tables.class_of(of(false))?;
            let mut idle: Vec<PlacedProfile> = of(true).collect();
            idle.sort_unstable();
            for part in parts {
                let evict = evictions(tables, class, &idle, part)?;
                idle.retain(|part| !evict.contains(part));
                all.extend(evict.into_iter().map(|part| Spot { gpu, part }));
                class = tables.after(class, tables.part_id(part)?)?;
            }
        }
        all.sort_unstable();
        Some(all)
    }
}

impl<'a> Search<'a> {
    fn new(fleet: &'a Fleet, most: usize, looks: usize) -> Self {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let (lists, changed, placed) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { fleet, most, lists, changed, placed, best: None, looks }
    }

    /// Finds places for all that need one, with what was paid so far.
    fn settle(&mut self, pending: &[Pending], paid: (u64, u32)) {
        if self.looks == 0 || self.best.as_ref().is_some_and(|best| paid >= best.price) {
            return;
        }
        self.looks -= 1;
        let Some((first, rest)) = pending.split_first() else {
            self.best = Some(Found { price: paid, placed: self.placed.clone() });
            return;
        };
        if self.has_room(*first) {
            for (gpu, part, class) in self.free(*first) {
                self.enter(*first, gpu, part, class, 0, |search| search.settle(rest, paid));
                if self.best.as_ref().is_some_and(|best| best.price <= paid) {
                    return;
                }
            }
        }
        let left = self.most - paid.1;
        if left > 0 {
            self.displace(*first, rest, paid, left);
        }
    }

    /// Makes room for one by moving others that were not moved yet.
    fn displace(&mut self, first: Pending, rest: &[Pending], paid: (u64, u32), left: u32) {
        let list = self.list(first.board, first.profile);
        let mut here = Vec::new();
        let mut room = 0;
        for changed in self.changed_on(first.board) {
            candidates(self.fleet, &changed.view(), first.profile, left, &mut here);
            room |= profiles_with_room(self.fleet.tables(first.board), changed.class);
        }
        here.sort_unstable();
        let (mut ours, mut theirs) = (here.iter().peekable(), list.iter().peekable());
        loop {
            let from_ours = match (ours.peek(), theirs.peek()) {
                (Some(one), Some(other)) => one <= other,
                (one, _) => one.is_some(),
            };
            let next = if from_ours { ours.next() } else { theirs.next() };
            let Some(candidate) = next else { return };
            let cost = (paid.0.saturating_add(candidate.cost), paid.1 + candidate.moves);
            if self.best.as_ref().is_some_and(|best| cost.0 > best.price.0) {
                return;
            }
            let stale = !from_ours && self.changed.iter().any(|c| c.gpu == candidate.gpu);
            let hopeless = candidate.moves == left && candidate.needs & !room != 0;
            if candidate.moves > left || stale || hopeless {
                continue;
            }
            let pending = self.with_gone(candidate, rest);
            let Candidate { gpu, part, class, gone, .. } = *candidate;
            self.enter(first, gpu, part, class, gone, |search| search.settle(&pending, cost));
        }
    }

    fn changed_on(&self, board: usize) -> impl Iterator<Item = &Changed> + '_ {
        self.changed.iter().filter(move |changed| self.fleet.gpus[changed.gpu].board == board)
    }

    /// The residents that a candidate drives out, largest first, before the others.
    fn with_gone(&self, candidate: &Candidate, rest: &[Pending]) -> Vec<Pending> {
        let Gpu { board, residents, .. } = &self.fleet.gpus[candidate.gpu];
        let tables = &self.fleet.boards[*board];
        let going = residents.iter().enumerate().filter(|(i, _)| candidate.gone >> i & 1 == 1);
        let mut pending: Vec<Pending> = going
            .map(|(_, resident)| Pending {
                board: *board,
                profile: tables.profile_index(resident.part),
                from: Some((candidate.gpu, resident.part)),
            })
            .chain(rest.iter().copied())
            .collect();
        let size = |pending: &Pending| {
            self.fleet.boards[pending.board].geometry().profiles[pending.profile].size
        };
        pending.sort_by_key(|pending| core::cmp::Reverse(size(pending)));
        pending
    }

    /// Goes on with an instance placed, and takes it back.
    fn enter(
        &mut self,
        pending: Pending,
        gpu: usize,
        part: PartId,
        class: ClassId,
        gone: u32,
        go_on: impl FnOnce(&mut Self),
    ) {
        self.placed.push((pending, gpu, part));
        let known = self.changed.iter().position(|changed| changed.gpu == gpu);
        let before = known.map(|index| self.changed[index].clone());
        if let Some(index) = known {
            let changed = &mut self.changed[index];
            changed.class = class;
            changed.gone |= gone;
            changed.come.push(part);
        } else {
            self.changed.push(Changed { gpu, class, gone, come: alloc::vec![part] });
        }
        go_on(self);
        match (known, before) {
            (Some(index), Some(before)) => self.changed[index] = before,
            _ => {
                self.changed.pop();
            }
        }
        self.placed.pop();
    }

    /// Whether there is a free place, without looking for it.
    fn has_room(&self, pending: Pending) -> bool {
        let Pending { board, profile, .. } = pending;
        let tables = &self.fleet.boards[board];
        let room = |class: ClassId| tables.capacities(class)[profile] > 0;
        let before = |changed: &&Changed| room(self.fleet.gpus[changed.gpu].class);
        let lost = self.changed_on(board).filter(before).count();
        let hosts = self.fleet.hosts(board, profile) as usize;
        hosts > lost || self.changed_on(board).any(|changed| room(changed.class))
    }

    /// Every free place that leads to another fleet, the one that costs least worth first; an
    /// instance does not come back to where it was.
    fn free(&self, pending: Pending) -> Vec<(usize, PartId, ClassId)> {
        let Pending { board, profile, from } = pending;
        let tables = &self.fleet.boards[board];
        let changed = self.changed_on(board);
        let untouched = |gpu: &&usize| !self.changed.iter().any(|changed| changed.gpu == **gpu);
        let (least, greatest) = ClassId::ALL.into_inner();
        let of_board = self.fleet.groups.range((board, least)..=(board, greatest));
        let others = of_board
            .filter(|((_, class), _)| tables.capacities(*class)[profile] > 0)
            .filter_map(|((_, class), gpus)| Some((*gpus.iter().find(untouched)?, *class)));
        let id = tables.geometry().profiles[profile].id;
        let mut ways = Vec::new();
        for (gpu, class) in changed.map(|changed| (changed.gpu, changed.class)).chain(others) {
            for part in tables.parts_of(id) {
                let Some(to) = tables.after(class, part) else { continue };
                if from == Some((gpu, part)) {
                    continue;
                }
                let loss = tables.worth(class).saturating_sub(tables.worth(to));
                ways.push(((loss, tables.freedom(class), gpu, part), to));
            }
        }
        ways.sort_unstable();
        ways.into_iter().map(|((_, _, gpu, part), to)| (gpu, part, to)).collect()
    }

    /// The places for a profile of a board on the fleet as it is, cheapest first.
    fn list(&mut self, board: usize, profile: usize) -> Rc<Vec<Candidate>> {
        if let Some(list) = self.lists.get(&(board, profile)) {
            return Rc::clone(list);
        }
        let mut list = Vec::new();
        for (index, gpu) in self.fleet.gpus.iter().enumerate() {
            if gpu.usable && gpu.board == board {
                let view = View { gpu: index, gone: 0, come: &[] };
                candidates(self.fleet, &view, profile, self.most, &mut list);
            }
        }
        list.sort_unstable();
        let list = Rc::new(list);
        self.lists.insert((board, profile), Rc::clone(&list));
        list
    }
}
