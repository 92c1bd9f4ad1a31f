//! Whether a set of slices fits on the GPUs of a machine at all, however they lie.
//!
//! Must never say that a packing exists where there is none: it is `planner::pack` that says so.

use std::sync::{Arc, Mutex, PoisonError};

use broker::RequestSpec;
use model::{Geometry, NodeSnapshot};
use planner::pack::{Demand, Packer};

use super::work::answer;

/// What was made once for a geometry serves everybody who asks: to make it takes as long as many
/// thousand answers.
static KNOWN: Mutex<Vec<(Arc<Geometry>, Arc<Packer>)>> = Mutex::new(Vec::new());

/// The GPUs of a machine of which all are of one board.
#[derive(Debug, Clone)]
pub(crate) struct Packing {
    geometry: Arc<Geometry>,
    packer: Arc<Packer>,
}

impl Packing {
    /// `None` if the GPUs are not all of one board, or do no MIG.
    pub(crate) fn of(observed: &NodeSnapshot) -> Option<Self> {
        let mut all = observed.gpus.iter().map(|gpu| gpu.geometry.as_ref());
        let geometry = all.next()??;
        if !all.all(|other| other == Some(geometry)) {
            return None;
        }
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let found =
            known.iter().find(|(of, _)| of == geometry).map(|(_, packer)| Arc::clone(packer));
        let packer = found.unwrap_or_else(|| {
            let packer = Arc::new(Packer::new(geometry));
            known.push((Arc::clone(geometry), Arc::clone(&packer)));
            packer
        });
        Some(Self { geometry: Arc::clone(geometry), packer })
    }

    /// Whether what these ask for fits on so many of the GPUs together; `None` if one of them asks for
    /// what the board does not have.
    pub(crate) fn fits<'s>(
        &self,
        mut specs: impl Iterator<Item = &'s RequestSpec>,
        gpus: usize,
    ) -> Option<bool> {
        let mut demand = Demand::none(&self.geometry);
        specs.try_for_each(|spec| {
            let id = answer(&spec.wanted, &self.geometry)?.id;
            let index = self.geometry.profiles.iter().position(|profile| profile.id == id)?;
            demand.add(index, u64::from(spec.count));
            Some(())
        })?;
        Some(self.packer.fits(&demand, gpus as u64))
    }
}
