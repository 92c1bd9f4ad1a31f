//! Our own checkpoint: every GPU by UUID, every instance with its place and what lies in it.
//!
//! Must never leave out an instance: one that cannot be named is told.

use model::{GpuInstance, GpuSnapshot, MigMode, MigState, NodeSnapshot};

use super::MARKER;
use crate::out::{Out, Syntax};
use crate::select::words;

/// The text of a checkpoint of `node`, in JSON, and what is not in it, a sentence each.
pub fn write_checkpoint(node: &NodeSnapshot) -> (String, Vec<String>) {
    let mut notes = Vec::new();
    let gpus = node.gpus.iter().filter_map(|gpu| of_gpu(gpu, &mut notes)).collect();
    let all = Out::Map(vec![
        ("schema".into(), Out::text(MARKER)),
        ("taken_at_ms".into(), Out::Int(node.taken_at.as_millis())),
        ("driver_version".into(), Out::text(&node.driver_version)),
        ("gpus".into(), Out::List(gpus)),
    ]);
    (all.write(Syntax::Json), notes)
}

fn of_gpu(gpu: &GpuSnapshot, notes: &mut Vec<String>) -> Option<Out> {
    let MigState::Supported { current, pending } = gpu.mig else { return None };
    let here = words(&[gpu]);
    if current != pending {
        notes.push(format!(
            "{here}: its MIG mode changes with the next reset; this is the mode now"
        ));
    }
    let instances: Option<Vec<Out>> =
        gpu.instances.iter().map(|instance| of_instance(gpu, instance)).collect();
    if instances.is_none() {
        notes.push(format!(
            "{here}: it holds a profile that the driver does not list; it is left out"
        ));
    }
    Some(Out::Map(vec![
        ("uuid".into(), Out::text(&gpu.uuid)),
        ("index".into(), Out::Int(u64::from(gpu.index.get()))),
        ("pci".into(), Out::text(gpu.pci)),
        ("name".into(), Out::text(&gpu.name)),
        ("mig".into(), Out::Bool(current == MigMode::Enabled)),
        ("instances".into(), Out::List(instances?)),
    ]))
}

fn of_instance(gpu: &GpuSnapshot, instance: &GpuInstance) -> Option<Out> {
    let profile = gpu.geometry.as_deref()?.profile(instance.profile)?;
    let compute = instance.compute_instances.iter().map(|compute| {
        Out::Map(vec![
            ("profile_id".into(), Out::Int(u64::from(compute.profile.get()))),
            ("start".into(), Out::Int(u64::from(compute.placement.start.get()))),
            ("slices".into(), Out::Int(u64::from(compute.placement.size.get()))),
        ])
    });
    Some(Out::Map(vec![
        ("profile".into(), Out::text(profile.name)),
        ("profile_id".into(), Out::Int(u64::from(instance.profile.get()))),
        ("start".into(), Out::Int(u64::from(instance.placement.start.get()))),
        ("size".into(), Out::Int(u64::from(instance.placement.size.get()))),
        ("compute".into(), Out::List(compute.collect())),
    ]))
}
