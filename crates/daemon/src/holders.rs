//! Who uses a slice, and how those who belong to a lease are told to end.
//!
//! Must never signal a process that does not belong to the lease, and must never let "could not
//! look" pass for "nobody".

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use broker::{Emptiness, GrantedSlice, Holder, Lease, NoticeSignal, Stage};
use host::processes::{Arguments, describe, group_members, is_alive, with_environment};
use host::{PidFd, Users};
use model::{Health, LeaseId, Millis, ProcessId};
use rustix::process::Signal;

use crate::actor::Message;
use crate::executor::chain;
use crate::hands::Hands;
use crate::published::Published;

/// The variable a lease's processes inherit: the daemon's socket and the lease's number, since
/// daemons of several machines may run side by side, each with a lease of the same number.
const LEASE_VARIABLE: &str = "MIGD_LEASE_KEY";
/// How a process holds a slice, the weightiest first.
const RUNS: &str = "runs on its slice";
const OPEN: &str = "has its device open";
const BELONGS: &str = "belongs to its command";
const INHERITED: &str = "inherited the lease";
/// Clock ticks of `/proc/PID/stat` a second; fixed in the kernel's user interface on Linux.
const TICKS_PER_SECOND: u64 = 100;
/// How much older than its lease a process may seem, given that both ages are rounded.
const SLACK: Millis = Millis::from_secs(1);

/// Processes that belong to a lease: the process group its command leads, or, where the command
/// never became known, everything that inherited the lease.
fn belonging(hands: &Hands, published: &Published, lease: &Lease) -> BTreeSet<ProcessId> {
    match &lease.spec.holder {
        Holder::Process { command: Some(command), .. } => group_of(*command),
        Holder::Process { command: None, .. } => inherited(hands, lease),
        // Whoever exported the lease to a shell shares it with every program of that shell; those
        // that use the slice are meant.
        Holder::Token { .. } | Holder::Container { .. } | Holder::Engine { .. } => {
            let using =
                lease.slices.iter().filter_map(|slice| on_slice(hands, published, slice).ok());
            let using: BTreeSet<u32> = using.flatten().map(|(pid, _)| pid).collect();
            inherited(hands, lease).into_iter().filter(|p| using.contains(&p.pid)).collect()
        }
    }
}

/// The process group that a command leads.
fn group_of(command: ProcessId) -> BTreeSet<ProcessId> {
    let mut members: BTreeSet<ProcessId> = group_members(command.pid, None)
        .into_iter()
        // A group number is used again only after the group is empty; whoever is older than the
        // command belongs to another group of that number.
        .filter(|member| member.start_ticks >= command.start_ticks)
        .collect();
    if is_alive(command) {
        members.insert(command);
    }
    members
}

/// Processes that inherited the lease: they carry its key, and they are younger than it (numbers
/// begin anew with a new journal).
fn inherited(hands: &Hands, lease: &Lease) -> BTreeSet<ProcessId> {
    let Some(granted) = lease.granted_at else { return BTreeSet::new() };
    let lease_age = hands.clock.now().since(granted).get() + SLACK.get();
    let up = host::clock::boot_time().get();
    let young = |process: &ProcessId| {
        let started = process.start_ticks * 1000 / TICKS_PER_SECOND;
        up.saturating_sub(started) <= lease_age
    };
    let key = format!("{}#{}", hands.socket.display(), lease.id);
    let users = Users::load();
    // Another user's process could carry the key on purpose, to keep the lease from ending.
    let own = |process: &ProcessId| {
        describe(process.pid, &users, Arguments::Hidden)
            .is_some_and(|found| found.uid == lease.spec.uid)
    };
    with_environment(LEASE_VARIABLE, &key).into_iter().filter(young).filter(own).collect()
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
    for process in belonging(hands, published, lease) {
        let owner = describe(process.pid, &users, Arguments::Hidden).map(|found| found.uid);
        if owner.is_some_and(|uid| uid != lease.spec.uid) {
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

/// Everybody who uses the slices of an ending lease or still belongs to it, in words; `None` if
/// the lease is not there any more.
pub(crate) fn look(hands: &Hands, published: &Published, id: LeaseId) -> Option<Emptiness> {
    let lease = published.state.lease(id)?;
    let mut reasons: BTreeMap<u32, BTreeSet<&'static str>> = BTreeMap::new();
    let mut unknown = Vec::new();
    let mut note = |processes: BTreeSet<ProcessId>, how| {
        for process in processes {
            reasons.entry(process.pid).or_default().insert(how);
        }
    };
    match &lease.spec.holder {
        Holder::Process { command: Some(command), .. } => {
            note(group_of(*command), BELONGS);
            note(inherited(hands, lease), INHERITED);
        }
        Holder::Process { command: None, .. } => note(inherited(hands, lease), BELONGS),
        // Only those that use the slice count, and the search below finds them.
        Holder::Token { .. } | Holder::Container { .. } | Holder::Engine { .. } => {}
    }
    // Two searches in a row: one alone can miss a descriptor handed on while it runs.
    for _ in 0..2 {
        for slice in &lease.slices {
            match on_slice(hands, published, slice) {
                Ok(found) => {
                    for (pid, how) in found {
                        reasons.entry(pid).or_default().insert(how);
                    }
                }
                Err(words) => unknown.push(words),
            }
        }
        if !reasons.is_empty() {
            break;
        }
    }
    unknown.sort();
    unknown.dedup();
    let users = Users::load();
    let named = reasons.into_iter().filter_map(|(pid, how)| name(&users, pid, &how));
    Some(Emptiness { held_by: named.chain(unknown).collect() })
}

/// One holder in words; `None` if it has ended meanwhile.
fn name(users: &Users, pid: u32, how: &BTreeSet<&'static str>) -> Option<String> {
    let found = describe(pid, users, Arguments::Hidden)?;
    // The weightiest reason is enough.
    let how = [RUNS, OPEN, BELONGS, INHERITED].into_iter().find(|reason| how.contains(reason))?;
    Some(format!("pid {pid} ({}, user {}) {how}", found.command, found.user))
}

/// Pids on a slice with how they hold it: by the driver's list and by open device nodes.
fn on_slice(
    hands: &Hands,
    published: &Published,
    slice: &GrantedSlice,
) -> Result<Vec<(u32, &'static str)>, String> {
    let gpu = &slice.key.gpu;
    let epoch = hands.epoch.load(Ordering::Acquire);
    let snapshot = hands
        .machine
        .driver
        .gpu_snapshot(gpu)
        .map_err(|error| format!("the driver cannot say who is on it: {}", chain(&error)))?;
    if snapshot.health != Health::Ok {
        return Err("the GPU is not well, so its driver cannot say who is on it".to_owned());
    }
    let mut found = Vec::new();
    let instance = snapshot.instance(slice.gpu_instance);
    let computes = instance.iter().flat_map(|instance| &instance.compute_instances);
    let here = computes.filter(|compute| compute.id == slice.compute_instance);
    for process in here.flat_map(|compute| &compute.processes) {
        found.push((process.pid, RUNS));
    }
    let minor = published.observed.gpu(gpu).map_or(snapshot.minor, |known| known.minor);
    let nodes = host::nodes::slice_nodes(
        &hands.machine.root,
        minor,
        slice.gpu_instance,
        slice.compute_instance,
    );
    let open = host::holders_of(&nodes).map_err(|error| chain(&error))?;
    let me = std::process::id();
    for process in open.processes() {
        if process.pid != me {
            found.push((process.pid, OPEN));
        }
    }
    // What was seen is news for the actor, too.
    let _ = hands.inbox.send(Message::Observed { epoch, gpu: Box::new(snapshot) });
    if hands.others && !open.incomplete.is_complete() {
        return Err(incomplete(&open.incomplete));
    }
    Ok(found)
}

fn incomplete(seen: &host::Incomplete) -> String {
    if seen.hides_processes {
        return "/proc hides other users' processes (hidepid), so nobody can be ruled out".into();
    }
    let pids: Vec<String> = seen.unreadable.iter().take(5).map(u32::to_string).collect();
    let more = seen.unreadable.len().saturating_sub(5);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("pid {}{tail} may not be looked into, so they cannot be ruled out", pids.join(", "))
}
