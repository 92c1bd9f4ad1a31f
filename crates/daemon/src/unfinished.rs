//! What a daemon that is gone left in the middle, from its journal.
//!
//! Must never write, nor be asked while a daemon runs: the journal is its own then.

use std::path::Path;

use broker::{GpuChange, Progress, State};
use model::{ChangeId, GpuUuid, Purpose};
use store::{Reader, StoreError};

/// Something that nobody goes on with until a daemon runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// The change, if it is one that an administrator asked for.
    pub change: Option<ChangeId>,
    /// What was asked for, in words.
    pub asked: String,
    /// Where it may be half done; nowhere if it only waits.
    pub gpus: Vec<GpuUuid>,
    /// Units that it stopped and that were not started again.
    pub units: Vec<String>,
}

/// What the last daemon of a journal left in the middle; nothing where there is no journal.
///
/// # Errors
/// [`StoreError`] if the journal cannot be read.
pub fn unfinished(journal: &Path) -> Result<Vec<Unfinished>, StoreError> {
    if !journal.exists() {
        return Ok(Vec::new());
    }
    let reader = Reader::open(journal)?;
    if reader.ended_well()? {
        return Ok(Vec::new());
    }
    Ok(left(&reader.state()?))
}

fn left(state: &State) -> Vec<Unfinished> {
    let half_done = |part: &GpuChange| match part.progress {
        Progress::Running { .. } | Progress::Undoing { .. } | Progress::Broken { .. } => true,
        Progress::Waiting | Progress::Done | Progress::Undone | Progress::Stands { .. } => false,
    };
    let changes = state.changes.values().filter(|change| change.is_open()).map(|change| {
        let parts = change.gpus.iter().filter(|(_, part)| half_done(part));
        let units = &change.units;
        Unfinished {
            change: Some(change.id),
            asked: change.words.clone(),
            gpus: parts.map(|(gpu, _)| gpu.clone()).collect(),
            units: if units.state.is_down() { units.names.clone() } else { Vec::new() },
        }
    });
    let own = state.plans.iter().filter(|(id, _)| state.change_of(**id).is_none());
    let own = own.filter(|(_, open)| !open.plan.steps.is_empty()).map(|(_, open)| Unfinished {
        change: None,
        asked: match &open.plan.purpose {
            Purpose::Grant(lease) => format!("a slice for {lease}"),
            Purpose::Prepare
            | Purpose::Retire
            | Purpose::Warm
            | Purpose::Defragment
            | Purpose::Reconcile
            | Purpose::Rollback(_)
            | Purpose::Apply(_) => "room that migd arranged by itself".to_owned(),
        },
        gpus: open.plan.gpus().into_iter().cloned().collect(),
        units: Vec::new(),
    });
    changes.chain(own).collect()
}
