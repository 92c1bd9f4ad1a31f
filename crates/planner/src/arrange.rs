//! Several slices at once: how they lie to each other.
//!
//! Must never find no room where there is some: what is chosen first never makes the rest
//! impossible.

use alloc::vec::Vec;

use crate::choose::{Choice, Decision, Want, decide};
use crate::forecast::Forecast;
use crate::lasting::Lasting;
use crate::policy::Policy;
use crate::room::{Boards, Planner, Room, joint_capacity};

/// How several slices lie to each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arrangement {
    /// As it suits the rooms.
    #[default]
    Any,
    /// On as few GPUs as there is room for.
    Pack,
    /// On as many GPUs as there is room for.
    Spread,
    /// All on one GPU, or not at all.
    SameGpu,
    /// Each on a GPU of its own, or not at all.
    OtherGpu,
}

/// A choice of several slices in the making.
pub(crate) struct Arranging<'a> {
    planner: &'a Planner,
    rooms: Vec<Room>,
    want: &'a Want,
    forecast: &'a Forecast,
    policy: Policy,
    boards: Boards,
    lasting: Option<Lasting<'a>>,
    choices: Vec<Choice>,
}

impl<'a> Arranging<'a> {
    pub(crate) fn new(
        planner: &'a Planner,
        rooms: &[Room],
        want: &'a Want,
        forecast: &'a Forecast,
        policy: Policy,
        lasting: Option<Lasting<'a>>,
    ) -> Self {
        let boards = planner.tables_of(rooms);
        let (rooms, choices) = (rooms.to_vec(), Vec::new());
        Self { planner, rooms, want, forecast, policy, boards, lasting, choices }
    }

    /// Where `count` slices go, or `None`.
    pub(crate) fn choose(mut self, count: u32) -> Option<Vec<Choice>> {
        match self.want.arrangement {
            _ if count <= 1 => (0..count).try_for_each(|_| self.one(None, 0))?,
            Arrangement::Any => {
                (0..count).rev().try_for_each(|left| self.one(None, left))?;
            }
            Arrangement::OtherGpu => {
                for _ in 0..count {
                    let taken = self.taken();
                    let others = (0..self.rooms.len()).filter(|room| !taken.contains(room));
                    self.one(Some(others.collect()), 0)?;
                }
            }
            Arrangement::Spread => {
                (0..count).rev().try_for_each(|left| self.apart(left))?;
            }
            Arrangement::Pack => self.pack(count)?,
            Arrangement::SameGpu => return self.same(count),
        }
        Some(self.choices)
    }

    /// One slice more, in one of these rooms, such that `left` more stay possible in all of them.
    fn one(&mut self, only: Option<Vec<usize>>, left: u32) -> Option<()> {
        let mut decision = self.decision(self.want, left);
        decision.only = only;
        let choice = decide(&decision)?;
        self.take(choice);
        Some(())
    }

    /// The next decision as things stand.
    fn decision<'d>(&'d self, want: &'d Want, left: u32) -> Decision<'d> {
        let Self { rooms, boards, forecast, policy, lasting, .. } = self;
        let mut decision = Decision::new(rooms, want, boards, forecast, *policy, left);
        decision.lasting = *lasting;
        decision
    }

    fn take(&mut self, choice: Choice) {
        self.rooms[choice.room].take(&choice);
        self.policy = self.policy.after(choice.room);
        self.choices.push(choice);
    }

    fn taken(&self) -> Vec<usize> {
        self.choices.iter().map(|choice| choice.room).collect()
    }

    /// One slice more on a GPU that has the fewest of them, such that `left` more stay possible.
    fn apart(&mut self, left: u32) -> Option<()> {
        let taken = self.taken();
        let there = |room: usize| taken.iter().filter(|other| **other == room).count();
        for many in 0..=taken.len() {
            let rooms = (0..self.rooms.len()).filter(|room| there(*room) == many).collect();
            if self.one(Some(rooms), left).is_some() {
                return Some(());
            }
        }
        None
    }

    /// How many more of what is wanted each room can hold.
    fn capacities(&self) -> Vec<u32> {
        let room = |(index, room): (usize, &Room)| {
            let tables = self.boards.of(index);
            let standing = room.standing(tables).filter(|_| room.usable);
            let asked = standing.zip(self.want.profile(index)).zip(room.shadows(tables));
            asked.map_or(0, |((standing, profile), kept)| {
                joint_capacity(tables, standing.held, &kept, profile)
            })
        };
        self.rooms.iter().enumerate().map(room).collect()
    }

    /// The roomiest GPUs first, and for the rest the one that it fills best: no set of fewer GPUs
    /// holds them all.
    fn pack(&mut self, count: u32) -> Option<()> {
        let mut capacities = self.capacities();
        let mut left = count;
        while left > 0 {
            let rooms = || capacities.iter().enumerate().filter(|(_, capacity)| **capacity > 0);
            let enough = rooms().filter(|(_, capacity)| **capacity >= left).min_by_key(|c| c.1);
            let roomiest = rooms().max_by_key(|(index, capacity)| (**capacity, usize::MAX - index));
            let (room, capacity) = enough.or(roomiest)?;
            let here = left.min(*capacity);
            for more in (0..here).rev() {
                self.one_of(room, more)?;
            }
            left -= here;
            capacities[room] = 0;
        }
        Some(())
    }

    /// One slice more in one room, such that `left` more stay possible there.
    fn one_of(&mut self, room: usize, left: u32) -> Option<()> {
        let mut profiles = alloc::vec![None; room + 1];
        profiles[room] = self.want.profile(room);
        let want = Want::of(profiles);
        let choice = decide(&self.decision(&want, left))?;
        self.take(choice);
        Some(())
    }

    /// All on the GPU where the fewest warm slices go, then where the fewest slices are made, then
    /// the one that they fill best.
    fn same(&self, count: u32) -> Option<Vec<Choice>> {
        let capacities = self.capacities();
        let fitting = capacities.iter().enumerate().filter(|(_, capacity)| **capacity >= count);
        let ways = fitting.filter_map(|(room, capacity)| {
            let mut way = Self {
                planner: self.planner,
                rooms: self.rooms.clone(),
                want: self.want,
                forecast: self.forecast,
                policy: self.policy,
                boards: self.planner.tables_of(&self.rooms),
                lasting: self.lasting,
                choices: Vec::new(),
            };
            (0..count).rev().try_for_each(|left| way.one_of(room, left))?;
            let evicted: usize = way.choices.iter().map(|choice| choice.evict.len()).sum();
            let made = way.choices.iter().filter(|choice| !choice.reuse).count();
            Some(((evicted, made, *capacity, room), way.choices))
        });
        ways.min_by_key(|(price, _)| *price).map(|(_, choices)| choices)
    }
}
