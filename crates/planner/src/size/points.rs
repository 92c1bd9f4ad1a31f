//! What a service may use of what was measured: for each profile the best point under its limit.
//!
//! Must never take a point at or over the limit, however good its throughput is.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use model::{GpuInstanceProfileId, Micros, Rate};

/// What one slice does with one setting, as measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// The profile of the slice.
    pub profile: GpuInstanceProfileId,
    /// Requests in one batch.
    pub batch: u32,
    /// Processes that serve on the slice at once.
    pub processes: u32,
    /// Requests per second of all its processes together.
    pub throughput: Rate,
    /// The time one batch takes.
    pub latency: Micros,
}

/// What a service allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// A batch must take less than this.
    pub latency: Micros,
    /// The most processes on one slice.
    pub processes: Option<u32>,
    /// The profiles it may run on; `None` for all.
    pub profiles: Option<Vec<GpuInstanceProfileId>>,
}

impl Limits {
    /// Whether a point may be used as far as slices and processes go.
    fn admits(&self, point: &Point) -> bool {
        self.processes.is_none_or(|most| point.processes <= most)
            && self.profiles.as_ref().is_none_or(|those| those.contains(&point.profile))
            && point.throughput > Rate::ZERO
    }
}

/// The point with the highest throughput for each profile, by profile id: of several the fastest,
/// then the one with the fewest processes, then the smallest batch. More throughput on the same
/// slice is never worse, so no other point can make a better deployment.
pub fn best(points: &[Point], limits: &Limits) -> Vec<Point> {
    let usable =
        points.iter().filter(|point| limits.admits(point) && point.latency < limits.latency);
    by_profile(usable, |point| {
        (Reverse(point.throughput), point.latency, point.processes, point.batch)
    })
}

/// The point with the lowest latency for each profile, whatever the limit on latency is: what to
/// tell whoever finds none under it.
pub fn fastest(points: &[Point], limits: &Limits) -> Vec<Point> {
    let usable = points.iter().filter(|point| limits.admits(point));
    by_profile(usable, |point| {
        (point.latency, Reverse(point.throughput), point.processes, point.batch)
    })
}

fn by_profile<'a, K: Ord>(
    points: impl Iterator<Item = &'a Point>,
    key: impl Fn(&Point) -> K,
) -> Vec<Point> {
    let mut found: BTreeMap<GpuInstanceProfileId, Point> = BTreeMap::new();
    for point in points {
        let known = found.entry(point.profile).or_insert(*point);
        if key(point) < key(known) {
            *known = *point;
        }
    }
    found.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(profile: u32, batch: u32, processes: u32, rate: u64, latency: u64) -> Point {
        Point {
            profile: GpuInstanceProfileId::new(profile),
            batch,
            processes,
            throughput: Rate::from_millionths(rate),
            latency: Micros::new(latency),
        }
    }

    #[test]
    fn the_best_point_is_under_the_limit_and_never_at_it() {
        let points = [
            point(19, 1, 1, 10, 5),
            point(19, 4, 1, 30, 10),
            point(19, 2, 2, 30, 9),
            point(19, 8, 4, 90, 9),
            point(9, 1, 1, 0, 1),
        ];
        let mut limits = Limits { latency: Micros::new(10), processes: Some(3), profiles: None };
        assert_eq!(best(&points, &limits), [points[2]]);
        limits.latency = Micros::new(11);
        assert_eq!(best(&points, &limits), [points[2]], "of two as good the faster");
        limits.processes = None;
        assert_eq!(best(&points, &limits), [points[3]]);
        limits.latency = Micros::new(5);
        assert!(best(&points, &limits).is_empty());
        assert_eq!(fastest(&points, &limits), [points[0]]);
        limits.profiles = Some(Vec::from([GpuInstanceProfileId::new(9)]));
        assert!(fastest(&points, &limits).is_empty(), "a point without throughput is none");
    }
}
