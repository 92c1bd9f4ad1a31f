//! A machine as `migctl status` draws it.
//!
//! Must never leave out that something is wrong.

use api::{
    ActivityKind, GpuView, InstanceUse, InstanceView, LeaseState, LeaseView, MigView, NodeView,
    NoticeKind, ProcessView, RoomView,
};
use clap::builder::styling::Style;
use model::{Millis, ProfileName};

use crate::draw::layout::{Block, row};
use crate::draw::text::{clean, clip, mib, paragraph, ranges, wrap};
use crate::draw::{ALARM, FAINT, FOREIGN, HEADING, LEASED, MOVING, Page};
use crate::output::styled;

/// The most columns of a command that are shown.
const COMMAND: usize = 40;
/// How long a lease must not have been used for `status` to say so.
const WORTH_TELLING: Millis = Millis::from_secs(300);

/// Draws the machine. GPUs that are alike and empty are drawn once, where the first of them is.
pub(crate) fn node(node: &NodeView, gpus: &[&GpuView], page: Page) -> Vec<String> {
    let mut lines = title(node, page);
    for warning in &node.warnings {
        let words = paragraph(&clean(warning), page.width, "warning: ", "         ");
        lines.extend(words.iter().map(|line| styled(ALARM, line)));
    }
    for alike in alike(gpus) {
        lines.push(String::new());
        lines.extend(gpu(node, &alike, page));
    }
    lines.extend(queue(&node.leases, page));
    lines
}

fn title(node: &NodeView, page: Page) -> Vec<String> {
    let name = node
        .simulated
        .as_ref()
        .map_or_else(|| clean(&node.host), |simulated| format!("{} (simulated)", clean(simulated)));
    let mut parts = vec![name, format!("driver {}", clean(&node.driver_version))];
    parts.extend(node.cuda_version.iter().map(|cuda| format!("CUDA {}", clean(cuda))));
    parts.push(match &node.daemon_version {
        Some(version) => format!("migd {}", clean(version)),
        None => String::from("no daemon"),
    });
    let lines = wrap(&parts, page.glyphs.separator(), page.width, "", "  ");
    lines.iter().map(|line| styled(HEADING, line)).collect()
}

/// GPUs that look the same: several only where they are empty.
fn alike<'v>(gpus: &[&'v GpuView]) -> Vec<Vec<&'v GpuView>> {
    let mut runs: Vec<Vec<&GpuView>> = Vec::new();
    for gpu in gpus {
        match runs.iter_mut().find(|run| run.iter().any(|one| same(one, gpu))) {
            Some(run) => run.push(gpu),
            None => runs.push(vec![gpu]),
        }
    }
    runs
}

fn same(one: &GpuView, other: &GpuView) -> bool {
    let empty = |gpu: &GpuView| gpu.instances.is_empty() && gpu.processes.is_empty();
    empty(one)
        && empty(other)
        && one.name == other.name
        && one.memory_mib == other.memory_mib
        && one.mig == other.mig
        && one.health == other.health
        && one.maintenance == other.maintenance
        && one.cordon.is_none()
        && other.cordon.is_none()
        && one.quarantine == other.quarantine
        && one.whole_lease == other.whole_lease
        && one.room == other.room
}

fn gpu(node: &NodeView, alike: &[&GpuView], page: Page) -> Vec<String> {
    let Some(gpu) = alike.first() else { return Vec::new() };
    let mut lines = heading(gpu, alike, page);
    if gpu.health != "ok" {
        let words = paragraph(&clean(&gpu.health), page.width, "  health: ", "    ");
        lines.extend(words.iter().map(|line| styled(ALARM, line)));
    }
    lines.extend(out_of_use(gpu, page));
    lines.extend(taken_whole(gpu, node, page));
    lines.extend(fixed(gpu, page));
    if gpu.maintenance {
        lines.push(styled(MOVING, "  out of use while its mode is changed"));
    }
    if matches!(gpu.mig, MigView::Enabled | MigView::DisablePending) {
        let blocks: Vec<Block> =
            gpu.instances.iter().map(|instance| block(instance, gpu, node, page)).collect();
        lines.extend(row(usize::from(gpu.grid), &blocks, page));
        let held = gpu.instances.iter().filter_map(|instance| detail(instance, node, page));
        lines.extend(held.flatten());
    }
    let processes: Vec<String> = gpu.processes.iter().map(process).collect();
    if !processes.is_empty() {
        lines.extend(wrap(&processes, page.glyphs.separator(), page.width, "  ", "    "));
    }
    lines.extend(room(gpu, alike.len(), page));
    lines
}

/// That a GPU is out of use, who did that and why, and for whom an emptying waits.
fn out_of_use(gpu: &GpuView, page: Page) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(why) = &gpu.quarantine {
        let words = paragraph(&clean(why), page.width, "  out of use until it is well: ", "    ");
        lines.extend(words.iter().map(|line| styled(ALARM, line)));
    }
    let Some(cordon) = &gpu.cordon else { return lines };
    let ids: Vec<String> = cordon.leases.iter().map(ToString::to_string).collect();
    let state = match (cordon.drain, cordon.drained) {
        (false, _) => String::from("cordoned"),
        (true, true) => String::from("emptied"),
        (true, false) if ids.is_empty() => String::from("being emptied"),
        (true, false) => format!("being emptied, waits for {}", ids.join(", ")),
    };
    let why = clean(&cordon.why);
    let why = if why.is_empty() { String::new() } else { format!(": {why}") };
    let words = format!("{state} by {}{why}", clean(&cordon.by));
    let words = paragraph(&words, page.width, "  ", "    ");
    lines.extend(words.iter().map(|line| styled(MOVING, line)));
    lines
}

/// That a GPU stays as a file made it.
fn fixed(gpu: &GpuView, page: Page) -> Vec<String> {
    let Some(fixed) = &gpu.fixed else { return Vec::new() };
    let lent = if fixed.lend { "idle slices are lent" } else { "not lent" };
    let words = format!("fixed by {}; {lent}", clean(&fixed.by));
    paragraph(&words, page.width, "  ", "    ")
}

/// Whose all of a GPU is.
fn taken_whole(gpu: &GpuView, node: &NodeView, page: Page) -> Vec<String> {
    let Some(id) = gpu.whole_lease else { return Vec::new() };
    let lease = node.leases.iter().find(|lease| lease.id == id);
    let tenant = lease.map(|lease| clean(&lease.tenant)).unwrap_or_default();
    let mut parts = vec![format!("all of it leased to {tenant}")];
    if let Some(lease) = lease {
        parts.extend(lease.name.iter().map(|name| clean(name)));
        parts.extend(lease_words(lease));
        let command = lease.command.iter().map(|command| clean(command));
        parts.extend(command.map(|command| clip(&command, COMMAND, page.glyphs)));
    }
    wrap(&parts, page.glyphs.separator(), page.width, &format!("  {id} "), "      ")
}

fn heading(gpu: &GpuView, alike: &[&GpuView], page: Page) -> Vec<String> {
    let indexes: Vec<u32> = alike.iter().map(|gpu| gpu.index).collect();
    let each = if alike.len() > 1 { " each" } else { "" };
    let name = format!("GPU {}  {}", ranges(&indexes), clean(&gpu.name));
    let mut parts =
        vec![name.clone(), format!("{}{each}", mib(gpu.memory_mib)), mig_words(gpu.mig).to_owned()];
    if gpu.instances.is_empty() && gpu.processes.is_empty() {
        parts.push(String::from("empty"));
    }
    let mut lines = wrap(&parts, page.glyphs.separator(), page.width, "", "    ");
    if let Some(first) = lines.first_mut() {
        *first = first.replacen(&name, &styled(HEADING, &name), 1);
    }
    lines
}

/// MIG mode in a few words.
pub(crate) const fn mig_words(mig: MigView) -> &'static str {
    match mig {
        MigView::Enabled => "MIG on",
        MigView::Disabled => "MIG off",
        MigView::EnablePending => "MIG off, on after a reset",
        MigView::DisablePending => "MIG on, off after a reset",
        MigView::Unsupported => "no MIG",
    }
}

fn block(instance: &InstanceView, gpu: &GpuView, node: &NodeView, page: Page) -> Block {
    let dot = page.glyphs.separator();
    let tenant = instance.tenant.as_deref().map(clean);
    let lease = instance.lease.map(|id| id.to_string());
    let captions = match (instance.used, lease) {
        (InstanceUse::Leased | InstanceUse::Ending | InstanceUse::Changing, Some(id)) => {
            captions(&id, instance.lease_name.as_deref(), tenant.as_deref(), dot)
        }
        (InstanceUse::Warm, _) => vec![String::from("warm")],
        (InstanceUse::Foreign, _) if node.daemon_version.is_none() => {
            let busy = instance.compute_instances.iter().any(|ci| !ci.processes.is_empty());
            vec![String::from(if busy { "in use" } else { "idle" })]
        }
        (InstanceUse::Foreign, _) if gpu.fixed.is_some() => vec![String::from("fixed")],
        (InstanceUse::Foreign, _) => vec![String::from("foreign")],
        (InstanceUse::Changing, None) => vec![String::from("changing")],
        (InstanceUse::Leased | InstanceUse::Ending, None) => vec![String::from("leased")],
    };
    Block {
        start: usize::from(instance.start),
        size: usize::from(instance.size),
        title: clean(&instance.profile),
        captions,
        style: style(instance.used),
    }
}

fn captions(id: &str, name: Option<&str>, tenant: Option<&str>, dot: &str) -> Vec<String> {
    let name = name.map(clean);
    let mut captions = Vec::new();
    if let (Some(name), Some(tenant)) = (&name, tenant) {
        captions.push(format!("{id} {name}{dot}{tenant}"));
    }
    captions
        .extend([name.as_deref(), tenant].into_iter().flatten().map(|who| format!("{id} {who}")));
    captions.push(id.to_owned());
    captions
}

const fn style(used: InstanceUse) -> Style {
    match used {
        InstanceUse::Leased => LEASED,
        InstanceUse::Ending | InstanceUse::Changing => MOVING,
        InstanceUse::Warm => FAINT,
        InstanceUse::Foreign => FOREIGN,
    }
}

/// One line per instance that is more than idle: whose it is, until when, and who is on it.
fn detail(instance: &InstanceView, node: &NodeView, page: Page) -> Option<Vec<String>> {
    let lease = instance.lease.and_then(|id| node.leases.iter().find(|lease| lease.id == id));
    let mut parts = Vec::new();
    if let Some(lease) = lease {
        parts.extend(lease_words(lease));
        let command = lease.command.iter().map(|command| clean(command));
        parts.extend(command.map(|command| clip(&command, COMMAND, page.glyphs)));
    }
    parts.extend(compute_words(instance));
    let processes = instance.compute_instances.iter().flat_map(|ci| &ci.processes);
    parts.extend(processes.map(process));
    if parts.is_empty() {
        return None;
    }
    let who = match (instance.lease, instance.used) {
        (Some(id), _) => id.to_string(),
        (None, InstanceUse::Foreign) => format!("GI {}", instance.id),
        (None, InstanceUse::Warm) => format!("warm GI {}", instance.id),
        (None, InstanceUse::Leased | InstanceUse::Ending | InstanceUse::Changing) => {
            format!("GI {}", instance.id)
        }
    };
    let first = format!("  {who} {}: ", clean(&instance.profile));
    Some(wrap(&parts, page.glyphs.separator(), page.width, &first, "      "))
}

/// What is known of a running lease's use, and what it was told to expect.
fn life_words(lease: &LeaseView) -> Vec<String> {
    let left = |at: u64| Millis::new(at.saturating_sub(lease.now_ms));
    let life = &lease.life;
    let mut words = Vec::new();
    if let Some(until) = life.lingers_until_ms {
        words.push(format!("waits {} for its next holder", left(until)));
    } else if let (ActivityKind::Idle, Some(since)) = (life.activity, life.idle_since_ms) {
        let idle = Millis::new(lease.now_ms.saturating_sub(since));
        if idle >= WORTH_TELLING {
            words.push(format!("not used for {idle}"));
        }
    }
    words.extend(life.notice.as_ref().map(|notice| {
        let after = left(notice.until_ms);
        match notice.kind {
            NoticeKind::Idle => format!("ends in {after} unless it is used"),
            NoticeKind::Preempted | NoticeKind::Booked => {
                format!("ends in {after}: {}", clean(&notice.message))
            }
            NoticeKind::Drained | NoticeKind::Move => {
                format!("was given notice: {}", clean(&notice.message))
            }
        }
    }));
    words
}

fn lease_words(lease: &LeaseView) -> Vec<String> {
    let mut words = Vec::new();
    match &lease.name {
        Some(name) => words.push(format!("{} of {}", clean(name), clean(&lease.tenant))),
        None => words.push(clean(&lease.tenant)),
    }
    let left = |at: u64| Millis::new(at.saturating_sub(lease.now_ms));
    match lease.state {
        LeaseState::Queued => words.push(String::from("waits")),
        LeaseState::Granting => words.push(String::from("being made")),
        LeaseState::Active => {
            words.extend(lease.deadline_ms.map(|at| format!("{} left", left(at))));
            words.extend(lease.expires_at_ms.map(|at| format!("expires in {}", left(at))));
            words.extend(life_words(lease));
        }
        LeaseState::Ending => {
            let why = lease
                .end_reason
                .as_deref()
                .map_or_else(String::new, |why| format!(" ({})", clean(why)));
            words.push(format!("must end{why}"));
            if !lease.held_by.is_empty() {
                words.push(format!("still held by {}", clean(&lease.held_by.join(", "))));
            }
        }
        LeaseState::Ended => words.push(String::from("ended")),
    }
    words
}

/// What is unusual about the compute instances: none, or several.
fn compute_words(instance: &InstanceView) -> Vec<String> {
    match instance.compute_instances.as_slice() {
        [] => vec![String::from("no compute instance")],
        [only] if only.profile == instance.profile => Vec::new(),
        several => {
            several.iter().map(|ci| format!("CI {} {}", ci.id, clean(&ci.profile))).collect()
        }
    }
}

fn process(process: &ProcessView) -> String {
    let name = process.command.as_deref().map_or_else(|| String::from("pid"), clean);
    let user =
        process.user.as_deref().map_or_else(String::new, |user| format!(", {}", clean(user)));
    let memory = process.memory_mib.map_or_else(String::new, |amount| format!(" {}", mib(amount)));
    format!("{name} ({}{user}){memory}", process.pid)
}

/// What else would fit, each profile by itself; those with attributes are left to `profiles`.
fn room(gpu: &GpuView, count: usize, page: Page) -> Vec<String> {
    let plain = |profile: &str| !profile.contains('+') && !profile.ends_with("-me");
    let mut found: Vec<&RoomView> =
        gpu.room.iter().filter(|room| room.count > 0 && plain(&room.profile)).collect();
    found.sort_by_key(|room| {
        let name: Option<ProfileName> = room.profile.parse().ok();
        name.map(|name| (name.slices, name.memory))
    });
    let fits: Vec<String> = found
        .iter()
        .map(|room| format!("{}{}{}", room.count, page.glyphs.times(), clean(&room.profile)))
        .collect();
    let label = if count > 1 { "  room on each: " } else { "  room: " };
    if fits.is_empty() {
        return match gpu.mig {
            MigView::Enabled => vec![styled(FAINT, &format!("{label}none"))],
            MigView::Disabled
            | MigView::EnablePending
            | MigView::DisablePending
            | MigView::Unsupported => Vec::new(),
        };
    }
    let lines = wrap(&fits, " or ", page.width, label, "    ");
    lines.iter().map(|line| styled(FAINT, line)).collect()
}

fn queue(leases: &[LeaseView], page: Page) -> Vec<String> {
    let mut waiting: Vec<&LeaseView> = leases
        .iter()
        .filter(|lease| matches!(lease.state, LeaseState::Queued | LeaseState::Granting))
        .collect();
    if waiting.is_empty() {
        return Vec::new();
    }
    waiting.sort_by_key(|lease| (lease.queue_position.unwrap_or(0), lease.id));
    let mut lines = vec![String::new(), styled(HEADING, "Waiting")];
    for lease in waiting {
        let why = match (&lease.waits_for, lease.state) {
            (_, LeaseState::Granting) => String::from("being made"),
            (Some(why), _) => format!("waits for {}", clean(why)),
            (None, _) => String::from("waits its turn"),
        };
        let since = Millis::new(lease.now_ms.saturating_sub(lease.requested_at_ms));
        let first = format!(
            "  {} {} for {}, {since}: ",
            lease.id,
            clean(&lease.wish),
            clean(&lease.tenant)
        );
        lines.extend(paragraph(&why, page.width, &first, "      "));
    }
    lines
}

#[cfg(test)]
#[path = "node_tests.rs"]
mod tests;
