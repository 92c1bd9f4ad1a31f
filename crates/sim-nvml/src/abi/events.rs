//! Event sets. The events are in the shared state; waiting means watching its generation.
//!
//! Must never show an instance's events to a caller who may not see the whole GPU.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sim_gpu::{Event, EventKind, Query, Return, Rights};

use super::args::{Out, Outcome};
use super::handles::{Kind, Parts};
use super::structs::sys;
use crate::call::Call;
use crate::types::{Device, EventData, EventSet};

/// How often a waiting call looks: events are rare, and one look is one atomic load.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What one event set listens to.
#[derive(Debug, Clone, Default)]
struct Listening {
    /// Bits of event types, by GPU.
    types: BTreeMap<usize, u64>,
    /// Number of the last event it has seen.
    seen: u64,
}

/// The event sets of a session, by number.
#[derive(Debug, Default)]
pub(crate) struct EventSets(Mutex<(u32, BTreeMap<u32, Listening>)>);

impl EventSets {
    fn lock(&self) -> MutexGuard<'_, (u32, BTreeMap<u32, Listening>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn create(call: &Call, set: Out<EventSet>) -> Outcome {
    set.check()?;
    call.fault()?;
    let mut sets = call.session.events.lock();
    let number = sets.0;
    sets.0 = (number + 1) & 0x001f_ffff;
    let seen = call.node().last_event();
    sets.1.insert(number, Listening { types: BTreeMap::new(), seen });
    set.put(EventSet::of(Parts {
        kind: Kind::EventSet,
        gpu: 0,
        gpu_instance: 0,
        compute_instance: 0,
        generation: number,
    }))
}

pub(crate) fn supported(call: &Call, device: Device, types: Out<u64>) -> Outcome {
    let gpu = call.query(device, Query::Events)?;
    types.check()?;
    types.put(EventKind::supported(call.node().mig_capable(gpu)?))
}

pub(crate) fn register(call: &Call, device: Device, types: u64, set: EventSet) -> Outcome {
    let gpu = call.query(device, Query::Events)?;
    let number = set.parts()?.generation;
    if types & !EventKind::supported(call.node().mig_capable(gpu)?) != 0 {
        return Err(Return::NotSupported);
    }
    let mut sets = call.session.events.lock();
    let listening = sets.1.get_mut(&number).ok_or(Return::InvalidArgument)?;
    *listening.types.entry(gpu).or_default() |= types;
    Ok(())
}

/// The next event the set listens to, if there is one.
fn next(call: &Call, number: u32) -> Outcome<Option<Event>> {
    let version = call.session.host.node().map_err(|_| Return::Unknown)?;
    let privileged =
        call.caller().rights >= Rights::MonitorCapable || version.value.knobs.monitor_for_all;
    let mut sets = call.session.events.lock();
    let listening = sets.1.get_mut(&number).ok_or(Return::InvalidArgument)?;
    let wanted = version.value.events_after(listening.seen).find(|event| {
        let types = listening.types.get(&event.gpu).copied().unwrap_or(0);
        types & event.kind.bit() != 0 && (privileged || event.gpu_instance.is_none())
    });
    listening.seen = wanted.map_or(version.value.last_event(), |event| event.sequence);
    Ok(wanted.cloned())
}

pub(crate) fn wait(call: &Call, set: EventSet, data: Out<EventData>, timeout_ms: u32) -> Outcome {
    let number = set.parts()?.generation;
    data.check()?;
    call.fault()?;
    let deadline = Instant::now() + Duration::from_millis(u64::from(timeout_ms));
    loop {
        let looked_at = call.session.host.generation();
        if let Some(event) = next(call, number)? {
            return data.put(sys::nvmlEventData_t {
                device: call.gpu_handle(event.gpu)?.pointer(),
                eventType: event.kind.bit(),
                eventData: event.data,
                gpuInstanceId: event.gpu_instance.map_or(u32::MAX, model::GpuInstanceId::get),
                computeInstanceId: event
                    .compute_instance
                    .map_or(u32::MAX, model::ComputeInstanceId::get),
            });
        }
        while call.session.host.generation() == looked_at {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Return::Timeout);
            }
            std::thread::sleep(left.min(LOOK_EVERY));
        }
    }
}

pub(crate) fn free(call: &Call, set: EventSet) -> Outcome {
    let number = set.parts()?.generation;
    let mut sets = call.session.events.lock();
    sets.1.remove(&number).map(drop).ok_or(Return::InvalidArgument)
}
