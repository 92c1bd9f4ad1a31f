//! The shapes of what `doctor` finds.
//!
//! Must never hold a process's arguments or a secret: reports go to other people.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How much a finding matters.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Info,
    /// Something will go wrong some day, or does not work as well as it could.
    Warn,
    /// Something does not work.
    Error,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FindingView {
    /// What was looked at; stays the same between versions (`driver-version`).
    pub id: String,
    /// How much it matters.
    pub severity: Severity,
    /// The GPU it is about, by index.
    pub gpu: Option<u32>,
    /// What was seen, in a sentence.
    pub evidence: String,
    /// The command that mends it, or what to do.
    pub mend: Option<String>,
}

/// Everything that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DoctorView {
    /// The weightiest severity among the findings.
    pub worst: Severity,
    /// What was found, the weightiest first.
    pub findings: Vec<FindingView>,
    /// What could not be looked at, and why.
    pub unseen: Vec<String>,
}
