//! How often somebody may call.
//!
//! Must never keep an administrator of this machine out: who can stop the daemon need not be
//! slowed down.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::Uid;

use crate::serve::edge::Limits;

/// Callers that are remembered; more make the idle ones forgotten.
const REMEMBERED: usize = 4096;
/// Calls with a wrong token that an address may make at once, and per second.
const STRANGER_BURST: f64 = 20.0;
const STRANGER_RATE: f64 = 2.0;

/// Whose calls are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    /// A user of this machine.
    User(Uid),
    /// A token, by number.
    Token(u64),
    /// An address that has not shown a token that counts.
    Address(IpAddr),
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// What is left for each caller.
#[derive(Debug)]
pub(crate) struct Rates {
    limits: Limits,
    buckets: Mutex<BTreeMap<Who, Bucket>>,
}

impl Rates {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, buckets: Mutex::default() }
    }

    /// Counts a call; how long to wait if it is one too many.
    pub(crate) fn take(&self, who: Who, now: Instant) -> Result<(), Duration> {
        let (rate, burst) = self.of(who);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= REMEMBERED && !buckets.contains_key(&who) {
            buckets.retain(|who, bucket| {
                let (rate, burst) = self.of(*who);
                filled(*bucket, rate, burst, now) < burst
            });
        }
        let bucket = buckets.entry(who).or_insert(Bucket { left: burst, at: now });
        bucket.left = filled(*bucket, rate, burst, now);
        bucket.at = now;
        if bucket.left >= 1.0 {
            bucket.left -= 1.0;
            Ok(())
        } else {
            Err(Duration::from_secs_f64((1.0 - bucket.left) / rate.max(0.001)))
        }
    }

    /// Whether an address has used up its wrong tokens.
    pub(crate) fn is_spent(&self, who: Who, now: Instant) -> Option<Duration> {
        let (rate, burst) = self.of(who);
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let left = filled(*buckets.get(&who)?, rate, burst, now);
        (left < 1.0).then(|| Duration::from_secs_f64((1.0 - left) / rate.max(0.001)))
    }

    fn of(&self, who: Who) -> (f64, f64) {
        match who {
            Who::User(_) | Who::Token(_) => {
                (f64::from(self.limits.per_second), f64::from(self.limits.burst.max(1)))
            }
            Who::Address(_) => (STRANGER_RATE, STRANGER_BURST),
        }
    }
}

fn filled(bucket: Bucket, rate: f64, burst: f64, now: Instant) -> f64 {
    let gained = now.saturating_duration_since(bucket.at).as_secs_f64() * rate;
    (bucket.left + gained).min(burst)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_holds_and_others_are_not_concerned() {
        let rates = Rates::new(Limits { per_second: 2, burst: 3, connections: 1 });
        let begun = Instant::now();
        let kim = Who::User(Uid::new(1));
        for _ in 0..3 {
            assert_eq!(rates.take(kim, begun), Ok(()));
        }
        assert_eq!(rates.take(kim, begun), Err(Duration::from_millis(500)));
        assert_eq!(rates.take(Who::User(Uid::new(2)), begun), Ok(()));
        assert_eq!(rates.take(kim, begun + Duration::from_millis(500)), Ok(()));
        assert!(rates.take(kim, begun + Duration::from_millis(600)).is_err());
        let later = begun + Duration::from_secs(60);
        let passed = (0..10).filter(|_| rates.take(kim, later).is_ok()).count();
        assert_eq!(passed, 3);
    }

    #[test]
    fn memory_is_bounded_and_busy_callers_are_not_forgotten() {
        let rates = Rates::new(Limits { per_second: 1, burst: 1, connections: 1 });
        let begun = Instant::now();
        for uid in 0..10_000 {
            let _ = rates.take(Who::User(Uid::new(uid)), begun + Duration::from_millis(uid.into()));
        }
        assert!(rates.buckets.lock().unwrap().len() <= REMEMBERED);
    }
}
