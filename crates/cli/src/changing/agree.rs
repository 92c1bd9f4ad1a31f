//! Asking before something is taken away.
//!
//! Must never take silence, or an end of input, for a yes.

use std::io::{self, BufRead as _, IsTerminal as _};

use api::PlanDocument;
use model::Step;

use crate::{Context, Exit, Failure};

/// Asks whether a plan that takes something away shall be carried out. One that only makes
/// instances asks nothing.
///
/// # Errors
/// [`Failure`] with exit code 1 on no, 3 where nobody can be asked.
pub(crate) fn ask(context: &Context, plan: &PlanDocument, yes: bool) -> Result<(), Failure> {
    let Some(question) = question(plan).filter(|_| !yes) else { return Ok(()) };
    if !io::stdin().is_terminal() {
        return Err(Failure::new("E-CONFIRM", format!("{question} Nobody can be asked here."))
            .exit(Exit::Usage)
            .hint("add --yes, or look at it first with --dry-run"));
    }
    context.output.warn(&format!("{question} Go on? [y/N]"));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| Failure::caused("E-CONFIRM", "cannot read the answer", &error))?;
    if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        Ok(())
    } else {
        Err(Failure::new("E-CONFIRM", "nothing was changed").exit(Exit::Negative))
    }
}

/// What is taken away, in a sentence; `None` if nothing is.
fn question(plan: &PlanDocument) -> Option<String> {
    let steps = || plan.gpus.iter().flat_map(|gpu| &gpu.steps);
    let instances = steps().filter(|step| matches!(step, Step::DestroyGpuInstance { .. })).count();
    let computes =
        steps().filter(|step| matches!(step, Step::DestroyComputeInstance { .. })).count();
    let modes = steps().filter(|step| matches!(step, Step::SetMigMode { .. })).count();
    let resets = steps().filter(|step| matches!(step, Step::ResetGpu { .. })).count();
    let mut parts = Vec::new();
    part(&mut parts, instances, "destroys a GPU instance", "destroys # GPU instances");
    if instances == 0 {
        part(&mut parts, computes, "destroys a compute instance", "destroys # compute instances");
    }
    part(&mut parts, modes, "changes the MIG mode of a GPU", "changes the MIG mode of # GPUs");
    part(&mut parts, resets, "resets a GPU", "resets # GPUs");
    if plan.wait_idle && plan.is_blocked() {
        parts.push(String::from("changes what is in the way as soon as that is idle"));
    }
    part(
        &mut parts,
        plan.units.len(),
        "stops a service for a while",
        "stops # services for a while",
    );
    (!parts.is_empty()).then(|| format!("This {}.", list(&parts)))
}

fn part(parts: &mut Vec<String>, count: usize, one: &str, many: &str) {
    match count {
        0 => {}
        1 => parts.push(one.to_owned()),
        _ => parts.push(many.replace('#', &count.to_string())),
    }
}

fn list(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_joined_as_in_a_sentence() {
        let parts: Vec<String> = ["a", "b", "c"].map(String::from).to_vec();
        assert_eq!(list(&parts), "a, b and c");
        assert_eq!(list(&parts[..1]), "a");
    }
}
