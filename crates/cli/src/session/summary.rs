//! What somebody is told about a lease, one line a fact.
//!
//! Must never leave out how much memory was really granted.

use api::{LeaseState, LeaseView};
use model::Millis;

use crate::draw::text::{clean, mib};

/// What was granted: a line per slice, then the daemon's remark.
pub(crate) fn granted(lease: &LeaseView) -> Vec<String> {
    let all = lease.slices.len();
    let mut lines: Vec<String> = lease
        .slices
        .iter()
        .enumerate()
        .map(|(at, slice)| {
            let part = if all > 1 { format!(" ({} of {all})", at + 1) } else { String::new() };
            format!(
                "{}{part} {} on GPU {} ({}) {}",
                lease.id,
                clean(&slice.profile),
                slice.gpu_index,
                mib(slice.memory_mib),
                clean(slice.uuid.as_str())
            )
        })
        .collect();
    lines.extend(lease.whole_gpus.iter().map(|gpu| {
        let name = clean(&gpu.name);
        let memory = mib(gpu.memory_mib);
        format!("{} GPU {} as a whole, {name} ({memory}) {}", lease.id, gpu.index, gpu.uuid)
    }));
    lines.extend(lease.note.as_deref().map(|note| format!("note: {}", clean(note))));
    lines
}

/// What a request waits for.
pub(crate) fn waiting(lease: &LeaseView) -> String {
    let place = match lease.queue_position {
        Some(1) => String::from(" (next in line)"),
        Some(position) => format!(" (number {position} in line)"),
        None => String::new(),
    };
    match (&lease.waits_for, lease.state) {
        (_, LeaseState::Granting) => {
            let whole = lease.wish.ends_with("whole GPU");
            let what = match (whole, lease.count) {
                (true, 1) => "its GPU is",
                (true, _) => "its GPUs are",
                (false, 1) => "its slice is",
                (false, _) => "its slices are",
            };
            format!("{} {}: {what} being made", lease.id, clean(&lease.wish))
        }
        (Some(why), _) => format!("{} waits{place} for {}", lease.id, clean(why)),
        (None, _) => format!("{} {} waits{place}", lease.id, clean(&lease.wish)),
    }
}

/// What a lease that moves waits for.
pub(crate) fn moving(lease: &LeaseView) -> String {
    match lease.state {
        LeaseState::Ending => format!("{} moves: it waits until its slice is empty", lease.id),
        LeaseState::Queued | LeaseState::Granting | LeaseState::Active | LeaseState::Ended => {
            waiting(lease)
        }
    }
}

/// Why a lease is over.
pub(crate) fn ended(lease: &LeaseView) -> String {
    let why = lease.end_reason.as_deref().or(lease.last_failure.as_deref());
    why.map_or_else(|| String::from("it ended"), clean)
}

/// How long a lease may last, as it was asked for.
pub(crate) fn limit(lease: &LeaseView) -> Option<Millis> {
    Some(Millis::new(lease.deadline_ms?.saturating_sub(lease.granted_at_ms?)))
}

#[cfg(test)]
pub(crate) mod tests {
    use api::{HolderKind, SliceView};
    use model::{GpuUuid, LeaseId, MigUuid};

    use super::*;

    fn slice(uuid: &str, gpu: u32) -> SliceView {
        SliceView {
            uuid: MigUuid::new(uuid),
            profile: "1g.5gb".into(),
            memory_mib: 4864,
            multiprocessors: 14,
            gpu_index: gpu,
            gpu_uuid: GpuUuid::new("GPU-0"),
            gpu_name: "NVIDIA A100-SXM4-40GB".into(),
            start: 0,
            size: 1,
            gpu_instance: 9,
            compute_instance: 0,
        }
    }

    /// A lease with two slices.
    pub(crate) fn lease() -> LeaseView {
        LeaseView {
            id: LeaseId::new(7),
            name: None,
            tenant: "kim".into(),
            uid: 1000,
            state: LeaseState::Active,
            wish: "2 x 1g.5gb".into(),
            gpu: "any GPU".into(),
            count: 2,
            requested_at_ms: 0,
            granted_at_ms: Some(1000),
            deadline_ms: Some(61_000),
            expires_at_ms: None,
            slices: vec![slice("MIG-a", 0), slice("MIG-b", 3)],
            whole_gpus: Vec::new(),
            booking: None,
            holder: HolderKind::Process,
            client_pid: None,
            command_pid: None,
            command: None,
            queue_position: None,
            waits_for: None,
            end: None,
            end_reason: None,
            held_by: vec![],
            last_failure: None,
            revision: 4,
            now_ms: 2000,
            note: Some("1g.5gb has 4,864 MiB".into()),
            life: api::LifeView::default(),
        }
    }

    #[test]
    fn a_grant_names_the_slices_and_their_memory() {
        assert_eq!(
            granted(&lease()),
            [
                "L7 (1 of 2) 1g.5gb on GPU 0 (4,864 MiB) MIG-a",
                "L7 (2 of 2) 1g.5gb on GPU 3 (4,864 MiB) MIG-b",
                "note: 1g.5gb has 4,864 MiB",
            ]
        );
        let mut one = lease();
        one.slices.truncate(1);
        one.note = None;
        assert_eq!(granted(&one), ["L7 1g.5gb on GPU 0 (4,864 MiB) MIG-a"]);
        assert_eq!(limit(&one), Some(Millis::from_secs(60)));
    }

    #[test]
    fn waiting_says_what_for() {
        let mut lease = lease();
        lease.state = LeaseState::Queued;
        lease.queue_position = Some(1);
        lease.waits_for = Some("L3 of kim to end".into());
        assert_eq!(waiting(&lease), "L7 waits (next in line) for L3 of kim to end");
        lease.state = LeaseState::Granting;
        assert_eq!(waiting(&lease), "L7 2 x 1g.5gb: its slices are being made");
        (lease.count, lease.wish) = (1, "1g.5gb".into());
        assert_eq!(waiting(&lease), "L7 1g.5gb: its slice is being made");
    }
}
