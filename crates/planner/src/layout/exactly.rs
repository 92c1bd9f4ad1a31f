//! Exactly these instances, or these beside what is there: the search put to use.
//!
//! Must never let what somebody holds go, nor what was not to go.

use alloc::sync::Arc;
use alloc::vec::Vec;

use model::{DesiredCompute, DesiredInstance, GpuInstanceId, MigMode};

use super::compute::Fit;
use super::impossible::Impossible;
use super::mode::mode_steps;
use super::present::Present;
use super::search::{Found, Search};
use super::shortfall::Shortfall;
use super::wanted::Wanted;
use super::write::{Coming, Decided, Settled};
use crate::room::Planner;
use crate::tables::{GeometryTables, PartId};

impl Planner {
    pub(super) fn exactly(
        &self,
        present: &Present<'_>,
        instances: &[DesiredInstance],
    ) -> Result<Settled, Impossible> {
        let mode = mode_steps(present.gpu, MigMode::Enabled, present.rules)?;
        let tables = self.tables_of_gpu(present)?;
        let wanted = Wanted::of(present, &tables, instances)?;
        let mut search = Search::new(&tables, present, &wanted);
        let shortfall = Shortfall { tables: &tables, present, wanted: &wanted };
        let Some(found) = search.best(tables.empty()) else {
            return Err(shortfall.too_much(&search));
        };
        let (mut decided, against) = decide(present, &tables, &wanted, &search, &found);
        if mode.changes() && !present.all_held().is_empty() {
            return Ok(Settled::blocked(Decided::as_it_is(present), present.all_held()));
        }
        decided.mode = mode;
        if !against.is_empty() {
            let obstacles = against.iter().map(|index| present.blocker(*index)).collect();
            let best = shortfall.beside_held(&search);
            let now = for_now(present, &tables, decided, &against);
            return Ok(Settled::Blocked { now, against: obstacles, best });
        }
        Ok(present.after_the_first(decided))
    }

    pub(super) fn beside(
        &self,
        present: &Present<'_>,
        instances: &[DesiredInstance],
        computes: &[(GpuInstanceId, DesiredCompute)],
    ) -> Result<Decided, Impossible> {
        present.refuse_off()?;
        let mut decided = Decided::as_it_is(present);
        present.join(computes, &mut decided)?;
        if !instances.is_empty() {
            let tables = self.tables_of_gpu(present)?;
            let wanted = Wanted::of(present, &tables, instances)?;
            let base = present.class(&tables)?;
            let mut search = Search::among(&tables, &[], &wanted);
            let Some(found) = search.best(base) else {
                let shortfall = Shortfall { tables: &tables, present, wanted: &wanted };
                return Err(shortfall.no_room());
            };
            decided.coming = coming(&tables, &wanted, &search, &found);
        }
        present.refuse_first(&decided)?;
        Ok(decided)
    }

    fn tables_of_gpu(&self, present: &Present<'_>) -> Result<Arc<GeometryTables>, Impossible> {
        let missing = || Impossible::NoGeometry(present.gpu.uuid.clone());
        Ok(self.tables(present.gpu.geometry.as_ref().ok_or_else(missing)?))
    }
}

/// What becomes of everything in the layout that was found, and which of those that are held would
/// have to end for it.
fn decide(
    present: &Present<'_>,
    tables: &GeometryTables,
    wanted: &Wanted<'_>,
    search: &Search<'_>,
    found: &Found,
) -> (Decided, Vec<usize>) {
    let mut decided = Decided::cleared(present);
    let mut against = Vec::new();
    for (index, group) in wanted.groups.iter().enumerate() {
        for (there, kind) in search.assignment(group, index, &found.target).kept {
            let Some(found) = search.matching(there, kind) else { continue };
            decided.there[there] = Some(found.fit.clone());
            if found.against {
                against.push(there);
            }
        }
    }
    let gone = |index: &usize| decided.there[*index].is_none() && present.there[*index].is_held();
    against.extend((0..present.there.len()).filter(gone));
    against.sort_unstable();
    decided.coming = coming(tables, wanted, search, found);
    (decided, against)
}

/// What of a layout can be had while those `against` it stay as they are.
fn for_now(
    present: &Present<'_>,
    tables: &GeometryTables,
    mut target: Decided,
    against: &[usize],
) -> Decided {
    for index in against {
        target.there[*index] = Some(Fit::as_it_is(present.there[*index].lying.len()));
    }
    let stays = present.there.iter().zip(&target.there).filter(|(_, fit)| fit.is_some());
    let mut class = tables.class_of(stays.map(|(one, _)| one.part()));
    target.coming.retain(|coming| {
        let next = class.and_then(|class| tables.extend(class, [coming.part]));
        class = next.or(class);
        next.is_some()
    });
    target
}

/// The GPU instances that come, by placement.
fn coming(
    tables: &GeometryTables,
    wanted: &Wanted<'_>,
    search: &Search<'_>,
    found: &Found,
) -> Vec<Coming> {
    let groups = wanted.groups.iter().enumerate();
    let made =
        groups.flat_map(|(index, group)| search.assignment(group, index, &found.target).made);
    let mut made: Vec<(PartId, usize)> = made.collect();
    made.sort_unstable();
    let coming = made.into_iter().map(|(part, kind)| Coming {
        part: tables.part(part),
        computes: wanted.kinds[kind].fresh.made.clone(),
    });
    coming.collect()
}
