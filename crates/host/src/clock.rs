//! The daemon's clock: wall time that never runs backwards.
//!
//! Must never be set from outside while it runs: an operator who sets the wall clock an hour ahead
//! must not end everybody's lease. It advances with the boot-time clock, which counts suspend too,
//! from an offset that is fixed for the whole boot.

use std::sync::atomic::{AtomicU64, Ordering};

use model::{BootId, Millis, Timestamp};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// What the caller keeps, so that the next daemon's clock agrees with this one's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockRecord {
    /// In which boot it was written.
    pub boot: BootId,
    /// What that clock added to the boot time.
    pub offset: Millis,
    /// The latest moment it told.
    pub last: Timestamp,
}

/// A clock for deadlines and for the journal.
#[derive(Debug)]
pub struct DaemonClock {
    boot: BootId,
    offset: Millis,
    latest: AtomicU64,
}

impl DaemonClock {
    /// Starts the clock in the boot `boot`.
    ///
    /// With a record of the same boot the offset is kept, so the time between two events is true
    /// even across a restart of the daemon and a change of the wall clock. In another boot the wall
    /// clock is asked once, and passed over where it lies before the record's last moment.
    pub fn start(boot: BootId, record: Option<&ClockRecord>) -> Self {
        let offset = offset_at_start(&boot, boot_time(), wall_time(), record);
        let latest = record.map_or(0, |record| record.last.as_millis());
        Self { boot, offset, latest: AtomicU64::new(latest) }
    }

    /// The present moment; never before one told earlier by this clock or by its record.
    pub fn now(&self) -> Timestamp {
        let told = boot_time().get().saturating_add(self.offset.get());
        let earlier = self.latest.fetch_max(told, Ordering::AcqRel);
        Timestamp::from_millis(told.max(earlier))
    }

    /// What to keep for the next start.
    pub fn record(&self) -> ClockRecord {
        ClockRecord { boot: self.boot.clone(), offset: self.offset, last: self.now() }
    }
}

/// Time since the machine booted, suspend included.
pub fn boot_time() -> Millis {
    millis_of(ClockId::Boottime)
}

fn wall_time() -> Millis {
    millis_of(ClockId::Realtime)
}

fn millis_of(clock: ClockId) -> Millis {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let part = u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000;
    Millis::new(seconds.saturating_mul(1000).saturating_add(part))
}

/// What to add to the boot time.
fn offset_at_start(
    boot: &BootId,
    boot_time: Millis,
    wall: Millis,
    record: Option<&ClockRecord>,
) -> Millis {
    match record {
        Some(record) if record.boot == *boot => record.offset,
        Some(record) => {
            let start = wall.get().max(record.last.as_millis());
            Millis::new(start.saturating_sub(boot_time.get()))
        }
        None => Millis::new(wall.get().saturating_sub(boot_time.get())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(boot: &str, offset: u64, last: u64) -> ClockRecord {
        ClockRecord {
            boot: BootId::new(boot),
            offset: Millis::new(offset),
            last: Timestamp::from_millis(last),
        }
    }

    fn offset(boot_time: u64, wall: u64, record: Option<&ClockRecord>) -> u64 {
        let boot = BootId::new("now");
        offset_at_start(&boot, Millis::new(boot_time), Millis::new(wall), record).get()
    }

    #[test]
    fn the_first_start_takes_the_wall_clock() {
        assert_eq!(offset(500, 10_500, None), 10_000);
        assert_eq!(offset(500, 0, None), 0);
    }

    #[test]
    fn within_a_boot_the_wall_clock_is_not_asked_again() {
        let kept = record("now", 10_000, 10_600);
        assert_eq!(offset(700, 3_600_000, Some(&kept)), 10_000);
        assert_eq!(offset(700, 0, Some(&kept)), 10_000);
    }

    #[test]
    fn a_new_boot_takes_the_wall_clock_but_never_goes_back() {
        let kept = record("before", 10_000, 50_000);
        assert_eq!(offset(100, 60_100, Some(&kept)), 60_000);
        assert_eq!(offset(100, 1_000, Some(&kept)), 49_900);
    }

    #[test]
    fn a_clock_follows_the_wall_clock_and_the_boot_time() {
        let clock = DaemonClock::start(BootId::new("b"), None);
        let told = clock.now().as_millis();
        assert!(told.abs_diff(wall_time().get()) < 5_000, "{told}");
        let before = (clock.now(), boot_time());
        std::thread::sleep(std::time::Duration::from_millis(30));
        let passed = clock.now().since(before.0).get();
        let booted = boot_time().get() - before.1.get();
        assert!(passed >= 29 && passed.abs_diff(booted) <= 20, "{passed} against {booted}");
    }

    #[test]
    fn it_never_tells_a_moment_before_its_record() {
        let far = 9_999_999_999_999;
        let clock = DaemonClock::start(BootId::new("b"), Some(&record("b", 0, far)));
        assert_eq!(clock.now(), Timestamp::from_millis(far));
        assert_eq!(clock.record().last, Timestamp::from_millis(far));
        let next = DaemonClock::start(BootId::new("b"), Some(&clock.record()));
        assert!(next.now() >= clock.now());
    }
}
