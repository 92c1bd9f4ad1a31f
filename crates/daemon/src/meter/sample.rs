//! What GPUs measure of themselves: a sample now, compared with the last one.
//!
//! Must never keep a sample across a reset of its GPU: it keeps the driver's session open.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use driver::{Activity, ActivitySample};
use model::{GpuInstanceId, GpuSnapshot, GpuUuid};

use super::{Evidence, Leased, Part};
use crate::executor::chain;
use crate::hands::{Hands, lock};

/// How often a part is sampled. The counters run on in between, so that nothing is missed; a sample
/// is four calls of the driver.
const EVERY: Duration = Duration::from_millis(3500);
/// How long a part rests that could not be sampled.
const REST: Duration = Duration::from_secs(60);
/// From which share of the time or of the bandwidth on a part counts as used, in percent. Nothing
/// at all is measured on a slice that does nothing; a program that looks whether there is work
/// now and then stays under this.
const USED_PERCENT: f64 = 0.5;

type Key = (GpuUuid, Option<GpuInstanceId>);

/// The newest sample of every part.
#[derive(Debug, Default)]
pub(super) struct Samples {
    /// GPUs that do not measure themselves.
    mute: Mutex<BTreeSet<GpuUuid>>,
    kept: Mutex<BTreeMap<Key, Sampled>>,
}

#[derive(Debug)]
struct Sampled {
    at: Instant,
    /// `None` where none could be taken.
    sample: Option<ActivitySample>,
    evidence: Evidence,
}

impl Samples {
    /// Drops every sample.
    pub(super) fn forget_all(&self) {
        lock(&self.kept).clear();
    }

    /// Drops the samples of parts of a GPU that are not leased any more.
    pub(super) fn keep_only(&self, gpu: &GpuUuid, leased: &[Leased<'_>]) {
        let keys: Vec<Key> = leased.iter().map(|leased| key(gpu, &leased.part)).collect();
        lock(&self.kept).retain(|known, _| known.0 != *gpu || keys.contains(known));
    }

    /// What was done on a part since it was sampled last.
    pub(super) fn evidence(&self, hands: &Hands, seen: &GpuSnapshot, part: &Part) -> Evidence {
        if lock(&self.mute).contains(&seen.uuid) {
            return Evidence::Unknown;
        }
        // While the session is closed around a reset, no sample must be taken.
        let Some(_open) = hands.locks.session_is_open() else { return Evidence::Unknown };
        let key = key(&seen.uuid, part);
        let mut kept = lock(&self.kept);
        if let Some(known) = kept.get(&key) {
            let pause = if known.sample.is_some() { EVERY } else { REST };
            if known.at.elapsed() < pause {
                return known.evidence;
            }
        }
        let earlier = kept.remove(&key).and_then(|known| known.sample);
        // Calls of the driver may take long; samples of other GPUs go on meanwhile.
        drop(kept);
        let sample = match hands.machine.driver.activity_sample(&seen.uuid, key.1) {
            Ok(Some(sample)) => Some(sample),
            Ok(None) => {
                lock(&self.mute).insert(seen.uuid.clone());
                return Evidence::Unknown;
            }
            Err(error) => {
                tracing::debug!(gpu = %seen.uuid, error = chain(&error), "not sampled");
                None
            }
        };
        let evidence = compare(earlier.as_ref(), sample.as_ref());
        lock(&self.kept).insert(key, Sampled { at: Instant::now(), sample, evidence });
        evidence
    }
}

fn key(gpu: &GpuUuid, part: &Part) -> Key {
    match part {
        Part::Slice(_, instance, _) => (gpu.clone(), Some(*instance)),
        Part::Whole => (gpu.clone(), None),
    }
}

fn compare(earlier: Option<&ActivitySample>, later: Option<&ActivitySample>) -> Evidence {
    let (Some(earlier), Some(later)) = (earlier, later) else { return Evidence::Unknown };
    later.since(earlier).map_or(Evidence::Unknown, |activity| judge(&activity))
}

/// What figures say: any use is use; idle takes that compute and memory were both measured.
fn judge(activity: &Activity) -> Evidence {
    let compute = [activity.graphics_percent, activity.sm_percent, activity.sm_occupancy_percent];
    let figures = compute.iter().chain([&activity.dram_percent]).flatten();
    let computed = compute.iter().any(Option::is_some);
    if figures.into_iter().any(|percent| *percent >= USED_PERCENT) {
        Evidence::Busy
    } else if computed && activity.dram_percent.is_some() {
        Evidence::Idle
    } else {
        Evidence::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(sm: Option<f64>, dram: Option<f64>) -> Activity {
        Activity { sm_percent: sm, dram_percent: dram, ..Activity::default() }
    }

    #[test]
    fn figures_that_were_not_told_are_no_idleness() {
        for (sm, dram, evidence) in [
            (Some(0.0), Some(0.0), Evidence::Idle),
            (Some(0.1), Some(0.4), Evidence::Idle),
            (Some(0.5), Some(0.0), Evidence::Busy),
            (None, Some(3.0), Evidence::Busy),
            (Some(40.0), None, Evidence::Busy),
            (Some(0.0), None, Evidence::Unknown),
            (None, Some(0.0), Evidence::Unknown),
            (None, None, Evidence::Unknown),
        ] {
            assert_eq!(judge(&figures(sm, dram)), evidence, "{sm:?} {dram:?}");
        }
    }

    #[test]
    fn one_sample_alone_says_nothing() {
        assert_eq!(compare(None, None), Evidence::Unknown);
    }
}
