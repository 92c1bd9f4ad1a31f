//! Keys that nobody knows.
//!
//! Must never let one pass: what was meant would be lost.

use crate::fault::{Findings, Mark};
use model::nearest;

/// Refuses `key`, with the one of `known` that was probably meant.
pub(crate) fn unknown_key(findings: &mut Findings, at: Mark, key: &str, known: &[&str]) {
    let instead = match nearest(key, known.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("there are: {}", known.join(", ")),
    };
    findings.refuse(at, format!("there is no key `{key}` here"), instead);
}
