//! Few moves that let one request in: the planner's openings, carried out on the fleet.
//!
//! Must never move anything that the planner did not name.
//!
//! Every slice may move, at the price of its memory slices, and moving takes no time: the figures
//! are what moves can bring at most, beside how many they are. On a real machine a move is a
//! restart, and only leases that agreed to it are asked.

use model::GpuInstanceProfileId;
use planner::open::{Fleet, Relocation, Spot, Tie};

use super::ground::Ground;
use super::site::Site;

/// The fleet as the search for openings knows it, and what was moved so far.
#[derive(Debug)]
pub(crate) struct Mover {
    fleet: Fleet,
    most: usize,
    /// Slices that were moved, and what they weighed.
    pub(crate) moved: (u64, u64),
}

impl Mover {
    /// For the empty fleet; at most so many moves for a request.
    pub(crate) fn new(site: &Site, most: usize) -> Self {
        let boards = site.boards().iter().map(|board| board.tables.clone()).collect();
        let mut fleet = Fleet::new(boards);
        for (index, board) in site.boards().iter().enumerate() {
            for _ in 0..board.gpus {
                fleet.add(index);
            }
        }
        Self { fleet, most, moved: (0, 0) }
    }

    /// A slice was placed.
    pub(crate) fn put(&mut self, spot: Spot) {
        let price = u64::from(spot.part.placement.size.get());
        // What the ground admits the same tables admit here.
        self.fleet.put(spot, Tie::Movable(price));
    }

    /// A slice went.
    pub(crate) fn take(&mut self, spot: Spot) {
        self.fleet.take(spot);
    }

    /// Makes room for one slice and places it; `None`, and nothing happens, where so few moves do
    /// not make room.
    pub(crate) fn open(
        &mut self,
        ground: &mut Ground<'_>,
        site: &Site,
        wanted: &[Option<GpuInstanceProfileId>],
        owner: usize,
    ) -> Option<()> {
        let opening = self.fleet.opening(wanted, self.most)?;
        let mut parked: Vec<(Spot, usize)> = Vec::new();
        for step in opening.moves {
            match step {
                Relocation::MakeFirst { from, to } | Relocation::StopFirst { from, to } => {
                    let who = ground.release((from.gpu, from.part))?;
                    self.take(from);
                    self.settle(ground, site, to, who)?;
                }
                Relocation::Park { from } => {
                    parked.push((from, ground.release((from.gpu, from.part))?));
                    self.take(from);
                }
                Relocation::Unpark { from, to } => {
                    let at = parked.iter().position(|(spot, _)| *spot == from)?;
                    let (_, who) = parked.swap_remove(at);
                    self.settle(ground, site, to, who)?;
                }
            }
        }
        ground.put(opening.place.gpu, opening.place.part, owner)?;
        self.put(opening.place);
        Some(())
    }

    fn settle(&mut self, ground: &mut Ground<'_>, site: &Site, to: Spot, who: usize) -> Option<()> {
        ground.put(to.gpu, to.part, who)?;
        self.put(to);
        let board = &site.boards()[ground.gpus[to.gpu].board];
        self.moved.0 += 1;
        self.moved.1 += board.weight(to.part.placement.size.get());
        Some(())
    }
}
