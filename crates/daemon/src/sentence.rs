//! Events as sentences.
//!
//! Must never name a command or its arguments: events are for everybody to read.

mod change;
mod lease;
mod room;

use api::EventView;
use broker::{EndReason, Event, SliceKey, Stage, StepOutcome};
use model::{GpuUuid, NodeSnapshot, Purpose};
use store::Recorded;

pub(crate) use lease::reason;

use self::change::of_change;
use self::lease::of_lease;
use self::room::of_room;

/// An event as the wire shows it.
pub(crate) fn view(recorded: &Recorded, observed: &NodeSnapshot) -> EventView {
    EventView {
        seq: recorded.seq,
        at_ms: recorded.at.as_millis(),
        kind: kind(&recorded.event),
        lease: recorded.event.lease(),
        message: message(&recorded.event, observed),
    }
}

/// The kind of an event, as the journal tags it.
fn kind(event: &Event) -> String {
    if let Event::Change(event) = event {
        return event.name().to_owned();
    }
    let tagged = serde_json::to_value(event).ok();
    let tag = tagged.as_ref().and_then(|value| value.get("kind")).and_then(|kind| kind.as_str());
    tag.unwrap_or("unknown").to_owned()
}

fn gpu(observed: &NodeSnapshot, uuid: &GpuUuid) -> String {
    observed.gpu(uuid).map_or_else(|| uuid.to_string(), |gpu| format!("GPU {}", gpu.index))
}

fn place(observed: &NodeSnapshot, key: &SliceKey) -> String {
    format!("{} at {}", gpu(observed, &key.gpu), key.placement)
}

fn message(event: &Event, observed: &NodeSnapshot) -> String {
    match event {
        Event::DaemonStarted { version, .. } => format!("migd {version} took over"),
        Event::Requested { lease, spec, .. } => {
            format!("{lease}: {} asks for {} on {}", spec.tenant, spec.wish(), spec.gpu)
        }
        Event::PlanOpened { plan, steps, targets, whole, .. } => {
            let places: Vec<String> =
                targets.iter().map(|target| place(observed, &target.key)).collect();
            let on = if places.is_empty() {
                let gpus = steps.gpus().into_iter().chain(whole);
                gpus.map(|uuid| gpu(observed, uuid)).collect()
            } else {
                places
            };
            let steps_word = if steps.steps.len() == 1 { "step" } else { "steps" };
            let count = steps.steps.len();
            format!(
                "plan {plan} to {}: {count} {steps_word} on {}",
                purpose(&steps.purpose),
                on.join(", ")
            )
        }
        Event::StepDone { plan, step, outcome } => {
            format!("plan {plan}, step {}: {}", step + 1, done(outcome))
        }
        Event::PlanFinished { plan } => format!("plan {plan} is done and read back"),
        Event::PlanFailed { plan, step: Some(step), error } => {
            format!("plan {plan} failed at step {}: {error}", step + 1)
        }
        Event::PlanFailed { plan, step: None, error } => format!("plan {plan} failed: {error}"),
        Event::PlanLate { plan, words } => format!("plan {plan} is late: {words}"),
        Event::PlanAbandoned { plan } => format!("plan {plan} was interrupted by a restart"),
        Event::Granted { lease, slices } => {
            let places: Vec<String> = slices
                .iter()
                .map(|slice| format!("{} on {}", slice.uuid, place(observed, &slice.key)))
                .collect();
            format!("{lease} has {}", places.join(", "))
        }
        Event::GrantUndone { lease, error } => format!("{lease} waits again: {error}"),
        Event::HeldUp { lease, held } => format!("{lease} waits again: {}", held.by),
        Event::Requeued { lease } => {
            format!("{lease} waits again: its grant was cut off or came too late")
        }
        Event::HolderAttached { lease, command } => format!("{lease} runs {command}"),
        Event::Renewed { lease } => format!("{lease} was renewed"),
        Event::Ending { lease, reason } => format!("{lease} must end: {reason}"),
        Event::Escalated { lease, stage } => match stage {
            Stage::Waiting => format!("{lease} waits for its processes"),
            Stage::Term => format!("{lease}: its processes were sent TERM"),
            Stage::Kill => format!("{lease}: its processes were sent KILL"),
        },
        Event::StillHeld { lease, by } => format!("{lease} is still held: {}", by.join("; ")),
        Event::Ended { lease, reason: EndReason::Released, .. } => format!("{lease} ended"),
        Event::Ended { lease, reason, .. } => format!("{lease} ended: {reason}"),
        Event::SliceAdopted { slice } => {
            format!("{} on {} is kept for reuse", slice.uuid, place(observed, &slice.key))
        }
        Event::OrphanCleared { key } => {
            format!("nothing was left behind on {}", place(observed, key))
        }
        Event::SliceGone { key, found } => {
            format!("the slice on {} is gone: {found}", place(observed, key))
        }
        Event::MaintenanceBegan { gpu: uuid } => {
            format!("{} is out of use while its MIG mode is changed", gpu(observed, uuid))
        }
        Event::GpuTriedAgain { gpu: uuid } => {
            format!("{} is tried again after the driver refused there", gpu(observed, uuid))
        }
        Event::MaintenanceEnded { gpu: uuid } => {
            format!("{} is no longer under change", gpu(observed, uuid))
        }
        Event::GrantedWhole { lease, gpus } => {
            let gpus: Vec<String> = gpus.iter().map(|uuid| gpu(observed, uuid)).collect();
            format!("{lease} has the whole of {}", gpus.join(", "))
        }
        Event::Change(event) => of_change(event, observed),
        Event::Predicted { .. }
        | Event::ActivityChanged { .. }
        | Event::Metered { .. }
        | Event::Noticed { .. }
        | Event::NoticeWithdrawn { .. }
        | Event::Agreed { .. }
        | Event::Displaced { .. }
        | Event::Lingering { .. }
        | Event::HolderReplaced { .. } => of_lease(event, observed),
        Event::Cordoned { .. }
        | Event::Uncordoned { .. }
        | Event::Drained { .. }
        | Event::Quarantined { .. }
        | Event::QuarantineLifted { .. }
        | Event::HealthNoted { .. }
        | Event::Booked { .. }
        | Event::BookingMoved { .. }
        | Event::BookingEnded { .. }
        | Event::Reserved { .. }
        | Event::RoomPromised { .. }
        | Event::ReservationDropped => of_room(event, observed),
    }
}

fn purpose(purpose: &Purpose) -> String {
    match purpose {
        Purpose::Grant(lease) => format!("grant {lease}"),
        Purpose::Prepare => "change MIG mode".to_owned(),
        Purpose::Retire => "give back idle room".to_owned(),
        Purpose::Warm => "make slices ahead of requests".to_owned(),
        Purpose::Defragment => "rearrange idle room".to_owned(),
        Purpose::Reconcile => "reconcile".to_owned(),
        Purpose::Rollback(plan) => format!("undo plan {plan}"),
        Purpose::Apply(words) => words.clone(),
    }
}

fn done(outcome: &StepOutcome) -> String {
    match outcome {
        StepOutcome::ModeSet(model::MigMode::Enabled) => "MIG is on".to_owned(),
        StepOutcome::ModeSet(model::MigMode::Disabled) => "MIG is off".to_owned(),
        StepOutcome::ModePending(_) => "the mode is accepted, the reset follows".to_owned(),
        StepOutcome::Reset => "the GPU was reset".to_owned(),
        StepOutcome::ResetNotNeeded => "no reset was needed".to_owned(),
        StepOutcome::Destroyed => "destroyed".to_owned(),
        StepOutcome::Unsure => "failed, and may have been done all the same".to_owned(),
        StepOutcome::GpuInstanceCreated(id) => format!("created GPU instance {id}"),
        StepOutcome::ComputeInstanceCreated { id, uuid } => {
            format!("created compute instance {id}, {uuid}")
        }
    }
}
