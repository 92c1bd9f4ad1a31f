//! What a seed covers: which machine, which rules, which troubles.
//!
//! Must never be chosen but by the seed.

use std::cell::RefCell;
use std::collections::BTreeMap;

use broker::Policy;
use planner::Planner;
use sim_gpu::{GpuSpec, HostSpec};

use crate::bench::{Bench, BenchError};
use crate::chance::Chance;
use crate::room::Room;

/// A machine and what may happen on it.
#[derive(Debug, Clone)]
pub(crate) struct Course {
    pub(crate) boards: &'static [&'static str],
    pub(crate) auto_mig: bool,
    /// Strangers make and destroy instances, and run on them.
    pub(crate) strangers: bool,
    /// Calls fail, GPUs fall ill, the daemon dies, the machine restarts.
    pub(crate) faults: bool,
    /// An administrator changes layouts and modes.
    pub(crate) changes: bool,
}

const MACHINES: &[&[&str]] = &[
    &["a100-sxm4-40gb"],
    &["a30", "a30"],
    &["a100-sxm4-40gb", "a100-sxm4-40gb"],
    &["rtx-pro-6000-bse"],
    &["h100-sxm5-80gb"],
    &["a100-sxm4-40gb", "a30", "h100-sxm5-80gb"],
    &["a30", "a30", "a30", "a30"],
];

thread_local! {
    /// Planners that know their boards; learning a board takes longer than a thousand events.
    static PLANNERS: RefCell<BTreeMap<usize, Planner>> = const { RefCell::new(BTreeMap::new()) };
}

impl Course {
    pub(crate) fn of(chance: &mut Chance) -> (usize, Self) {
        let machine = chance.below(MACHINES.len());
        let course = Self {
            boards: MACHINES[machine],
            auto_mig: chance.one_in(3),
            strangers: !chance.one_in(4),
            faults: !chance.one_in(8),
            changes: chance.one_in(2),
        };
        (machine, course)
    }

    /// The room at the start of a seed.
    pub(crate) fn room(&self, machine: usize, policy: Policy) -> Result<Room, BenchError> {
        let mut spec = HostSpec { host: "dst".to_owned(), ..HostSpec::default() };
        for board in self.boards {
            spec.add(&GpuSpec::new(*board), 1);
        }
        let bench = Bench::new(&spec)?;
        if !self.auto_mig {
            bench.enable_mig();
        }
        let planner = PLANNERS.with_borrow(|known| known.get(&machine).cloned());
        let room = Room::new(bench, policy, planner.unwrap_or_default())?;
        PLANNERS.with_borrow_mut(|known| known.insert(machine, room.planner.clone()));
        Ok(room)
    }
}
