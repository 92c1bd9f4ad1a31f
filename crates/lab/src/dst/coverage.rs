//! What happened how often, so that a campaign that never tries something is not taken for proof.
//!
//! Must never influence what happens.

use std::collections::BTreeMap;

use broker::{EndReason, Event};

/// Counts by name.
#[derive(Debug, Clone, Default)]
pub struct Coverage(BTreeMap<String, u64>);

impl Coverage {
    /// Counts one.
    pub(crate) fn count(&mut self, what: &str) {
        match self.0.get_mut(what) {
            Some(count) => *count += 1,
            None => {
                self.0.insert(what.to_owned(), 1);
            }
        }
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what.clone()).or_default() += count;
        }
    }

    /// Adds what is told from elsewhere.
    pub fn add_count(&mut self, what: &str, count: u64) {
        *self.0.entry(what.to_owned()).or_default() += count;
    }

    /// Everything that happened, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(what, count)| (what.as_str(), *count))
    }

    /// What should have happened and never did.
    pub fn missing(&self) -> Vec<&'static str> {
        NEEDED.iter().filter(|what| !self.0.contains_key(**what)).copied().collect()
    }

    /// Counts an event.
    pub(crate) fn event(&mut self, event: &Event) {
        if let Some(what) = name(event) {
            self.count(what);
        }
    }
}

fn name(event: &Event) -> Option<&'static str> {
    Some(match event {
        Event::DaemonStarted { .. } => "event: daemon started",
        Event::Requested { .. } => "event: requested",
        Event::PlanOpened { .. } => "event: plan opened",
        Event::PlanFinished { .. } => "event: plan finished",
        Event::PlanFailed { .. } => "event: plan failed",
        Event::PlanLate { .. } => "event: plan late",
        Event::PlanAbandoned { .. } => "event: plan interrupted",
        Event::Granted { .. } => "event: granted",
        Event::GrantedWhole { .. } => "event: granted whole",
        Event::HeldUp { .. } => "event: held up",
        Event::GrantUndone { .. } => "event: grant undone",
        Event::Requeued { .. } => "event: requeued",
        Event::HolderAttached { .. } => "event: holder attached",
        Event::Renewed { .. } => "event: renewed",
        Event::Escalated { .. } => "event: escalated",
        Event::StillHeld { .. } => "event: still held",
        Event::Ended { reason, .. } => return Some(end(reason)),
        Event::SliceAdopted { .. } => "event: slice adopted",
        Event::OrphanCleared { .. } => "event: orphan cleared",
        Event::SliceGone { .. } => "event: slice gone",
        Event::MaintenanceBegan { .. } => "event: maintenance",
        Event::GpuTriedAgain { .. } => "event: GPU tried again",
        Event::Noticed { .. } => "event: noticed",
        Event::NoticeWithdrawn { .. } => "event: notice withdrawn",
        Event::Agreed { .. } => "event: agreed",
        Event::Displaced { .. } => "event: displaced",
        Event::Lingering { .. } => "event: lingering",
        Event::HolderReplaced { .. } => "event: holder replaced",
        Event::Change(event) => return Some(event.name()),
        Event::Cordoned { .. } => "event: cordoned",
        Event::Drained { .. } => "event: drained",
        Event::Quarantined { .. } => "event: quarantined",
        Event::QuarantineLifted { .. } => "event: quarantine lifted",
        Event::Booked { .. } => "event: booked",
        Event::BookingMoved { .. } => "event: booking moved",
        Event::BookingEnded { .. } => "event: booking ended",
        Event::Reserved { .. } => "event: reserved",
        Event::ReservationDropped => "event: reservation dropped",
        _ => return None,
    })
}

const fn end(reason: &EndReason) -> &'static str {
    match reason {
        EndReason::Released => "end: released",
        EndReason::HolderDied => "end: holder died",
        EndReason::TimeLimit => "end: time limit",
        EndReason::NotRenewed => "end: not renewed",
        EndReason::Revoked => "end: revoked",
        EndReason::Cancelled => "end: cancelled",
        EndReason::WaitExpired => "end: wait expired",
        EndReason::SliceLost(_) => "end: slice lost",
        EndReason::GrantFailed(_) => "end: grant failed",
        EndReason::Impossible(_) => "end: impossible",
        EndReason::Rebooted => "end: rebooted",
        EndReason::Idle { .. } => "end: idle",
        EndReason::Preempted { .. } => "end: preempted",
        EndReason::GpuLost(_) => "end: GPU lost",
        EndReason::Drained => "end: drained",
        EndReason::BookingOver => "end: booking over",
        EndReason::BookingBegins { .. } => "end: booking begins",
        EndReason::Moving(_) => "end: moving",
    }
}

/// What every campaign of some length must have met.
pub const NEEDED: &[&str] = &[
    "event: daemon started",
    "event: requested",
    "event: plan opened",
    "event: plan finished",
    "event: plan failed",
    "event: plan interrupted",
    "event: granted",
    "event: grant undone",
    "event: requeued",
    "event: holder attached",
    "event: renewed",
    "event: escalated",
    "event: still held",
    "event: slice adopted",
    "event: orphan cleared",
    "event: slice gone",
    "event: maintenance",
    "event: GPU tried again",
    "event: granted whole",
    "event: reserved",
    "event: noticed",
    "event: notice withdrawn",
    "event: agreed",
    "event: displaced",
    "event: booked",
    "event: booking moved",
    "event: booking ended",
    "event: cordoned",
    "event: drained",
    "event: quarantined",
    "event: quarantine lifted",
    "change_began",
    "change_opened",
    "change_as_wanted",
    "change_stopping_units",
    "change_units_started",
    "change_turned",
    "change_undoing",
    "change_as_before",
    "change_not_undone",
    "change_stands",
    "change_ended",
    "gpu_fixed",
    "gpu_handed_back",
    "hours: protected",
    "end: released",
    "end: holder died",
    "end: time limit",
    "end: not renewed",
    "end: revoked",
    "end: cancelled",
    "end: wait expired",
    "end: slice lost",
    "end: grant failed",
    "end: rebooted",
    "end: idle",
    "end: preempted",
    "end: GPU lost",
    "end: drained",
    "end: booking over",
    "fault: crash",
    "fault: crash after a driver call",
    "fault: reboot",
    "fault: disk full",
    "fault: slow call",
    "fault: hung GPU",
    "fault: lost GPU",
    "fault: GPU back",
    "fault: reset by hand",
    "fault: clock jump",
    "fault: read error",
    "fault: late look",
    "stranger: instance made",
    "stranger: instance destroyed",
    "stranger: process",
];
