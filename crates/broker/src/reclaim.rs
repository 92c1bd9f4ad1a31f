//! Leases that nobody uses: evidence noted, holders warned, slices taken back.
//!
//! Must never take unknown for idle.

use model::LeaseId;

use crate::decide::Draft;
use crate::event::Event;
use crate::lifecycle::{Activity, Metered};

/// What was measured of a lease.
pub(crate) fn measured(draft: &mut Draft<'_>, id: LeaseId, activity: Activity, metered: Metered) {
    let Some(lease) = draft.state.lease(id).filter(|lease| lease.holds_slices()) else { return };
    let (known, totals) = (lease.activity, lease.metered);
    if known != activity {
        draft.emit(Event::ActivityChanged { lease: id, activity });
    }
    if totals != metered {
        draft.emit(Event::Metered { lease: id, metered });
    }
}
