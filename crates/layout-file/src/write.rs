//! From document to text, in the document's own format.
//!
//! Must never write what its reader takes for something else.

use model::ProfileSelector;

use crate::document::{
    ComputeItem, ComputeSize, Computes, Count, Devices, Document, Entry, GpuName, Item, NamedGpu,
    Schema, Wish,
};
use crate::out::{Out, Syntax};
use crate::own::MARKER;

/// The text of a document. Entries that its format has no words for are left out:
/// [`crate::convert`] tells them before.
pub fn write(document: &Document, syntax: Syntax) -> String {
    let config = |entry: fn(&Entry) -> Option<Out>| {
        let configs = document.configs.iter().map(move |config| {
            let entries = config.entries.iter().filter_map(entry).collect();
            (config.name.clone(), Out::List(entries))
        });
        Out::Map(configs.collect())
    };
    let head = match document.schema {
        Schema::MigParted => {
            vec![("version".into(), Out::text("v1")), ("mig-configs".into(), config(theirs))]
        }
        Schema::Own => {
            vec![("schema".into(), Out::text(MARKER)), ("layouts".into(), config(ours))]
        }
    };
    Out::Map(head).write(syntax)
}

/// An entry in mig-parted's words.
fn theirs(entry: &Entry) -> Option<Out> {
    let mut pairs: Vec<(String, Out)> = Vec::new();
    let filter = &entry.gpus.filter;
    match filter.as_slice() {
        [] => {}
        [one] => pairs.push(("device-filter".into(), Out::text(&one.text))),
        several => {
            let list = several.iter().map(|filter| Out::text(&filter.text)).collect();
            pairs.push(("device-filter".into(), Out::List(list)));
        }
    }
    let devices = match &entry.gpus.devices {
        Devices::All => Out::text("all"),
        Devices::Listed(names) => Out::List(names.iter().map(index).collect::<Option<Vec<Out>>>()?),
    };
    pairs.push(("devices".into(), devices));
    match &entry.wish {
        Wish::Off => pairs.push(("mig-enabled".into(), Out::Bool(false))),
        Wish::Counts(counts) => {
            let count = |count: &Count| (count.text.clone(), Out::Int(u64::from(count.count)));
            pairs.push(("mig-enabled".into(), Out::Bool(true)));
            pairs.push(("mig-devices".into(), Out::Map(counts.iter().map(count).collect())));
        }
        Wish::On | Wish::Instances(_) => return None,
    }
    Some(Out::Map(pairs))
}

fn index(named: &NamedGpu) -> Option<Out> {
    match &named.name {
        GpuName::Index(index) => u64::try_from(*index).ok().map(Out::Int),
        GpuName::All
        | GpuName::Uuid(_)
        | GpuName::Pci(_)
        | GpuName::Device(_)
        | GpuName::Model(_) => None,
    }
}

/// An entry in our words.
fn ours(entry: &Entry) -> Option<Out> {
    let gpus = match &entry.gpus.devices {
        Devices::All => Out::text("all"),
        Devices::Listed(names) => match names.as_slice() {
            [one] => gpu(one)?,
            several => Out::List(several.iter().map(gpu).collect::<Option<Vec<Out>>>()?),
        },
    };
    let mut pairs: Vec<(String, Out)> = vec![("gpus".into(), gpus)];
    match &entry.wish {
        Wish::Off => pairs.push(("mig".into(), Out::Bool(false))),
        Wish::On => pairs.push(("mig".into(), Out::Bool(true))),
        Wish::Instances(_) => {}
        Wish::Counts(_) => return None,
    }
    if entry.lend {
        pairs.push(("lend".into(), Out::Bool(true)));
    }
    if let Wish::Instances(items) = &entry.wish {
        pairs.push(("instances".into(), Out::List(items.iter().map(item).collect())));
    }
    Some(Out::Map(pairs))
}

fn gpu(named: &NamedGpu) -> Option<Out> {
    Some(match &named.name {
        GpuName::All => Out::text("all"),
        GpuName::Index(index) => Out::Int(u64::try_from(*index).ok()?),
        GpuName::Uuid(uuid) => Out::Text(uuid.replacen("gpu-", "GPU-", 1)),
        GpuName::Pci(address) => Out::text(address),
        GpuName::Device(id) => Out::text(id),
        GpuName::Model(pattern) => Out::text(pattern),
    })
}

fn item(item: &Item) -> Out {
    let name = |start: Option<u8>| match (item.profile, start) {
        (ProfileSelector::Id(id), None) => Out::Int(u64::from(id.get())),
        (profile, None) => Out::text(profile),
        (profile, Some(start)) => Out::Text(format!("{profile}@{start}")),
    };
    if item.count == 1 && item.computes == Computes::Whole {
        return name(item.start);
    }
    let mut pairs = vec![("profile".into(), name(None))];
    if item.count != 1 {
        pairs.push(("count".into(), Out::Int(u64::from(item.count))));
    }
    if let Some(start) = item.start {
        pairs.push(("start".into(), Out::Int(u64::from(start))));
    }
    if let Computes::Parts(parts) = &item.computes {
        pairs.push(("compute".into(), Out::List(parts.iter().map(part).collect())));
    }
    Out::Map(pairs)
}

fn part(part: &ComputeItem) -> Out {
    let size = match part.size {
        ComputeSize::Slices(slices) => format!("{slices}c"),
        ComputeSize::Id(id) => format!("id:{id}"),
    };
    Out::Text(part.start.map_or(size.clone(), |start| format!("{size}@{start}")))
}
