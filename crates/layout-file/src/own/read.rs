//! The head of our own files, their layouts and entries.
//!
//! Must never take a word that it does not know.

use crate::document::{
    Config, DeviceId, Devices, Document, Entry, GpuName, GpuSelector, NamedGpu, Schema, Wish,
};
use crate::fault::{Findings, Mark};
use crate::keys::unknown_key;
use crate::own::item;
use crate::tree::{Node, Pair};

/// What marks a file as ours.
pub(crate) const MARKER: &str = "migd/v1";
const TOP: [&str; 2] = ["schema", "layouts"];
const ENTRY: [&str; 4] = ["gpus", "mig", "lend", "instances"];

/// The document, as far as it could be read; what is wrong is in `findings`.
pub(crate) fn document(pairs: &[Pair], findings: &mut Findings) -> Document {
    let mut configs = Vec::new();
    for pair in pairs {
        match pair.key.as_str() {
            "schema" => marker(&pair.node, findings),
            "layouts" => configs = layouts(&pair.node, findings),
            "windows" => reserved(pair, findings),
            other => unknown_key(findings, pair.at, other, &TOP),
        }
    }
    let at = pairs.first().map_or(Mark::START, |pair| pair.at);
    if !pairs.iter().any(|pair| pair.key == "schema") {
        findings.refuse(at, "the file has no schema", "begin it with `schema: migd/v1`");
    }
    if !pairs.iter().any(|pair| pair.key == "layouts") {
        findings.refuse(at, "the file has no layouts", "add `layouts:` with a name under it");
    }
    Document { schema: Schema::Own, configs, warnings: Vec::new() }
}

fn marker(node: &Node, findings: &mut Findings) {
    if node.text() != Some(MARKER) {
        let what = format!("the schema is {}", node.words());
        findings.refuse(node.at, what, "write `schema: migd/v1`, the only one there is");
    }
}

fn reserved(pair: &Pair, findings: &mut Findings) {
    let instead = "keep slices for times of day with `[[window]]` in migd.toml, or apply another \
                   layout from a timer";
    findings.refuse(
        pair.at,
        "`windows` is reserved: layouts do not change by the clock yet",
        instead,
    );
}

fn layouts(node: &Node, findings: &mut Findings) -> Vec<Config> {
    let Some(pairs) = node.map().filter(|pairs| !pairs.is_empty()) else {
        let instead = "give it at least one name with a list of entries";
        findings.refuse(node.at, "`layouts` holds no layout", instead);
        return Vec::new();
    };
    pairs.iter().map(|pair| layout(pair, findings)).collect()
}

fn layout(pair: &Pair, findings: &mut Findings) -> Config {
    let mut entries = Vec::new();
    match pair.node.list().filter(|items| !items.is_empty()) {
        Some(items) => entries.extend(items.iter().filter_map(|node| entry(node, findings))),
        None => findings.refuse(
            pair.node.at,
            format!("the layout `{}` has no entries", pair.key),
            "give it a list, each item with `gpus` and `instances` or `mig`",
        ),
    }
    Config { name: pair.key.clone(), at: pair.at, entries }
}

fn entry(node: &Node, findings: &mut Findings) -> Option<Entry> {
    let Some(pairs) = node.map() else {
        let what = format!("an entry is {}", node.words());
        findings.refuse(node.at, what, "an entry has the key `gpus`, and `instances` or `mig`");
        return None;
    };
    for pair in pairs {
        match pair.key.as_str() {
            "windows" => reserved(pair, findings),
            key if ENTRY.contains(&key) => {}
            key => unknown_key(findings, pair.at, key, &ENTRY),
        }
    }
    if node.get("gpus").is_none() {
        let instead = "write `gpus: all`, an index, a UUID, a PCI address or a model";
        findings.refuse(node.at, "the entry names no GPUs", instead);
    }
    let gpus = node.get("gpus").and_then(|node| gpus(node, findings));
    let truth = |key: &str, findings: &mut Findings| match node.get(key) {
        None => Ok(None),
        Some(value) => value.bool().map(Some).ok_or_else(|| {
            let what = format!("`{key}` is {}", value.words());
            findings.refuse(value.at, what, "write true or false, without quotes");
        }),
    };
    let mig = truth("mig", findings);
    let lend = truth("lend", findings);
    let instances = node.get("instances").map(|node| item::items(node, findings));
    let wish = wish(node.at, mig.ok()?, instances, findings);
    Some(Entry { at: node.at, gpus: gpus?, wish: wish?, lend: lend.ok()?.unwrap_or(false) })
}

fn wish(
    at: Mark,
    mig: Option<bool>,
    instances: Option<Vec<crate::document::Item>>,
    findings: &mut Findings,
) -> Option<Wish> {
    match (mig, instances) {
        (Some(false), None) => Some(Wish::Off),
        (Some(true), None) => Some(Wish::On),
        (None | Some(true), Some(items)) => Some(Wish::Instances(items)),
        (Some(false), Some(_)) => {
            let instead = "remove `instances`, or write `mig: true`";
            findings.refuse(at, "instances are wanted while MIG is off", instead);
            None
        }
        (None, None) => {
            let instead = "add `instances` (`[]` for none), or `mig: true` or `mig: false` alone";
            findings.refuse(at, "the entry wants nothing", instead);
            None
        }
    }
}

fn gpus(node: &Node, findings: &mut Findings) -> Option<GpuSelector> {
    let items = node.list().unwrap_or(std::slice::from_ref(node));
    if items.is_empty() {
        let instead = "write `gpus: all`, or name GPUs";
        findings.refuse(node.at, "`gpus` is empty", instead);
        return None;
    }
    let names: Vec<NamedGpu> = items.iter().filter_map(|item| gpu(item, findings)).collect();
    let devices = match names.as_slice() {
        [NamedGpu { name: GpuName::All, .. }] => Devices::All,
        _ => Devices::Listed(names),
    };
    Some(GpuSelector { filter: Vec::new(), devices, at: node.at })
}

fn gpu(node: &Node, findings: &mut Findings) -> Option<NamedGpu> {
    let name = match (node.whole(), node.text()) {
        // Without quotes a PCI id is a number to YAML.
        (Some(_), None) if node.raw.starts_with(['0']) && node.raw.len() > 2 => {
            GpuName::parse(&node.raw)
        }
        (Some(index), _) if u32::try_from(index).is_ok() => Some(GpuName::Index(index)),
        (None, Some(text)) => GpuName::parse(text),
        (_, _) => None,
    };
    if name.is_none() {
        let what = format!("{} names no GPU", node.words());
        let instead = "write all, an index (0), a UUID (GPU-…), a PCI address, a PCI id (0x20B010DE) or a \
                       model (a100)";
        findings.refuse(node.at, what, instead);
    }
    Some(NamedGpu { at: node.at, name: name? })
}

impl GpuName {
    /// A name in the words of `--gpu`: an index, a UUID or its beginning, a PCI address; or a
    /// PCI device id; else a part of the product's name, or a pattern with `*` for it.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if text.is_empty() || text.starts_with('-') {
            return None;
        }
        if text == "all" {
            return Some(Self::All);
        }
        if let Ok(index) = text.parse::<u32>() {
            return Some(Self::Index(i64::from(index)));
        }
        if let Ok(address) = text.parse() {
            return Some(Self::Pci(address));
        }
        if text.starts_with("0x") {
            return DeviceId::parse(&text).map(Self::Device);
        }
        Some(if text.starts_with("gpu-") { Self::Uuid(text) } else { Self::Model(text) })
    }
}
