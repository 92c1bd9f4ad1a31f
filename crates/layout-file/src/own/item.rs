//! `instances` of our own files: profiles, counts, places, and what lies inside.
//!
//! Must never know a board.

use model::ProfileSelector;

use crate::document::{ComputeItem, ComputeSize, Computes, Item};
use crate::fault::{Findings, Mark};
use crate::keys::unknown_key;
use crate::tree::{Node, Pair, Value};

const KEYS: [&str; 4] = ["profile", "count", "start", "compute"];
const FORM: &str = "write a profile, such as 3g.20gb, 7g, or 3g.20gb@4 for a place";

/// The items of a list, or of a map from profiles to counts.
pub(crate) fn items(node: &Node, findings: &mut Findings) -> Vec<Item> {
    match &node.value {
        Value::List(nodes) => nodes.iter().filter_map(|node| item(node, findings)).collect(),
        Value::Map(pairs) => pairs.iter().filter_map(|pair| counted(pair, findings)).collect(),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => {
            let instead = "write a list, such as [3g.20gb@4, 1g.5gb], or counts: {1g.5gb: 7}";
            findings.refuse(node.at, format!("`instances` is {}", node.words()), instead);
            Vec::new()
        }
    }
}

/// A profile with its place, as in `3g.20gb@4`.
fn placed(text: &str, at: Mark, findings: &mut Findings) -> Option<(ProfileSelector, Option<u8>)> {
    let (profile, start) = match text.split_once('@') {
        Some((profile, start)) => (profile, Some(start)),
        None => (text, None),
    };
    let start = match start.map(str::parse::<u8>) {
        None => None,
        Some(Ok(start)) => Some(start),
        Some(Err(_)) => {
            let what = format!("\"{text}\" has no place behind its @");
            findings.refuse(at, what, "write the first unit of the board's grid: 3g.20gb@4");
            return None;
        }
    };
    match profile.parse::<ProfileSelector>() {
        Ok(ProfileSelector::Name(name)) if name.compute.is_some_and(|c| c < name.slices) => {
            let compute = name.compute.unwrap_or_default();
            let what = format!("{name} is a part of a GPU instance");
            let whole = name.gpu_instance();
            let instead = format!("write `profile: {whole}` and `compute: [{compute}c]`");
            findings.refuse(at, what, instead);
            None
        }
        Ok(ProfileSelector::Name(name)) => {
            Some((ProfileSelector::Name(name.gpu_instance()), start))
        }
        Ok(selector) => Some((selector, start)),
        Err(_) => {
            findings.refuse(at, format!("\"{profile}\" is no profile"), FORM);
            None
        }
    }
}

/// `"1g.5gb": 7`.
fn counted(pair: &Pair, findings: &mut Findings) -> Option<Item> {
    let placed = placed(&pair.key, pair.at, findings);
    let count = count(&pair.node, findings);
    let (profile, start) = placed?;
    one_place(pair.at, count?, start, findings)?;
    Some(Item { at: pair.at, profile, count: count?, start, computes: Computes::Whole })
}

fn count(node: &Node, findings: &mut Findings) -> Option<u32> {
    let count = node.whole().and_then(|count| u32::try_from(count).ok()).filter(|count| *count > 0);
    if count.is_none() {
        let instead = "write a whole number from 1, or remove the line";
        findings.refuse(node.at, format!("a count is {}", node.words()), instead);
    }
    count
}

fn one_place(at: Mark, count: u32, start: Option<u8>, findings: &mut Findings) -> Option<()> {
    if count > 1 && start.is_some() {
        let instead = "name a place for each, one item a place";
        findings.refuse(at, format!("{count} instances cannot lie at one place"), instead);
        return None;
    }
    Some(())
}

fn item(node: &Node, findings: &mut Findings) -> Option<Item> {
    let Some(pairs) = node.map() else {
        let Some(text) = node.scalar() else {
            findings.refuse(node.at, format!("an instance is {}", node.words()), FORM);
            return None;
        };
        let (profile, start) = placed(text, node.at, findings)?;
        return Some(Item { at: node.at, profile, count: 1, start, computes: Computes::Whole });
    };
    for pair in pairs.iter().filter(|pair| !KEYS.contains(&pair.key.as_str())) {
        unknown_key(findings, pair.at, &pair.key, &KEYS);
    }
    let profile = match node.get("profile").map(|node| (node, node.scalar())) {
        Some((node, Some(text))) => placed(text, node.at, findings),
        Some((node, None)) => {
            findings.refuse(node.at, format!("`profile` is {}", node.words()), FORM);
            None
        }
        None => {
            findings.refuse(node.at, "the instance has no `profile`", FORM);
            None
        }
    };
    let count = node.get("count").map_or(Some(1), |node| count(node, findings));
    let start = node.get("start").map_or(Some(None), |node| {
        let start = node.whole().and_then(|start| u8::try_from(start).ok());
        if start.is_none() {
            let what = format!("`start` is {}", node.words());
            findings.refuse(node.at, what, "write the first unit of the board's grid, from 0");
        }
        start.map(Some)
    });
    let computes = node.get("compute").map_or(Some(Computes::Whole), |n| computes(n, findings));
    let ((profile, inline), count, start) = (profile?, count?, start?);
    if inline.is_some() && start.is_some() {
        findings.refuse(node.at, "the place is written twice", "keep `start`, or the @");
        return None;
    }
    let start = start.or(inline);
    one_place(node.at, count, start, findings)?;
    Some(Item { at: node.at, profile, count, start, computes: computes? })
}

fn computes(node: &Node, findings: &mut Findings) -> Option<Computes> {
    if node.text() == Some("whole") {
        return Some(Computes::Whole);
    }
    let Some(items) = node.list() else {
        let instead = "write `whole`, or a list such as [1c, 2c@1], or [] for none";
        findings.refuse(node.at, format!("`compute` is {}", node.words()), instead);
        return None;
    };
    let parts: Vec<Option<ComputeItem>> = items.iter().map(|item| part(item, findings)).collect();
    parts.into_iter().collect::<Option<Vec<ComputeItem>>>().map(Computes::Parts)
}

/// `2c`, `2c@1`, `id:7@2`.
fn part(node: &Node, findings: &mut Findings) -> Option<ComputeItem> {
    let found = node.text().and_then(|text| {
        let (size, start) = match text.split_once('@') {
            Some((size, start)) => (size, Some(start.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let size = match (size.strip_prefix("id:"), size.strip_suffix('c')) {
            (Some(id), _) => ComputeSize::Id(id.parse().ok()?),
            (None, Some(slices)) => {
                ComputeSize::Slices(slices.parse().ok().filter(|slices| *slices > 0)?)
            }
            (None, None) => return None,
        };
        Some(ComputeItem { at: node.at, size, start })
    });
    if found.is_none() {
        let what = format!("a compute instance is {}", node.words());
        findings.refuse(node.at, what, "write 1c, 2c@1 for a place, or id:7 for a profile id");
    }
    found
}
