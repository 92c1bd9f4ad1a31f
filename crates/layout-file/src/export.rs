//! The layouts of a machine as a document.
//!
//! Must never leave something out without saying so.

use std::collections::BTreeSet;

use model::{
    ComputeInstance, Geometry, GpuInstance, GpuSnapshot, MigMode, MigState, NodeSnapshot,
    ProfileName, ProfileSelector,
};

use crate::document::{
    ComputeItem, ComputeSize, Computes, Config, Count, CountedName, DeviceFilter, DeviceId,
    Devices, Document, Entry, GpuName, GpuSelector, Item, NamedGpu, Schema, Wish,
};
use crate::fault::Mark;
use crate::select::{capable, words};

/// A document made by us, and what it cannot say.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// The document.
    pub document: Document,
    /// What the format has no words for and is left out, a sentence each.
    pub notes: Vec<String>,
}

/// What stands on the GPUs of a machine, as one configuration named `label`.
///
/// mig-parted's format gets counts by name and GPUs by index; ours gets every place, compute
/// instances and empty GPU instances too, and GPUs by UUID unless all are alike.
pub fn export(node: &NodeSnapshot, label: &str, schema: Schema) -> Made {
    let mut notes = Vec::new();
    let gpus: Vec<(&GpuSnapshot, Wish)> = node
        .gpus
        .iter()
        .filter(|gpu| capable(gpu))
        .filter_map(|gpu| Some((gpu, wish_of(gpu, schema, &mut notes)?)))
        .collect();
    let entries = match schema {
        Schema::MigParted => theirs(&gpus),
        Schema::Own => ours(&gpus, node),
    };
    let configs = vec![Config { name: label.into(), at: Mark::START, entries }];
    Made { document: Document { schema, configs, warnings: Vec::new() }, notes }
}

fn wish_of(gpu: &GpuSnapshot, schema: Schema, notes: &mut Vec<String>) -> Option<Wish> {
    let here = words(&[gpu]);
    let MigState::Supported { current, pending } = gpu.mig else { return None };
    if current != pending {
        notes.push(format!(
            "{here}: its MIG mode changes with the next reset; this is the mode now"
        ));
    }
    if current == MigMode::Disabled {
        return Some(Wish::Off);
    }
    let Some(geometry) = gpu.geometry.as_deref() else {
        notes.push(format!("{here}: its profiles are not known; it is left out"));
        return None;
    };
    let wish = match schema {
        Schema::Own => items(gpu, geometry).map(Wish::Instances),
        Schema::MigParted => counts(gpu, geometry, &here, notes).map(Wish::Counts),
    };
    if wish.is_none() {
        notes.push(format!(
            "{here}: it holds a profile that the driver does not list; it is left out"
        ));
    }
    wish
}

/// The name of the MIG device of a compute instance: `1c.3g.20gb`, or `3g.20gb` for all of it.
pub(crate) fn device_name(
    geometry: &Geometry,
    instance: &GpuInstance,
    compute: &ComputeInstance,
) -> Option<ProfileName> {
    let profile = geometry.profile(instance.profile)?;
    let found = profile.compute_profiles.iter().find(|other| other.id == compute.profile)?;
    let part = (found.slices < profile.name.slices).then_some(found.slices);
    Some(ProfileName { compute: part, ..profile.name })
}

fn counts(
    gpu: &GpuSnapshot,
    geometry: &Geometry,
    here: &str,
    notes: &mut Vec<String>,
) -> Option<Vec<Count>> {
    let mut counts: Vec<(ProfileName, u32)> = Vec::new();
    for instance in &gpu.instances {
        if instance.compute_instances.is_empty() {
            let name = geometry.profile(instance.profile)?.name;
            let at = instance.placement;
            notes.push(format!(
                "{here}: the {name} at {at} has no compute instance, which mig-parted's format cannot say"
            ));
        }
        for compute in &instance.compute_instances {
            let name = device_name(geometry, instance, compute)?;
            match counts.iter_mut().find(|(other, _)| *other == name) {
                Some((_, count)) => *count += 1,
                None => counts.push((name, 1)),
            }
        }
    }
    counts.sort();
    let count = |(name, count): &(ProfileName, u32)| Count {
        at: Mark::START,
        text: name.to_string(),
        name: CountedName::Possible(*name),
        count: *count,
    };
    Some(counts.iter().map(count).collect())
}

fn items(gpu: &GpuSnapshot, geometry: &Geometry) -> Option<Vec<Item>> {
    let mut instances: Vec<&GpuInstance> = gpu.instances.iter().collect();
    instances.sort_by_key(|instance| instance.placement);
    instances.into_iter().map(|instance| item(geometry, instance)).collect()
}

fn item(geometry: &Geometry, instance: &GpuInstance) -> Option<Item> {
    let profile = geometry.profile(instance.profile)?;
    let whole = profile.whole_compute_profile().map(|whole| whole.id);
    let computes = match instance.compute_instances.as_slice() {
        [only] if Some(only.profile) == whole => Computes::Whole,
        several => {
            let mut several: Vec<&ComputeInstance> = several.iter().collect();
            several.sort_by_key(|compute| (compute.placement, compute.id));
            let parts = several.into_iter().map(|compute| {
                let all = &profile.compute_profiles;
                let found = all.iter().find(|other| other.id == compute.profile)?;
                let same = all.iter().filter(|other| other.slices == found.slices);
                let lowest = same.map(|other| other.id).min() == Some(found.id);
                Some(ComputeItem {
                    at: Mark::START,
                    size: if lowest {
                        ComputeSize::Slices(found.slices)
                    } else {
                        ComputeSize::Id(found.id.get())
                    },
                    start: Some(compute.placement.start.get()),
                })
            });
            Computes::Parts(parts.collect::<Option<Vec<ComputeItem>>>()?)
        }
    };
    Some(Item {
        at: Mark::START,
        profile: selector(geometry, profile.name, profile.id),
        count: 1,
        start: Some(instance.placement.start.get()),
        computes,
    })
}

/// The name, or the id where two profiles of a board share the name.
fn selector(
    geometry: &Geometry,
    name: ProfileName,
    id: model::GpuInstanceProfileId,
) -> ProfileSelector {
    let named = ProfileSelector::Name(name);
    match geometry.select(&named) {
        Ok(found) if found.id == id => named,
        Ok(_) | Err(_) => ProfileSelector::Id(id),
    }
}

fn entry(gpus: GpuSelector, wish: Wish) -> Entry {
    Entry { at: Mark::START, gpus, wish, lend: false }
}

/// GPUs of which the same is wanted, in the order of the first.
fn alike<'a>(
    gpus: &[(&'a GpuSnapshot, Wish)],
    same: impl Fn(&GpuSnapshot, &GpuSnapshot) -> bool,
) -> Vec<(Vec<&'a GpuSnapshot>, Wish)> {
    let mut groups: Vec<(Vec<&'a GpuSnapshot>, Wish)> = Vec::new();
    for (gpu, wish) in gpus {
        let joins = |(group, other): &&mut (Vec<&'a GpuSnapshot>, Wish)| {
            other == wish && group.iter().all(|member| same(member, gpu))
        };
        match groups.iter_mut().find(joins) {
            Some((group, _)) => group.push(gpu),
            None => groups.push((vec![gpu], wish.clone())),
        }
    }
    groups
}

/// Entries as mig-parted merges them: `all` where a filter names just these GPUs, the filter only
/// where there are several kinds of GPU.
fn theirs(gpus: &[(&GpuSnapshot, Wish)]) -> Vec<Entry> {
    let id = |gpu: &GpuSnapshot| DeviceId { device: gpu.pci_device_id, subsystem: None };
    let kinds: BTreeSet<DeviceId> = gpus.iter().map(|(gpu, _)| id(gpu)).collect();
    let groups = alike(gpus, |_, _| true);
    let several = kinds.len() > 1 && groups.len() > 1;
    let entries = groups.iter().map(|(group, wish)| {
        let own: BTreeSet<DeviceId> = group.iter().map(|gpu| id(gpu)).collect();
        let of_kinds = gpus.iter().filter(|(gpu, _)| own.contains(&id(gpu))).count();
        let filter =
            |id: &DeviceId| DeviceFilter { at: Mark::START, text: id.to_string(), id: Some(*id) };
        let index = |gpu: &&GpuSnapshot| NamedGpu {
            at: Mark::START,
            name: GpuName::Index(i64::from(gpu.index.get())),
        };
        let selector = GpuSelector {
            filter: if several { own.iter().map(filter).collect() } else { Vec::new() },
            devices: if of_kinds == group.len() {
                Devices::All
            } else {
                Devices::Listed(group.iter().map(index).collect())
            },
            at: Mark::START,
        };
        entry(selector, wish.clone())
    });
    entries.collect()
}

fn ours(gpus: &[(&GpuSnapshot, Wish)], node: &NodeSnapshot) -> Vec<Entry> {
    let all = node.gpus.iter().filter(|gpu| capable(gpu)).count();
    let groups = alike(gpus, |one, other| one.geometry == other.geometry);
    let entries = groups.into_iter().map(|(group, wish)| {
        let uuid = |gpu: &&GpuSnapshot| NamedGpu {
            at: Mark::START,
            name: GpuName::Uuid(gpu.uuid.as_str().to_ascii_lowercase()),
        };
        let devices = if group.len() == all {
            Devices::All
        } else {
            Devices::Listed(group.iter().map(uuid).collect())
        };
        entry(GpuSelector { filter: Vec::new(), devices, at: Mark::START }, wish)
    });
    entries.collect()
}
