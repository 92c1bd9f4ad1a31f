//! The log of mutating driver calls: one JSON object a line.
//!
//! Must never hold a call that did not commit; the shared state decides where the log ends.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One mutating driver call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallEntry {
    /// When it took effect, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The commit it was part of; grows from entry to entry.
    pub generation: u64,
    /// The process that called.
    pub pid: u32,
    /// The NVML function.
    pub call: String,
    /// Its arguments, by name.
    pub args: Value,
    /// NVML's name of what it returned: `SUCCESS`, `IN_USE`, …
    pub result: String,
    /// What it made or reported besides, by name.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub output: Value,
}

/// The entries of a log's text; lines that are not entries are skipped.
pub(crate) fn parse_log(text: &str) -> Vec<CallEntry> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
