//! Places for the parts of a layout of which only the profiles are known.
//!
//! Must never move a part whose place is known.

use std::sync::Arc;

use model::{Geometry, GpuInstanceProfileId, PlacedProfile, Placement};
use planner::GeometryTables;

/// As `lay_out`, for a board whose tables nobody has.
pub fn lay_out_on(
    geometry: &Arc<Geometry>,
    parts: &[(GpuInstanceProfileId, Option<Placement>)],
) -> Option<Vec<PlacedProfile>> {
    lay_out(&GeometryTables::new(geometry), parts)
}

/// Legal places for these parts on one GPU; `None` if they do not go together.
pub(crate) fn lay_out(
    tables: &GeometryTables,
    parts: &[(GpuInstanceProfileId, Option<Placement>)],
) -> Option<Vec<PlacedProfile>> {
    let mut ways = vec![(tables.empty(), Vec::new())];
    for (profile, place) in parts {
        let fits = |part: &PlacedProfile| place.is_none_or(|place| part.placement == place);
        ways = ways
            .iter()
            .flat_map(|(class, laid)| {
                tables.parts_of(*profile).filter(|part| fits(&tables.part(*part))).filter_map(
                    move |part| {
                        let next = tables.after(*class, part)?;
                        let mut laid: Vec<PlacedProfile> = laid.clone();
                        laid.push(tables.part(part));
                        Some((next, laid))
                    },
                )
            })
            .collect();
        ways.sort_by_key(|(class, _)| *class);
        ways.dedup_by_key(|(class, _)| *class);
    }
    ways.into_iter().next().map(|(_, laid)| laid)
}

#[cfg(test)]
mod tests {
    use model::ProfileSelector;

    use super::*;

    #[test]
    fn parts_find_places_beside_those_that_have_one() {
        let geometry = model::catalog::board("a100-sxm4-40gb").expect("a board").geometry();
        let tables = GeometryTables::new(&Arc::new(geometry.clone()));
        let id = |slices| geometry.select(&ProfileSelector::Slices(slices)).expect("one").id;
        let at = |start| {
            let of_3g = geometry.select(&ProfileSelector::Slices(3)).expect("a 3g");
            of_3g.placements().find(|place| place.start.get() == start)
        };
        let laid = lay_out(&tables, &[(id(3), at(4)), (id(2), None), (id(1), None)]);
        let laid = laid.expect("room for all three");
        assert_eq!(laid[0].placement.start.get(), 4);
        for (number, part) in laid.iter().enumerate() {
            let others = laid[number + 1..].iter();
            assert!(others.clone().all(|other| !part.placement.overlaps(other.placement)));
        }
        assert_eq!(lay_out(&tables, &[(id(4), None), (id(4), None)]), None);
        assert_eq!(lay_out(&tables, &[(id(7), None), (id(1), None)]), None);
    }
}
