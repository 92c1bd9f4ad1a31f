//! Room kept for one large request that has waited long.
//!
//! Must never keep more than one request's room.
//!
//! This is a model of what the broker does (`crates/broker/src/reserve.rs`), not the broker: the
//! place is the one whose occupants are gone first, it is kept until it is used, and whoever is
//! gone in time or does not need it may use it meanwhile.

use model::{PlacedProfile, Timestamp};

use super::ground::{Ground, Slice};

/// Room that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seal {
    /// On which GPU.
    pub(crate) gpu: usize,
    /// The slice to be.
    pub(crate) part: PlacedProfile,
    /// For which request.
    pub(crate) owner: usize,
    /// When everybody in the way is gone; `None` where that is not known.
    pub(crate) free_at: Option<Timestamp>,
}

/// How good a place to keep is: when it is free, then how much must go, then which.
type Rank = (Timestamp, u64, usize, u8);

impl Ground<'_> {
    /// Keeps the room that is free first for a request of one slice; nothing happens if there is
    /// none for it anywhere. `ends` tells when the slices of a request are given back; `None` for
    /// one that never ends, or where nobody knows.
    pub(crate) fn keep(
        &mut self,
        wanted: &[Option<model::GpuInstanceProfileId>],
        owner: usize,
        ends: impl Fn(usize) -> Option<Timestamp>,
    ) {
        let mut best: Option<(Rank, Seal)> = None;
        for (number, gpu) in self.gpus.iter().enumerate() {
            let Some(profile) = wanted[gpu.board] else { continue };
            let tables = self.tables(number);
            for part in tables.parts_of(profile).map(|id| tables.part(id)) {
                let over = |slice: &&Slice| slice.part.placement.overlaps(part.placement);
                let beside = gpu.slices.iter().filter(|slice| !over(slice)).map(|s| s.part);
                if tables.class_of(beside.chain([part])).is_none() {
                    continue;
                }
                let in_the_way = || gpu.slices.iter().filter(over);
                let last = in_the_way()
                    .map(|slice| ends(slice.owner))
                    .try_fold(Timestamp::default(), |last, end| Some(last.max(end?)));
                let never = Timestamp::from_millis(u64::MAX);
                let size = |slice: &Slice| u64::from(slice.part.placement.size.get());
                let weight = in_the_way().map(size).sum();
                let start = part.placement.start.get();
                let rank = (last.unwrap_or(never), weight, number, start);
                if best.as_ref().is_none_or(|(known, _)| rank < *known) {
                    best = Some((rank, Seal { gpu: number, part, owner, free_at: last }));
                }
            }
        }
        if let Some((_, seal)) = best {
            self.seal(seal);
        }
    }

    /// Starts the request that room is kept for, if the room is free now; which it was.
    pub(crate) fn use_kept(&mut self) -> Option<usize> {
        let Seal { gpu, part, owner, .. } = self.seal?;
        self.put(gpu, part, owner)?;
        self.unseal();
        Some(owner)
    }

    /// Places a slice beside kept room, or in it if it is gone in time.
    pub(crate) fn place_beside(
        &mut self,
        wanted: &[Option<model::GpuInstanceProfileId>],
        owner: usize,
        until: Option<Timestamp>,
    ) -> Option<()> {
        let seal = self.seal?;
        let gpu = &self.gpus[seal.gpu];
        let tables = self.tables(seal.gpu);
        let in_time = seal.free_at.is_some_and(|free| until.is_some_and(|end| end <= free));
        let over = |slice: &&Slice| slice.part.placement.overlaps(seal.part.placement);
        let beside = gpu.slices.iter().filter(|slice| !over(slice)).map(|slice| slice.part);
        let shadow = tables.class_of(beside.chain([seal.part]))?;
        let part = tables.parts_of(wanted[gpu.board]?).find(|part| {
            tables.after(gpu.class, *part).is_some()
                && (in_time || tables.after(shadow, *part).is_some())
        });
        let part = tables.part(part?);
        self.put(seal.gpu, part, owner)
    }
}
