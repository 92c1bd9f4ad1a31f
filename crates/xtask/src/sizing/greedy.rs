//! ParvaGPU's method as its paper and repository describe it, for comparison: the best size for each
//! service, one last smaller slice, best fit by free compute slices, then a second pass that cuts
//! what lies on badly filled GPUs into slices of two and one.
//!
//! A baseline of the pages: must never be used to size anything.

use anyhow::{Context as _, bail};
use model::{GpuInstanceProfileId, Rate};
use planner::pack::{Demand, Packer};
use planner::size::{Load, LoadSlice};

/// A slice that is to be placed: its service and its compute slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    service: usize,
    size: u32,
}

/// A service by the sizes that it may run on: compute slices and what one carries, ascending.
struct Service {
    rate: Rate,
    sizes: Vec<(u32, Rate)>,
}

/// GPUs and compute slices.
pub(super) fn deploy(packer: &Packer, loads: &[Load]) -> anyhow::Result<(usize, u64)> {
    let services: Vec<Service> = loads.iter().map(|load| service(packer, load)).collect();
    let mut segments = Vec::new();
    for (number, service) in services.iter().enumerate() {
        segments
            .extend(service.segments()?.into_iter().map(|size| Segment { service: number, size }));
    }
    segments.sort_by_key(|segment| (std::cmp::Reverse(segment.size), segment.service));
    let mut floor = Floor { packer, gpus: Vec::new() };
    for segment in segments {
        floor.place(segment)?;
    }
    let badly_filled: Vec<usize> =
        (0..floor.gpus.len()).rev().filter(|gpu| floor.used(*gpu) <= 4).collect();
    let mut left_over = vec![Rate::ZERO; services.len()];
    for gpu in badly_filled {
        for segment in std::mem::take(&mut floor.gpus[gpu]) {
            let service = &services[segment.service];
            let carried = &mut left_over[segment.service];
            *carried = carried.plus(service.carries(segment.size));
            for size in service.in_small(carried) {
                floor.place(Segment { service: segment.service, size })?;
            }
        }
    }
    let gpus = floor.gpus.iter().filter(|gpu| !gpu.is_empty()).count();
    let slices = floor.gpus.iter().flatten().map(|segment| u64::from(segment.size)).sum();
    Ok((gpus, slices))
}

fn service(packer: &Packer, load: &Load) -> Service {
    let size = |slice: &LoadSlice| {
        let profile = packer.geometry().profile(slice.profile)?;
        Some((u32::from(profile.name.slices), slice.carries))
    };
    let mut sizes: Vec<(u32, Rate)> = load.slices.iter().filter_map(size).collect();
    sizes.sort_unstable_by_key(|(size, _)| *size);
    Service { rate: load.rate, sizes }
}

impl Service {
    fn carries(&self, size: u32) -> Rate {
        self.sizes.iter().find(|(known, _)| *known == size).map_or(Rate::ZERO, |(_, rate)| *rate)
    }

    /// As many of the size with most throughput for each compute slice as the rate fills, and the
    /// smallest that carries the rest.
    fn segments(&self) -> anyhow::Result<Vec<u32>> {
        let per_slice = |(size, rate): &(u32, Rate)| rate.millionths() / u64::from(*size);
        let best = self.sizes.iter().rev().max_by_key(|size| per_slice(size));
        let (size, rate) = *best.context("a service has no slice")?;
        let full = self.rate.millionths() / rate.millionths().max(1);
        // A rate that the full ones carry exactly has one fewer of them and a last one.
        let full = if self.rate.millionths().is_multiple_of(rate.millionths().max(1)) {
            full.saturating_sub(1)
        } else {
            full
        };
        let rest = self.rate.millionths() - full * rate.millionths();
        let last = self.sizes.iter().find(|(_, rate)| rate.millionths() >= rest);
        let mut segments = vec![size; usize::try_from(full)?];
        segments.push(last.context("no slice carries the rest")?.0);
        Ok(segments)
    }

    /// What was carried by slices that go, in slices of two and one; what these carry beyond it
    /// stays off the account.
    fn in_small(&self, carried: &mut Rate) -> Vec<u32> {
        let (one, two) = (self.carries(1).millionths(), self.carries(2).millionths());
        let mut rest = carried.millionths();
        let mut sizes = Vec::new();
        let mut take = |size: u32, rate: u64, count: u64| {
            sizes.extend((0..count).map(|_| size));
            rest = rest.saturating_sub(rate * count);
            rest
        };
        match (one, two) {
            (0, 0) => {}
            (0, two) => {
                take(2, two, carried.millionths().div_ceil(two));
            }
            (one, two) if two / 2 > one => {
                let rest = take(2, two, carried.millionths() / two);
                take(1, one, rest.div_ceil(one));
            }
            (one, _) => {
                take(1, one, carried.millionths().div_ceil(one));
            }
        }
        *carried = Rate::from_millionths(rest);
        sizes
    }
}

/// The GPUs while they are filled.
struct Floor<'a> {
    packer: &'a Packer,
    gpus: Vec<Vec<Segment>>,
}

impl Floor<'_> {
    /// Compute slices in use.
    fn used(&self, gpu: usize) -> u32 {
        self.gpus[gpu].iter().map(|segment| segment.size).sum()
    }

    /// The GPU with the fewest free compute slices that holds the segment too; a new one if none.
    fn place(&mut self, segment: Segment) -> anyhow::Result<()> {
        let open = (0..self.gpus.len()).filter(|gpu| self.holds(*gpu, segment));
        match open.max_by_key(|gpu| (self.used(*gpu), std::cmp::Reverse(*gpu))) {
            Some(gpu) => self.gpus[gpu].push(segment),
            None if self.profile(segment.size).is_some() => self.gpus.push(vec![segment]),
            None => bail!("the board has no slice of {}", segment.size),
        }
        Ok(())
    }

    fn profile(&self, size: u32) -> Option<GpuInstanceProfileId> {
        let mut plain = self.packer.geometry().plain_profiles();
        plain.find(|profile| u32::from(profile.name.slices) == size).map(|profile| profile.id)
    }

    /// Whether the sizes on a GPU and one more are a legal layout, by whatever placement: kinder
    /// than the slots that ParvaGPU keeps.
    fn holds(&self, gpu: usize, segment: Segment) -> bool {
        if self.used(gpu) + segment.size > 7 {
            return false;
        }
        let sizes = self.gpus[gpu].iter().map(|segment| segment.size).chain([segment.size]);
        let parts: Option<Vec<_>> = sizes.map(|size| Some((self.profile(size)?, 1))).collect();
        let demand = parts.and_then(|parts| Demand::of(self.packer.geometry(), parts));
        demand.is_some_and(|demand| self.packer.fits(&demand, 1))
    }
}
