//! Whole GPUs, GPUs out of use and bookings as the wire shows them.
//!
//! Must never show what is kept for somebody as free.

use api::{BookingView, CordonView, GpuView, PlaceView, WholeGpuView};
use broker::Booking;
use host::Users;
use model::{GpuUuid, NodeSnapshot, Timestamp};

use super::profile_name;
use crate::published::Published;

/// Notes what records say of a GPU.
pub(super) fn note(published: &Published, users: &Users, gpu: &GpuUuid, view: &mut GpuView) {
    let state = &published.state;
    let hangs = || state.hangs(gpu).map(str::to_owned);
    view.quarantine = state.quarantine.get(gpu).cloned().or_else(hangs);
    view.whole_lease = state.whole_lease(gpu);
    view.fixed = state.fixed.get(gpu).map(super::changes::fixed);
    view.change = state.change_on(gpu).map(|change| change.id);
    view.cordon = state.cordons.get(gpu).map(|cordon| CordonView {
        drain: cordon.drain,
        drained: cordon.drained,
        why: cordon.why.clone(),
        by: users.label(cordon.by),
        since_ms: cordon.since.as_millis(),
        leases: broker::leases_on(state, gpu),
    });
}

/// One GPU with everything known of it.
pub(crate) fn one(
    published: &Published,
    gpu: &GpuUuid,
    simulated: Option<String>,
    by: broker::Peer,
) -> Option<GpuView> {
    super::node(published, simulated, by).gpus.into_iter().find(|view| view.uuid == *gpu)
}

/// The whole GPUs of a lease.
pub(super) fn whole(observed: &NodeSnapshot, gpus: &[GpuUuid]) -> Vec<WholeGpuView> {
    let seen = gpus.iter().filter_map(|uuid| observed.gpu(uuid));
    seen.map(|gpu| WholeGpuView {
        index: gpu.index.get(),
        uuid: gpu.uuid.clone(),
        name: gpu.name.clone(),
        memory_mib: gpu.memory.get(),
    })
    .collect()
}

/// A booking.
pub(crate) fn booking(published: &Published, booking: &Booking, now: Timestamp) -> BookingView {
    let spec = &booking.spec;
    let place = |target: &broker::SliceTarget| {
        let gpu = published.observed.gpu(&target.key.gpu)?;
        let profile = gpu.geometry.as_deref().and_then(|geometry| geometry.profile(target.profile));
        Some(PlaceView {
            gpu_index: gpu.index.get(),
            profile: profile_name(profile, target.profile.get()),
            start: target.key.placement.start.get(),
            size: target.key.placement.size.get(),
        })
    };
    let user = |lease: &&broker::Lease| lease.spec.terms.booking == Some(booking.id);
    let whole = booking.whole.iter().filter_map(|uuid| published.observed.gpu(uuid));
    BookingView {
        id: booking.id,
        name: spec.name.clone(),
        tenant: spec.tenant.to_string(),
        uid: spec.uid.get(),
        wish: if spec.count == 1 {
            spec.wanted.to_string()
        } else {
            format!("{} x {}", spec.count, spec.wanted)
        },
        gpu: spec.gpu.to_string(),
        from_ms: spec.from.as_millis(),
        until_ms: spec.until.as_millis(),
        places: booking.places.iter().filter_map(place).collect(),
        whole_gpus: whole.map(|gpu| gpu.index.get()).collect(),
        lease: published.state.leases.values().find(user).map(|lease| lease.id),
        window: spec.window.clone(),
        now_ms: now.as_millis(),
    }
}
