//! Moments as people read them.
//!
//! Must never guess a time zone: the caller names it.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A moment of the daemon's clock, to the second (`11-14 22:13:20`).
pub(crate) fn moment(at_ms: u64, zone: &TimeZone) -> String {
    written(at_ms, zone, "%m-%d %H:%M:%S")
}

/// A day with its year (`2026-11-14 22:13`), for what is far away.
pub(crate) fn day(at_ms: u64, zone: &TimeZone) -> String {
    written(at_ms, zone, "%Y-%m-%d %H:%M")
}

/// The time of a day (`22:13`), for what is near.
pub(crate) fn clock(at_ms: u64, zone: &TimeZone) -> String {
    written(at_ms, zone, "%H:%M")
}

fn written(at_ms: u64, zone: &TimeZone, form: &str) -> String {
    let at = i64::try_from(at_ms).ok().and_then(|at| Timestamp::from_millisecond(at).ok());
    at.map_or_else(|| at_ms.to_string(), |at| at.to_zoned(zone.clone()).strftime(form).to_string())
}
