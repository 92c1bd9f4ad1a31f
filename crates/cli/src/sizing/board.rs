//! The board that services are sized for: one of the catalog, or this machine's.
//!
//! Must never mix boards: what a slice carries was measured on one.

use std::sync::Arc;

use model::{Geometry, GpuInstanceProfileId, ProfileName, catalog};

use crate::changing::Ground;
use crate::{Context, Exit, Failure};

/// A board, and the GPUs of it that there are.
#[derive(Debug, Clone)]
pub(crate) struct Board {
    /// Its name for people.
    pub(crate) title: String,
    pub(crate) geometry: Arc<Geometry>,
    /// The most GPUs there are, if that is known.
    pub(crate) most: Option<u32>,
    /// The indices of this machine's GPUs, if it is this machine's board.
    pub(crate) indices: Option<Vec<u32>>,
}

impl Board {
    /// The board with this catalog id, or that of this machine's GPUs where none is named.
    ///
    /// # Errors
    /// [`Failure`] with exit code 3 for a board that is not known, and where GPUs differ.
    pub(crate) fn find(
        context: &Context,
        named: Option<&str>,
        most: Option<u32>,
    ) -> Result<Self, Failure> {
        match named {
            Some(id) => Self::of_catalog(id, most),
            None => Self::of_machine(context, most),
        }
    }

    fn of_catalog(id: &str, most: Option<u32>) -> Result<Self, Failure> {
        let board = catalog::board(id).ok_or_else(|| {
            Failure::usage(format!("no board is called `{id}`"))
                .hint(format!("nearest: {}", catalog::nearest_ids(id).join(", ")))
        })?;
        let (title, geometry) = (board.title.to_owned(), Arc::new(board.geometry()));
        Ok(Self { title, geometry, most, indices: None })
    }

    fn of_machine(context: &Context, most: Option<u32>) -> Result<Self, Failure> {
        let which = || "name the board with --board, or in the file (docs/boards.md lists them)";
        let ground = Ground::read(context).map_err(|failure| failure.hint(which()))?;
        let capable = ground.node.gpus.iter().filter(|gpu| gpu.geometry.is_some());
        let mut kinds: Vec<(String, Arc<Geometry>, Vec<u32>)> = Vec::new();
        for gpu in capable {
            let Some(geometry) = &gpu.geometry else { continue };
            match kinds.iter_mut().find(|(name, known, _)| *name == gpu.name && known == geometry) {
                Some((_, _, indices)) => indices.push(gpu.index.get()),
                None => {
                    kinds.push((gpu.name.clone(), Arc::clone(geometry), vec![gpu.index.get()]));
                }
            }
        }
        match kinds.as_slice() {
            [(title, geometry, indices)] => {
                let there = u32::try_from(indices.len()).unwrap_or(u32::MAX);
                Ok(Self {
                    title: title.clone(),
                    geometry: Arc::clone(geometry),
                    most: Some(most.map_or(there, |most| most.min(there))),
                    indices: Some(indices.clone()),
                })
            }
            [] => Err(Failure::new("E-SIZE", "no GPU of this machine can do MIG")
                .exit(Exit::Usage)
                .hint(which())),
            several => {
                let names: Vec<&str> = several.iter().map(|(name, ..)| name.as_str()).collect();
                let words = format!("this machine has different GPUs: {}", names.join(", "));
                Err(Failure::new("E-SIZE", words).exit(Exit::Usage).hint(which()))
            }
        }
    }

    /// The index of the `number`th GPU of a deployment.
    pub(crate) fn index(&self, number: usize) -> u32 {
        let own = self.indices.as_ref().and_then(|indices| indices.get(number).copied());
        own.unwrap_or_else(|| u32::try_from(number).unwrap_or(u32::MAX))
    }

    /// The name of a profile.
    pub(crate) fn name(&self, profile: GpuInstanceProfileId) -> ProfileName {
        let found = self.geometry.profile(profile);
        found.map_or(ProfileName::plain(0, 0), |profile| profile.name)
    }
}
