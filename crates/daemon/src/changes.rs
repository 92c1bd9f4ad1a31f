//! What a change needs of the machine beside its plans: units stopped before and started after; and
//! which events are about which change.
//!
//! Must never decide which unit is stopped.

use std::collections::BTreeSet;
use std::sync::mpsc::Sender;
use std::time::Duration;

use broker::{Command, Event, State};
use host::Users;
use host::processes::{Arguments, describe};
use host::units::Halt;
use model::{ChangeId, GpuSnapshot, UnitName};

use crate::actor::{Envelope, Message};
use crate::executor::chain;
use crate::hands::Hands;
use crate::published::Published;

/// How long a unit may take to stop or to start. A monitor stops within seconds; one that takes
/// longer is told of rather than waited for while GPUs are out of use.
const UNIT_LIMIT: Duration = Duration::from_secs(30);

/// The change that an event is about, with the records before and after it.
pub(crate) fn touched(event: &Event, before: &State, after: &State) -> Option<ChangeId> {
    #[allow(clippy::wildcard_enum_match_arm, reason = "no other event is about a change")]
    let plan = match event {
        Event::Change(event) => return event.change(),
        Event::StepDone { plan, .. }
        | Event::PlanOpened { plan, .. }
        | Event::PlanFinished { plan }
        | Event::PlanFailed { plan, .. }
        | Event::PlanAbandoned { plan } => *plan,
        _ => return None,
    };
    let of = |state: &State| state.change_of(plan).map(|(change, _)| change);
    of(before).or_else(|| of(after))
}

/// Stops the units of a change and tells what came of it.
pub(crate) fn stop_units(hands: &Hands, change: ChangeId, units: &[String]) {
    let (halt, mut trouble) = named(units);
    if trouble.is_empty()
        && let Err(error) = halt.stop(hands.machine.units.as_ref(), UNIT_LIMIT)
    {
        trouble.push(chain(&error));
    }
    hands.tell(Command::UnitsStopped { change, trouble });
}

/// Starts the units of a change again and tells what came of it.
pub(crate) fn start_units(hands: &Hands, change: ChangeId, units: &[String]) {
    let (halt, mut trouble) = named(units);
    for (unit, started) in halt.start(hands.machine.units.as_ref(), UNIT_LIMIT) {
        if let Err(error) = started {
            tracing::error!(%unit, error = chain(&error), "a unit does not start again");
            trouble.push(chain(&error));
        }
    }
    hands.tell(Command::UnitsStarted { change, trouble });
}

/// Between two looks at the units of changes that wait.
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);

/// Follows the units of changes that wait: one that is started again has other processes, and those are
/// no more in the way than the ones before. Serves until dropped.
pub(crate) async fn follow_units(
    inbox: Sender<Message>,
    published: tokio::sync::watch::Receiver<Published>,
) {
    loop {
        tokio::time::sleep(BETWEEN_LOOKS).await;
        let picture = published.borrow().clone();
        let mut waiting = picture.state.changes.values();
        if !waiting.any(|change| change.is_open() && change.needs_units_stopped()) {
            continue;
        }
        // A look at /proc for each process on the GPUs.
        let found = tokio::task::spawn_blocking(move || restarted(&picture)).await;
        for (change, leaving) in found.unwrap_or_default() {
            let command = Command::UnitsRunAs { change, leaving };
            if inbox.send(Message::Command(Box::new(Envelope::own(command)))).is_err() {
                return;
            }
        }
    }
}

/// Changes that wait and whose units have other processes than they knew, with those.
fn restarted(picture: &Published) -> Vec<(ChangeId, Vec<u32>)> {
    let open = picture.state.changes.values().filter(|change| change.is_open());
    let waiting = open.filter(|change| change.turned.is_none() && change.needs_units_stopped());
    let now = waiting.map(|change| {
        let (halt, _) = named(&change.units.names);
        let seen = change.gpus.keys().filter_map(|gpu| picture.observed.gpu(gpu));
        let leaving: BTreeSet<u32> = seen.flat_map(|gpu| of_units(gpu, &halt.units)).collect();
        (change, leaving)
    });
    let other = now.filter(|(change, leaving)| {
        change.leaving.iter().copied().collect::<BTreeSet<u32>>() != *leaving
    });
    other.map(|(change, leaving)| (change.id, leaving.into_iter().collect())).collect()
}

fn named(units: &[String]) -> (Halt, Vec<String>) {
    let (mut halt, mut trouble) = (Halt::default(), Vec::new());
    for unit in units {
        match unit.parse::<UnitName>() {
            Ok(name) => halt.units.push(name),
            Err(error) => trouble.push(error.to_string()),
        }
    }
    (halt, trouble)
}

/// Processes on a GPU that belong to these units.
pub(crate) fn of_units(gpu: &GpuSnapshot, units: &[UnitName]) -> BTreeSet<u32> {
    if units.is_empty() {
        return BTreeSet::new();
    }
    let users = Users::default();
    let computes = gpu.instances.iter().flat_map(|instance| &instance.compute_instances);
    let processes = computes.flat_map(|compute| &compute.processes).chain(&gpu.processes);
    let of_unit = |pid: &u32| {
        describe(*pid, &users, Arguments::Hidden)
            .and_then(|found| found.unit)
            .is_some_and(|unit| units.iter().any(|name| name.as_str() == unit))
    };
    processes.map(|process| process.pid).filter(of_unit).collect()
}
