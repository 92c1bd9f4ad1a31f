//! The published and brute-forced numbers of layouts, reproduced by enumeration.
//!
//! Sources: NVIDIA's MIG user guide (the figure with nineteen configurations, its supported
//! profiles) and `-lgip`/`-lgipp` output of real boards.

use std::collections::BTreeSet;

use model::catalog::{self, Board};
use model::layout::{self, Layout};
use model::{Geometry, GpuInstanceProfile, GpuInstanceProfileId};

/// Distinct placed layouts (the empty one included), those nothing can be added to, and the two
/// again with places left out of account.
#[derive(Debug, PartialEq, Eq)]
struct Counts {
    placed: usize,
    maximal: usize,
    multisets: usize,
    maximal_multisets: usize,
}

const fn counts(numbers: [usize; 4]) -> Counts {
    let [placed, maximal, multisets, maximal_multisets] = numbers;
    Counts { placed, maximal, multisets, maximal_multisets }
}

fn maximal<'a>(
    geometry: &Geometry,
    layouts: &'a [Layout],
    allowed: &impl Fn(&GpuInstanceProfile) -> bool,
) -> Vec<&'a Layout> {
    let joinable: Vec<_> = geometry.profiles.iter().filter(|p| allowed(p)).collect();
    let full = |layout: &&Layout| {
        joinable.iter().all(|profile| layout.free_placements(geometry, profile.id).is_empty())
    };
    layouts.iter().filter(full).collect()
}

fn multiset(layout: &Layout) -> Vec<GpuInstanceProfileId> {
    let mut profiles: Vec<_> = layout.placed().iter().map(|part| part.profile).collect();
    profiles.sort_unstable();
    profiles
}

fn count(geometry: &Geometry, allowed: impl Fn(&GpuInstanceProfile) -> bool) -> Counts {
    let layouts = layout::enumerate(geometry, &allowed);
    let distinct: BTreeSet<&Layout> = layouts.iter().collect();
    assert_eq!(distinct.len(), layouts.len(), "enumerated twice");
    let full = maximal(geometry, &layouts, &allowed);
    Counts {
        placed: layouts.len(),
        maximal: full.len(),
        multisets: layouts.iter().map(multiset).collect::<BTreeSet<_>>().len(),
        maximal_multisets: full.into_iter().map(multiset).collect::<BTreeSet<_>>().len(),
    }
}

fn plain(geometry: &Geometry) -> impl Fn(&GpuInstanceProfile) -> bool + '_ {
    |profile| geometry.plain_profiles().any(|plain| plain.id == profile.id)
}

fn check(id: &str, expected_plain: [usize; 4], expected_all: [usize; 4]) {
    let geometry = catalog::board(id).expect(id).geometry();
    assert_eq!(count(&geometry, plain(&geometry)), counts(expected_plain), "{id}, plain");
    assert_eq!(count(&geometry, |_| true), counts(expected_all), "{id}, all");
}

fn sevens() -> impl Iterator<Item = &'static Board> {
    catalog::boards().filter(|board| board.family.name == "seven")
}

#[test]
fn boards_with_seven_slices() {
    assert_eq!(sevens().count(), 33);
    for board in sevens() {
        check(board.id, [298, 19, 38, 14], [2319, 239, 128, 64]);
    }
}

#[test]
fn boards_with_seven_slices_and_double_memory() {
    for board in sevens() {
        let without_attributes = |p: &GpuInstanceProfile| p.name.attributes.is_plain();
        let found = count(&board.geometry(), without_attributes);
        assert_eq!(found, counts([723, 78, 78, 38]), "{}", board.id);
    }
}

#[test]
fn a30() {
    for id in ["a30", "a30x"] {
        check(id, [26, 5, 10, 4], [76, 17, 20, 8]);
    }
}

#[test]
fn rtx_pro_6000() {
    for id in ["rtx-pro-6000-bse", "rtx-pro-6000-ws", "rtx-pro-6000-maxq"] {
        check(id, [26, 5, 10, 4], [717, 302, 115, 64]);
    }
}

#[test]
fn rtx_pro_with_halves() {
    check("rtx-pro-5000-48gb", [5, 2, 4, 2], [30, 19, 18, 12]);
    check("rtx-pro-5000-72gb", [5, 2, 4, 2], [30, 19, 18, 12]);
    check("rtx-pro-4500-32gb", [5, 2, 4, 2], [22, 13, 14, 9]);
}

#[test]
fn thor() {
    check("thor-igpu", [4, 3, 4, 3], [11, 5, 11, 5]);
}

/// The media engines decide on A30 and RTX PRO 6000; on the boards with seven slices the maxima
/// and the engines say the same.
#[test]
fn engines_bind_where_they_are_known_to() {
    for (id, without_engines) in [("a30", 84), ("rtx-pro-6000-bse", 1249), ("a100-sxm4-40gb", 2319)]
    {
        let mut geometry = catalog::board(id).expect(id).geometry();
        for profile in &mut geometry.profiles {
            profile.engines = model::EngineCounts::default();
        }
        assert_eq!(layout::enumerate(&geometry, |_| true).len(), without_engines, "{id}");
    }
}

fn describe(geometry: &Geometry, layout: &Layout) -> String {
    let part = |part: &layout::PlacedProfile| {
        let profile = geometry.profile(part.profile).expect("a profile of the board");
        format!("{}g@{}", profile.name.slices, part.placement.start)
    };
    layout.placed().iter().map(part).collect::<Vec<_>>().join(" ")
}

/// Six fillings of units 0 to 3 times three of units 4 to 7, and the whole GPU.
const NINETEEN: [&str; 19] = [
    "4g@0 3g@4",
    "4g@0 2g@4 1g@6",
    "4g@0 1g@4 1g@5 1g@6",
    "3g@0 3g@4",
    "3g@0 2g@4 1g@6",
    "3g@0 1g@4 1g@5 1g@6",
    "2g@0 2g@2 3g@4",
    "2g@0 2g@2 2g@4 1g@6",
    "2g@0 2g@2 1g@4 1g@5 1g@6",
    "2g@0 1g@2 1g@3 3g@4",
    "2g@0 1g@2 1g@3 2g@4 1g@6",
    "2g@0 1g@2 1g@3 1g@4 1g@5 1g@6",
    "1g@0 1g@1 2g@2 3g@4",
    "1g@0 1g@1 2g@2 2g@4 1g@6",
    "1g@0 1g@1 2g@2 1g@4 1g@5 1g@6",
    "1g@0 1g@1 1g@2 1g@3 3g@4",
    "1g@0 1g@1 1g@2 1g@3 2g@4 1g@6",
    "1g@0 1g@1 1g@2 1g@3 1g@4 1g@5 1g@6",
    "7g@0",
];

#[test]
fn the_nineteen_by_name() {
    for board in sevens() {
        let geometry = board.geometry();
        let layouts = layout::enumerate(&geometry, plain(&geometry));
        let full = maximal(&geometry, &layouts, &plain(&geometry));
        let found: BTreeSet<_> = full.iter().map(|layout| describe(&geometry, layout)).collect();
        let expected: BTreeSet<_> = NINETEEN.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{}", board.id);
    }
}

/// Before driver R510 a 4g and a 3g could not coexist: eighteen maximal layouts.
#[test]
fn eighteen_before_r510() {
    let geometry = catalog::board("a100-sxm4-40gb").expect("a board").geometry();
    let layouts = layout::enumerate(&geometry, plain(&geometry));
    let legal_then = |layout: &&Layout| {
        let has = |size: &str| describe(&geometry, layout).contains(size);
        !(has("4g") && has("3g"))
    };
    let old: Vec<&Layout> = layouts.iter().filter(legal_then).collect();
    assert_eq!(old.len(), 297);
    let contains = |large: &Layout, small: &Layout| {
        small.placed().iter().all(|part| large.placed().contains(part))
    };
    let extensible = |layout: &Layout| {
        old.iter().any(|o| o.placed().len() > layout.placed().len() && contains(o, layout))
    };
    assert_eq!(old.iter().filter(|layout| !extensible(layout)).count(), 18);
}

/// One instance without graphics and one with: plain 1g and 2g exclude each other, though their
/// places do not overlap.
#[test]
fn thor_pairs_compute_with_graphics() {
    let geometry = catalog::board("thor-igpu").expect("a board").geometry();
    let named = |layout: &Layout| {
        let name = |part: &layout::PlacedProfile| {
            geometry.profile(part.profile).expect("a profile of the board").name.to_string()
        };
        layout.placed().iter().map(name).collect::<Vec<_>>().join(" ")
    };
    let all = layout::enumerate(&geometry, |_| true);
    let pairs: BTreeSet<String> =
        all.iter().filter(|layout| layout.placed().len() == 2).map(named).collect();
    let expected = ["2g.0gb 1g.0gb+gfx", "2g.0gb+gfx 1g.0gb", "2g.0gb+gfx 1g.0gb+me"];
    assert_eq!(pairs, expected.iter().map(ToString::to_string).collect());
    let plain: BTreeSet<String> =
        layout::enumerate(&geometry, plain(&geometry)).iter().map(named).collect();
    let expected = ["", "1g.0gb", "2g.0gb", "3g.0gb"];
    assert_eq!(plain, expected.iter().map(ToString::to_string).collect());
}

/// What was left on an A100-SXM4-40GB after each step, as `nvidia-smi mig -lgip` showed it with
/// driver 580.126.09. The free count is that of legal placements, capped by the engines.
#[test]
fn remaining_capacity_as_observed() {
    let geometry = catalog::board("a100-sxm4-40gb").expect("a board").geometry();
    let ids = [19, 20, 15, 14, 9, 5, 0].map(GpuInstanceProfileId::new);
    let mut layout = Layout::empty();
    for (create, expected) in [
        (None, [7, 1, 4, 3, 2, 1, 1]),
        (Some((5, model::Placement::new(0, 4))), [3, 1, 2, 1, 1, 0, 0]),
        (Some((14, model::Placement::new(4, 2))), [1, 1, 1, 0, 0, 0, 0]),
        (Some((19, model::Placement::new(6, 1))), [0; 7]),
    ] {
        if let Some((profile, placement)) = create {
            let profile = GpuInstanceProfileId::new(profile);
            let part = layout::PlacedProfile { placement, profile };
            layout = layout.with(&geometry, part).expect("legal");
        }
        assert_eq!(ids.map(|id| layout.capacity(&geometry, id)), expected);
    }
}
