//! Which GPUs of a machine an entry is about.
//!
//! Must never widen: what names no GPU selects none, and is warned of.

use model::{GpuSnapshot, MigState, NodeSnapshot};

use crate::document::{DeviceId, Devices, GpuName, GpuSelector, NamedGpu};
use crate::fault::Findings;

/// A GPU that is meant, and whether it was named itself or is one of all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Selected<'a> {
    pub(crate) gpu: &'a GpuSnapshot,
    pub(crate) by_name: bool,
}

impl GpuName {
    /// Whether `gpu` is meant.
    pub(crate) fn fits(&self, gpu: &GpuSnapshot) -> bool {
        match self {
            Self::All => capable(gpu),
            Self::Index(index) => i64::from(gpu.index.get()) == *index,
            Self::Uuid(start) => gpu.uuid.as_str().to_ascii_lowercase().starts_with(start),
            Self::Pci(address) => gpu.pci == *address,
            Self::Device(id) => capable(gpu) && id.fits(DeviceId::of(gpu)),
            Self::Model(pattern) => is_like(&gpu.name.to_ascii_lowercase(), pattern),
        }
    }

    /// Whether it names a kind of GPU, so that those that cannot do MIG are not meant.
    fn is_kind(&self) -> bool {
        matches!(self, Self::All | Self::Device(_) | Self::Model(_))
    }

    fn words(&self) -> String {
        match self {
            Self::All => "all GPUs".into(),
            Self::Index(index) => format!("GPU {index}"),
            Self::Uuid(start) => format!("a GPU whose UUID begins with {start}"),
            Self::Pci(address) => format!("a GPU at {address}"),
            Self::Device(id) => format!("a GPU that can do MIG with the PCI id {id}"),
            Self::Model(pattern) => format!("a GPU of the model \"{pattern}\""),
        }
    }
}

/// Whether a GPU can be cut.
pub(crate) fn capable(gpu: &GpuSnapshot) -> bool {
    gpu.mig != MigState::Unsupported
}

/// Whether `name` contains `pattern`, or is like it if it has a `*`.
fn is_like(name: &str, pattern: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or("");
    let Some(last) = pieces.next_back() else { return name.contains(first) };
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

/// The GPUs an entry is about, ascending by index.
pub(crate) fn select<'a>(
    selector: &GpuSelector,
    node: &'a NodeSnapshot,
    findings: &mut Findings,
) -> Vec<Selected<'a>> {
    let passes = |gpu: &&GpuSnapshot| {
        selector.filter.is_empty() || selector.filter.iter().any(|filter| filter.fits(gpu))
    };
    let passing: Vec<&GpuSnapshot> = node.gpus.iter().filter(passes).collect();
    let selected: Vec<Selected<'a>> = match &selector.devices {
        Devices::All => {
            let all = passing.iter().copied().filter(|gpu| capable(gpu));
            all.map(|gpu| Selected { gpu, by_name: false }).collect()
        }
        Devices::Listed(names) => {
            let by_kind = |named: &&NamedGpu| matches!(named.name, GpuName::Device(_));
            for name in names.iter().filter(|named| !by_kind(named)) {
                unmatched(name, node, &passing, findings);
            }
            let named = |gpu: &GpuSnapshot| {
                let mut fitting = names.iter().filter(|named| named.name.fits(gpu)).peekable();
                fitting.peek()?;
                Some(fitting.any(|named| !named.name.is_kind()))
            };
            let all = passing.iter().copied();
            all.filter_map(|gpu| Some(Selected { gpu, by_name: named(gpu)? })).collect()
        }
    };
    selected
}

/// Warns of an entry that is about no GPU here.
pub(crate) fn idle(selector: &GpuSelector, node: &NodeSnapshot, findings: &mut Findings) {
    let instead = format!("{}; correct the entry or remove it", present(node));
    findings.warn(selector.at, "this entry fits no GPU that can do MIG here", instead);
}

/// Whether an entry that fits nothing is as usual: it is for another model, in a file for several.
pub(crate) fn is_for_others(selector: &GpuSelector) -> bool {
    let filtered = |selector: &GpuSelector| {
        !selector.filter.is_empty() && selector.filter.iter().all(|filter| filter.id.is_some())
    };
    match &selector.devices {
        Devices::All => filtered(selector),
        Devices::Listed(names) => {
            names.iter().all(|named| matches!(named.name, GpuName::Device(_)))
        }
    }
}

/// Warns of a name that selects nothing.
fn unmatched(
    named: &NamedGpu,
    node: &NodeSnapshot,
    passing: &[&GpuSnapshot],
    findings: &mut Findings,
) {
    let fits = |gpu: &GpuSnapshot| named.name.fits(gpu);
    let fitting: Vec<&GpuSnapshot> = node.gpus.iter().filter(|gpu| fits(gpu)).collect();
    if let (GpuName::Uuid(start), 2..) = (&named.name, fitting.len()) {
        let what = format!("\"{start}\" begins the UUIDs of {}", words(&fitting));
        findings.refuse(named.at, what, "write more of the one that is meant");
    }
    if passing.iter().any(|gpu| fits(gpu)) {
        return;
    }
    let (what, instead) = if node.gpus.iter().any(fits) {
        let what = format!("the device-filter leaves {} out", named.name.words());
        (what, "correct the filter, or remove the name".to_owned())
    } else {
        (format!("there is no {}", named.name.words().trim_start_matches("a ")), present(node))
    };
    findings.warn(named.at, what, instead);
}

/// What there is, for whoever named something else.
fn present(node: &NodeSnapshot) -> String {
    let words: Vec<String> = groups(node.gpus.iter().collect());
    if words.is_empty() {
        "this machine has no GPU".into()
    } else {
        format!("there is {}", words.join(", "))
    }
}

/// `GPU 0-3 (NVIDIA A100)` for each model.
fn groups(gpus: Vec<&GpuSnapshot>) -> Vec<String> {
    let mut names: Vec<&str> = gpus.iter().map(|gpu| gpu.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let of = |name: &&str| {
        let same: Vec<&GpuSnapshot> =
            gpus.iter().copied().filter(|gpu| gpu.name == **name).collect();
        words(&same)
    };
    names.iter().map(of).collect()
}

/// `GPU 0`, `GPU 0-3,5`, with the model of the first.
pub(crate) fn words(gpus: &[&GpuSnapshot]) -> String {
    let mut indices: Vec<u32> = gpus.iter().map(|gpu| gpu.index.get()).collect();
    indices.sort_unstable();
    indices.dedup();
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for index in indices {
        match runs.last_mut() {
            Some((_, end)) if end.checked_add(1) == Some(index) => *end = index,
            _ => runs.push((index, index)),
        }
    }
    let run = |(from, to): &(u32, u32)| match to - from {
        0 => from.to_string(),
        _ => format!("{from}-{to}"),
    };
    let list: Vec<String> = runs.iter().map(run).collect();
    match gpus.first() {
        Some(gpu) => format!("GPU {} ({})", list.join(","), gpu.name),
        None => "no GPU".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::is_like;

    #[test]
    fn models_are_parts_or_patterns() {
        let name = "nvidia a100-sxm4-40gb";
        for pattern in ["a100", "*a100*", "nvidia*40gb", "nvidia a100-*-40gb", "*"] {
            assert!(is_like(name, pattern), "{pattern}");
        }
        for pattern in ["h100", "a100*", "*a100", "nvidia*80gb*", "nvidia a100-sxm4-40gb*gb"] {
            assert!(!is_like(name, pattern), "{pattern}");
        }
    }
}
