//! Records and snapshots as the wire shows them.
//!
//! Must never show a user what belongs to another: commands are told to their owner alone.

pub(crate) mod asked;
pub(crate) mod changes;
pub(crate) mod life;
pub(crate) mod rooms;

use std::collections::BTreeMap;

use api::{
    ComputeInstanceView, ConfigurationView, EndKind, GpuView, HolderKind, InstanceUse,
    InstanceView, LeaseState, LeaseView, NodeView, ProcessView, RoomView, SliceView,
};
use broker::{EndReason, GrantedSlice, Holder, Lease, Peer, Phase, Use, Wanted};
use host::Users;
use host::processes::{Arguments, describe};
use model::{
    ComputeInstance, Geometry, GpuInstance, GpuInstanceProfile, GpuProcess, GpuSnapshot,
    NodeSnapshot,
};
use planner::{Planner, Room};

use crate::published::Published;
use crate::settings::Settings;

/// The whole machine.
pub(crate) fn node(published: &Published, simulated: Option<String>, by: Peer) -> NodeView {
    let rooms = broker::rooms(&published.state, &published.observed);
    let users = Users::load();
    let gpus = published.observed.gpus.iter().map(|seen| {
        let uses = broker::uses(&published.state, seen);
        let room = rooms.iter().find(|room| room.gpu == seen.uuid);
        let mut view = gpu(&users, seen, &uses, room, &published.planner);
        view.maintenance = published.state.maintenance.contains(&seen.uuid);
        name_leases(published, &uses, &mut view);
        rooms::note(published, &users, &seen.uuid, &mut view);
        view
    });
    NodeView {
        host: host_name(),
        simulated,
        daemon_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        driver_version: published.observed.driver_version.clone(),
        cuda_version: published.observed.cuda_version.map(cuda),
        gpus: gpus.collect(),
        leases: leases(published, by),
        warnings: published.warnings.to_vec(),
        configuration: Some(configuration(&published.settings)),
    }
}

/// The machine as its driver alone shows it.
pub(crate) fn bare_node(observed: &NodeSnapshot, simulated: Option<String>) -> NodeView {
    let state = broker::State::default();
    let rooms = broker::rooms(&state, observed);
    let planner = Planner::for_rooms(&rooms);
    let users = Users::load();
    let gpus = observed.gpus.iter().map(|seen| {
        let uses = broker::uses(&state, seen);
        let room = rooms.iter().find(|room| room.gpu == seen.uuid);
        gpu(&users, seen, &uses, room, &planner)
    });
    NodeView {
        host: host_name(),
        simulated,
        daemon_version: None,
        driver_version: observed.driver_version.clone(),
        cuda_version: observed.cuda_version.map(cuda),
        gpus: gpus.collect(),
        leases: Vec::new(),
        warnings: Vec::new(),
        configuration: None,
    }
}

fn configuration(settings: &Settings) -> ConfigurationView {
    ConfigurationView {
        file: settings.file.as_ref().map(|file| file.display().to_string()),
        loads: settings.loads,
        problems: settings.problems.clone(),
        restart: settings.restart.clone(),
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn cuda(version: u32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

fn name_leases(published: &Published, uses: &[Use], view: &mut GpuView) {
    for (instance, used) in view.instances.iter_mut().zip(uses) {
        if let Use::Leased(id) | Use::Ending(id) = used {
            instance.lease = Some(*id);
            if let Some(lease) = published.state.lease(*id) {
                instance.lease_name.clone_from(&lease.spec.name);
                instance.tenant = Some(lease.spec.tenant.to_string());
            }
        }
    }
}

fn gpu(
    users: &Users,
    seen: &GpuSnapshot,
    uses: &[Use],
    room: Option<&Room>,
    planner: &Planner,
) -> GpuView {
    let geometry = seen.geometry.as_deref();
    let instances = seen.instances.iter().zip(uses);
    let free = room.map(|room| planner.free_room(room)).unwrap_or_default();
    GpuView {
        index: seen.index.get(),
        uuid: seen.uuid.clone(),
        name: seen.name.clone(),
        pci: seen.pci.to_string(),
        memory_mib: seen.memory.get(),
        mig: seen.mig.into(),
        grid: geometry.map_or(0, |geometry| geometry.grid.get()),
        health: seen.health.to_string(),
        maintenance: false,
        cordon: None,
        quarantine: None,
        whole_lease: None,
        fixed: None,
        change: None,
        instances: instances.map(|(i, used)| instance(users, geometry, i, *used)).collect(),
        processes: processes(users, &seen.processes),
        room: free
            .into_iter()
            .map(|(profile, count)| RoomView { profile: profile.to_string(), count })
            .collect(),
    }
}

fn instance(
    users: &Users,
    geometry: Option<&Geometry>,
    seen: &GpuInstance,
    used: Use,
) -> InstanceView {
    let profile = geometry.and_then(|geometry| geometry.profile(seen.profile));
    InstanceView {
        id: seen.id.get(),
        profile: profile_name(profile, seen.profile.get()),
        start: seen.placement.start.get(),
        size: seen.placement.size.get(),
        memory_mib: profile.map_or(0, |profile| profile.memory.get()),
        multiprocessors: profile.map_or(0, |profile| profile.multiprocessors),
        used: match used {
            Use::Leased(_) => InstanceUse::Leased,
            Use::Ending(_) => InstanceUse::Ending,
            Use::Warm => InstanceUse::Warm,
            Use::Changing => InstanceUse::Changing,
            Use::Foreign => InstanceUse::Foreign,
        },
        lease: None,
        lease_name: None,
        tenant: None,
        compute_instances: seen
            .compute_instances
            .iter()
            .map(|compute| compute_instance(users, profile, compute))
            .collect(),
    }
}

pub(crate) fn profile_name(profile: Option<&GpuInstanceProfile>, id: u32) -> String {
    profile.map_or_else(|| format!("profile {id}"), |profile| profile.name.to_string())
}

fn compute_instance(
    users: &Users,
    profile: Option<&GpuInstanceProfile>,
    seen: &ComputeInstance,
) -> ComputeInstanceView {
    let name = profile.map(|profile| profile.compute_name(seen.profile).to_string());
    ComputeInstanceView {
        id: seen.id.get(),
        profile: name.unwrap_or_else(|| format!("profile {}", seen.profile)),
        uuid: seen.uuid.clone(),
        processes: processes(users, &seen.processes),
    }
}

fn processes(users: &Users, seen: &[GpuProcess]) -> Vec<ProcessView> {
    seen.iter()
        .map(|process| {
            let known = describe(process.pid, users, Arguments::Hidden);
            ProcessView {
                pid: process.pid,
                user: known.as_ref().map(|known| known.user.clone()),
                command: known.map(|known| known.command),
                memory_mib: process.memory.map(model::MemoryMib::get),
            }
        })
        .collect()
}

/// Live requests and leases, by id.
pub(crate) fn leases(published: &Published, by: Peer) -> Vec<LeaseView> {
    let waits = published.state.queue().next().is_some();
    let places = if waits { queue_places(published) } else { BTreeMap::new() };
    let live = published.state.leases.values();
    live.map(|live| {
        let mut view = lease(published, live, by);
        view.queue_position = places.get(&live.id).copied();
        view
    })
    .collect()
}

/// One live request or lease, with its place in the queue.
pub(crate) fn live_lease(published: &Published, live: &Lease, by: Peer) -> LeaseView {
    let mut view = lease(published, live, by);
    // The order of service is found by going through everybody who waits.
    if live.phase == Phase::Queued {
        view.queue_position = queue_places(published).get(&live.id).copied();
    }
    view
}

/// Why a request waits; `None` if it does not.
pub(crate) fn why(published: &Published, id: model::LeaseId) -> Option<api::WhyView> {
    let forecast = broker::forecast(&published.state.usage, published.now);
    let why = broker::why(&published.state, &published.world(&forecast), id)?;
    let start = crate::serve::why::start(&why.start);
    let blockers = why.blockers.iter().map(|blocking| api::BlockerView {
        lease: blocking.lease,
        tenant: blocking.tenant.to_string(),
        profile: blocking.profile.map(|profile| profile.to_string()),
        gpu: blocking.gpu.get(),
        ends_at_ms: blocking.ends_at.map(model::Timestamp::as_millis),
        taken_at_ms: blocking.taken_at.map(model::Timestamp::as_millis),
    });
    Some(api::WhyView {
        id,
        sentence: why.sentence,
        not_later_than_ms: start.not_later_than_ms,
        likely_ms: start.likely_ms,
        position: why.before as u32 + 1,
        blockers: blockers.collect(),
        said_before: why.said.as_ref().map(crate::serve::why::start),
        now_ms: published.now.as_millis(),
    })
}

/// The places of waiting requests in the order of service, from 1.
fn queue_places(published: &Published) -> BTreeMap<model::LeaseId, u32> {
    let forecast = broker::forecast(&published.state.usage, published.now);
    broker::queue(&published.state, &published.world(&forecast)).into_iter().zip(1..).collect()
}

fn lease(published: &Published, lease: &Lease, by: Peer) -> LeaseView {
    let own = by.admin || by.uid == lease.spec.uid;
    let (client, command) = match &lease.spec.holder {
        Holder::Process { client, command, .. } => (Some(client.pid), command.map(|c| c.pid)),
        Holder::Token { .. } | Holder::Container { .. } | Holder::Engine { .. } => (None, None),
    };
    let (state, end) = match &lease.phase {
        Phase::Queued => (LeaseState::Queued, None),
        Phase::Granting { .. } => (LeaseState::Granting, None),
        Phase::Active { .. } => (LeaseState::Active, None),
        Phase::Ending { reason, .. } => (LeaseState::Ending, Some(reason)),
    };
    let waits_for = (state == LeaseState::Queued).then(|| {
        let forecast = broker::forecast(&published.state.usage, published.now);
        broker::explain(&published.state, &published.world(&forecast), lease)
    });
    LeaseView {
        id: lease.id,
        name: lease.spec.name.clone(),
        tenant: lease.spec.tenant.to_string(),
        uid: lease.spec.uid.get(),
        state,
        wish: lease.spec.wish(),
        gpu: lease.spec.gpu.to_string(),
        count: lease.spec.count,
        requested_at_ms: lease.requested_at.as_millis(),
        granted_at_ms: lease.granted_at.map(model::Timestamp::as_millis),
        deadline_ms: lease.deadline().map(model::Timestamp::as_millis),
        expires_at_ms: lease.token_expires().map(model::Timestamp::as_millis),
        slices: lease.slices.iter().filter_map(|s| slice(&published.observed, s)).collect(),
        whole_gpus: rooms::whole(&published.observed, &lease.whole),
        booking: lease.spec.terms.booking,
        holder: match &lease.spec.holder {
            Holder::Process { .. } => HolderKind::Process,
            Holder::Token { .. } => HolderKind::Token,
            Holder::Container { .. } => HolderKind::Container,
            Holder::Engine { .. } => HolderKind::Engine,
        },
        client_pid: client,
        command_pid: command,
        command: lease.spec.command.clone().filter(|_| own),
        queue_position: None,
        waits_for,
        end: end.map(end_kind),
        end_reason: end.map(ToString::to_string),
        held_by: match &lease.phase {
            Phase::Ending { held_by, .. } => held_by.clone(),
            Phase::Queued | Phase::Granting { .. } | Phase::Active { .. } => Vec::new(),
        },
        last_failure: lease.last_failure.clone(),
        revision: published.revisions.get(&lease.id).copied().unwrap_or_default(),
        now_ms: published.now.as_millis(),
        note: near_miss(published, lease),
        life: life::of(published, lease),
    }
}

/// A lease that is over.
pub(crate) fn ended_lease(
    published: &Published,
    live: &Lease,
    reason: &EndReason,
    receipt: Option<&broker::Receipt>,
    seq: u64,
    by: Peer,
) -> LeaseView {
    let mut view = lease(published, live, by);
    view.life.notice = None;
    view.life.receipt =
        receipt.map(|receipt| life::receipt(&published.observed, &live.spec, receipt));
    LeaseView {
        state: LeaseState::Ended,
        waits_for: None,
        end: Some(end_kind(reason)),
        end_reason: Some(reason.to_string()),
        held_by: Vec::new(),
        revision: seq,
        ..view
    }
}

pub(crate) const fn end_kind(reason: &EndReason) -> EndKind {
    match reason {
        EndReason::Released => EndKind::Released,
        EndReason::HolderDied => EndKind::HolderDied,
        EndReason::TimeLimit => EndKind::TimeLimit,
        EndReason::NotRenewed => EndKind::NotRenewed,
        EndReason::Revoked => EndKind::Revoked,
        EndReason::Cancelled => EndKind::Cancelled,
        EndReason::WaitExpired => EndKind::WaitExpired,
        EndReason::SliceLost(_) => EndKind::SliceLost,
        EndReason::GrantFailed(_) | EndReason::Impossible(_) => EndKind::GrantFailed,
        EndReason::Rebooted => EndKind::Rebooted,
        EndReason::Idle { .. } => EndKind::Idle,
        EndReason::Preempted { .. } | EndReason::BookingBegins { .. } => EndKind::Preempted,
        EndReason::GpuLost(_) => EndKind::GpuLost,
        EndReason::Drained => EndKind::Drained,
        EndReason::BookingOver => EndKind::BookingOver,
        EndReason::Moving(_) => EndKind::Moving,
    }
}

fn slice(observed: &NodeSnapshot, slice: &GrantedSlice) -> Option<SliceView> {
    let gpu = observed.gpu(&slice.key.gpu)?;
    let geometry = gpu.geometry.as_deref();
    let profile = geometry.and_then(|geometry| geometry.profile(slice.profile));
    Some(SliceView {
        uuid: slice.uuid.clone(),
        profile: profile_name(profile, slice.profile.get()),
        memory_mib: profile.map_or(0, |profile| profile.memory.get()),
        multiprocessors: profile.map_or(0, |profile| profile.multiprocessors),
        gpu_index: gpu.index.get(),
        gpu_uuid: gpu.uuid.clone(),
        gpu_name: gpu.name.clone(),
        start: slice.key.placement.start.get(),
        size: slice.key.placement.size.get(),
        gpu_instance: slice.gpu_instance.get(),
        compute_instance: slice.compute_instance.get(),
    })
}

/// A smaller slice that nearly had the memory that was asked for strictly.
fn near_miss(published: &Published, lease: &Lease) -> Option<String> {
    let Wanted::Need(need) = &lease.spec.wanted else { return None };
    let mut gpus = published.observed.gpus.iter().filter(|gpu| lease.spec.gpu.matches(gpu));
    let near = gpus.find_map(|gpu| gpu.geometry.as_deref()?.near_miss(need))?;
    Some(format!("{} has {}, just short of {need}", near.name, near.memory))
}
