//! The tables against the layouts they stand for.

use std::collections::BTreeSet;

use model::layout::enumerate;

use crate::world::{geometries, planner};

/// Every layout of every geometry: exactly the parts that the layout admits lead on, and those
/// lead to the class of the larger layout.
#[test]
fn classes_continue_as_their_layouts_do() {
    for (board, geometry) in geometries() {
        let tables = planner().tables(geometry);
        for layout in enumerate(geometry, |_| true) {
            let class = tables.class_of(layout.placed().iter().copied()).unwrap();
            for part in tables.parts() {
                let next = layout.with(geometry, *part).ok();
                let expected =
                    next.map(|next| tables.class_of(next.placed().iter().copied()).unwrap());
                let found = tables.after(class, tables.part_id(*part).unwrap());
                assert_eq!(found, expected, "{board} {layout:?} {part:?}");
            }
        }
    }
}

#[test]
fn capacities_are_those_of_the_layouts() {
    for (board, geometry) in geometries() {
        let tables = planner().tables(geometry);
        for layout in enumerate(geometry, |_| true).iter().step_by(11) {
            let class = tables.class_of(layout.placed().iter().copied()).unwrap();
            for profile in &geometry.profiles {
                let expected = layout.capacity(geometry, profile.id);
                assert_eq!(tables.capacity(class, profile.id), expected, "{board} {layout:?}");
            }
        }
    }
}

#[test]
fn illegal_sets_have_no_class() {
    for (board, geometry) in geometries() {
        let tables = planner().tables(geometry);
        let full = geometry.full_profile().unwrap();
        let part = *tables.parts().iter().find(|part| part.profile == full.id).unwrap();
        assert!(tables.class_of([part]).is_some(), "{board}");
        assert_eq!(tables.class_of([part, part]), None, "{board}");
    }
}

/// Fewer classes than layouts is what makes grouping pay; the A100 has 2,319 layouts.
#[test]
fn classes_are_few() {
    let geometry = crate::world::a100();
    let tables = planner().tables(&geometry);
    let layouts = enumerate(&geometry, |_| true);
    let classes: BTreeSet<_> =
        layouts.iter().map(|l| tables.class_of(l.placed().iter().copied()).unwrap()).collect();
    assert_eq!(layouts.len(), 2319);
    assert_eq!(classes.len(), tables.class_count());
    assert!(classes.len() < 400, "{}", classes.len());
}
