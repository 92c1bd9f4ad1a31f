//! Events about changes, as sentences.
//!
//! Must never name a command or its arguments beyond the words an administrator chose.

use broker::ChangeEvent;
use model::NodeSnapshot;

use super::gpu;

/// The sentence of an event about a change.
pub(super) fn of_change(event: &ChangeEvent, observed: &NodeSnapshot) -> String {
    match event {
        ChangeEvent::Began { change, spec, .. } => {
            let gpus: Vec<String> = spec.gpus.iter().map(|part| gpu(observed, &part.gpu)).collect();
            format!("{change} on {}: {}", gpus.join(", "), spec.words)
        }
        ChangeEvent::UnitsRunAs { change, .. } => {
            format!("{change}: its units were started again meanwhile")
        }
        ChangeEvent::StoppingUnits { change } => format!("{change} stops units that hold GPUs"),
        ChangeEvent::UnitsStopped { change, trouble } if trouble.is_empty() => {
            format!("{change}: its units are stopped")
        }
        ChangeEvent::UnitsStopped { change, trouble } => {
            format!("{change}: not all of its units stop: {}", trouble.join("; "))
        }
        ChangeEvent::StartingUnits { change } => format!("{change} starts its units again"),
        ChangeEvent::UnitsStarted { change, trouble } if trouble.is_empty() => {
            format!("{change}: its units run again")
        }
        ChangeEvent::UnitsStarted { change, trouble } => {
            format!("{change}: not all of its units run again: {}", trouble.join("; "))
        }
        ChangeEvent::Opened { change, gpu: uuid, plan, part, .. } => {
            let what = if *part { "as far as it goes now" } else { "as wanted" };
            format!("{change}: plan {plan} makes {} {what}", gpu(observed, uuid))
        }
        ChangeEvent::Undoing { change, gpu: uuid, plan } => {
            format!("{change}: plan {plan} takes {} back", gpu(observed, uuid))
        }
        ChangeEvent::AsWanted { change, gpu: uuid } => {
            format!("{change}: {} is as wanted already", gpu(observed, uuid))
        }
        ChangeEvent::AsBefore { change, gpu: uuid } => {
            format!("{change}: {} is as before", gpu(observed, uuid))
        }
        ChangeEvent::NotUndone { change, gpu: uuid, error } => {
            format!("{change}: {} cannot be taken back yet: {error}", gpu(observed, uuid))
        }
        ChangeEvent::Stands { change, found, .. } => format!("{change}: {found}"),
        ChangeEvent::Turned { change, why } => format!("{change} is taken back: {why}"),
        ChangeEvent::Ended { change } => format!("{change} is over"),
        ChangeEvent::Fixed { gpu: uuid, fixed } => {
            let lent = if fixed.lend { "its idle slices are lent" } else { "nothing is lent" };
            format!("{} is fixed by {}; {lent}", gpu(observed, uuid), fixed.by)
        }
        ChangeEvent::HandedBack { gpu: uuid } => {
            format!("{} is managed automatically again", gpu(observed, uuid))
        }
    }
}
