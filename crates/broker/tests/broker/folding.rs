//! The fold by itself: what an event that does not fit does, and what outlives what it counted.

use broker::{EndReason, Event, SliceKey, Stage, State, StepOutcome};
use model::{GpuUuid, LeaseId, Placement, Plan, PlanId, Purpose, Timestamp};

fn at(milliseconds: u64) -> Timestamp {
    Timestamp::from_millis(milliseconds)
}

#[test]
fn events_of_what_is_not_there_change_nothing() {
    let (lease, plan) = (LeaseId::new(1), PlanId::new(1));
    let key = SliceKey { gpu: GpuUuid::new("GPU-0"), placement: Placement::new(0, 1) };
    for event in [
        Event::StepDone { plan, step: 0, outcome: StepOutcome::Destroyed },
        Event::PlanFinished { plan },
        Event::PlanFailed { plan, step: Some(0), error: String::new() },
        Event::PlanAbandoned { plan },
        Event::GrantUndone { lease, error: String::new() },
        Event::Requeued { lease },
        Event::Renewed { lease },
        Event::Ending { lease, reason: EndReason::Released },
        Event::Escalated { lease, stage: Stage::Kill },
        Event::StillHeld { lease, by: Vec::new() },
        Event::Ended { lease, reason: EndReason::Released, receipt: None },
        Event::OrphanCleared { key: key.clone() },
        Event::SliceGone { key: key.clone(), found: String::new() },
        Event::MaintenanceEnded { gpu: key.gpu.clone() },
    ] {
        let mut state = State::default();
        state.apply(at(5), &event);
        assert_eq!(state, State::default(), "{event:?}");
    }
}

#[test]
fn numbers_are_never_given_twice() {
    let mut state = State::default();
    let plan = Plan::nothing(Purpose::Retire);
    let (id, targets, evicted, whole) = (PlanId::new(7), Vec::new(), Vec::new(), Vec::new());
    state.apply(at(1), &Event::PlanOpened { plan: id, steps: plan, targets, evicted, whole });
    state.apply(at(2), &Event::PlanFinished { plan: id });
    assert_eq!((state.next_plan, state.plans.len()), (8, 0));
}
