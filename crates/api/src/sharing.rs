//! The shapes of `explain` and `advise sharing`: ways to share a GPU, compared and recommended.
//!
//! Must never recommend without a reason.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Ways to share a GPU beside each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ComparisonView {
    /// The ways, in the order of the columns (`streams`, `mps`, `mig`).
    pub ways: Vec<TopicView>,
    /// What they are compared by.
    pub trades: Vec<TradeView>,
    /// Where this is written.
    pub sources: Vec<String>,
}

/// A way to share a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TopicView {
    /// Its word on the command line.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is, in a few sentences.
    pub what: String,
    /// When to take it.
    pub takes: String,
}

/// A row of the comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TradeView {
    /// What is compared.
    pub aspect: String,
    /// How each way does, in the order of the ways.
    pub cells: Vec<String>,
}

/// A recommendation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdviceView {
    /// The best option's id.
    pub choice: String,
    /// Every option, the best first.
    pub options: Vec<OptionView>,
    /// What to type.
    pub commands: Vec<String>,
    /// What was not said, and what was assumed instead.
    pub assumed: Vec<String>,
}

/// An option, and how it does for the stated need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OptionView {
    /// Its id: `mig`, `mps`, `mps_in_mig`, `streams`, `time_slicing`, `whole_gpu`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it can serve the need at all.
    pub possible: bool,
    /// What speaks for it.
    pub pro: Vec<String>,
    /// What speaks against it, or rules it out.
    pub contra: Vec<String>,
}
