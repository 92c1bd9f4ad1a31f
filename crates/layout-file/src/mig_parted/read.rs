//! mig-parted's configuration file: `version: v1` and `mig-configs`.
//!
//! Must never decide what a name means on a board, and never be silent where mig-parted is.

use crate::document::{
    Config, Count, CountedName, Devices, Document, Entry, GpuName, GpuSelector, NamedGpu, Schema,
    Wish,
};
use crate::fault::{Findings, Mark};
use crate::keys::unknown_key;
use crate::mig_parted::{filter, name};
use crate::tree::{Node, Pair};

const TOP: [&str; 2] = ["version", "mig-configs"];
const ENTRY: [&str; 4] = ["device-filter", "devices", "mig-enabled", "mig-devices"];

/// The document, as far as it could be read; what is wrong is in `findings`.
pub(crate) fn document(pairs: &[Pair], findings: &mut Findings) -> Document {
    let mut configs = Vec::new();
    for pair in pairs {
        match pair.key.as_str() {
            "version" => version(&pair.node, findings),
            "mig-configs" => configs = read_configs(&pair.node, findings),
            other => unknown_key(findings, pair.at, other, &TOP),
        }
    }
    if !pairs.iter().any(|pair| pair.key == "version") {
        let at = pairs.first().map_or(Mark::START, |pair| pair.at);
        findings.refuse(at, "the file has no version", "begin it with `version: v1`");
    }
    Document { schema: Schema::MigParted, configs, warnings: Vec::new() }
}

fn version(node: &Node, findings: &mut Findings) {
    if node.text() != Some("v1") {
        let what = format!("the version is {}", node.words());
        findings.refuse(node.at, what, "write `version: v1`, the only one there is");
    }
}

fn read_configs(node: &Node, findings: &mut Findings) -> Vec<Config> {
    let Some(pairs) = node.map().filter(|pairs| !pairs.is_empty()) else {
        let what = format!("`mig-configs` holds {}", empty_words(node));
        findings.refuse(node.at, what, "give it at least one name with a list of entries");
        return Vec::new();
    };
    pairs.iter().map(|pair| config(pair, findings)).collect()
}

fn empty_words(node: &Node) -> String {
    let empty =
        node.map().is_some_and(<[Pair]>::is_empty) || node.list().is_some_and(<[Node]>::is_empty);
    if empty { "nothing".into() } else { node.words() }
}

fn config(pair: &Pair, findings: &mut Findings) -> Config {
    let mut entries = Vec::new();
    match pair.node.list().filter(|items| !items.is_empty()) {
        Some(items) => entries.extend(items.iter().filter_map(|item| entry(item, findings))),
        None => findings.refuse(
            pair.node.at,
            format!("`{}` holds {}", pair.key, empty_words(&pair.node)),
            "give it a list of entries, each with `devices` and `mig-enabled`",
        ),
    }
    Config { name: pair.key.clone(), at: pair.at, entries }
}

fn entry(node: &Node, findings: &mut Findings) -> Option<Entry> {
    let Some(pairs) = node.map() else {
        let what = format!("an entry is {}", node.words());
        findings.refuse(node.at, what, "an entry has the keys `devices` and `mig-enabled`");
        return None;
    };
    for pair in pairs.iter().filter(|pair| !ENTRY.contains(&pair.key.as_str())) {
        unknown_key(findings, pair.at, &pair.key, &ENTRY);
    }
    let mut required = |key: &str, instead: &str| {
        if node.get(key).is_none() {
            findings.refuse(node.at, format!("the entry has no `{key}`"), instead);
        }
    };
    required("devices", "write `devices: all` or a list of indices, such as `devices: [0, 1]`");
    required("mig-enabled", "write `mig-enabled: true` or `mig-enabled: false`");
    let filter = node.get("device-filter").map(|node| filters(node, findings)).unwrap_or_default();
    let devices = node.get("devices").and_then(|node| devices(node, findings));
    let enabled = node.get("mig-enabled").and_then(|node| enabled(node, findings));
    let counts = node.get("mig-devices").and_then(|node| counts(node, findings));
    let wish = wish(node, enabled?, counts, findings)?;
    let at = node.get("devices").map_or(node.at, |node| node.at);
    let gpus = GpuSelector { filter, devices: devices?, at };
    Some(Entry { at: node.at, gpus, wish, lend: false })
}

fn filters(node: &Node, findings: &mut Findings) -> Vec<crate::document::DeviceFilter> {
    let items: Vec<&Node> = match (node.list(), node.text()) {
        (Some(items), _) => items.iter().collect(),
        (None, Some("")) => Vec::new(),
        (None, Some(_)) => vec![node],
        (None, None) if node.is_null() => Vec::new(),
        (None, None) => {
            refuse_filter(node, findings);
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for item in items {
        match item.text() {
            Some(text) => found.push(filter::read(text, item.at, findings)),
            // A null becomes an empty text in mig-parted, and that is no PCI id.
            None if item.is_null() => found.push(filter::read("", item.at, findings)),
            None => refuse_filter(item, findings),
        }
    }
    found
}

fn refuse_filter(node: &Node, findings: &mut Findings) {
    let instead = if node.whole().is_some() {
        format!("put it between quotes: \"{}\"", node.raw)
    } else {
        "write a PCI id between quotes, such as \"0x20B210DE\", or a list of them".into()
    };
    findings.refuse(node.at, format!("the device-filter is {}", node.words()), instead);
}

fn devices(node: &Node, findings: &mut Findings) -> Option<Devices> {
    const INSTEAD: &str = "write `all`, or a list of indices such as [0, 1]";
    if node.text() == Some("all") {
        return Some(Devices::All);
    }
    let Some(items) = node.list() else {
        findings.refuse(node.at, format!("`devices` is {}", node.words()), INSTEAD);
        return None;
    };
    if items.is_empty() {
        let instead = "name GPUs, or remove the entry";
        findings.warn(node.at, "`devices` is empty: the entry is about no GPU", instead);
    }
    let mut found: Vec<NamedGpu> = Vec::new();
    for item in items {
        let index = match item.whole() {
            Some(index) => index,
            None if item.is_null() => {
                let what = "an empty index counts as 0";
                findings.warn(item.at, what, "write the 0, or remove it");
                0
            }
            None => {
                findings.refuse(item.at, format!("an index is {}", item.words()), INSTEAD);
                continue;
            }
        };
        let name = GpuName::Index(index);
        if found.iter().any(|other| other.name == name) {
            findings.warn(item.at, format!("GPU {index} is named twice"), "once is enough");
        }
        found.push(NamedGpu { at: item.at, name });
    }
    Some(Devices::Listed(found))
}

fn enabled(node: &Node, findings: &mut Findings) -> Option<bool> {
    if node.is_null() {
        let instead = "write `mig-enabled: false`";
        findings.warn(node.at, "an empty `mig-enabled` counts as false", instead);
        return Some(false);
    }
    let value = node.bool();
    if value.is_none() {
        let what = format!("`mig-enabled` is {}", node.words());
        findings.refuse(node.at, what, "write true or false, without quotes");
    }
    value
}

/// `None` for a null, which is as good as no key; faults are in `findings`.
fn counts(node: &Node, findings: &mut Findings) -> Option<Vec<Count>> {
    if node.is_null() {
        return None;
    }
    let Some(pairs) = node.map() else {
        let what = format!("`mig-devices` is {}", node.words());
        findings.refuse(node.at, what, "write names and counts, such as \"1g.5gb\": 7");
        return None;
    };
    let counts: Vec<Count> = pairs.iter().filter_map(|pair| count(pair, findings)).collect();
    if !counts.is_empty() && counts.iter().all(|count| count.count == 0) {
        let instead = "write `mig-devices: {}` for a GPU without instances";
        findings.refuse(node.at, "every count of `mig-devices` is 0", instead);
    }
    Some(counts)
}

fn count(pair: &Pair, findings: &mut Findings) -> Option<Count> {
    let name = name::parse(&pair.key);
    if let Err(name::BadForm(why)) = name {
        findings.refuse(pair.at, format!("`{}` is not the name of a MIG device", pair.key), why);
    }
    let number = if pair.node.is_null() {
        findings.warn(pair.node.at, "an empty count is 0", "write a number, or remove the line");
        Some(0)
    } else {
        pair.node.whole().and_then(|number| u32::try_from(number).ok())
    };
    if number.is_none() {
        let what = format!("the count of `{}` is {}", pair.key, pair.node.words());
        findings.refuse(pair.node.at, what, "write a whole number from 0, without quotes");
    }
    if number == Some(0) {
        let what = format!("`{}` is wanted 0 times", pair.key);
        let instead = "remove the line: mig-parted never finds a machine equal to it";
        findings.warn(pair.at, what, instead);
    }
    let (name, count) = (name.ok()?, number?);
    if let CountedName::Possible(found) = &name
        && found.compute == Some(found.slices)
    {
        let whole = found.gpu_instance();
        let what = format!("`{}` is all of `{whole}`, and is read as that", pair.key);
        let instead = format!("write `{whole}`: mig-parted never finds a machine equal to it");
        findings.warn(pair.at, what, instead);
    }
    Some(Count { at: pair.at, text: pair.key.clone(), name, count })
}

fn wish(
    entry: &Node,
    enabled: bool,
    counts: Option<Vec<Count>>,
    findings: &mut Findings,
) -> Option<Wish> {
    let written = entry.get("mig-devices").filter(|node| !node.is_null());
    match (enabled, counts) {
        (true, Some(counts)) => Some(Wish::Counts(counts)),
        (true, None) if written.is_none() => {
            let instead = "add `mig-devices: {}`, or the wanted devices";
            findings.refuse(entry.at, "MIG is enabled and `mig-devices` is missing", instead);
            None
        }
        (true, None) => None,
        (false, Some(counts)) if !counts.is_empty() => {
            let at = written.map_or(entry.at, |node| node.at);
            let instead = "write `mig-enabled: true`, or remove the devices";
            findings.refuse(at, "MIG devices are wanted while MIG is disabled", instead);
            None
        }
        (false, _) => Some(Wish::Off),
    }
}
