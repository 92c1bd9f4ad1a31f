//! Idle slices of fixed GPUs, lent as they are.
//!
//! Must never cut anything on a fixed GPU, nor lend where the file does not allow it.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use model::{GpuUuid, PlacedProfile};
use planner::{Arrangement, Choice, Hold, Room, Want};

use crate::command::World;
use crate::state::State;
use crate::{apart, rooms};

/// Idle slices of fixed GPUs that answer a request, at most `count`, as its arrangement allows.
pub(crate) fn lent(
    state: &State,
    world: &World<'_>,
    rooms: &[Room],
    want: &Want,
    count: u32,
) -> Vec<Choice> {
    if state.fixed.is_empty() {
        return Vec::new();
    }
    let mut found: Vec<Choice> = Vec::new();
    for (index, room) in rooms.iter().enumerate() {
        let Some(profile) = want.profile(index).filter(|_| is_open(state, world, &room.gpu)) else {
            continue;
        };
        // What is kept for somebody is kept here, too, though nothing is cut for him.
        let kept = |part: &PlacedProfile| {
            let mut kept = room.promised.iter().flatten();
            kept.any(|kept| !apart::go_together(&room.geometry, *kept, *part))
        };
        let idle = room.parts(Hold::Warm).filter(|part| part.profile == profile && !kept(part));
        let idle = idle.map(|part| Choice { room: index, part, reuse: true, evict: Vec::new() });
        let mut here: Vec<Choice> = idle.collect();
        match want.arrangement {
            Arrangement::SameGpu if here.len() < count as usize => continue,
            Arrangement::SameGpu => {
                here.truncate(count as usize);
                return here;
            }
            Arrangement::OtherGpu => here.truncate(1),
            Arrangement::Any | Arrangement::Pack | Arrangement::Spread => {}
        }
        found.append(&mut here);
    }
    if want.arrangement == Arrangement::SameGpu {
        return Vec::new();
    }
    if want.arrangement == Arrangement::Spread {
        found = spread(found);
    }
    found.truncate(count as usize);
    found
}

/// The same, one of each GPU before the second of any.
fn spread(mut found: Vec<Choice>) -> Vec<Choice> {
    let mut in_turn = Vec::with_capacity(found.len());
    while !found.is_empty() {
        let mut met = BTreeSet::new();
        let (now, later): (Vec<Choice>, Vec<Choice>) =
            found.into_iter().partition(|choice| met.insert(choice.room));
        in_turn.extend(now);
        found = later;
    }
    in_turn
}

fn is_open(state: &State, world: &World<'_>, gpu: &GpuUuid) -> bool {
    let Some(seen) = world.observed.gpu(gpu) else { return false };
    state.lends(gpu) && rooms::in_order(state, seen)
}
