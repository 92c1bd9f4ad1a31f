//! Changes as the wire shows them.
//!
//! Must never call a change done before it was read back.

use api::{ChangeState, ChangeView, FixedView, GpuChangeState, GpuChangeView};
use broker::changes::waits_for;
use broker::{Change, Fixed, GpuChange, Progress, Turn, UnitsState};
use host::Users;
use model::{GpuUuid, PlanId};
use planner::Forecast;

use crate::planning;
use crate::published::Published;

/// A change.
pub(crate) fn change(published: &Published, change: &Change) -> ChangeView {
    let mut gpus: Vec<GpuChangeView> =
        change.gpus.iter().map(|(gpu, part)| one(published, change, gpu, part)).collect();
    gpus.sort_by_key(|view| (view.index, view.gpu.clone()));
    let users = Users::load();
    let turned = change.turned.as_ref();
    ChangeView {
        id: change.id,
        words: change.words.clone(),
        by: users.label(change.by),
        state: state(change),
        wait_idle: change.wait_idle,
        began_ms: change.began.as_millis(),
        ended_ms: change.end.as_ref().map(|end| end.at.as_millis()),
        report: report(&gpus, change),
        gpus,
        units: change.units.names.clone(),
        units_stopped: change.units.state.is_down(),
        error: turned.map(|why| match why {
            Turn::Cancelled { by } => format!("{} cancelled it", users.label(*by)),
            Turn::Failed(_) | Turn::Interrupted | Turn::Rebooted => why.to_string(),
        }),
        revision: published.changes.get(&change.id).copied().unwrap_or(0),
    }
}

fn state(change: &Change) -> ChangeState {
    match (&change.end, &change.turned) {
        (Some(_), None) => ChangeState::Done,
        (Some(_), Some(Turn::Cancelled { .. })) => ChangeState::Cancelled,
        (Some(_), Some(Turn::Failed(_) | Turn::Interrupted | Turn::Rebooted)) => {
            ChangeState::Failed
        }
        (None, Some(_)) => ChangeState::RollingBack,
        (None, None) => {
            let runs = |part: &GpuChange| matches!(part.progress, Progress::Running { .. });
            let waits = |part: &GpuChange| part.progress == Progress::Waiting;
            if change.units.state == UnitsState::Stopping {
                ChangeState::StoppingUnits
            } else if !change.gpus.values().any(runs) && change.gpus.values().any(waits) {
                ChangeState::Waiting
            } else {
                ChangeState::Running
            }
        }
    }
}

fn one(published: &Published, change: &Change, gpu: &GpuUuid, part: &GpuChange) -> GpuChangeView {
    let seen = published.observed.gpu(gpu);
    let plan = part.at_work();
    let state = match &part.progress {
        Progress::Waiting => GpuChangeState::Waiting,
        Progress::Running { .. } => GpuChangeState::Running,
        Progress::Done => GpuChangeState::Done,
        Progress::Undoing { .. } | Progress::Broken { .. } => GpuChangeState::Undoing,
        Progress::Undone => GpuChangeState::Undone,
        Progress::Stands { .. } => GpuChangeState::Stands,
    };
    let lasting = plan.and_then(|plan| published.steps.lasting(plan));
    let forecast = Forecast::unknown();
    GpuChangeView {
        gpu: gpu.clone(),
        index: seen.map(|gpu| gpu.index.get()),
        state,
        steps_done: part.steps_done,
        steps_total: part.steps_total,
        step: plan.and_then(|plan| at_work(published, gpu, plan)),
        step_ms: lasting.map(|lasting| lasting.span.as_millis() as u64),
        late: lasting.is_some_and(|lasting| lasting.late),
        waits_for: waits_for(&published.state, &published.world(&forecast), change, gpu),
        stands: match &part.progress {
            Progress::Stands { found } => Some(found.clone()),
            Progress::Waiting
            | Progress::Running { .. }
            | Progress::Done
            | Progress::Broken { .. }
            | Progress::Undoing { .. }
            | Progress::Undone => None,
        },
    }
}

/// The step that is being done, in words.
fn at_work(published: &Published, gpu: &GpuUuid, plan: PlanId) -> Option<String> {
    let open = published.state.plans.get(&plan)?;
    let step = open.plan.steps.get(open.done.len())?;
    Some(planning::words(published.observed.gpu(gpu)?, step))
}

/// What stands, GPU by GPU, once it is known.
fn report(gpus: &[GpuChangeView], change: &Change) -> Vec<String> {
    if change.end.is_none() || change.turned.is_none() {
        return change.units.trouble.clone();
    }
    let name = |view: &GpuChangeView| {
        view.index.map_or_else(|| view.gpu.to_string(), |index| format!("GPU {index}"))
    };
    let line = |view: &GpuChangeView| match (&view.stands, view.state) {
        (Some(found), _) => found.clone(),
        (None, GpuChangeState::Done) => format!("{} is as it was asked for", name(view)),
        (None, _) => format!("{} is as before", name(view)),
    };
    gpus.iter().map(line).chain(change.units.trouble.iter().cloned()).collect()
}

/// A GPU that stays as a file made it.
pub(crate) fn fixed(fixed: &Fixed) -> FixedView {
    FixedView { by: fixed.by.clone(), lend: fixed.lend, since_ms: fixed.since.as_millis() }
}
