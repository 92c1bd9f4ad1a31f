//! An hour of Azure's LLM inference (AzurePublicDataset, 2023) as replicas of a service.
//!
//! Must never pretend that an inference request is a request for a slice: what comes and goes is
//! replicas, one more whenever the tokens of a minute need it.

use model::{Millis, ProfileSelector, Timestamp};

use super::csv::{Field, Table};
use super::{Length, ReadError, Row, Trace};
use crate::fleet::work::Wish;

/// What one replica is, and how much it can do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Replica {
    /// Its slice.
    pub profile: ProfileSelector,
    /// Tokens, read and written, per second.
    pub tokens_per_second: u32,
}

const EXPECTED: &str = "TIMESTAMP,ContextTokens,GeneratedTokens";
const MINUTE: u64 = 60_000;

pub(super) fn read(text: &str, replica: Option<Replica>) -> Result<Trace, ReadError> {
    let Some(replica) = replica.filter(|replica| replica.tokens_per_second > 0) else {
        return Err(ReadError::Needs(
            "the azure format needs to know what a replica can do: --replica 2g.20gb=2000 \
             (tokens per second)",
        ));
    };
    let table = Table::read(text, EXPECTED)?;
    let [at, context, generated] = ["TIMESTAMP", "ContextTokens", "GeneratedTokens"];
    let places = [at, context, generated].map(|name| table.need(name, EXPECTED));
    let [time, read, written] = places;
    let (time, read, written) = (time?, read?, written?);
    let mut minutes: Vec<u64> = Vec::new();
    let mut first: Option<u64> = None;
    for row in &table.rows {
        let moment = millis(&row[time])?;
        let begin = *first.get_or_insert(moment);
        let tokens =
            row[read].whole(context, "tokens")? + row[written].whole(generated, "tokens")?;
        let since = moment
            .checked_sub(begin)
            .ok_or_else(|| row[time].wrong(at, "times that do not go back"))?;
        let minute = usize::try_from(since / MINUTE).unwrap_or(usize::MAX);
        if minute > 60 * 24 * 366 {
            return Err(row[time].wrong(at, "a time within a year of the first"));
        }
        minutes.resize(minutes.len().max(minute + 1), 0);
        minutes[minute] += tokens;
    }
    Ok(replicas(&minutes, replica, table.rows.len()))
}

/// The replica that was started last is the first to go.
fn replicas(minutes: &[u64], replica: Replica, requests: usize) -> Trace {
    let mut running: Vec<u64> = Vec::new();
    let mut rows: Vec<Row> = Vec::new();
    let close = |begun: u64, end: u64| Row {
        line: 1,
        arrival: Timestamp::from_millis(begun * MINUTE),
        length: Length::Lasts(Millis::new((end - begun) * MINUTE)),
        wish: Wish::Profile(replica.profile),
        count: 1,
        tenant: "service".to_owned(),
    };
    let per_minute = u64::from(replica.tokens_per_second) * 60;
    for (minute, tokens) in minutes.iter().enumerate() {
        let (minute, needed) = (minute as u64, tokens.div_ceil(per_minute) as usize);
        while running.len() > needed {
            rows.extend(running.pop().map(|begun| close(begun, minute)));
        }
        running.resize(needed, minute);
    }
    let end = minutes.len() as u64;
    rows.extend(running.into_iter().map(|begun| close(begun, end)));
    rows.sort_by_key(|row| row.arrival);
    let notes = vec![format!(
        "{requests} inference requests, as replicas of {} that do {} tokens per second, counted \
         minute by minute",
        replica.profile, replica.tokens_per_second
    )];
    Trace { unit: "line", rows, notes }
}

/// `2023-11-16 18:17:03.9799600` in milliseconds since some moment.
fn millis(field: &Field) -> Result<u64, ReadError> {
    let wrong = || field.wrong("TIMESTAMP", "a time such as 2023-11-16 18:17:03.9799600");
    let (date, time) = field.text.split_once(' ').ok_or_else(wrong)?;
    let numbers = |text: &str, by: char| -> Option<Vec<u64>> {
        text.split(by).map(|part| part.parse().ok()).collect()
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let date = numbers(date, '-').filter(|d| d.len() == 3).ok_or_else(wrong)?;
    let time = numbers(time, ':').filter(|t| t.len() == 3).ok_or_else(wrong)?;
    let (year, month, day) = (date[0], date[1], date[2]);
    let legal = (1..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !legal || time[0] > 23 || time[1] > 59 || time[2] > 60 {
        return Err(wrong());
    }
    let is_number = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let thousandths: String = fraction.chars().chain("00".chars()).take(3).collect();
    let thousandths: u64 = thousandths.parse().ok().filter(|_| is_number).ok_or_else(wrong)?;
    let seconds = days(year, month, day) * 86_400 + time[0] * 3600 + time[1] * 60 + time[2];
    Ok(seconds * 1000 + thousandths)
}

/// Days since the first of March of the year 0 (Hinnant, "chrono-compatible low-level date
/// algorithms"), which makes the leap day the last of its year.
const fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1
}
