//! What stands on any board can be written down and holds against what was written: random layouts
//! through the real program, applied, exported and asserted.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod simulated;

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::{GpuInstanceProfile, Layout, PlacedProfile, Placement, SliceMask, catalog};
use simulated::{Lab, told};

/// GPUs of one machine: so many layouts are applied at once.
const GPUS: usize = 8;

/// Machines for each board; `MIGD_LAYOUT_ROUNDS=13` makes a hundred layouts and more of each.
fn rounds() -> usize {
    std::env::var("MIGD_LAYOUT_ROUNDS").map_or(1, |text| text.parse().unwrap())
}

/// Numbers from a seed (an LCG with the constants of Knuth's MMIX).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound.max(1)
    }
}

/// The inside of a GPU instance, as our format says it: all of it, nothing, or parts at their places.
fn inside(profile: &GpuInstanceProfile, chance: &mut Chance) -> String {
    match chance.below(3) {
        0 => String::from("[]"),
        1 => {
            let (mut taken, mut parts) = (SliceMask::EMPTY, Vec::new());
            for _ in 0..=chance.below(8) {
                let of = &profile.compute_profiles;
                let compute = &of[chance.below(of.len())];
                let start = compute.starts[chance.below(compute.starts.len())].get();
                let place = Placement::new(start, compute.slices).mask();
                let same = parts.iter().filter(|(id, _)| *id == compute.id).count() as u32;
                if !place.intersects(taken) && same < compute.max_count {
                    taken = taken.union(place);
                    parts.push((compute.id, start));
                }
            }
            let words: Vec<String> =
                parts.iter().map(|(id, start)| format!("\"id:{id}@{start}\"")).collect();
            format!("[{}]", words.join(", "))
        }
        _ => String::from("whole"),
    }
}

/// An entry of our format with a random legal layout for one GPU of a board.
fn entry(board: &catalog::Board, gpu: usize, chance: &mut Chance) -> String {
    let mut text = format!("    - gpus: [{gpu}]\n");
    if chance.below(8) == 0 {
        text.push_str("      mig: false\n");
        return text;
    }
    let geometry = board.geometry();
    let (mut layout, mut items) = (Layout::empty(), String::new());
    for _ in 0..chance.below(9) {
        let profile = &geometry.profiles[chance.below(geometry.profiles.len())];
        let free = layout.free_placements(&geometry, profile.id);
        if free.is_empty() {
            continue;
        }
        let placement = free[chance.below(free.len())];
        layout = layout.with(&geometry, PlacedProfile { placement, profile: profile.id }).unwrap();
        let (id, start, inside) = (profile.id, placement.start, inside(profile, chance));
        let _ = writeln!(items, "        - {{profile: {id}, start: {start}, compute: {inside}}}");
    }
    if items.is_empty() {
        text.push_str("      instances: []\n");
    } else {
        let _ = write!(text, "      instances:\n{items}");
    }
    text
}

/// `migctl export | migctl assert -f -`.
fn exported_and_asserted(lab: &Lab, options: &[&str]) {
    let text = lab.ok(&[&["export"], options].concat());
    let mut assert = lab.command(&["assert", "-f", "-"]);
    let mut assert =
        assert.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = assert.wait_with_output().unwrap();
    assert!(output.status.success(), "{text}\n{}", told(&output));
}

fn random_layouts_of(board: &catalog::Board, seed: u64) {
    let kind: &'static str = format!("{}:{GPUS}", board.id).leak();
    let mut chance = Chance(seed);
    let lab = Lab::new(kind);
    for round in 0..rounds() {
        let entries: String = (0..GPUS).map(|gpu| entry(board, gpu, &mut chance)).collect();
        let file = lab.state_dir().join("wanted.yaml");
        std::fs::write(&file, format!("schema: migd/v1\nlayouts:\n  wanted:\n{entries}")).unwrap();
        let file = file.to_str().unwrap();
        lab.ok(&["apply", "--alone", "-f", file, "--yes"]);
        // What was asked for, and what stands: told by the same program in two ways.
        lab.ok(&["assert", "-f", file]);
        for options in [&[][..], &["--schema", "migd"]] {
            exported_and_asserted(&lab, options);
        }
        if round == 0 {
            lab.ok(&["destroy", "--alone", "--gpu", "0", "--all", "--yes"]);
            lab.fails(1, &["assert", "-f", file]);
        }
    }
}

#[test]
fn what_is_exported_holds_on_every_board_of_the_catalog() {
    let boards: Vec<&catalog::Board> = catalog::boards().collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(board) = boards.get(next.fetch_add(1, Ordering::Relaxed)) {
                    random_layouts_of(board, 7);
                }
            });
        }
    });
}
