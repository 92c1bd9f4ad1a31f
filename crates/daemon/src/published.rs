//! What the actor lets others see: a consistent picture after each commit.
//!
//! Must never be written by anybody but the actor.

use std::collections::BTreeMap;
use std::sync::Arc;

use broker::{Policy, State, World};
use model::{ChangeId, LeaseId, NodeSnapshot, Timestamp};
use planner::{Forecast, Planner};

use crate::recent::Recent;
use crate::settings::Settings;
use crate::steps::Steps;

/// The state after a commit.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    /// Records.
    pub(crate) state: Arc<State>,
    /// The newest snapshot of the machine.
    pub(crate) observed: Arc<NodeSnapshot>,
    /// For each live lease, the number of its newest event.
    pub(crate) revisions: Arc<BTreeMap<LeaseId, u64>>,
    /// For each known change, the number of its newest event.
    pub(crate) changes: Arc<BTreeMap<ChangeId, u64>>,
    /// Leases that ended lately.
    pub(crate) recent: Recent,
    /// The number of the newest event.
    pub(crate) last_seq: u64,
    /// When this was.
    pub(crate) now: Timestamp,
    /// The planner with its tables, for sentences about waiting.
    pub(crate) planner: Planner,
    /// The rules in force.
    pub(crate) policy: Arc<Policy>,
    /// What an administrator should know.
    pub(crate) warnings: Arc<Vec<String>>,
    /// The configuration in force.
    pub(crate) settings: Arc<Settings>,
    /// What plans of changes are at in the driver.
    pub(crate) steps: Arc<Steps>,
}

impl Published {
    /// The same as an argument of the broker's explanations.
    pub(crate) fn world<'a>(&'a self, forecast: &'a Forecast) -> World<'a> {
        World {
            observed: &self.observed,
            policy: &self.policy,
            planner: &self.planner,
            forecast,
            now: self.now,
            protected: self.settings.protects(self.now),
        }
    }
}
