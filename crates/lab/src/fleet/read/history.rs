//! Our own history, as `migctl history --json` prints it.
//!
//! Must never invent the length of a lease: requests that never got anything are left out, and
//! counted.

use std::collections::BTreeMap;

use model::{Millis, ProfileSelector, Timestamp};
use serde::Deserialize;

use super::{Length, ReadError, Row, Trace};
use crate::fleet::work::Wish;

/// What is needed of a lease that is over; the rest may change.
#[derive(Debug, Deserialize)]
struct Past {
    id: String,
    tenant: String,
    requested_at_ms: u64,
    receipt: Option<Receipt>,
}

#[derive(Debug, Deserialize)]
struct Receipt {
    profiles: Vec<String>,
    whole_gpus: u32,
    held_ms: u64,
}

const EXPECTED: &str = "the list of leases that `migctl history --json` prints";

pub(super) fn read(text: &str) -> Result<Trace, ReadError> {
    let past: Vec<Past> = serde_json::from_str(text).map_err(|error| ReadError::At {
        line: error.line(),
        column: error.column(),
        problem: without_place(&error.to_string()),
        expected: EXPECTED.to_owned(),
    })?;
    let mut rows = Vec::new();
    let mut never = 0;
    for (index, lease) in past.iter().enumerate() {
        let Some(receipt) = &lease.receipt else {
            never += 1;
            continue;
        };
        let mut wishes: BTreeMap<&str, u32> = BTreeMap::new();
        for profile in &receipt.profiles {
            *wishes.entry(profile).or_insert(0) += 1;
        }
        let row = |wish, count| Row {
            line: index + 1,
            arrival: Timestamp::from_millis(lease.requested_at_ms),
            length: Length::Lasts(Millis::new(receipt.held_ms.max(1))),
            wish,
            count,
            tenant: lease.tenant.clone(),
        };
        for (name, count) in wishes {
            let profile: ProfileSelector = name.parse().map_err(|_| ReadError::Entry {
                entry: index + 1,
                problem: format!("lease {} had `{name}`, which is no profile", lease.id),
                expected: EXPECTED.to_owned(),
            })?;
            rows.push(row(Wish::Profile(profile), count));
        }
        if receipt.whole_gpus > 0 {
            rows.push(row(Wish::WholeGpu, receipt.whole_gpus));
        }
    }
    rows.sort_by_key(|row| row.arrival);
    let notes = if never == 0 {
        Vec::new()
    } else {
        vec![format!(
            "{never} requests never got anything: how long they would have run is unknown"
        )]
    };
    Ok(Trace { unit: "entry", rows, notes })
}

/// serde_json tells the place once more at the end of its sentence.
fn without_place(text: &str) -> String {
    text.split(" at line ").next().unwrap_or(text).to_owned()
}
