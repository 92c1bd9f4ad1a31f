//! Who uses a slice, and how those who belong to a lease are told to end.
//!
//! Must never signal a process that does not belong to the lease, and must never let "could not
//! look" pass for "nobody".

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use broker::{GrantedSlice, Holder, Lease, NoticeSignal, Stage};
use host::processes::{Arguments, Table, describe};
use host::{PidFd, Users};
use model::{GpuMinor, GpuUuid, Health, LeaseId, Millis, ProcessId, Uid};
use rustix::process::Signal;

use crate::hands::Hands;
use crate::proof::Hold;
use crate::published::Published;

/// The variable a lease's processes inherit: the daemon's socket and the lease's number, since
/// daemons of several machines may run side by side, each with a lease of the same number.
pub(crate) const LEASE_VARIABLE: &str = "MIGD_LEASE_KEY";
/// Clock ticks of `/proc/PID/stat` a second; fixed in the kernel's user interface on Linux.
const TICKS_PER_SECOND: u64 = 100;
/// How much older than its lease a process may seem, given that both ages are rounded.
const SLACK: Millis = Millis::from_secs(1);

/// Which processes belong to a lease that follows a process, whether they use its slice or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The command the lease was taken for, once it is known.
    command: Option<ProcessId>,
    /// What those who inherited the lease carry.
    key: String,
    /// They started at this clock tick since boot or later: numbers begin anew with a new journal.
    since: u64,
    uid: Uid,
}

impl Claim {
    /// The claim of a lease that follows a process.
    pub(crate) fn of(hands: &Hands, lease: &Lease) -> Option<Self> {
        match &lease.spec.holder {
            Holder::Process { command, .. } => Some(Self::to(hands, lease, *command)),
            // Only those that use the slice count.
            Holder::Token { .. } | Holder::Container { .. } | Holder::Engine { .. } => None,
        }
    }

    fn to(hands: &Hands, lease: &Lease, command: Option<ProcessId>) -> Self {
        let age = |granted| hands.clock.now().since(granted).get() + SLACK.get();
        let since = lease.granted_at.map_or(u64::MAX, |granted| {
            let began = host::clock::boot_time().get().saturating_sub(age(granted));
            began * TICKS_PER_SECOND / 1000
        });
        let key = lease_key(&hands.socket, lease.id);
        Self { command, key, since, uid: lease.spec.uid }
    }
}

/// What the processes of a lease carry in [`LEASE_VARIABLE`].
pub(crate) fn lease_key(socket: &Path, lease: LeaseId) -> String {
    format!("{}#{lease}", socket.display())
}

/// The processes each claim is right about, and how they belong.
///
/// # Errors
/// When the process table cannot be read, in words.
pub(crate) fn claimed(
    claims: &BTreeMap<LeaseId, &Claim>,
) -> Result<BTreeMap<LeaseId, BTreeMap<ProcessId, Hold>>, String> {
    let table = Table::read().map_err(|error| format!("/proc cannot be listed: {error}"))?;
    let keys: BTreeSet<&str> = claims.values().map(|claim| claim.key.as_str()).collect();
    let since = claims.values().map(|claim| claim.since).min().unwrap_or(u64::MAX);
    let carriers = table.carrying(LEASE_VARIABLE, &keys, since);
    let users = Users::default();
    let mut found: BTreeMap<LeaseId, BTreeMap<ProcessId, Hold>> = BTreeMap::new();
    for (lease, claim) in claims {
        let own = found.entry(*lease).or_default();
        let as_heir = if claim.command.is_some() { Hold::Inherited } else { Hold::Belongs };
        let carriers = carriers.get(claim.key.as_str()).into_iter().flatten();
        // Another user's process could carry the key on purpose, to keep the lease from ending.
        let heirs = carriers.filter(|process| {
            process.start_ticks >= claim.since
                && describe(process.pid, &users, Arguments::Hidden)
                    .is_some_and(|found| found.uid == claim.uid)
        });
        own.extend(heirs.map(|process| (*process, as_heir)));
        if let Some(command) = claim.command {
            own.extend(group_of(&table, command).into_iter().map(|one| (one, Hold::Belongs)));
        }
    }
    Ok(found)
}

/// The process group that a command leads.
fn group_of(table: &Table, command: ProcessId) -> BTreeSet<ProcessId> {
    let mut members = table.group(command.pid);
    // A group number is used again only after the group is empty; whoever is older than the
    // command belongs to another group of that number.
    members.retain(|member| member.start_ticks >= command.start_ticks);
    if table.holds(command) {
        members.insert(command);
    }
    members
}

/// Processes that belong to a lease: the process group its command leads, or, where the command
/// never became known, everything that inherited the lease.
fn belonging(hands: &Hands, published: &Published, lease: &Lease) -> BTreeSet<ProcessId> {
    let heirs = || {
        let claim = Claim::to(hands, lease, None);
        let found = claimed(&BTreeMap::from([(lease.id, &claim)])).unwrap_or_default();
        found.into_values().flat_map(BTreeMap::into_keys).collect::<BTreeSet<_>>()
    };
    match &lease.spec.holder {
        Holder::Process { command: Some(command), .. } => {
            Table::read().map(|table| group_of(&table, *command)).unwrap_or_default()
        }
        Holder::Process { command: None, .. } => heirs(),
        Holder::Container { cgroup, .. } => contained(cgroup),
        // Whoever exported the lease to a shell shares it with every program of that shell; those
        // that use the slice are meant.
        Holder::Token { .. } | Holder::Engine { .. } => {
            let slices = lease.slices.iter().flat_map(|slice| using(hands, published, slice));
            let whole = lease.whole.iter().flat_map(|gpu| on_whole(hands, gpu));
            let using: BTreeSet<u32> = slices.chain(whole).collect();
            heirs().into_iter().filter(|process| using.contains(&process.pid)).collect()
        }
    }
}

/// Processes of a container.
fn contained(cgroup: &str) -> BTreeSet<ProcessId> {
    let pids = host::cgroups::processes_in(cgroup).unwrap_or_default();
    let known = pids.into_iter().filter_map(host::processes::process_id);
    // Between the list and the look at a process its pid may have come to another.
    let again = host::cgroups::processes_in(cgroup).unwrap_or_default();
    known.filter(|process| again.contains(&process.pid)).collect()
}

/// Signals the processes that belong to a lease that ends.
pub(crate) fn signal(hands: &Hands, published: &Published, id: LeaseId, stage: Stage) {
    match stage {
        Stage::Waiting => {}
        // A stopped process takes TERM only when it continues.
        Stage::Term => send(hands, published, id, &[Signal::TERM, Signal::CONT]),
        Stage::Kill => send(hands, published, id, &[Signal::KILL]),
    }
}

/// Tells the processes that belong to a lease of a notice, with the signal its owner chose.
pub(crate) fn notify(hands: &Hands, published: &Published, id: LeaseId, signal: NoticeSignal) {
    let signal = match signal {
        NoticeSignal::Usr1 => Signal::USR1,
        NoticeSignal::Usr2 => Signal::USR2,
        NoticeSignal::Term => Signal::TERM,
        NoticeSignal::Int => Signal::INT,
    };
    send(hands, published, id, &[signal]);
}

fn send(hands: &Hands, published: &Published, id: LeaseId, signals: &[Signal]) {
    let Some(lease) = published.state.lease(id) else { return };
    let users = Users::load();
    // A container was proven to be the lease's; its processes run as whom they like.
    let any_user = matches!(lease.spec.holder, Holder::Container { .. });
    for process in belonging(hands, published, lease) {
        let owner = describe(process.pid, &users, Arguments::Hidden).map(|found| found.uid);
        if !any_user && owner.is_some_and(|uid| uid != lease.spec.uid) {
            tracing::warn!(%id, %process, "belongs to another user now; not signalled");
            continue;
        }
        for signal in signals {
            if let Err(error) = PidFd::watch(process).and_then(|held| held.signal(*signal)) {
                tracing::debug!(%id, %process, %error, "not signalled");
            }
        }
    }
}

/// The device nodes that open a slice.
pub(crate) fn nodes(hands: &Hands, gpu: GpuMinor, slice: &GrantedSlice) -> [PathBuf; 2] {
    let root = &hands.machine.root;
    host::nodes::slice_nodes(root, gpu, slice.gpu_instance, slice.compute_instance)
}

/// Pids that use a slice, as far as can be seen: by the driver's list and by open device nodes.
/// Good for sending signals, no proof of anything.
fn using(hands: &Hands, published: &Published, slice: &GrantedSlice) -> BTreeSet<u32> {
    let mut pids = BTreeSet::new();
    let gpu = &slice.key.gpu;
    let seen = hands.machine.driver.gpu_snapshot(gpu).ok();
    if let Some(snapshot) = seen.filter(|seen| seen.health == Health::Ok) {
        let instance = snapshot.instance(slice.gpu_instance);
        let computes = instance.iter().flat_map(|instance| &instance.compute_instances);
        let here = computes.filter(|compute| compute.id == slice.compute_instance);
        pids.extend(here.flat_map(|compute| &compute.processes).map(|process| process.pid));
    }
    if let Some(gpu) = published.observed.gpu(gpu)
        && let Ok(open) = host::other_holders_of(&nodes(hands, gpu.minor, slice))
    {
        pids.extend(open.processes().iter().map(|process| process.pid));
    }
    pids.remove(&std::process::id());
    pids
}

/// Pids on a whole GPU by the driver's list. Its node is no sign: monitors and programs on other
/// GPUs have it open.
fn on_whole(hands: &Hands, gpu: &GpuUuid) -> BTreeSet<u32> {
    let seen = hands.machine.driver.gpu_snapshot(gpu).ok();
    let seen = seen.filter(|seen| seen.health == Health::Ok);
    seen.iter().flat_map(|seen| &seen.processes).map(|process| process.pid).collect()
}

/// What could not be seen, in words.
pub(crate) fn incomplete(seen: &host::Incomplete) -> String {
    if seen.hides_processes {
        return "/proc hides other users' processes (hidepid), so nobody can be ruled out".into();
    }
    let pids: Vec<String> = seen.unreadable.iter().take(5).map(u32::to_string).collect();
    let more = seen.unreadable.len().saturating_sub(5);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("pid {}{tail} may not be looked into, so they cannot be ruled out", pids.join(", "))
}
