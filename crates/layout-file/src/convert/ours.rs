//! An entry of mig-parted's in our words.
//!
//! Must never guess which GPUs a filter and indices mean together: that takes a machine.

use model::{ProfileName, ProfileSelector};

use super::{Context, packed};
use crate::document::{
    ComputeItem, ComputeSize, Computes, Count, CountedName, Devices, Entry, GpuName, GpuSelector,
    Item, NamedGpu, Wish,
};
use crate::fault::{Findings, Mark};
use crate::select::select;

/// The most MIG devices of one name that are written out.
const MANY: u32 = 256;

pub(super) fn entry(entry: &Entry, context: &mut Context<'_>) -> Option<Entry> {
    let devices = gpus(entry, context)?;
    let wish = match &entry.wish {
        Wish::Off => Wish::Off,
        Wish::On => Wish::On,
        Wish::Instances(items) => Wish::Instances(items.clone()),
        Wish::Counts(counts) => Wish::Instances(items(entry, counts, context)?),
    };
    let gpus = GpuSelector { filter: Vec::new(), devices, at: entry.gpus.at };
    Some(Entry { at: entry.at, gpus, wish, lend: false })
}

fn gpus(entry: &Entry, context: &mut Context<'_>) -> Option<Devices> {
    let selector = &entry.gpus;
    let named = |name: GpuName| NamedGpu { at: Mark::START, name };
    let found: Vec<NamedGpu> = match (&selector.devices, selector.filter.is_empty()) {
        (Devices::All, true) => return Some(Devices::All),
        (Devices::All, false) => {
            let ids = selector.filter.iter().filter_map(|filter| filter.id);
            ids.map(|id| named(GpuName::Device(id))).collect()
        }
        (Devices::Listed(names), true) => {
            let sound = |named: &&NamedGpu| !matches!(&named.name, GpuName::Index(index) if u32::try_from(*index).is_err());
            names.iter().filter(sound).cloned().collect()
        }
        (Devices::Listed(_), false) => {
            let Some(node) = context.node else {
                context.left_out(entry, "which indices a device-filter leaves takes the machine");
                return None;
            };
            context.note(entry, "the filtered indices are those of this machine");
            let selected = select(selector, node, &mut Findings::default());
            let index = |gpu: &model::GpuSnapshot| GpuName::Index(i64::from(gpu.index.get()));
            selected.iter().map(|one| named(index(one.gpu))).collect()
        }
    };
    if found.is_empty() {
        context.left_out(entry, "it fits no GPU");
        return None;
    }
    Some(Devices::Listed(found))
}

fn items(entry: &Entry, counts: &[Count], context: &mut Context<'_>) -> Option<Vec<Item>> {
    let mut wholes: Vec<(ProfileName, u32)> = Vec::new();
    let mut parts: Vec<(ProfileName, Vec<u8>)> = Vec::new();
    for count in counts.iter().filter(|count| count.count > 0) {
        let CountedName::Possible(name) = &count.name else {
            context.left_out(entry, format!("no board has a {}", count.text));
            return None;
        };
        let whole = name.gpu_instance();
        match name.compute.filter(|compute| *compute < name.slices) {
            None => match wholes.iter_mut().find(|(other, _)| *other == whole) {
                Some((_, number)) => *number = number.saturating_add(count.count),
                None => wholes.push((whole, count.count)),
            },
            Some(_) if count.count > MANY => {
                context
                    .left_out(entry, format!("no board holds {} of {}", count.count, count.text));
                return None;
            }
            Some(compute) => {
                let sizes = std::iter::repeat_n(compute, count.count as usize);
                match parts.iter_mut().find(|(other, _)| *other == whole) {
                    Some((_, list)) => list.extend(sizes),
                    None => parts.push((whole, sizes.collect())),
                }
            }
        }
    }
    let mut items: Vec<Item> = Vec::new();
    for (name, count) in wholes {
        items.push(item(name, count, Computes::Whole));
    }
    for (name, sizes) in parts {
        let mut bins: Vec<(Vec<u8>, u32)> = Vec::new();
        for bin in packed(name.slices, sizes) {
            match bins.iter_mut().find(|(other, _)| *other == bin) {
                Some((_, number)) => *number += 1,
                None => bins.push((bin, 1)),
            }
        }
        items.extend(bins.into_iter().map(|(bin, count)| {
            let part = |slices: &u8| ComputeItem {
                at: Mark::START,
                size: ComputeSize::Slices(*slices),
                start: None,
            };
            item(name, count, Computes::Parts(bin.iter().map(part).collect()))
        }));
    }
    items.sort_by_key(|item| match item.profile {
        ProfileSelector::Name(name) => std::cmp::Reverse(name.slices),
        ProfileSelector::Id(_) | ProfileSelector::Slices(_) => std::cmp::Reverse(0),
    });
    Some(items)
}

fn item(name: ProfileName, count: u32, computes: Computes) -> Item {
    let profile = ProfileSelector::Name(name);
    Item { at: Mark::START, profile, count, start: None, computes }
}
