//! Shrinking: the fewest acts that still break the same law.
//!
//! Must never return a script that does not break it.

use super::{Script, TAIL, run};

/// Leaves out as many acts as can be while the same law is broken, within so many runs.
pub fn shrink(script: &Script, law: &str, most_runs: u32) -> Script {
    let mut left = most_runs;
    let mut breaks = |candidate: &Script| {
        left = left.saturating_sub(1);
        let violation = run(candidate, TAIL).violation;
        let same = violation.as_ref().is_some_and(|found| found.law == law);
        (same.then(|| violation.map_or(0, |found| found.act)), left == 0)
    };
    let mut best = script.clone();
    if let (Some(act), _) = breaks(&best) {
        // Nothing after the act that broke it matters.
        let shorter = Script { acts: (act + 1).min(best.acts), ..best.clone() };
        if breaks(&shorter).0.is_some() {
            best = shorter;
        }
    }
    let mut chunk = best.acts.div_ceil(2).max(1);
    loop {
        let mut from = 0;
        let mut dropped = false;
        while from < best.acts {
            let part = from..(from + chunk).min(best.acts);
            let mut candidate = best.clone();
            candidate.without.extend(part);
            if candidate.without.len() > best.without.len() {
                let (broken, over) = breaks(&candidate);
                if broken.is_some() {
                    best = candidate;
                    dropped = true;
                }
                if over {
                    return best;
                }
            }
            from += chunk;
        }
        if chunk == 1 && !dropped {
            return best;
        }
        if !dropped || chunk > 1 {
            chunk = (chunk / 2).max(1);
        }
    }
}
