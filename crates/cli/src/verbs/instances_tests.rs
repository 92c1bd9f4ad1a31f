//! What `instances` prints.

use api::MigView;

use super::*;
use crate::draw::Glyphs;

fn capability(number: u32, mode: Option<&str>) -> CapabilityView {
    CapabilityView {
        path: format!("/dev/nvidia-caps/nvidia-cap{number}"),
        owner: mode.map(|_| "root".into()),
        mode: mode.map(str::to_owned),
    }
}

fn part(id: u32, name: &str, start: Option<u8>, size: u8) -> ComputePartView {
    ComputePartView {
        id,
        name: name.into(),
        profile_id: 0,
        start,
        size,
        multiprocessors: Some(14),
        uuid: None,
        node: capability(22 + id, Some("0444")),
        processes: Vec::new(),
    }
}

fn whole(id: u32, parts: Vec<ComputePartView>) -> WholeInstanceView {
    WholeInstanceView {
        id,
        name: "MIG 3g.20gb".into(),
        profile_id: 9,
        start: Some(4),
        size: 4,
        memory_mib: 19_968,
        multiprocessors: 42,
        engines: EnginesView { copy: 3, decoders: 2, ..EnginesView::default() },
        used: Some(InstanceUse::Foreign),
        lease: None,
        lease_name: None,
        tenant: None,
        node: capability(21, None),
        compute_instances: parts,
    }
}

#[test]
fn instances_are_drawn_with_their_parts_and_nodes() {
    let mut busy = part(0, "MIG 1c.3g.20gb", Some(0), 1);
    busy.processes.push(ProcessView {
        pid: 4711,
        user: Some("kim".into()),
        command: Some("python".into()),
        memory_mib: Some(2048),
    });
    let gpu = GpuInstancesView {
        index: 0,
        uuid: "GPU-a".into(),
        name: "NVIDIA A100-SXM4-40GB".into(),
        minor: 0,
        mig: MigView::Enabled,
        health: "ok".into(),
        instances: vec![
            whole(2, vec![busy, part(1, "MIG 2c.3g.20gb", None, 2)]),
            WholeInstanceView { start: Some(0), ..whole(1, vec![]) },
        ],
    };
    let text = lines(&[gpu], Page { width: 80, glyphs: Glyphs::Ascii }).join("\n");
    assert_eq!(
        anstream::adapter::strip_str(&text).to_string(),
        "\
GPU 0  NVIDIA A100-SXM4-40GB  MIG on
GI  CI  NAME            AT       MEMORY  SM  ENGINES     USED BY
 2      MIG 3g.20gb     4:4  19,968 MiB  42  3 CE 2 DEC  made by hand, in use
        /dev/nvidia-caps/nvidia-cap21  no such node
     0  MIG 1c.3g.20gb  0:1              14
        /dev/nvidia-caps/nvidia-cap22  0444 root
        pid 4711 python of kim, 2,048 MiB
     1  MIG 2c.3g.20gb  ?:2              14
        /dev/nvidia-caps/nvidia-cap23  0444 root
 1      MIG 3g.20gb     0:4  19,968 MiB  42  3 CE 2 DEC  nobody can: no compute instance
        /dev/nvidia-caps/nvidia-cap21  no such node"
    );
}

#[test]
fn who_holds_an_instance_is_said_in_words() {
    let held = |used, lease: Option<u64>| {
        let whole = WholeInstanceView {
            used,
            lease: lease.map(model::LeaseId::new),
            lease_name: lease.map(|_| "nb".into()),
            tenant: lease.map(|_| "kim".into()),
            ..whole(1, vec![part(0, "MIG 3g.20gb", Some(0), 3)])
        };
        super::used(&whole)
    };
    assert_eq!(held(Some(InstanceUse::Leased), Some(3)), "L3 of kim (nb)");
    assert_eq!(held(Some(InstanceUse::Ending), Some(3)), "L3 of kim (nb), which ends");
    assert_eq!(held(Some(InstanceUse::Warm), None), "nobody: kept for the next lease");
    assert_eq!(held(Some(InstanceUse::Foreign), None), "made by hand, idle");
    assert_eq!(held(None, None), "idle");
}
