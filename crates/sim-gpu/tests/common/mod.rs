//! What the tests of this crate share: hosts in MIG mode and short names for calls.

#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part")]

use model::{
    GpuInstanceId, GpuInstanceProfileId, MigMode, Placement, ProcessId, ProfileSelector, Timestamp,
};
use sim_gpu::{
    BoardCache, Caller, ChipKind, ComputeInstanceRequest, ComputeRef, HostSpec, InstanceRef,
    Latencies, Node, Return,
};

pub const NOW: Timestamp = Timestamp::from_millis(1_000_000);

pub const fn process(pid: u32) -> ProcessId {
    ProcessId { pid, start_ticks: 7 }
}

pub const fn root() -> Caller {
    Caller::root(process(100))
}

/// A host of the kind `kind`, MIG off.
pub fn host(kind: &str) -> Node {
    host_with(kind, ChipKind::Plain)
}

pub fn host_with(kind: &str, chip: ChipKind) -> Node {
    let mut spec = HostSpec::named("test", kind).expect("a known kind");
    spec.knobs.latencies = Latencies::ZERO;
    for gpu in &mut spec.gpus {
        gpu.chip = chip;
    }
    Node::new(&spec, &mut BoardCache::new()).expect("a sound host")
}

/// A host with one GPU of `board`, MIG on.
pub fn mig(board: &str) -> Node {
    mig_with(board, ChipKind::Plain)
}

pub fn mig_with(board: &str, chip: ChipKind) -> Node {
    let mut node = host_with(&format!("{board}:1"), chip);
    let change = node.set_mig_mode(0, root(), MigMode::Enabled, NOW).expect("MIG is accepted");
    assert_eq!(change.activation, Return::Success);
    node
}

/// The id of the profile that `selector` (`3g`, `1g.5gb+me`, `15`) names on GPU 0.
pub fn profile(node: &Node, selector: &str) -> GpuInstanceProfileId {
    let selector: ProfileSelector = selector.parse().expect("a profile");
    node.board(0).expect("GPU 0").geometry.select(&selector).expect("a profile of the board").id
}

pub fn create(node: &mut Node, selector: &str) -> Result<InstanceRef, Return> {
    let profile = profile(node, selector);
    node.create_gpu_instance(0, root(), profile, None, NOW)
}

pub fn create_at(node: &mut Node, selector: &str, start: u8) -> Result<InstanceRef, Return> {
    let id = profile(node, selector);
    let size = node.profile_by_id(0, id).expect("just found").size.get();
    node.create_gpu_instance(0, root(), id, Some(Placement::new(start, size)), NOW)
}

/// Makes the compute instance with `slices` slices.
pub fn compute(node: &mut Node, instance: InstanceRef, slices: u8) -> Result<ComputeRef, Return> {
    let gi = node.gpu_instance(0, instance)?.profile;
    let profiles = &node.profile_by_id(0, gi)?.compute_profiles;
    let known = profiles.iter().filter(|profile| profile.slices == slices);
    let profile = known.map(|profile| profile.id).min().ok_or(Return::NotSupported)?;
    let request = ComputeInstanceRequest { instance, profile, placement: None };
    node.create_compute_instance(0, root(), request, NOW)
}

pub fn start_of(node: &Node, id: GpuInstanceId) -> u8 {
    node.gpus[0].instance(id).expect("it exists").placement.start.get()
}
