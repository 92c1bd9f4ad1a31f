//! Jobs of FouoF/MIG-scheduler-benchmark: id, arrival in ms, work, least memory.
//!
//! Must never choose a profile by the work: the smallest with enough memory is taken, as MIGBench's
//! control planes do; a scheduler that chooses larger ones for long jobs is measured elsewhere.

use model::{Millis, NominalGb, Timestamp};

use super::csv::{rows, same_length};
use super::{Length, ReadError, Row, Trace};
use crate::fleet::work::Wish;

const EXPECTED: &str = "rows of id,arrival_ms,computeCoreMS,memoryMB";

pub(super) fn read(text: &str) -> Result<Trace, ReadError> {
    let mut table = rows(text)?;
    if table.is_empty() {
        return Err(ReadError::Empty { expected: EXPECTED.to_owned() });
    }
    let is_heading = table[0].get(1).is_some_and(|field| field.text == "arrival_ms");
    if is_heading {
        table.remove(0);
    }
    let mut found = Vec::with_capacity(table.len());
    for row in &table {
        same_length(row, 4)?;
        let arrival = row[1].whole("arrival_ms", "milliseconds")?;
        let work = row[2].whole("computeCoreMS", "hundredths of a GPU times milliseconds")?;
        let memory = row[3].whole("memoryMB", "MiB")?;
        let gb = u32::try_from(memory.div_ceil(1024)).unwrap_or(u32::MAX);
        found.push(Row {
            line: row[0].line,
            arrival: Timestamp::from_millis(arrival),
            length: if work == 0 { Length::Lasts(Millis::new(1)) } else { Length::Work(work) },
            wish: Wish::Memory(NominalGb::new(gb)),
            count: 1,
            tenant: "-".to_owned(),
        });
    }
    let notes = vec![
        "each job takes the smallest of 1g, 2g, 3g, 4g, 7g with its memory, and runs as long as its \
         work takes there (14 hundredths of a GPU for each compute slice, 100 for seven)"
            .to_owned(),
    ];
    Ok(Trace { unit: "line", rows: found, notes })
}
