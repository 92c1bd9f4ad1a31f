//! Values that both files have, from a node to a type.
//!
//! Must never take a number without the unit that it needs.

use model::rate::NumberError;
use model::{Micros, ProfileSelector, Rate};

use crate::fault::Findings;
use crate::tree::Node;

/// The most processes or requests in a batch that make sense; more is a slip of the pen.
const MOST: i64 = 1_000_000;

/// Requests per second.
pub(super) fn rate(node: &Node, key: &str, findings: &mut Findings) -> Option<Rate> {
    let instead = "write requests per second, such as 12 or 0.5";
    parsed(node, key, instead, findings, str::parse)
}

/// A time with its unit.
pub(super) fn time(node: &Node, key: &str, findings: &mut Findings) -> Option<Micros> {
    let instead = "write a time with its unit, such as 200ms or 1.5s";
    parsed(node, key, instead, findings, Micros::from_text)
}

/// A percentage, `10%` or `10 %`.
pub(super) fn percent(node: &Node, key: &str, findings: &mut Findings) -> Option<u32> {
    let instead = "write it with its sign, such as 20%";
    parsed(node, key, instead, findings, |text| {
        let digits = text.trim().strip_suffix('%').ok_or(NumberError::Unit)?.trim_end();
        let number: u32 = digits.parse().map_err(|_| NumberError::Form)?;
        if number <= 1000 { Ok(number) } else { Err(NumberError::Range) }
    })
}

/// A whole number from one.
pub(super) fn count(node: &Node, key: &str, findings: &mut Findings) -> Option<u32> {
    let number = node.whole().filter(|number| (1..=MOST).contains(number));
    if number.is_none() {
        let what = format!("`{key}` is {}", node.words());
        findings.refuse(node.at, what, "write a whole number from 1");
    }
    number.and_then(|number| u32::try_from(number).ok())
}

/// A name: a text that is not empty.
pub(super) fn name(node: &Node, key: &str, findings: &mut Findings) -> Option<String> {
    let text = node.scalar().map(str::trim).filter(|text| is_name(text));
    if text.is_none() {
        findings.refuse(node.at, format!("`{key}` is {}", node.words()), "write a name");
    }
    text.map(str::to_owned)
}

/// Whether a text can be a name: one that stands on a line and can be seen.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

/// A profile: `2g` or `2g.20gb`.
pub(super) fn profile(node: &Node, findings: &mut Findings) -> Option<ProfileSelector> {
    let found = node.text().and_then(selector);
    if found.is_none() {
        findings.refuse(node.at, format!("{} is no slice", node.words()), PROFILE);
    }
    found
}

/// How a slice is written.
pub(super) const PROFILE: &str = "write a profile: 2g, 2g.20gb or 1g.10gb+me";

/// A profile as a whole slice; ids are a board's own and would mean something else on the next.
pub(super) fn selector(text: &str) -> Option<ProfileSelector> {
    match text.parse().ok()? {
        ProfileSelector::Name(name) if name.compute.is_some() => None,
        ProfileSelector::Id(_) => None,
        selector @ (ProfileSelector::Name(_) | ProfileSelector::Slices(_)) => Some(selector),
    }
}

fn parsed<T>(
    node: &Node,
    key: &str,
    instead: &str,
    findings: &mut Findings,
    parse: impl Fn(&str) -> Result<T, NumberError>,
) -> Option<T> {
    let found = node.scalar().map_or(Err(NumberError::Form), parse);
    found
        .map_err(|error| {
            let large = if error == NumberError::Range { ", which is too large" } else { "" };
            findings.refuse(node.at, format!("`{key}` is {}{large}", node.words()), instead);
        })
        .ok()
}
