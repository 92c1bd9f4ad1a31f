//! Leases that ended a moment ago: whoever waits for an end is told of it without reading the
//! journal.
//!
//! Must never be the only place where something is known: the journal has it all.

use std::collections::BTreeMap;
use std::sync::Arc;

use broker::{EndReason, Event, Lease, Receipt, State};
use model::LeaseId;
use store::Recorded;

/// How many are kept: those who wait ask within milliseconds.
const KEPT: usize = 128;

/// A lease as it was last, and its end.
#[derive(Debug)]
pub(crate) struct EndedLease {
    pub(crate) lease: Lease,
    pub(crate) reason: EndReason,
    pub(crate) receipt: Option<Receipt>,
    /// The number of the event.
    pub(crate) seq: u64,
}

/// The newest of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recent(Arc<BTreeMap<LeaseId, Arc<EndedLease>>>);

impl Recent {
    /// The end of a lease, if it is a recent one.
    pub(crate) fn get(&self, lease: LeaseId) -> Option<&EndedLease> {
        self.0.get(&lease).map(AsRef::as_ref)
    }

    /// Takes in what a commit ended; `before` is the state before it.
    pub(crate) fn note(&mut self, before: &State, recorded: &[Recorded]) {
        for one in recorded {
            let Event::Ended { lease, reason, receipt } = &one.event else { continue };
            // What else happened to it in the same commit is in the journal alone.
            let of_it = recorded.iter().filter(|other| other.event.lease() == Some(*lease));
            let Some(last) = before.lease(*lease).filter(|_| of_it.count() == 1) else { continue };
            let (last, reason) = (last.clone(), reason.clone());
            let receipt = receipt.clone();
            let ended = EndedLease { lease: last, reason, receipt, seq: one.seq };
            let kept = Arc::make_mut(&mut self.0);
            kept.insert(*lease, Arc::new(ended));
            if kept.len() > KEPT {
                kept.pop_first();
            }
        }
    }
}
