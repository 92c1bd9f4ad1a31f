//! The drawing of whole machines, against pictures.

use api::{
    ComputeInstanceView, GpuView, HolderKind, InstanceUse, InstanceView, LeaseState, LeaseView,
    MigView, NodeView, ProcessView, RoomView,
};
use model::{GpuUuid, LeaseId};

use super::*;
use crate::draw::Glyphs;
use crate::draw::text::width;

fn room(of: &[(&str, u32)]) -> Vec<RoomView> {
    of.iter()
        .map(|(profile, count)| RoomView { profile: (*profile).into(), count: *count })
        .collect()
}

fn empty_gpu(index: u32) -> GpuView {
    GpuView {
        index,
        uuid: GpuUuid::new(format!("GPU-{index}")),
        name: "NVIDIA A100-SXM4-40GB".into(),
        pci: format!("00000000:{:02X}:00.0", 7 + index),
        memory_mib: 40_960,
        mig: MigView::Enabled,
        grid: 8,
        health: "ok".into(),
        maintenance: false,
        fixed: None,
        change: None,
        cordon: None,
        quarantine: None,
        whole_lease: None,
        instances: Vec::new(),
        processes: Vec::new(),
        room: room(&[
            ("1g.5gb", 7),
            ("1g.5gb+me", 1),
            ("1g.10gb", 4),
            ("2g.10gb", 3),
            ("3g.20gb", 2),
            ("4g.20gb", 1),
            ("7g.40gb", 1),
        ]),
    }
}

fn instance(id: u32, profile: &str, start: u8, size: u8, used: InstanceUse) -> InstanceView {
    let compute =
        ComputeInstanceView { id: 0, profile: profile.into(), uuid: None, processes: Vec::new() };
    InstanceView {
        id,
        profile: profile.into(),
        start,
        size,
        memory_mib: 4864,
        multiprocessors: 14,
        used,
        lease: None,
        lease_name: None,
        tenant: None,
        compute_instances: vec![compute],
    }
}

fn lease(id: u64, state: LeaseState) -> LeaseView {
    LeaseView {
        id: LeaseId::new(id),
        name: None,
        tenant: "kim".into(),
        uid: 1000,
        state,
        wish: "3g.20gb".into(),
        gpu: "any GPU".into(),
        count: 1,
        requested_at_ms: 1_000_000,
        granted_at_ms: None,
        deadline_ms: None,
        expires_at_ms: None,
        slices: Vec::new(),
        whole_gpus: Vec::new(),
        booking: None,
        holder: HolderKind::Process,
        client_pid: Some(10),
        command_pid: None,
        command: None,
        queue_position: None,
        waits_for: None,
        end: None,
        end_reason: None,
        held_by: Vec::new(),
        last_failure: None,
        revision: 1,
        now_ms: 1_061_000,
        note: None,
        life: api::LifeView::default(),
    }
}

fn busy_node() -> NodeView {
    let mut busy = empty_gpu(0);
    let mut leased = instance(1, "3g.20gb", 0, 4, InstanceUse::Leased);
    leased.lease = Some(LeaseId::new(7));
    leased.lease_name = Some("학습".into());
    leased.tenant = Some("kim".into());
    leased.compute_instances[0].processes = vec![ProcessView {
        pid: 4242,
        user: Some("kim".into()),
        command: Some("python".into()),
        memory_mib: Some(10_240),
    }];
    let mut foreign = instance(3, "2g.10gb", 4, 2, InstanceUse::Foreign);
    foreign.compute_instances.clear();
    let warm = instance(9, "1g.5gb", 6, 1, InstanceUse::Warm);
    busy.instances = vec![leased, foreign, warm];
    busy.room = room(&[("1g.5gb", 1), ("1g.10gb", 1), ("2g.10gb", 0)]);
    let mut active = lease(7, LeaseState::Active);
    active.name = Some("학습".into());
    active.deadline_ms = Some(1_061_000 + 3_720_000);
    let mut waiting = lease(9, LeaseState::Queued);
    waiting.wish = "7g.40gb".into();
    waiting.queue_position = Some(1);
    waiting.waits_for =
        Some("L7 of kim (3g.20gb on GPU 0) to end, or GPU 1 to be emptied by its owner".into());
    let mut whole = empty_gpu(3);
    whole.mig = MigView::Disabled;
    whole.room.clear();
    whole.processes = vec![ProcessView { pid: 99, user: None, command: None, memory_mib: None }];
    NodeView {
        host: "box".into(),
        simulated: Some("dgx-a100".into()),
        daemon_version: Some("0.1.0".into()),
        driver_version: "580.126.09".into(),
        cuda_version: Some("13.0".into()),
        gpus: vec![busy, empty_gpu(1), empty_gpu(2), whole],
        leases: vec![active, waiting],
        warnings: vec!["the journal was damaged and set aside".into()],
        configuration: None,
    }
}

fn drawn(view: &NodeView, page: Page) -> String {
    let gpus: Vec<&GpuView> = view.gpus.iter().collect();
    let text = format!("\n{}\n", node(view, &gpus, page).join("\n"));
    anstream::adapter::strip_str(&text).to_string()
}

#[test]
fn a_machine_with_a_bit_of_everything() {
    let text = drawn(&busy_node(), Page { width: 80, glyphs: Glyphs::Unicode });
    assert_eq!(
        text,
        "
dgx-a100 (simulated) · driver 580.126.09 · CUDA 13.0 · migd 0.1.0
warning: the journal was damaged and set aside

GPU 0  NVIDIA A100-SXM4-40GB · 40,960 MiB · MIG on
  ┌───────────────────────────────────┬─────────────────┬────────┬────────┐
  │ 3g.20gb                           │ 2g.10gb         │ 1g.5gb │    ·   │
  │ L7 학습 · kim                     │ foreign         │ warm   │        │
  └───────────────────────────────────┴─────────────────┴────────┴────────┘
  L7 3g.20gb: 학습 of kim · 1h02m left · python (4242, kim) 10,240 MiB
  GI 3 2g.10gb: no compute instance
  room: 1×1g.5gb or 1×1g.10gb

GPU 1-2  NVIDIA A100-SXM4-40GB · 40,960 MiB each · MIG on · empty
  ┌───────────────────────────────────────────────────────────────────────┐
  │    ·        ·        ·        ·        ·        ·        ·        ·   │
  │                                                                       │
  └───────────────────────────────────────────────────────────────────────┘
  room on each: 7×1g.5gb or 4×1g.10gb or 3×2g.10gb or 2×3g.20gb or 1×4g.20gb or
    1×7g.40gb

GPU 3  NVIDIA A100-SXM4-40GB · 40,960 MiB · MIG off
  pid (99)

Waiting
  L9 7g.40gb for kim, 1m01s: waits for L7 of kim (3g.20gb on GPU 0) to end, or
      GPU 1 to be emptied by its owner
"
    );
}

#[test]
fn ascii_has_no_other_characters_and_no_line_is_too_wide() {
    let mut view = busy_node();
    view.leases[0].name = Some("train".into());
    view.gpus[0].instances[0].lease_name = Some("train".into());
    let text = drawn(&view, Page { width: 80, glyphs: Glyphs::Ascii });
    assert!(text.is_ascii(), "{text}");
    for columns in [60, 80, 100] {
        let text = drawn(&busy_node(), Page { width: columns, glyphs: Glyphs::Unicode });
        for line in text.lines() {
            assert!(width(line) <= columns, "{columns}: {line}");
        }
    }
}

#[test]
fn an_ending_lease_says_who_is_still_there() {
    let mut view = busy_node();
    view.gpus[0].instances[0].used = InstanceUse::Ending;
    view.leases[0].state = LeaseState::Ending;
    view.leases[0].end_reason = Some("its holder died".into());
    view.leases[0].held_by = vec!["pid 4243 (python, kim)".into()];
    let text = drawn(&view, Page { width: 200, glyphs: Glyphs::Unicode });
    assert!(
        text.contains("must end (its holder died) · still held by pid 4243 (python, kim)"),
        "{text}"
    );
}

#[test]
fn what_is_wrong_with_a_gpu_is_said() {
    let mut view = busy_node();
    view.gpus[1].health = "fallen off the bus".into();
    view.gpus[2].maintenance = true;
    let text = drawn(&view, Page { width: 80, glyphs: Glyphs::Unicode });
    assert!(text.contains("health: fallen off the bus"), "{text}");
    assert!(text.contains("out of use while its mode is changed"), "{text}");
}
