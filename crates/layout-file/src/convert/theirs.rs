//! An entry of ours in mig-parted's words.
//!
//! Must never drop a part of an entry but its places, which mig-parted has no words for at all.

use model::{GpuInstanceProfile, ProfileName, ProfileSelector};

use super::{Context, packed};
use crate::document::{
    ComputeItem, ComputeSize, Computes, Count, CountedName, DeviceFilter, Devices, Entry, GpuName,
    GpuSelector, Item, NamedGpu, Wish,
};
use crate::fault::{Findings, Mark};
use crate::select::{Selected, select};

pub(super) fn entry(entry: &Entry, context: &mut Context<'_>) -> Option<Entry> {
    let selected = context
        .node
        .map(|node| select(&entry.gpus, node, &mut Findings::default()))
        .unwrap_or_default();
    let wish = match &entry.wish {
        Wish::Off => Wish::Off,
        Wish::Counts(counts) => Wish::Counts(counts.clone()),
        Wish::On => {
            context.left_out(entry, "mig-parted has no word for MIG mode alone");
            return None;
        }
        Wish::Instances(items) => match counts(items, &selected) {
            Ok((counts, lost)) => {
                for what in lost {
                    context.note(entry, what);
                }
                Wish::Counts(counts)
            }
            Err(why) => {
                context.left_out(entry, why);
                return None;
            }
        },
    };
    let (filter, devices) = gpus(entry, &selected, context)?;
    if entry.lend {
        context.note(entry, "`lend: true` has no word in mig-parted: nothing there will be lent");
    }
    let gpus = GpuSelector { filter, devices, at: entry.gpus.at };
    Some(Entry { at: entry.at, gpus, wish, lend: false })
}

fn gpus(
    entry: &Entry,
    selected: &[Selected<'_>],
    context: &mut Context<'_>,
) -> Option<(Vec<DeviceFilter>, Devices)> {
    let Devices::Listed(names) = &entry.gpus.devices else {
        return Some((entry.gpus.filter.clone(), Devices::All));
    };
    if names.iter().any(|named| named.name == GpuName::All) {
        return Some((Vec::new(), Devices::All));
    }
    let ids = names.iter().map(|named| match &named.name {
        GpuName::Device(id) => Some(*id),
        GpuName::All
        | GpuName::Index(_)
        | GpuName::Uuid(_)
        | GpuName::Pci(_)
        | GpuName::Model(_) => None,
    });
    if let Some(ids) = ids.collect::<Option<Vec<_>>>() {
        let filter = |id| DeviceFilter { at: Mark::START, text: format!("{id}"), id: Some(id) };
        return Some((ids.into_iter().map(filter).collect(), Devices::All));
    }
    if names.iter().all(|named| matches!(named.name, GpuName::Index(_))) {
        return Some((Vec::new(), Devices::Listed(names.clone())));
    }
    if context.node.is_none() {
        let why = "mig-parted knows GPUs by index, and which those are takes the machine";
        context.left_out(entry, why);
        return None;
    }
    if selected.is_empty() {
        context.left_out(entry, "it fits no GPU of this machine");
        return None;
    }
    context.note(entry, "the GPUs are named by their indices on this machine");
    let index = |one: &Selected<'_>| NamedGpu {
        at: Mark::START,
        name: GpuName::Index(i64::from(one.gpu.index.get())),
    };
    Some((Vec::new(), Devices::Listed(selected.iter().map(index).collect())))
}

/// The profile that every selected GPU has under `selector`.
fn profile<'a>(
    selector: &ProfileSelector,
    selected: &[Selected<'a>],
) -> Option<&'a GpuInstanceProfile> {
    let mut found: Option<&'a GpuInstanceProfile> = None;
    for one in selected {
        let here = one.gpu.geometry.as_deref()?.select(selector).ok()?;
        if found.is_some_and(|found| found.name != here.name) {
            return None;
        }
        found = Some(here);
    }
    found
}

/// Counts by name, and what they do not say; or why they cannot say it.
fn counts(
    items: &[Item],
    selected: &[Selected<'_>],
) -> Result<(Vec<Count>, Vec<&'static str>), String> {
    let mut counts: Vec<(ProfileName, u32)> = Vec::new();
    let mut inside: Vec<(ProfileName, Vec<Vec<u8>>)> = Vec::new();
    let mut lost = Vec::new();
    for item in items {
        let here = profile(&item.profile, selected);
        let name = match (item.profile, here) {
            (ProfileSelector::Name(name), _) => name,
            (_, Some(found)) => found.name,
            (other, None) => return Err(format!("what {other} is called takes the machine")),
        };
        let sizes = match &item.computes {
            Computes::Whole => vec![name.slices],
            Computes::Parts(parts) if parts.is_empty() => {
                return Err(format!("mig-parted cannot say a {name} without compute instance"));
            }
            Computes::Parts(parts) => parts
                .iter()
                .map(|part| slices(part, here))
                .collect::<Option<Vec<u8>>>()
                .ok_or_else(|| "mig-parted cannot name a compute profile by its id".to_owned())?,
        };
        if item.start.is_some()
            || matches!(&item.computes, Computes::Parts(p) if p.iter().any(|p| p.start.is_some()))
        {
            lost.push("the places are lost: mig-parted has no words for them");
        }
        for size in &sizes {
            let part = (*size < name.slices).then_some(*size);
            let device = ProfileName { compute: part, ..name };
            match counts.iter_mut().find(|(other, _)| *other == device) {
                Some((_, count)) => *count = count.saturating_add(item.count),
                None => counts.push((device, item.count)),
            }
        }
        let bins = std::iter::repeat_n(sizes, item.count.min(256) as usize);
        match inside.iter_mut().find(|(other, _)| *other == name) {
            Some((_, list)) => list.extend(bins),
            None => inside.push((name, bins.collect())),
        }
    }
    if inside.into_iter().any(|(name, bins)| !packs_alike(name.slices, bins)) {
        lost.push(
            "which compute instances lie together is lost: mig-parted packs them its own way",
        );
    }
    lost.dedup();
    let count = |(name, count): (ProfileName, u32)| Count {
        at: Mark::START,
        text: name.to_string(),
        name: CountedName::Possible(name),
        count,
    };
    Ok((counts.into_iter().map(count).collect(), lost))
}

fn slices(part: &ComputeItem, profile: Option<&GpuInstanceProfile>) -> Option<u8> {
    match part.size {
        ComputeSize::Slices(slices) => Some(slices),
        ComputeSize::Id(id) => {
            let all = &profile?.compute_profiles;
            let found = all.iter().find(|compute| compute.id.get() == id)?;
            let same = all.iter().filter(|other| other.slices == found.slices);
            (same.map(|other| other.id).min() == Some(found.id)).then_some(found.slices)
        }
    }
}

/// Whether mig-parted puts these compute instances together as they are here.
fn packs_alike(slices: u8, mut bins: Vec<Vec<u8>>) -> bool {
    for bin in &mut bins {
        bin.sort_by_key(|size| std::cmp::Reverse(*size));
    }
    let mut made = packed(slices, bins.concat());
    bins.sort();
    made.sort();
    bins == made
}
