//! Who should be able to open each instance, read off the records.
//!
//! Must never depend on what the nodes are: whatever was done before, and wherever it was cut off,
//! the answer is the same.

use broker::{Phase, State, Use};
use host::access::Wanted;
use host::nodes::InstancePath;
use model::GpuSnapshot;

use super::BrokenGlass;

/// For each instance of ours on a GPU, GPU instances before their compute instances, who should be
/// able to open it: the user of its active lease, and otherwise nobody. Idle slices, slices of leases
/// that end, and what a plan is making are closed. Instances that are not ours are left out: whoever
/// made them says who may use them.
pub(crate) fn wanted_on(
    state: &State,
    gpu: &GpuSnapshot,
    glass: &BrokenGlass,
) -> Vec<(InstancePath, Wanted)> {
    let mut all = Vec::new();
    for (instance, used) in gpu.instances.iter().zip(broker::uses(state, gpu)) {
        let wanted = match used {
            Use::Foreign => continue,
            _ if glass.covers(&gpu.uuid) => Wanted::Stock,
            Use::Leased(lease) => match state.lease(lease) {
                Some(lease) if matches!(lease.phase, Phase::Active { .. }) => {
                    Wanted::OpenFor(lease.spec.uid)
                }
                _ => Wanted::Closed,
            },
            Use::Ending(_) | Use::Warm | Use::Changing => Wanted::Closed,
        };
        let whole =
            InstancePath { gpu: gpu.minor, gpu_instance: instance.id, compute_instance: None };
        all.push((whole, wanted));
        all.extend(
            instance.compute_instances.iter().map(|compute| {
                (InstancePath { compute_instance: Some(compute.id), ..whole }, wanted)
            }),
        );
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use broker::{EndReason, Event, GrantedSlice, Holder, SliceKey};
    use model::{
        ComputeInstance, ComputeInstanceId, ComputeInstanceProfileId, GpuIndex, GpuInstance,
        GpuInstanceId, GpuInstanceProfileId, GpuMinor, GpuUuid, Health, LeaseId, MemoryMib,
        MigMode, MigState, MigUuid, Millis, PciAddress, Placement, Tenant, Timestamp, Uid,
    };

    use super::*;

    fn place(start: u8) -> Placement {
        Placement::new(start, 1)
    }

    fn slice(id: u32) -> GrantedSlice {
        GrantedSlice {
            key: SliceKey { gpu: GpuUuid::new("GPU-a"), placement: place(id as u8) },
            profile: GpuInstanceProfileId::new(19),
            gpu_instance: GpuInstanceId::new(id),
            compute_instance: ComputeInstanceId::new(0),
            uuid: MigUuid::new(format!("MIG-{id}")),
        }
    }

    /// A GPU with instances 1, 2 and 3, of which 3 is nobody's.
    fn gpu() -> GpuSnapshot {
        let instance = |id: u32| GpuInstance {
            id: GpuInstanceId::new(id),
            profile: GpuInstanceProfileId::new(19),
            placement: place(id as u8),
            compute_instances: vec![ComputeInstance {
                id: ComputeInstanceId::new(0),
                profile: ComputeInstanceProfileId::new(0),
                placement: place(0),
                uuid: Some(MigUuid::new(format!("MIG-{id}"))),
                processes: Vec::new(),
            }],
        };
        GpuSnapshot {
            uuid: GpuUuid::new("GPU-a"),
            index: GpuIndex::new(0),
            minor: GpuMinor::new(5),
            pci: PciAddress { domain: 0, bus: 1, device: 0 },
            name: "A100".into(),
            pci_device_id: 0,
            pci_subsystem_id: None,
            memory: MemoryMib::new(1),
            compute_capability: None,
            mig: MigState::Supported { current: MigMode::Enabled, pending: MigMode::Enabled },
            geometry: None,
            instances: vec![instance(1), instance(2), instance(3)],
            processes: Vec::new(),
            health: Health::Ok,
        }
    }

    fn lease_of(state: &mut State, id: u64, uid: u32, slices: Vec<GrantedSlice>) {
        let spec = broker::RequestSpec { tenant: Tenant::new("kim"), uid: Uid::new(uid), ..spec() };
        let lease = LeaseId::new(id);
        let now = Timestamp::from_millis(1);
        let requested = serde_json::json!({"kind": "requested", "lease": lease, "spec": spec});
        state.apply(now, &serde_json::from_value::<Event>(requested).unwrap());
        state.apply(now, &Event::Granted { lease, slices });
    }

    fn spec() -> broker::RequestSpec {
        let spec = serde_json::json!({
            "tenant": "kim", "uid": 1000, "wanted": {"profile": "1g.5gb"}, "count": 1,
            "gpu": "any", "time": null, "expect": null, "patience": "forever", "name": null,
            "holder": Holder::Token { life: Millis::from_secs(60) }, "command": null
        });
        serde_json::from_value(spec).unwrap()
    }

    fn by_instance(state: &State, glass: &BrokenGlass) -> Vec<Option<Wanted>> {
        let all = wanted_on(state, &gpu(), glass);
        let of = |id: u32| {
            let of: BTreeSet<Wanted> = all
                .iter()
                .filter(|(path, _)| path.gpu_instance.get() == id)
                .inspect(|(path, _)| assert_eq!(path.gpu.get(), 5, "by minor"))
                .map(|(_, wanted)| *wanted)
                .collect();
            assert!(of.len() <= 1, "both nodes of a slice alike");
            of.into_iter().next()
        };
        (1..=3).map(of).collect()
    }

    #[test]
    fn a_slice_is_open_for_its_lease_while_that_is_active_and_for_nobody_else() {
        let mut state = State::default();
        let whole = BrokenGlass::default();
        assert_eq!(by_instance(&state, &whole), [None, None, None], "all foreign");
        lease_of(&mut state, 1, 1000, vec![slice(1)]);
        lease_of(&mut state, 2, 2000, vec![slice(2)]);
        let open = |uid| Some(Wanted::OpenFor(Uid::new(uid)));
        assert_eq!(by_instance(&state, &whole), [open(1000), open(2000), None]);
        let now = Timestamp::from_millis(2);
        let lease = LeaseId::new(1);
        state.apply(now, &Event::Ending { lease, reason: EndReason::Released });
        assert_eq!(by_instance(&state, &whole), [Some(Wanted::Closed), open(2000), None]);
        let ended = serde_json::json!({"kind": "ended", "lease": lease, "reason": "released"});
        state.apply(now, &serde_json::from_value::<Event>(ended).unwrap());
        assert_eq!(by_instance(&state, &whole), [Some(Wanted::Closed), open(2000), None], "warm");
    }

    #[test]
    fn broken_glass_gives_everybody_what_is_ours_and_leaves_what_is_not() {
        let mut state = State::default();
        lease_of(&mut state, 1, 1000, vec![slice(1)]);
        let glass = BrokenGlass { all: true, ..BrokenGlass::default() };
        assert_eq!(by_instance(&state, &glass), [Some(Wanted::Stock), None, None]);
        let other = BrokenGlass { all: false, gpus: [GpuUuid::new("GPU-b")].into() };
        let open = Some(Wanted::OpenFor(Uid::new(1000)));
        assert_eq!(by_instance(&state, &other), [open, None, None]);
    }
}
