//! Hours of the week in a time zone: `mon-fri 09:00-18:00 Europe/Berlin`.
//!
//! Must never be asked without a moment: what time it is comes from whoever asks.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{ToSpan as _, Zoned};
use model::Timestamp;

use model::nearest;

const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Days of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days(u8);

impl Days {
    /// Every day.
    pub const ALL: Self = Self(0x7f);

    /// Whether a day, counted from Monday as 0, is one of them.
    pub const fn contains(self, from_monday: u8) -> bool {
        self.0 & (1 << from_monday) != 0
    }
}

impl FromStr for Days {
    type Err = HoursError;

    /// Parses `mon-fri`, `sat,sun`, `daily`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut days = 0;
        for part in text.split(',').map(str::trim) {
            if part.eq_ignore_ascii_case("daily") {
                days |= Self::ALL.0;
                continue;
            }
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (day(first)?, day(last)?);
            let mut at = first;
            loop {
                days |= 1 << at;
                if at == last {
                    break;
                }
                at = (at + 1) % 7;
            }
        }
        Ok(Self(days))
    }
}

fn day(text: &str) -> Result<u8, HoursError> {
    let short: String = text.trim().to_ascii_lowercase().chars().take(3).collect();
    let found = NAMES.iter().position(|name| *name == short);
    found.map(|at| at as u8).ok_or_else(|| HoursError::Day(text.trim().to_owned()))
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return f.write_str("daily");
        }
        let mut first = true;
        let mut at = 0;
        while at < 7 {
            if !self.contains(at) {
                at += 1;
                continue;
            }
            let end = (at..7).take_while(|day| self.contains(*day)).last().unwrap_or(at);
            if !first {
                f.write_str(",")?;
            }
            first = false;
            f.write_str(NAMES[usize::from(at)])?;
            if end > at {
                write!(f, "-{}", NAMES[usize::from(end)])?;
            }
            at = end + 1;
        }
        Ok(())
    }
}

/// A time of day, to the minute; `24:00` is the end of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Clock(u16);

impl FromStr for Clock {
    type Err = HoursError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || HoursError::Clock(text.trim().to_owned());
        let (hour, minute) = text.trim().split_once(':').ok_or_else(wrong)?;
        let number = |digits: &str| -> Result<u16, HoursError> {
            let two = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
            if two { digits.parse().map_err(|_| wrong()) } else { Err(wrong()) }
        };
        let (hour, minute) = (number(hour)?, number(minute)?);
        let total = hour * 60 + minute;
        if minute > 59 || total > 24 * 60 { Err(wrong()) } else { Ok(Self(total)) }
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// Why hours make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HoursError {
    /// No such day.
    #[error("`{0}` is no day; write mon, tue, wed, thu, fri, sat, sun, mon-fri or daily")]
    Day(String),
    /// No such time of day.
    #[error("`{0}` is no time of day; write 09:00, or 24:00 for its end")]
    Clock(String),
    /// No such time zone.
    #[error("`{name}` is no time zone of this machine; write {instead}")]
    Zone {
        /// What was written.
        name: String,
        /// What may have been meant.
        instead: String,
    },
    /// Another form altogether.
    #[error("`{0}` is no span of hours; write one such as mon-fri 09:00-18:00 Europe/Berlin")]
    Form(String),
    /// Begin and end are the same.
    #[error("{0}-{0} has no length; write 00:00-24:00 for a whole day")]
    Empty(Clock),
}

/// Hours on days of the week. Where the end is not after the beginning it is on the next day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    /// The days on which they begin.
    pub days: Days,
    /// When they begin.
    pub from: Clock,
    /// When they end.
    pub to: Clock,
    /// An IANA name of a time zone, or `UTC`.
    pub zone: String,
}

impl Hours {
    /// Checks and puts together.
    ///
    /// # Errors
    /// [`HoursError::Empty`] and [`HoursError::Zone`].
    pub fn new(days: Days, from: Clock, to: Clock, zone: &str) -> Result<Self, HoursError> {
        if from == to {
            return Err(HoursError::Empty(from));
        }
        let zone = zone.trim().to_owned();
        if TimeZone::get(&zone).is_err() {
            let known: Vec<String> =
                jiff::tz::db().available().map(|name| name.as_str().to_owned()).collect();
            let instead = match nearest(&zone, known.iter().map(String::as_str)) {
                Some(name) => name.to_owned(),
                None => "an IANA name such as Europe/Berlin, or UTC".to_owned(),
            };
            return Err(HoursError::Zone { name: zone, instead });
        }
        Ok(Self { days, from, to, zone })
    }

    /// Whether a moment is within them.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.around(at, -1, 1).into_iter().any(|(from, until)| from <= at && at < until)
    }

    /// The spans, in order, that end after `from` and begin before `until`.
    pub fn between(&self, from: Timestamp, until: Timestamp) -> Vec<(Timestamp, Timestamp)> {
        let days = until.since(from).get() / 86_400_000 + 2;
        let spans = self.around(from, -1, i64::try_from(days).unwrap_or(i64::MAX));
        spans.into_iter().filter(|(begin, end)| *end > from && *begin < until).collect()
    }

    /// Those that begin on the days from `first` to `last`, counted from the day of `at`. A time
    /// that the clock skips in spring is the moment after the gap; one that comes twice in autumn
    /// is the first.
    fn around(&self, at: Timestamp, first: i64, last: i64) -> Vec<(Timestamp, Timestamp)> {
        let Ok(zone) = TimeZone::get(&self.zone) else { return Vec::new() };
        let millis = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
        let Ok(instant) = jiff::Timestamp::from_millisecond(millis) else { return Vec::new() };
        let today = Zoned::new(instant, zone.clone()).date();
        let span = |offset: i64| {
            let day = today.checked_add(offset.days()).ok()?;
            if !self.days.contains(from_monday(day.weekday())) {
                return None;
            }
            let moment = |day: jiff::civil::Date, clock: Clock| -> Option<Timestamp> {
                let day = day.checked_add(i64::from(clock.0 / 1440).days()).ok()?;
                let (hour, minute) = (clock.0 % 1440 / 60, clock.0 % 60);
                let civil = day.at(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0);
                let instant = civil.to_zoned(zone.clone()).ok()?.timestamp();
                Some(Timestamp::from_millis(u64::try_from(instant.as_millisecond()).ok()?))
            };
            let next = if self.to > self.from { day } else { day.checked_add(1.days()).ok()? };
            Some((moment(day, self.from)?, moment(next, self.to)?))
        };
        (first..=last).filter_map(span).filter(|(from, until)| from < until).collect()
    }
}

fn from_monday(day: Weekday) -> u8 {
    day.to_monday_zero_offset() as u8
}

impl FromStr for Hours {
    type Err = HoursError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || HoursError::Form(text.trim().to_owned());
        let words: Vec<&str> = text.split_whitespace().collect();
        let (days, clocks, zone) = match words[..] {
            [days, clocks] => (days, clocks, "UTC"),
            [days, clocks, zone] => (days, clocks, zone),
            _ => return Err(form()),
        };
        let (from, to) = clocks.split_once('-').ok_or_else(form)?;
        Self::new(days.parse()?, from.parse()?, to.parse()?, zone)
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}-{} {}", self.days, self.from, self.to, self.zone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let instant: jiff::Timestamp = text.parse().unwrap();
        Timestamp::from_millis(instant.as_millisecond() as u64)
    }

    #[test]
    fn hours_read_back_as_written() {
        for text in [
            "mon-fri 09:00-18:00 Europe/Berlin",
            "sat-sun 22:00-06:00 UTC",
            "daily 00:00-24:00 Asia/Seoul",
            "mon,wed-thu 08:30-09:00 UTC",
        ] {
            assert_eq!(text.parse::<Hours>().unwrap().to_string(), text);
        }
        assert_eq!("fri-mon".parse::<Days>().unwrap().to_string(), "mon,fri-sun");
        assert_eq!("Monday 09:00-10:00".parse::<Hours>().unwrap().zone, "UTC");
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (text, word) in [
            ("someday 09:00-18:00 UTC", "no day"),
            ("mon 9:00-18:00 UTC", "09:00"),
            ("mon 09:60-18:00 UTC", "time of day"),
            ("mon 09:00-24:01 UTC", "time of day"),
            ("mon 09:00-18:00 Europe/Berlim", "Europe/Berlin"),
            ("mon 09:00-09:00 UTC", "no length"),
            ("working hours", "span of hours"),
            ("", "span of hours"),
        ] {
            let error = text.parse::<Hours>().unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn a_moment_is_inside_or_not_in_the_zone_that_was_named() {
        let berlin: Hours = "mon-fri 09:00-18:00 Europe/Berlin".parse().unwrap();
        assert!(berlin.contains(at("2026-07-06T07:00:00Z")));
        assert!(!berlin.contains(at("2026-07-06T06:59:59Z")));
        assert!(!berlin.contains(at("2026-07-06T16:00:00Z")));
        assert!(!berlin.contains(at("2026-07-05T10:00:00Z")), "a Sunday");
        assert!(berlin.contains(at("2026-01-05T08:00:00Z")), "winter time");
        assert!(!berlin.contains(at("2026-01-05T07:30:00Z")), "winter time");
    }

    #[test]
    fn nights_end_on_the_next_day() {
        let night: Hours = "fri 22:00-06:00 UTC".parse().unwrap();
        assert!(night.contains(at("2026-07-04T05:59:00Z")), "Saturday morning");
        assert!(!night.contains(at("2026-07-03T05:59:00Z")), "Friday morning");
        assert!(night.contains(at("2026-07-03T22:00:00Z")));
    }

    /// In Berlin the clock goes from 02:00 to 03:00 on 2026-03-29, and back on 2026-10-25.
    #[test]
    fn days_with_23_and_25_hours() {
        let night: Hours = "sun 01:00-04:00 Europe/Berlin".parse().unwrap();
        let spans = night.between(at("2026-03-28T12:00:00Z"), at("2026-03-29T12:00:00Z"));
        assert_eq!(spans, [(at("2026-03-29T00:00:00Z"), at("2026-03-29T02:00:00Z"))]);
        let spans = night.between(at("2026-10-24T12:00:00Z"), at("2026-10-25T12:00:00Z"));
        assert_eq!(spans, [(at("2026-10-24T23:00:00Z"), at("2026-10-25T03:00:00Z"))]);
        let gone: Hours = "sun 02:15-02:45 Europe/Berlin".parse().unwrap();
        let spans = gone.between(at("2026-03-28T12:00:00Z"), at("2026-03-29T12:00:00Z"));
        assert_eq!(spans, [(at("2026-03-29T01:15:00Z"), at("2026-03-29T01:45:00Z"))]);
    }

    #[test]
    fn spans_come_in_order_and_within_bounds() {
        let daily: Hours = "daily 09:00-17:00 UTC".parse().unwrap();
        let spans = daily.between(at("2026-07-06T12:00:00Z"), at("2026-07-09T09:00:00Z"));
        assert_eq!(
            spans,
            [
                (at("2026-07-06T09:00:00Z"), at("2026-07-06T17:00:00Z")),
                (at("2026-07-07T09:00:00Z"), at("2026-07-07T17:00:00Z")),
                (at("2026-07-08T09:00:00Z"), at("2026-07-08T17:00:00Z")),
            ]
        );
    }
}
