//! Instances as people type them: `3g.20gb`, `2x1g.5gb`, `3g.20gb@4`, `1c.3g.20gb`, `3g.20gb:1c,2c`.
//!
//! Must never know a machine: what a profile is there comes later.

use std::str::FromStr;

use layout_file::{ComputeItem, ComputeSize, Computes, Item, Mark};
use model::{ProfileName, ProfileSelector};

/// The most instances that one word may ask for; no board holds a third of it.
const MOST: u32 = 64;

/// A word for instances that are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    count: u32,
    profile: ProfileSelector,
    start: Option<u8>,
    inside: Inside,
}

/// What a word says of the inside of its GPU instance.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Inside {
    /// One compute instance over all of it.
    Whole,
    /// Compute instances, none for an empty GPU instance.
    Listed(Vec<(ComputeSize, Option<u8>)>),
    /// One compute instance of a GPU instance that others may share: `1c.3g.20gb`.
    Share(u8),
}

impl FromStr for Word {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (count, rest) = counted(text.trim())?;
        let (rest, inside) = match rest.split_once(':') {
            Some((rest, list)) => (rest, Inside::Listed(listed(list)?)),
            None => (rest, Inside::Whole),
        };
        let (name, start) = placed(rest)?;
        let profile: ProfileSelector =
            name.parse().map_err(|error| format!("bad profile `{name}`: {error}"))?;
        if start.is_some() && count > 1 {
            return Err(format!("`{text}` puts {count} instances in one place; name each place"));
        }
        match profile {
            ProfileSelector::Name(name @ ProfileName { compute: Some(slices), .. }) => {
                if inside != Inside::Whole || start.is_some() {
                    return Err(format!(
                        "`{text}` is a compute instance; write {}@PLACE:{slices}c,… to place its GPU instance",
                        name.gpu_instance()
                    ));
                }
                let profile = ProfileSelector::Name(name.gpu_instance());
                Ok(Self { count, profile, start, inside: Inside::Share(slices) })
            }
            ProfileSelector::Name(_) | ProfileSelector::Id(_) | ProfileSelector::Slices(_) => {
                Ok(Self { count, profile, start, inside })
            }
        }
    }
}

/// `7x1g.5gb`: how many, and of what.
fn counted(text: &str) -> Result<(u32, &str), String> {
    let Some((number, rest)) = text.split_once(['x', '*']) else { return Ok((1, text)) };
    let Ok(count) = number.parse::<u32>() else { return Ok((1, text)) };
    if (1..=MOST).contains(&count) {
        Ok((count, rest))
    } else {
        Err(format!("`{text}`: a count is 1 to {MOST}"))
    }
}

/// `3g.20gb@4`: what, and where.
fn placed(text: &str) -> Result<(&str, Option<u8>), String> {
    let Some((name, start)) = text.split_once('@') else { return Ok((text, None)) };
    let start = start.parse().map_err(|_| {
        format!("`{text}`: a place is the first unit on the board's grid, as in 3g.20gb@4")
    })?;
    Ok((name, Some(start)))
}

/// `1c,2c@1`, `2x1c`, or `none`.
fn listed(text: &str) -> Result<Vec<(ComputeSize, Option<u8>)>, String> {
    if text == "none" {
        return Ok(Vec::new());
    }
    let mut list = Vec::new();
    for word in text.split(',') {
        let (count, rest) = counted(word)?;
        let (size, start) = placed(rest)?;
        let bad = || format!("`{word}` is no compute instance; write 1c, 2x1c, 2c@1, or none");
        let size = if let Some(slices) = size.strip_suffix('c') {
            ComputeSize::Slices(slices.parse().map_err(|_| bad())?)
        } else {
            let id = size.strip_prefix("id").map(|id| id.trim_start_matches('='));
            ComputeSize::Id(id.and_then(|id| id.parse().ok()).ok_or_else(bad)?)
        };
        if start.is_some() && count > 1 {
            return Err(bad());
        }
        list.extend(std::iter::repeat_n((size, start), count as usize));
    }
    Ok(list)
}

/// What the words want, for a file's reader: the place of each is its number on the command line.
/// Shares of one profile that follow each other fill a GPU instance before the next one begins.
pub(crate) fn items(words: &[Word]) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    // Compute slices that the last item, made of shares, has left.
    let mut left: Option<(ProfileSelector, u8)> = None;
    for (number, word) in words.iter().enumerate() {
        let at = Mark { line: 1, column: u32::try_from(number + 1).unwrap_or(u32::MAX) };
        let Inside::Share(slices) = word.inside else {
            left = None;
            items.push(item(word, at));
            continue;
        };
        for _ in 0..word.count {
            let compute = ComputeItem { at, size: ComputeSize::Slices(slices), start: None };
            let fits = left.filter(|(profile, left)| *profile == word.profile && *left >= slices);
            let last = items.last_mut().map(|item| &mut item.computes);
            if let (Some((profile, free)), Some(Computes::Parts(parts))) = (fits, last) {
                parts.push(compute);
                left = Some((profile, free - slices));
                continue;
            }
            let ProfileSelector::Name(name) = word.profile else { continue };
            left = Some((word.profile, name.slices.saturating_sub(slices)));
            let computes = Computes::Parts(vec![compute]);
            items.push(Item { computes, count: 1, ..item(word, at) });
        }
    }
    items
}

fn item(word: &Word, at: Mark) -> Item {
    let computes = match &word.inside {
        Inside::Listed(list) => Computes::Parts(
            list.iter()
                .map(|(size, start)| ComputeItem { at, size: *size, start: *start })
                .collect(),
        ),
        Inside::Whole | Inside::Share(_) => Computes::Whole,
    };
    Item { at, profile: word.profile, count: word.count, start: word.start, computes }
}

/// A compute instance for a GPU instance that exists: `1c`, `2c@1`, `id=0`.
pub(crate) fn computes(words: &[String]) -> Result<Vec<(ComputeSize, Option<u8>)>, String> {
    let lists: Result<Vec<_>, String> = words.iter().map(|word| listed(word)).collect();
    let all = lists?.concat();
    if all.is_empty() {
        Err(String::from("say which compute instances: 1c, 2c@1"))
    } else {
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(words: &[&str]) -> Vec<String> {
        let words: Vec<Word> = words.iter().map(|word| word.parse().unwrap()).collect();
        let computes = |computes: &Computes| match computes {
            Computes::Whole => String::new(),
            Computes::Parts(parts) => {
                let sizes: Vec<String> = parts
                    .iter()
                    .map(|part| match (part.size, part.start) {
                        (ComputeSize::Slices(slices), None) => format!("{slices}c"),
                        (ComputeSize::Slices(slices), Some(at)) => format!("{slices}c@{at}"),
                        (ComputeSize::Id(id), _) => format!("id{id}"),
                    })
                    .collect();
                format!(" [{}]", sizes.join(" "))
            }
        };
        items(&words)
            .iter()
            .map(|item| {
                let at = item.start.map_or_else(String::new, |start| format!("@{start}"));
                format!("{}x{}{at}{}", item.count, item.profile, computes(&item.computes))
            })
            .collect()
    }

    #[test]
    fn words_become_instances() {
        assert_eq!(wanted(&["3g.20gb@4", "2x1g.5gb"]), ["1x3g.20gb@4", "2x1g.5gb"]);
        assert_eq!(wanted(&["3g.20gb:1c,2c@1"]), ["1x3g.20gb [1c 2c@1]"]);
        assert_eq!(wanted(&["3g.20gb:none", "7g", "19"]), ["1x3g.20gb []", "1x7g", "1x19"]);
        assert_eq!(wanted(&["2x3g.20gb:3x1c"]), ["2x3g.20gb [1c 1c 1c]"]);
    }

    #[test]
    fn shares_fill_one_gpu_instance_after_the_other() {
        assert_eq!(wanted(&["1c.3g.20gb"; 3]), ["1x3g.20gb [1c 1c 1c]"]);
        assert_eq!(wanted(&["1c.3g.20gb", "2c.3g.20gb"]), ["1x3g.20gb [1c 2c]"]);
        assert_eq!(wanted(&["4x1c.3g.20gb"]), ["1x3g.20gb [1c 1c 1c]", "1x3g.20gb [1c]"]);
        let parted = wanted(&["1c.3g.20gb", "1g.5gb", "1c.3g.20gb"]);
        assert_eq!(parted, ["1x3g.20gb [1c]", "1x1g.5gb", "1x3g.20gb [1c]"]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for bad in [
            "",
            "x",
            "0x1g.5gb",
            "99x1g.5gb",
            "2x3g.20gb@4",
            "3g.20gb@",
            "3g.20gb@x",
            "3g.20gb:",
            "3g.20gb:c",
            "3g.20gb:1g",
            "1c.3g.20gb:1c",
            "1c.3g.20gb@4",
        ] {
            assert!(bad.parse::<Word>().is_err(), "{bad}");
        }
    }
}
