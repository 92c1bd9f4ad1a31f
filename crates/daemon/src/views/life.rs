//! Use, notices and receipts as the wire shows them.
//!
//! Must never advise a smaller slice on less than what was measured.

use api::{ActivityKind, LifeView, MeteredView, NoticeKind, NoticeView, ReceiptView};
use broker::{Activity, Holder, Lease, Metered, Notice, NoticeReason, Phase, Receipt, RequestSpec};
use model::{MemoryMib, Millis, NodeSnapshot, Timestamp};

use crate::published::Published;
use crate::sentence;

/// What changes while a lease runs.
pub(crate) fn of(published: &Published, lease: &Lease) -> LifeView {
    let (activity, since) = match lease.activity {
        Activity::Unknown => (ActivityKind::Unknown, None),
        Activity::Busy => (ActivityKind::Busy, None),
        Activity::Idle { since } => (ActivityKind::Idle, Some(since)),
    };
    LifeView {
        activity,
        idle_since_ms: since.map(Timestamp::as_millis),
        idle_limit_ms: broker::idle_limit(&published.policy, lease).map(Millis::get),
        notice: lease.notice.as_ref().map(|notice| self::notice(published, lease, notice)),
        metered: metered(&lease.metered),
        restartable: lease.spec.terms.restartable,
        linger_ms: lease.spec.terms.linger.map(Millis::get),
        lingers_until_ms: lease.lingering_until.map(Timestamp::as_millis),
        displaced: lease.displaced,
        container: match &lease.spec.holder {
            Holder::Container { id, .. } => Some(id.clone()),
            Holder::Process { .. } | Holder::Token { .. } | Holder::Engine { .. } => None,
        },
        priority: super::asked::priority(lease.spec.terms.priority),
        preemptible: lease.spec.terms.preemptible,
        told_start: lease.predicted.as_ref().map(crate::serve::why::start),
        receipt: None,
        asked: Some(super::asked::of(&lease.spec)),
    }
}

fn notice(published: &Published, lease: &Lease, notice: &Notice) -> NoticeView {
    let kind = match &notice.reason {
        NoticeReason::Idle { .. } => NoticeKind::Idle,
        NoticeReason::Preempted { .. } => NoticeKind::Preempted,
        NoticeReason::Drained { .. } => NoticeKind::Drained,
        NoticeReason::Booked { .. } => NoticeKind::Booked,
        NoticeReason::Move { .. } => NoticeKind::Move,
    };
    let active = matches!(lease.phase, Phase::Active { .. });
    let restartable = lease.spec.terms.restartable && active;
    NoticeView {
        kind,
        until_ms: notice.until.as_millis(),
        message: sentence::reason(&notice.reason, &published.observed),
        may_agree: restartable && kind != NoticeKind::Idle,
    }
}

fn metered(metered: &Metered) -> MeteredView {
    MeteredView {
        peak_memory_mib: metered.peak_memory.map(MemoryMib::get),
        busy_ms: metered.busy.get(),
        observed_ms: metered.observed.get(),
    }
}

/// A receipt, with what its owner might ask for next time.
pub(crate) fn receipt(
    observed: &NodeSnapshot,
    spec: &RequestSpec,
    receipt: &Receipt,
) -> ReceiptView {
    let geometries = observed.gpus.iter().filter_map(|gpu| gpu.geometry.as_deref());
    let advice = broker::receipt::advice(geometries, spec, receipt).map(|smaller| {
        format!(
            "{}: with a fifth to spare, its {} would have held the {} that were used at most",
            smaller.name,
            smaller.memory,
            receipt.metered.peak_memory.unwrap_or_default(),
        )
    });
    ReceiptView {
        profiles: receipt.profiles.iter().map(ToString::to_string).collect(),
        whole_gpus: receipt.whole_gpus,
        memory_mib: receipt.memory.get(),
        held_ms: receipt.held.get(),
        waited_ms: receipt.waited.get(),
        gpu_ms: receipt.gpu_time.get(),
        metered: metered(&receipt.metered),
        advice,
    }
}
