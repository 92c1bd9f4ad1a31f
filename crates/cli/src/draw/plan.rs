//! A plan as people read it: what stays, goes and comes on each GPU, drawn and in words.
//!
//! Must never leave out that something goes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use api::{BlockedView, GpuPlan, PartView, PlanDocument};
use clap::builder::styling::Style;
use model::{GpuUuid, Millis};

use crate::draw::layout::{Block, row};
use crate::draw::text::{clean, gpus, paragraph};
use crate::draw::{ALARM, FAINT, FOREIGN, HEADING, LEASED, MOVING, Page};
use crate::output::styled;

/// Units of the grid of each GPU.
pub(crate) type Grids = BTreeMap<GpuUuid, usize>;

/// The lines of a plan. GPUs on which nothing happens are named in one line.
pub(crate) fn lines(plan: &PlanDocument, grids: &Grids, page: Page) -> Vec<String> {
    let mut lines = vec![styled(HEADING, &format!("plan: {}", clean(&plan.words)))];
    let (same, changed): (Vec<&GpuPlan>, Vec<&GpuPlan>) =
        plan.gpus.iter().partition(|gpu| gpu.steps.is_empty() && gpu.blocked.is_none());
    let mut alike: Vec<(Vec<&GpuPlan>, Vec<String>)> = Vec::new();
    for gpu in &changed {
        let body = one(gpu, grids.get(&gpu.gpu).copied().unwrap_or_default(), page);
        let same = |(gpus, known): &&mut (Vec<&GpuPlan>, Vec<String>)| {
            gpus[0].name == gpu.name && nameless(gpus[0], known) == nameless(gpu, &body)
        };
        match alike.iter_mut().find(same) {
            Some((gpus, _)) => gpus.push(gpu),
            None => alike.push((vec![gpu], body)),
        }
    }
    for (of, body) in alike {
        let indices: Vec<u32> = of.iter().map(|gpu| gpu.index).collect();
        let each = if of.len() > 1 { ", each" } else { "" };
        let heading = format!("{}{each}  {}", gpus(&indices), clean(&of[0].name));
        lines.push(String::new());
        lines.push(styled(HEADING, &heading));
        lines.extend(if of.len() > 1 { nameless(of[0], &body) } else { body });
    }
    if !same.is_empty() {
        let indices: Vec<u32> = same.iter().map(|gpu| gpu.index).collect();
        let are = if indices.len() == 1 { "is" } else { "are" };
        lines.push(String::new());
        lines.push(format!("{} {are} as wanted", gpus(&indices)));
    }
    lines.extend(foot(plan, &changed, page));
    lines
}

fn one(gpu: &GpuPlan, grid: usize, page: Page) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(blocked) = &gpu.blocked {
        lines.extend(in_the_way(blocked, page));
        lines.extend(parts("stays", LEASED, &gpu.stays));
        return lines;
    }
    let as_now: Vec<PartView> = gpu.stays.iter().map(now).collect();
    let before: Vec<Block> = drawn(&as_now, LEASED).chain(drawn(&gpu.goes, ALARM)).collect();
    let after: Vec<Block> = drawn(&gpu.stays, LEASED).chain(drawn(&gpu.comes, MOVING)).collect();
    if grid > 0 && !(before.is_empty() && after.is_empty()) {
        lines.push(styled(FAINT, "  before"));
        lines.extend(row(grid, &before, page));
        lines.push(styled(FAINT, "  after"));
        lines.extend(row(grid, &after, page));
    }
    lines.extend(parts("stays", LEASED, &gpu.stays));
    lines.extend(parts("goes", ALARM, &gpu.goes));
    lines.extend(parts("comes", MOVING, &gpu.comes));
    for (number, words) in gpu.words.iter().enumerate() {
        let first = format!("  {:>2}. ", number + 1);
        lines.extend(paragraph(&clean(words), page.width, &first, "      "));
    }
    for note in &gpu.notes {
        lines.extend(paragraph(&clean(note), page.width, "  note: ", "        "));
    }
    lines
}

/// Lines about a GPU as they are for any other like it.
fn nameless(gpu: &GpuPlan, lines: &[String]) -> Vec<String> {
    let name = format!("GPU {}", gpu.index);
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_digit());
    let without = |line: &String| {
        let mut parts = line.split(name.as_str());
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            text.push_str(if ends(part) { "the GPU" } else { &name });
            text.push_str(part);
        }
        text
    };
    lines.iter().map(without).collect()
}

/// A part that stays, with what it has inside now.
fn now(part: &PartView) -> PartView {
    let computes = part.computes_before.as_ref().unwrap_or(&part.computes).clone();
    PartView { computes, ..part.clone() }
}

fn drawn(parts: &[PartView], style: Style) -> impl Iterator<Item = Block> + '_ {
    parts.iter().map(move |part| Block {
        start: usize::from(part.start),
        size: usize::from(part.size),
        title: part.profile.clone(),
        captions: captions(part),
        style,
    })
}

fn captions(part: &PartView) -> Vec<String> {
    let mut captions: Vec<String> = part.note.iter().map(|note| clean(note)).collect();
    if part.computes != [part.profile.clone()] {
        captions.push(inside(part));
    }
    captions.push(String::new());
    captions
}

/// The compute instances of a part, where they are not the one that takes all of it.
fn inside(part: &PartView) -> String {
    if part.computes.is_empty() {
        return String::from("no CI");
    }
    let mut runs: Vec<(&str, usize)> = Vec::new();
    for name in &part.computes {
        match runs.last_mut() {
            Some((last, count)) if *last == name => *count += 1,
            _ => runs.push((name, 1)),
        }
    }
    let words: Vec<String> = runs
        .into_iter()
        .map(|(name, count)| if count == 1 { name.to_owned() } else { format!("{count} {name}") })
        .collect();
    words.join(", ")
}

fn parts(what: &str, style: Style, parts: &[PartView]) -> Vec<String> {
    let line = |part: &PartView| {
        let mut line = format!("  {} ", styled(style, &format!("{what:<5}")));
        let _ = write!(line, "{:<14} at {}:{}", part.profile, part.start, part.size);
        if let Some(id) = part.gpu_instance {
            let _ = write!(line, "  GI {id}");
        }
        if part.computes != [part.profile.clone()] {
            let _ = write!(line, "  with {}", inside(part));
        }
        if let Some(before) = &part.computes_before {
            let before = PartView { computes: before.clone(), ..part.clone() };
            let _ = write!(line, " instead of {}", inside(&before));
        }
        if let Some(note) = &part.note {
            let _ = write!(line, "  {}", styled(FAINT, &clean(note)));
        }
        line
    };
    parts.iter().map(line).collect()
}

fn in_the_way(blocked: &BlockedView, page: Page) -> Vec<String> {
    let mut lines: Vec<String> = paragraph(&clean(&blocked.sentence), page.width, "  ", "  ")
        .iter()
        .map(|line| styled(ALARM, line))
        .collect();
    for thing in &blocked.by {
        let what = thing.gpu_instance.map_or_else(|| String::from("GPU"), |id| format!("GI {id}"));
        lines.push(format!("  {} {what}  {}", styled(FOREIGN, "in the way:"), clean(&thing.by)));
    }
    lines
}

fn foot(plan: &PlanDocument, changed: &[&GpuPlan], page: Page) -> Vec<String> {
    let mut lines = Vec::new();
    for unit in &plan.units {
        let words =
            format!("{} is stopped and started again: {}", clean(&unit.unit), clean(&unit.why));
        lines.extend(paragraph(&words, page.width, "", "  "));
    }
    let blocked: Vec<u32> =
        changed.iter().filter(|gpu| gpu.blocked.is_some()).map(|gpu| gpu.index).collect();
    if changed.len() > blocked.len() && (blocked.is_empty() || plan.wait_idle) {
        let how = if plan.measured { "as such steps took here" } else { "by rule of thumb" };
        lines.push(format!("takes about {} ({how})", Millis::new(plan.estimate_ms)));
    }
    if plan.is_for_never() {
        lines.push(styled(ALARM, "cannot be done, now or later"));
    } else if !blocked.is_empty() && plan.wait_idle {
        lines.push(format!("{} will be changed as soon as possible", gpus(&blocked)));
    } else if !blocked.is_empty() {
        let why = if plan.has_obstacles() { "something is in the way" } else { "as said above" };
        let words = format!("cannot be done now: {why} on {}", gpus(&blocked));
        lines.push(styled(ALARM, &words));
    }
    if !lines.is_empty() {
        lines.insert(0, String::new());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(profile: &str, computes: &[&str]) -> PartView {
        PartView {
            profile: profile.to_owned(),
            start: 0,
            size: 4,
            gpu_instance: Some(1),
            computes: computes.iter().map(ToString::to_string).collect(),
            computes_before: None,
            note: None,
        }
    }

    fn gpu(index: u32, words: &[&str]) -> GpuPlan {
        let plan = serde_json::json!({
            "gpu": format!("GPU-{index}"), "index": index, "name": "NVIDIA A30",
            "desired": "sliced",
            "before": {"mig": "unsupported", "instances": []},
            "steps": [{"reset_gpu": {"gpu": format!("GPU-{index}")}}],
            "words": words, "stays": [], "goes": [], "comes": [], "notes": [], "blocked": null,
            "estimate_ms": 0,
        });
        serde_json::from_value(plan).unwrap()
    }

    #[test]
    fn gpus_alike_are_drawn_once() {
        let gpus: Vec<GpuPlan> = (0..12).map(|index| gpu(index, &["reset the GPU"])).collect();
        let mut gpus = gpus;
        gpus[3] = gpu(3, &["disable MIG"]);
        gpus[1] = gpu(1, &["GPU 1 is reset", "GPU 11 is not"]);
        gpus[2] = gpu(2, &["GPU 2 is reset", "GPU 11 is not"]);
        let plan = serde_json::json!({
            "format": 1, "made_at_ms": 0, "words": "w", "gpus": gpus, "units": [],
            "machine": {"host": "h", "simulated": null, "driver": "1"},
            "allow": {"reset": true}, "wait_idle": false, "estimate_ms": 1, "measured": false,
        });
        let plan: PlanDocument = serde_json::from_value(plan).unwrap();
        let text = lines(&plan, &Grids::new(), Page::current()).join("\n");
        let text = anstream::adapter::strip_str(&text).to_string();
        for expected in [
            "GPUs 0,4-11, each  NVIDIA A30\n   1. reset the GPU\n",
            "GPUs 1-2, each  NVIDIA A30\n   1. the GPU is reset\n   2. GPU 11 is not\n",
            "GPU 3  NVIDIA A30\n   1. disable MIG\n",
        ] {
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn what_lies_inside_is_said_where_it_is_not_the_whole() {
        let whole = part("3g.20gb", &["3g.20gb"]);
        let line = anstream::adapter::strip_str(&parts("goes", ALARM, &[whole])[0]).to_string();
        assert_eq!(line, "  goes  3g.20gb        at 0:4  GI 1");
        let several = part("3g.20gb", &["1c.3g.20gb", "1c.3g.20gb", "1c.3g.20gb"]);
        assert_eq!(inside(&several), "3 1c.3g.20gb");
        assert_eq!(inside(&part("3g.20gb", &[])), "no CI");
    }
}
