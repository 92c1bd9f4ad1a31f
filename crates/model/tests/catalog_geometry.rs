//! Every board's geometry holds together.

use std::collections::BTreeSet;

use model::catalog::{self, Board, Field};
use model::layout::{self, Layout};
use model::{Geometry, GpuInstanceProfile};

fn each(check: impl Fn(&Board, &Geometry)) {
    let mut seen = 0;
    for board in catalog::boards() {
        check(board, &board.geometry());
        seen += 1;
    }
    assert_eq!(seen, 42);
}

fn unique<T: Ord>(items: impl Iterator<Item = T>) -> bool {
    let mut seen = BTreeSet::new();
    items.into_iter().all(|item| seen.insert(item))
}

#[test]
fn ids_enums_and_names_are_unique_and_enums_ascend() {
    each(|board, geometry| {
        let profiles = &geometry.profiles;
        assert!(unique(profiles.iter().map(|p| p.id)), "{}", board.id);
        assert!(unique(profiles.iter().map(|p| p.name)), "{}", board.id);
        assert!(profiles.windows(2).all(|w| w[0].nvml_enum < w[1].nvml_enum), "{}", board.id);
    });
}

#[test]
fn placements_ascend_inside_the_grid_and_reach_its_end() {
    each(|board, geometry| {
        assert_eq!(Geometry::grid_of(&geometry.profiles), geometry.grid, "{}", board.id);
        for profile in &geometry.profiles {
            assert!(!profile.starts.is_empty() && profile.size.get() > 0, "{}", profile.name);
            assert!(profile.starts.windows(2).all(|w| w[0] < w[1]), "{}", profile.name);
            assert!(profile.placements().all(|p| p.end() <= geometry.grid.get()));
        }
    });
}

#[test]
fn the_full_profile_has_all_that_the_gpu_has() {
    each(|board, geometry| {
        let full = geometry.full_profile().expect(board.id);
        assert_eq!(full.size, geometry.grid, "{}", board.id);
        assert_eq!(full.engines, geometry.engine_capacity, "{}", board.id);
        for profile in &geometry.profiles {
            assert!(profile.memory <= full.memory, "{} {}", board.id, profile.name);
            assert!(
                profile.multiprocessors <= full.multiprocessors,
                "{} {}",
                board.id,
                profile.name
            );
        }
        assert!(full.memory <= board.total_memory(), "{}", board.id);
        if let Some(whole) = board.multiprocessors {
            assert!(full.multiprocessors <= whole, "{}", board.id);
        }
    });
}

#[test]
fn more_compute_means_more_multiprocessors() {
    each(|board, geometry| {
        let mut plain: Vec<&GpuInstanceProfile> = geometry.plain_profiles().collect();
        plain.sort_by_key(|profile| profile.name.slices);
        for pair in plain.windows(2) {
            let (small, large) = (pair[0], pair[1]);
            assert!(small.multiprocessors < large.multiprocessors, "{} {}", board.id, large.name);
            assert!(small.memory <= large.memory, "{} {}", board.id, large.name);
            assert!(small.multiprocessors > 0, "{} {}", board.id, small.name);
        }
    });
}

#[test]
fn the_maximum_of_every_profile_can_be_reached_and_no_more() {
    each(|board, geometry| {
        for profile in &geometry.profiles {
            let capacity = Layout::empty().capacity(geometry, profile.id);
            assert_eq!(capacity, profile.max_instances, "{} {}", board.id, profile.name);
        }
    });
}

#[test]
fn the_board_maximum_is_the_largest_layout() {
    each(|board, geometry| {
        let layouts = layout::enumerate(geometry, |_| true);
        let most = layouts.iter().map(|layout| layout.placed().len()).max();
        assert_eq!(most, Some(board.family.max_instances as usize), "{}", board.id);
    });
}

#[test]
fn every_gpu_instance_can_be_one_compute_instance() {
    each(|board, geometry| {
        for profile in &geometry.profiles {
            let whole = profile.whole_compute_profile().expect(board.id);
            let what = format!("{} {}", board.id, profile.name);
            assert_eq!(whole.slices, profile.name.slices, "{what}");
            assert_eq!(whole.multiprocessors, profile.multiprocessors, "{what}");
            assert_eq!((whole.max_count, whole.starts.len()), (1, 1), "{what}");
            assert!(unique(profile.compute_profiles.iter().map(|c| c.id)), "{what}");
            for compute in &profile.compute_profiles {
                assert!(compute.max_count >= 1, "{what}");
                assert!(compute.multiprocessors > 0, "{what}");
                assert!(compute.starts.len() >= compute.max_count as usize, "{what}");
                let last = compute.starts.last().expect("a start").get();
                assert!(last + compute.slices <= profile.name.slices, "{what}");
                let used = compute.multiprocessors * compute.max_count;
                assert!(used <= profile.multiprocessors, "{what}: {compute:?}");
            }
        }
    });
}

#[test]
fn what_is_derived_is_exactly_what_is_unknown() {
    each(|board, _| {
        let derived = board.derived();
        assert!(unique(derived.iter().map(|d| (d.profile, d.field))), "{}", board.id);
        let has = |profile, field| derived.iter().any(|d| (d.profile, d.field) == (profile, field));
        assert_eq!(has(None, Field::TotalMemory), board.total_mib.is_none(), "{}", board.id);
        let mut expected = usize::from(board.total_mib.is_none());
        for profile in board.profiles() {
            let name = Some(profile.name);
            for (field, unknown) in [
                (Field::ProfileId, profile.id.value.is_none()),
                (Field::Memory, profile.memory.value.is_none()),
                (Field::Multiprocessors, profile.multiprocessors.value.is_none()),
            ] {
                assert_eq!(has(name, field), unknown, "{} {} {field:?}", board.id, profile.name);
                expected += usize::from(unknown);
            }
            for compute in &profile.compute {
                let number = compute.nvml_enum;
                for (field, unknown) in [
                    (Field::ComputeMultiprocessors(number), compute.multiprocessors.is_none()),
                    (Field::ComputeMaxCount(number), compute.max_count.is_none()),
                    (Field::ComputeStarts(number), compute.starts.is_none()),
                ] {
                    assert_eq!(has(name, field), unknown, "{} {field:?}", board.id);
                    expected += usize::from(unknown);
                }
            }
        }
        assert_eq!(derived.len(), expected, "{}", board.id);
    });
}
