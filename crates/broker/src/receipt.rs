//! What a lease was, added up when it is over.
//!
//! Must never measure: it adds up what events and the snapshot say.

use alloc::vec::Vec;

use model::geometry::Need;
use model::{
    Geometry, GpuInstanceProfile, MemoryMib, MemoryRequest, Millis, NodeSnapshot, ProfileName,
    Timestamp,
};

use crate::event::GrantedSlice;
use crate::lifecycle::Receipt;
use crate::request::{RequestSpec, Wanted};
use crate::state::Lease;

/// The receipt of a lease at this moment; `None` if it was never granted.
pub fn receipt(observed: &NodeSnapshot, lease: &Lease, now: Timestamp) -> Option<Receipt> {
    let granted_at = lease.granted_at?;
    let held = now.since(granted_at);
    let slices = || {
        lease.slices.iter().filter_map(|slice| {
            let geometry = observed.gpu(&slice.key.gpu)?.geometry.as_deref()?;
            Some((slice, geometry))
        })
    };
    let profiles: Vec<ProfileName> = slices()
        .filter_map(|(slice, geometry)| Some(geometry.profile(slice.profile)?.name))
        .collect();
    let memory = slices()
        .filter_map(|(slice, geometry)| Some(geometry.profile(slice.profile)?.memory))
        .fold(MemoryMib::new(0), MemoryMib::saturating_add);
    let of_slices: u64 =
        slices().map(|(slice, geometry)| share_of(held, slice, geometry).get()).sum();
    let of_gpus = held.get().saturating_mul(lease.whole.len() as u64);
    Some(Receipt {
        profiles,
        whole_gpus: lease.whole.len() as u32,
        memory,
        granted_at,
        held,
        waited: granted_at.since(lease.requested_at),
        gpu_time: Millis::new(of_slices.saturating_add(of_gpus)),
        metered: lease.metered,
    })
}

/// What a smaller slice keeps free above the most memory that was used: a fifth of that. What is
/// used grows with the next data set, and a program that runs out of memory lost more than a slice
/// that is a size too large.
const HEADROOM_PERCENT: u64 = 20;

/// A smaller profile that would have held the memory that a lease used; `None` where its use is not
/// known, several slices shared it, or the compute of its slice was asked for.
pub fn advice<'g>(
    geometries: impl Iterator<Item = &'g Geometry>,
    spec: &RequestSpec,
    receipt: &Receipt,
) -> Option<&'g GpuInstanceProfile> {
    let [granted] = receipt.profiles.as_slice() else { return None };
    let peak = receipt.metered.peak_memory.filter(|peak| peak.get() > 0)?;
    let compute_slices = match &spec.wanted {
        Wanted::Need(need) => need.compute_slices,
        Wanted::Profile(_) => None,
        Wanted::WholeGpu => return None,
    };
    if !granted.attributes.is_plain() {
        return None;
    }
    let memory = peak.get().saturating_mul(100 + HEADROOM_PERCENT).div_ceil(100);
    let memory = Some(MemoryRequest::Strict(MemoryMib::new(memory)));
    let need = Need { memory, compute_slices };
    let mut known = geometries.filter_map(|geometry| {
        let had = geometry.profiles.iter().find(|profile| profile.name == *granted)?;
        (had.memory == receipt.memory).then_some((geometry, had))
    });
    let (geometry, had) = known.next()?;
    let smaller = geometry.smallest_for(&need).ok()?;
    (smaller.size < had.size).then_some(smaller)
}

/// The share of a GPU that a slice takes, for so long: by its units on the placement grid, since
/// those are what nobody else can have meanwhile.
pub fn share_of(held: Millis, slice: &GrantedSlice, geometry: &Geometry) -> Millis {
    let units = u128::from(slice.key.placement.size.get());
    let grid = u128::from(geometry.grid.get().max(1));
    Millis::new((u128::from(held.get()) * units / grid) as u64)
}
