//! A table of our own, easy to write from whatever a site has.
//!
//! Must never need more than arrival and profile.

use model::{Millis, Timestamp};

use super::csv::Table;
use super::{Length, ReadError, Row, Trace};
use crate::fleet::work::Wish;

const COLUMNS: [&str; 5] = ["arrival_s", "duration_s", "profile", "tenant", "count"];
const EXPECTED: &str = "arrival_s,duration_s,profile,tenant,count";

/// The most slices of one request.
const MOST: u64 = 100_000;

pub(super) fn read(text: &str) -> Result<Trace, ReadError> {
    let table = Table::read(text, EXPECTED)?;
    let arrival = table.need(COLUMNS[0], EXPECTED)?;
    let profile = table.need(COLUMNS[2], EXPECTED)?;
    let [duration, tenant, count] =
        [COLUMNS[1], COLUMNS[3], COLUMNS[4]].map(|name| table.find(name));
    let mut rows = Vec::with_capacity(table.rows.len());
    for row in &table.rows {
        let filled = |column: Option<usize>| {
            column.map(|column| &row[column]).filter(|field| !field.text.is_empty())
        };
        let length = match filled(duration) {
            None => Length::Forever,
            Some(field) => Length::Lasts(Millis::new(field.seconds(COLUMNS[1])?.max(1))),
        };
        let count = match filled(count) {
            None => 1,
            Some(field) => match field.whole(COLUMNS[4], "slices")? {
                count @ 1..=MOST => count as u32,
                _ => return Err(field.wrong(COLUMNS[4], "1 to 100000 slices")),
            },
        };
        let what = &row[profile];
        let wish = match what.text.as_str() {
            "gpu" => Wish::WholeGpu,
            text => Wish::Profile(text.parse().map_err(|_| {
                what.wrong(COLUMNS[2], "a profile such as 1g.10gb or 3g, or `gpu`")
            })?),
        };
        rows.push(Row {
            line: what.line,
            arrival: Timestamp::from_millis(row[arrival].seconds(COLUMNS[0])?),
            length,
            wish,
            count,
            tenant: filled(tenant).map_or_else(|| "-".to_owned(), |field| field.text.clone()),
        });
    }
    let others = table.others(&COLUMNS);
    let ignored = || format!("columns that say nothing here: {}", others.join(", "));
    let notes = if others.is_empty() { Vec::new() } else { vec![ignored()] };
    Ok(Trace { unit: "line", rows, notes })
}
