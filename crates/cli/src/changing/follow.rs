//! Watching a change until it has ended.
//!
//! Must never say done before the daemon has read the machine back.

use std::fmt::Write as _;
use std::time::Duration;

use api::{ChangeState, ChangeView, Client, GpuChangeState, GpuChangeView, PlanDocument};
use model::{Millis, Step};

use crate::draw::text::{clean, gpus};
use crate::{Context, Exit, Failure};

/// How long one call waits for news.
const PATIENCE: Duration = Duration::from_secs(20);
/// The same while something is taken back: that a step does not come back is no news of the change.
const GLANCE: Duration = Duration::from_secs(1);
/// A step that takes longer is shown with its time.
const SLOW_MS: u64 = 3_000;

/// Follows a change to its end. With a daemon for this command alone an interrupt takes it back. After
/// `timeout` it is cancelled, which takes back what was done.
///
/// # Errors
/// [`Failure`] when the daemon cannot be asked any more; the change goes on then.
pub(crate) async fn to_the_end(
    context: &Context,
    client: &Client,
    mut view: ChangeView,
    timeout: Option<Millis>,
    alone: bool,
) -> Result<ChangeView, Failure> {
    let begun = tokio::time::Instant::now();
    let until = timeout.map(|span| begun + Duration::from_millis(span.get()));
    let mut told = String::new();
    let mut cancelled = false;
    loop {
        tell(context, &view, &mut told);
        if view.state.is_over() {
            if context.output.is_watched() {
                context.output.say_over("");
            }
            return Ok(view);
        }
        if hangs(&view) {
            return Err(stuck(context, &view, alone));
        }
        let left = until.map(|until| until.saturating_duration_since(tokio::time::Instant::now()));
        if left.is_some_and(|left| left.is_zero()) && !cancelled {
            cancelled = true;
            context.output.say("migctl: the time is over; what was done is taken back");
            let answer = match client.cancel_change(view.id).await {
                // It came to its end at that very moment.
                Err(api::ClientError::Refused(problem)) if problem.code == "E-CHANGE-OVER" => {
                    client.change_of(view.id).await
                }
                answer => answer,
            };
            view = heard(&view, answer)?;
            continue;
        }
        let patience = if view.state == ChangeState::RollingBack { GLANCE } else { PATIENCE };
        let patience = left.filter(|_| !cancelled).map_or(patience, |left| left.min(patience));
        let next = tokio::select! {
            next = client.change_after(view.id, view.revision, patience) => next,
            _ = tokio::signal::ctrl_c(), if !alone => return Err(left_alone(&view)),
            // Nobody would go on with it.
            _ = tokio::signal::ctrl_c(), if !cancelled => {
                cancelled = true;
                context.output.say("migctl: interrupted; what was done is taken back");
                client.cancel_change(view.id).await
            }
        };
        view = heard(&view, next)?;
    }
}

fn heard(
    view: &ChangeView,
    answer: Result<ChangeView, api::ClientError>,
) -> Result<ChangeView, Failure> {
    answer.map_err(|error| {
        let failure = Failure::of_client("lost sight of the change", &error);
        failure.hint(format!(
            "the daemon finishes it or takes it back; `migctl change {}` tells",
            view.id
        ))
    })
}

/// Whether all that is left of a change is what does not come back from the driver.
fn hangs(view: &ChangeView) -> bool {
    let rests = |gpu: &GpuChangeView| {
        gpu.late || matches!(gpu.state, GpuChangeState::Undone | GpuChangeState::Stands)
    };
    view.state == ChangeState::RollingBack
        && view.gpus.iter().any(|gpu| gpu.late)
        && view.gpus.iter().all(rests)
}

/// Why a change is not watched to its end: the driver may never answer.
fn stuck(context: &Context, view: &ChangeView, alone: bool) -> Failure {
    if context.output.is_watched() {
        context.output.say_over("");
    }
    let mut report = view.error.as_deref().map_or_else(|| stage(view), clean);
    for gpu in &view.gpus {
        let name = gpu_name(gpu);
        let line = match (gpu.late, &gpu.stands) {
            (true, _) => format!(
                "{name} is out of use until that call returns; then it is made as it was before"
            ),
            (false, Some(stands)) => clean(stands),
            (false, None) => format!("{name} is as before"),
        };
        let _ = write!(report, "\n  {line}");
    }
    if view.units_stopped {
        let _ = write!(report, "\n  {} stay stopped until then", view.units.join(", "));
    }
    let then = if alone {
        "the next migctl that changes GPUs, or a daemon, takes back what is left"
    } else {
        "the daemon takes back what is left once the driver answers, or when it is started again"
    };
    Failure::new("E-STUCK", format!("{}: {report}", view.id)).hint(format!(
        "{then}; `dmesg | grep -i nvrm` and `migctl doctor` look for causes, `migctl change {}` tells how it goes on",
        view.id
    ))
}

/// A GPU as people call it.
fn gpu_name(gpu: &GpuChangeView) -> String {
    gpu.index.map_or_else(|| gpu.gpu.to_string(), |index| format!("GPU {index}"))
}

fn left_alone(view: &ChangeView) -> Failure {
    Failure::new("E-LEFT", format!("{} goes on without being watched", view.id))
        .exit(Exit::Signal(2))
        .hint(format!(
            "`migctl change {0}` shows it, `migctl change {0} --cancel` takes it back",
            view.id
        ))
}

/// Says what is new: on a terminal in one line that is written over, else a line for each stage.
fn tell(context: &Context, view: &ChangeView, told: &mut String) {
    if context.output.is_watched() {
        context.output.say_over(&format!("migctl: {}", progress(view)));
        return;
    }
    let stage = stage(view);
    if *told != stage {
        context.output.say(&format!("migctl: {stage}"));
        *told = stage;
    }
}

fn progress(view: &ChangeView) -> String {
    let (done, total) = view
        .gpus
        .iter()
        .fold((0, 0), |(done, total), gpu| (done + gpu.steps_done, total + gpu.steps_total));
    let now = view.gpus.iter().find_map(|gpu| {
        let step = gpu.step.as_ref()?;
        let span = gpu.step_ms.filter(|ms| *ms >= SLOW_MS);
        let span = span.map_or_else(String::new, |ms| format!(" for {}", Millis::new(ms)));
        Some(format!(", {}: {}{span}", gpu_name(gpu), clean(step)))
    });
    format!("{}, step {done} of {total}{}", stage(view), now.unwrap_or_default())
}

/// Where a change is, in words.
pub(crate) fn stage(view: &ChangeView) -> String {
    let words = match view.state {
        ChangeState::Waiting => {
            let waits: Vec<String> = view.gpus.iter().filter_map(waits).collect();
            if waits.is_empty() {
                return format!("{} waits for its turn", view.id);
            }
            return format!("{} waits: {}", view.id, waits.join("; "));
        }
        ChangeState::StoppingUnits => "stops services",
        ChangeState::Running => "changes the GPUs",
        ChangeState::RollingBack => "takes back what was done",
        ChangeState::Done => "is done",
        ChangeState::Failed => "failed",
        ChangeState::Cancelled => "was cancelled",
    };
    format!("{} {words}", view.id)
}

fn waits(gpu: &GpuChangeView) -> Option<String> {
    let words = gpu.waits_for.as_ref()?;
    let name = gpu_name(gpu);
    Some(format!("{name} for {}", clean(words)))
}

/// What was done, in a line.
pub(crate) fn summary(view: &ChangeView, plan: &PlanDocument) -> String {
    let count = |is: fn(&Step) -> bool| {
        plan.gpus.iter().flat_map(|gpu| &gpu.steps).filter(|step| is(step)).count()
    };
    let made = count(|step| matches!(step, Step::CreateGpuInstance { .. }));
    let destroyed = count(|step| matches!(step, Step::DestroyGpuInstance { .. }));
    let computes = (
        count(|step| matches!(step, Step::CreateComputeInstance { .. })),
        count(|step| matches!(step, Step::DestroyComputeInstance { .. })),
    );
    let modes = count(|step| matches!(step, Step::SetMigMode { .. }));
    let done: Vec<u32> = view
        .gpus
        .iter()
        .filter(|gpu| gpu.state == GpuChangeState::Done)
        .filter_map(|gpu| gpu.index)
        .collect();
    let mut parts = Vec::new();
    if modes > 0 {
        parts.push(String::from("MIG mode set"));
    }
    if made + destroyed > 0 {
        let instances = if made == 1 { "instance" } else { "instances" };
        parts.push(format!("{made} GPU {instances} made, {destroyed} destroyed"));
    } else if computes != (0, 0) {
        let instances = if computes.0 == 1 { "instance" } else { "instances" };
        parts.push(format!("{} compute {instances} made, {} destroyed", computes.0, computes.1));
    }
    // What a change that waited came to is not in the plan it began with.
    if parts.is_empty() || plan.is_blocked() {
        parts = vec![String::from("as wanted")];
    }
    let time = view.ended_ms.map_or_else(String::new, |end| {
        format!(", {}", Millis::new(end.saturating_sub(view.began_ms)))
    });
    format!("{}: {}{time}", gpus(&done), parts.join(", "))
}

/// Why a change did not come to its end, with what stands.
pub(crate) fn failure(view: &ChangeView, timeout: Option<Millis>) -> Failure {
    let why = view.error.as_deref().map_or_else(|| stage(view), clean);
    let report: Vec<String> =
        view.report.iter().map(|line| format!("\n  {}", clean(line))).collect();
    let lasted = view.ended_ms.unwrap_or_default().saturating_sub(view.began_ms);
    if let (ChangeState::Cancelled, Some(span)) = (view.state, timeout)
        && lasted >= span.get()
    {
        let message =
            format!("{}: not done within {span}; it was taken back{}", view.id, report.concat());
        return Failure::new("E-TIMEOUT", message)
            .exit(Exit::Busy)
            .hint("give it more time, or leave out --timeout");
    }
    let (code, exit) = if view.state == ChangeState::Cancelled {
        ("E-CANCELLED", Exit::Negative)
    } else {
        ("E-CHANGE-FAILED", Exit::Failure)
    };
    Failure::new(code, format!("{}: {why}{}", view.id, report.concat()))
        .exit(exit)
        .hint("`migctl instances` shows what is there; `migctl doctor` looks for causes")
}
