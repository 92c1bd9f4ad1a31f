//! What was cut off with a daemon that is gone, in sentences.
//!
//! Must never be asked where a daemon runs: it sees to it itself.

use daemon::Unfinished;
use model::GpuUuid;

use crate::Context;
use crate::draw::text::{clean, gpus};

/// The verb that takes it back.
pub(crate) const MEND: &str = "migctl change --settle";

/// What the last daemon left in the middle; nothing where its journal is not ours to read.
pub(crate) fn found(context: &Context) -> Vec<Unfinished> {
    if context.url().is_some() {
        return Vec::new();
    }
    let Ok(places) = context.places() else { return Vec::new() };
    match daemon::unfinished(&places.journal()) {
        Ok(found) => found,
        Err(error) => {
            context.output.detail(&format!("migctl: {}", crate::failure::chain(&error)));
            Vec::new()
        }
    }
}

/// Whether something may be half done, not only waiting.
pub(crate) const fn is_half_done(one: &Unfinished) -> bool {
    !(one.gpus.is_empty() && one.units.is_empty())
}

/// One of them in a sentence; `index` knows the machine's GPUs.
pub(crate) fn words(one: &Unfinished, index: impl Fn(&GpuUuid) -> Option<u32>) -> String {
    let asked = clean(&one.asked);
    let what = match one.change {
        Some(id) => format!("{id} ({asked})"),
        None => format!("making {asked}"),
    };
    if !is_half_done(one) {
        return format!("{what} waits, and no daemon runs that would go on with it");
    }
    let mut text = format!("{what} was cut off with its daemon");
    let indices: Vec<u32> = one.gpus.iter().filter_map(index).collect();
    if !indices.is_empty() {
        text = format!("{text}: it may be half done on {}", gpus(&indices));
    }
    if !one.units.is_empty() {
        text = format!("{text}; {} may be stopped", one.units.join(", "));
    }
    text
}

/// All of it, each with the command that mends it.
pub(crate) fn sentences(context: &Context, index: impl Fn(&GpuUuid) -> Option<u32>) -> Vec<String> {
    let told = |one: &Unfinished| {
        let verb = if is_half_done(one) { "takes it back" } else { "tells more" };
        format!("{}; `{MEND}` {verb}", words(one, &index))
    };
    found(context).iter().map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_cut_off_is_told_with_its_gpus_and_units() {
        let of = |change: Option<&str>, gpus: &[&str], units: &[&str]| {
            let one = Unfinished {
                change: change.map(|id| id.parse().unwrap()),
                asked: "apply -f a.yaml".to_owned(),
                gpus: gpus.iter().map(|gpu| GpuUuid::new(*gpu)).collect(),
                units: units.iter().map(ToString::to_string).collect(),
            };
            words(&one, |gpu| gpu.as_str().strip_prefix("GPU-")?.parse().ok())
        };
        assert_eq!(
            of(Some("C3"), &["GPU-0", "GPU-2"], &["dcgm.service"]),
            "C3 (apply -f a.yaml) was cut off with its daemon: it may be half done on GPUs 0,2; \
             dcgm.service may be stopped"
        );
        assert!(of(Some("C3"), &[], &[]).contains("C3 (apply -f a.yaml) waits"));
        assert!(of(None, &["GPU-1"], &[]).starts_with("making apply"));
    }
}
