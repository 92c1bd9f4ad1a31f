//! The GPUs of a fleet: what lies where, and the census from which placements are chosen.
//!
//! Must never place what the tables of the board forbid.

use model::{PlacedProfile, Timestamp};
use planner::{Census, ClassId, Forecast, GeometryTables, Policy};

use super::drain::Seal;
use super::site::{Site, WHOLE};
use super::work::{Kind, Workload};

/// A slice on a GPU, and the request that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) part: PlacedProfile,
    pub(crate) owner: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct Gpu {
    pub(crate) board: usize,
    pub(crate) class: ClassId,
    pub(crate) slices: Vec<Slice>,
}

/// A slice's place: which GPU, and where on it.
pub(crate) type Place = (usize, PlacedProfile);

/// After so many requests the forecast is worked out anew: often while little is known, later
/// rarely, since single requests change nothing then.
const REFRESH: [(u64, u64); 2] = [(1024, 16), (u64::MAX, 64)];

/// When so many requests are counted, all counts are halved, so that the forecast follows a demand
/// that changes.
const FORGET_AT: u64 = 8192;

/// GPUs with what lies on them.
#[derive(Debug)]
pub(crate) struct Ground<'a> {
    site: &'a Site,
    kinds: &'a [Kind],
    census: Census,
    pub(crate) gpus: Vec<Gpu>,
    /// By request: where its slices are.
    placed: Vec<Vec<Place>>,
    /// By request: when it ends, where that is known.
    until: Vec<Option<Timestamp>>,
    /// A GPU that the census does not know of while room is kept on it.
    pub(crate) seal: Option<Seal>,
    forecast: Forecast,
    counted: u64,
    seen: u64,
    room: Rooms,
}

/// Sums over all GPUs, kept up to date with every slice.
#[derive(Debug, Clone)]
struct Rooms {
    /// By kind: how many more fit, that kind alone.
    capacity: Vec<u64>,
    /// By board and kind: how many fit on an empty GPU.
    empty: Vec<Vec<u64>>,
    /// By board: what is free, in weights.
    free: Vec<u64>,
    held: u64,
    compute: u64,
    active: u64,
}

fn capacity_of(tables: &GeometryTables, class: ClassId, kind: &Kind, board: usize) -> u64 {
    kind.wanted[board].map_or(0, |profile| u64::from(tables.capacity(class, profile)))
}

impl<'a> Ground<'a> {
    pub(crate) fn new(site: &'a Site, work: &'a Workload) -> Self {
        let (forecast, kinds) = (Forecast::unknown(), work.kinds.as_slice());
        let boards = site.boards();
        let tables = boards.iter().map(|board| board.tables.clone()).collect();
        let mut census = Census::new(tables, &forecast);
        let mut gpus = Vec::with_capacity(site.gpus() as usize);
        for (index, board) in boards.iter().enumerate() {
            for _ in 0..board.gpus {
                let class = board.tables.empty();
                census.add(gpus.len(), index, class);
                gpus.push(Gpu { board: index, class, slices: Vec::new() });
            }
        }
        let empty_of = |(index, board): (usize, &super::site::SiteBoard)| {
            let empty = board.tables.empty();
            kinds.iter().map(|kind| capacity_of(&board.tables, empty, kind, index)).collect()
        };
        let empty: Vec<Vec<u64>> = boards.iter().enumerate().map(empty_of).collect();
        let all = |kind: usize| {
            boards.iter().zip(&empty).map(|(b, each)| u64::from(b.gpus) * each[kind]).sum()
        };
        let capacity = (0..kinds.len()).map(all).collect();
        let free = boards.iter().map(|board| u64::from(board.gpus) * WHOLE).collect();
        Self {
            site,
            kinds,
            census,
            gpus,
            placed: vec![Vec::new(); work.requests.len()],
            until: vec![None; work.requests.len()],
            seal: None,
            forecast,
            counted: 0,
            seen: 0,
            room: Rooms { capacity, empty, free, held: 0, compute: 0, active: 0 },
        }
    }

    /// Counts a request for the forecast.
    pub(crate) fn expect(&mut self, kind: usize) {
        let boards = self.site.boards().iter().zip(&self.kinds[kind].wanted);
        let mut names: Vec<_> =
            boards.filter_map(|(board, id)| Some(board.geometry().profile((*id)?)?.name)).collect();
        names.dedup();
        for name in names {
            self.forecast.count(name);
        }
        self.counted += 1;
        self.seen += 1;
        if self.counted >= FORGET_AT {
            self.counted /= 2;
            for count in self.forecast.demand.values_mut() {
                *count /= 2;
            }
        }
        let every = REFRESH.iter().find(|(until, _)| self.seen <= *until).map_or(1, |(_, e)| *e);
        if self.seen.is_multiple_of(every) {
            self.census.expect(&self.forecast);
        }
    }

    /// Whether that many of a kind may fit: false is certain for one slice and for several of one
    /// kind, true is not while room is kept for somebody.
    pub(crate) fn may_fit(&self, kind: usize, count: u32) -> bool {
        self.room.capacity[kind] >= u64::from(count)
    }

    /// Places one slice by a policy; `None` if the census has no place.
    pub(crate) fn place(&mut self, policy: &mut Policy, kind: usize, owner: usize) -> Option<()> {
        let until = self.until[owner];
        let choice = self.census.choose_until(*policy, &self.kinds[kind].wanted, until)?;
        *policy = policy.after(choice.gpu);
        self.put(choice.gpu, choice.part, owner)
    }

    /// Notes when a request ends that is about to be placed, where that is known.
    pub(crate) fn lasts(&mut self, owner: usize, until: Option<Timestamp>) {
        self.until[owner] = until;
    }

    /// When the last on a GPU ends, if that is known of all.
    fn end_of(&self, gpu: usize) -> Option<Timestamp> {
        let ends = self.gpus[gpu].slices.iter().map(|slice| self.until[slice.owner]);
        ends.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// Where the slices of a request are.
    pub(crate) fn places(&self, owner: usize) -> &[Place] {
        &self.placed[owner]
    }

    /// Puts a slice where somebody decided; `None`, and nothing happens, if it is not legal there.
    pub(crate) fn put(&mut self, gpu: usize, part: PlacedProfile, owner: usize) -> Option<()> {
        let there = &self.gpus[gpu];
        let tables = &self.site.boards()[there.board].tables;
        let class = tables.after(there.class, tables.part_id(part)?)?;
        self.change(gpu, class, |slices| slices.push(Slice { part, owner }));
        self.weigh(gpu, part, true);
        self.placed[owner].push((gpu, part));
        Some(())
    }

    /// Takes all slices of a request away; what they were.
    pub(crate) fn leave(&mut self, owner: usize) -> Vec<Place> {
        let places = std::mem::take(&mut self.placed[owner]);
        for (gpu, part) in &places {
            self.take(*gpu, *part);
        }
        places
    }

    /// Takes one slice from the request that has it, and tells which that was; `None` if nobody has
    /// it.
    pub(crate) fn release(&mut self, place: Place) -> Option<usize> {
        let (gpu, part) = place;
        let owner = self.gpus[gpu].slices.iter().find(|slice| slice.part == part)?.owner;
        self.placed[owner].retain(|other| *other != place);
        self.take(gpu, part);
        Some(owner)
    }

    /// Takes one slice away.
    fn take(&mut self, gpu: usize, part: PlacedProfile) {
        let there = &self.gpus[gpu];
        let tables = &self.site.boards()[there.board].tables;
        let rest = there.slices.iter().map(|slice| slice.part).filter(|other| *other != part);
        // What is left of a legal layout is legal.
        let Some(class) = tables.class_of(rest) else { return };
        self.change(gpu, class, |slices| slices.retain(|slice| slice.part != part));
        self.weigh(gpu, part, false);
    }

    fn change(&mut self, gpu: usize, to: ClassId, change: impl FnOnce(&mut Vec<Slice>)) {
        let there = &mut self.gpus[gpu];
        let (board, from) = (there.board, there.class);
        let sealed = self.seal.as_ref().is_some_and(|seal| seal.gpu == gpu);
        if !sealed {
            self.census.remove(gpu, board, from);
        }
        self.room.active -= u64::from(!there.slices.is_empty());
        change(&mut there.slices);
        there.class = to;
        self.room.active += u64::from(!there.slices.is_empty());
        if !sealed {
            self.census.add_until(gpu, board, to, self.end_of(gpu));
        }
        let tables = &self.site.boards()[board].tables;
        for (kind, sum) in self.kinds.iter().zip(&mut self.room.capacity) {
            *sum += capacity_of(tables, to, kind, board);
            *sum -= capacity_of(tables, from, kind, board);
        }
    }

    fn weigh(&mut self, gpu: usize, part: PlacedProfile, comes: bool) {
        let board = self.gpus[gpu].board;
        let (weight, compute) = self.site.boards()[board].weights(part.profile);
        let room = &mut self.room;
        if comes {
            (room.held, room.compute) = (room.held + weight, room.compute + compute);
            room.free[board] -= weight;
        } else {
            (room.held, room.compute) = (room.held - weight, room.compute - compute);
            room.free[board] += weight;
        }
    }

    /// Hides a GPU from the census, so that room is kept on it.
    pub(crate) fn seal(&mut self, seal: Seal) {
        self.unseal();
        let gpu = &self.gpus[seal.gpu];
        self.census.remove(seal.gpu, gpu.board, gpu.class);
        self.seal = Some(seal);
    }

    /// Gives it back.
    pub(crate) fn unseal(&mut self) {
        if let Some(seal) = self.seal.take() {
            let gpu = &self.gpus[seal.gpu];
            self.census.add_until(seal.gpu, gpu.board, gpu.class, self.end_of(seal.gpu));
        }
    }

    /// The tables of a GPU's board.
    pub(crate) fn tables(&self, gpu: usize) -> &GeometryTables {
        &self.site.boards()[self.gpus[gpu].board].tables
    }

    /// What all slices weigh.
    pub(crate) fn held(&self) -> u64 {
        self.room.held
    }

    /// The compute slices of all slices, weighed.
    pub(crate) fn compute(&self) -> u64 {
        self.room.compute
    }

    /// GPUs with something on them.
    pub(crate) fn active(&self) -> u64 {
        self.room.active
    }

    /// Of the requests that the free room would hold if it lay together, the part that it does not
    /// hold as it lies; kinds count as `shares` says, which adds up to one.
    pub(crate) fn fragmentation(&self, shares: &[f64]) -> f64 {
        let kinds = shares.iter().zip(&self.room.capacity).enumerate();
        let lost = kinds.map(|(kind, (share, capacity))| {
            let per_board = self.room.free.iter().zip(&self.room.empty);
            let together: f64 = per_board
                .map(|(free, empty)| *free as f64 / WHOLE as f64 * empty[kind] as f64)
                .sum();
            let whole = together.floor();
            if whole < 1.0 { 0.0 } else { share * (1.0 - (*capacity as f64 / whole).min(1.0)) }
        });
        lost.sum()
    }

    /// Whether every GPU's slices are a legal layout, as the tables know it, and all sums are what
    /// the slices say.
    #[cfg(test)]
    pub(crate) fn is_sound(&self) -> bool {
        let legal = |gpu: &Gpu| {
            let tables = &self.site.boards()[gpu.board].tables;
            let geometry = tables.geometry();
            let parts: Vec<PlacedProfile> = gpu.slices.iter().map(|slice| slice.part).collect();
            model::Layout::new(geometry, parts.iter().copied()).is_ok()
                && tables.class_of(parts) == Some(gpu.class)
        };
        let capacity = |(index, kind): (usize, &Kind)| {
            let of = |gpu: &Gpu| {
                let tables = &self.site.boards()[gpu.board].tables;
                capacity_of(tables, gpu.class, kind, gpu.board)
            };
            self.gpus.iter().map(of).sum::<u64>() == self.room.capacity[index]
        };
        let slices: usize = self.gpus.iter().map(|gpu| gpu.slices.len()).sum();
        self.gpus.iter().all(legal)
            && self.kinds.iter().enumerate().all(capacity)
            && slices == self.placed.iter().map(Vec::len).sum::<usize>()
            && self.room.held + self.room.free.iter().sum::<u64>() == self.site.weight()
    }
}
