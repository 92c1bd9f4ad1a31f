//! Which boards a fleet has, and how many GPUs of each.
//!
//! Must never hold what lies on a GPU.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use model::{Geometry, GpuInstanceProfileId, catalog};
use planner::GeometryTables;
use planner::pack::Packer;

/// What one whole GPU weighs. Divisible by the grids of all boards (2, 4, 8 and 12 units), so that
/// slices of different boards can be added: one unit of an A100 weighs 105.
pub(super) const WHOLE: u64 = 840;

/// The GPUs of one board.
#[derive(Debug, Clone)]
pub struct SiteBoard {
    /// The catalog's name for it.
    pub name: String,
    /// Its shapes.
    pub tables: Arc<GeometryTables>,
    /// What fits on it, exactly.
    pub packer: Arc<Packer>,
    /// How many there are.
    pub gpus: u32,
}

impl SiteBoard {
    /// Its geometry.
    pub fn geometry(&self) -> &Geometry {
        self.tables.geometry()
    }

    /// What so many grid units of this board weigh; see `WHOLE`.
    pub fn weight(&self, units: u8) -> u64 {
        u64::from(units) * WHOLE / u64::from(self.geometry().grid.get().max(1))
    }

    /// What a slice of a profile weighs, in memory and in compute slices: a whole GPU is 840 of
    /// both. Zero for a profile that the board has not.
    pub fn weights(&self, profile: GpuInstanceProfileId) -> (u64, u64) {
        let geometry = self.geometry();
        let Some(profile) = geometry.profile(profile) else { return (0, 0) };
        let all = geometry.full_profile().map_or(1, |full| full.name.slices.max(1));
        let compute = u64::from(profile.name.slices) * WHOLE / u64::from(all);
        (self.weight(profile.size.get()), compute)
    }
}

/// A fleet: GPUs are numbered board by board, in this order.
#[derive(Debug, Clone)]
pub struct Site {
    boards: Vec<SiteBoard>,
}

/// Why a fleet cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SiteError {
    /// The catalog has no such board.
    #[error("no board is called `{name}`; the nearest are {nearest}")]
    Unknown {
        /// What was written.
        name: String,
        /// What may have been meant.
        nearest: String,
    },
    /// The number of GPUs is none.
    #[error("`{text}` is no number of GPUs from 1 to {most}; write a100-sxm4-80gb:60", most = Site::MOST)]
    Count {
        /// What was written.
        text: String,
    },
    /// A board without a number beside one with.
    #[error("say how many GPUs of each board: a100-sxm4-80gb:60,h100-sxm-80gb:40")]
    NoCount,
    /// Twice the same.
    #[error("board `{name}` is named twice; name it once with the sum")]
    Twice {
        /// Which.
        name: String,
    },
    /// More than can be simulated.
    #[error("a fleet has at most {most} GPUs", most = Site::MOST)]
    TooMany,
}

impl Site {
    /// The most GPUs of a fleet. A decision costs the same for more; what grows is the memory of
    /// the simulation and the time until such a fleet is full.
    pub const MOST: u32 = 1_000_000;

    /// GPUs of one board of the catalog.
    ///
    /// # Errors
    /// [`SiteError`] for an unknown board or an impossible number.
    pub fn of(name: &str, gpus: u32) -> Result<Self, SiteError> {
        Self::with(&[(name, gpus)])
    }

    /// What `text` says: one board (`a100-sxm4-80gb`, then with `gpus` GPUs), or several with
    /// numbers (`a100-sxm4-80gb:60,h100-sxm-80gb:40`, where `gpus` is not used).
    ///
    /// # Errors
    /// [`SiteError`], which says what to write instead.
    pub fn parse(text: &str, gpus: u32) -> Result<Self, SiteError> {
        let entries: Vec<&str> = text.split(',').map(str::trim).filter(|e| !e.is_empty()).collect();
        let alone = entries.len() == 1;
        let parsed: Result<Vec<(&str, u32)>, SiteError> = entries
            .into_iter()
            .map(|entry| match entry.split_once(':') {
                Some((name, count)) => {
                    let number = u32::from_str(count.trim());
                    let number = number.map_err(|_| SiteError::Count { text: count.into() })?;
                    Ok((name.trim(), number))
                }
                None if alone => Ok((entry, gpus)),
                None => Err(SiteError::NoCount),
            })
            .collect();
        Self::with(&parsed?)
    }

    fn with(entries: &[(&str, u32)]) -> Result<Self, SiteError> {
        let mut boards: Vec<SiteBoard> = Vec::new();
        let mut sum = 0u32;
        for (name, gpus) in entries {
            let board = catalog::board(name).ok_or_else(|| SiteError::Unknown {
                name: (*name).into(),
                nearest: catalog::nearest_ids(name).join(", "),
            })?;
            if boards.iter().any(|known| known.name == board.id) {
                return Err(SiteError::Twice { name: board.id.into() });
            }
            if *gpus == 0 {
                return Err(SiteError::Count { text: gpus.to_string() });
            }
            sum = sum.checked_add(*gpus).filter(|s| *s <= Self::MOST).ok_or(SiteError::TooMany)?;
            let geometry = Arc::new(board.geometry());
            let known = boards.iter().find(|known| *known.geometry() == *geometry);
            let (tables, packer) = match known {
                Some(known) => (Arc::clone(&known.tables), Arc::clone(&known.packer)),
                None => {
                    (Arc::new(GeometryTables::new(&geometry)), Arc::new(Packer::new(&geometry)))
                }
            };
            boards.push(SiteBoard { name: board.id.into(), tables, packer, gpus: *gpus });
        }
        if boards.is_empty() { Err(SiteError::NoCount) } else { Ok(Self { boards }) }
    }

    /// Its boards.
    pub fn boards(&self) -> &[SiteBoard] {
        &self.boards
    }

    /// How many GPUs it has.
    pub fn gpus(&self) -> u32 {
        self.boards.iter().map(|board| board.gpus).sum()
    }

    /// What all its GPUs weigh; see `WHOLE`.
    pub fn weight(&self) -> u64 {
        u64::from(self.gpus()) * WHOLE
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> =
            self.boards.iter().map(|board| format!("{} {}", board.gpus, board.name)).collect();
        f.write_str(&parts.join(" + "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fleets_are_written_as_boards_and_numbers() {
        let site = Site::parse("a100-sxm4-80gb", 5).unwrap();
        assert_eq!((site.gpus(), site.weight()), (5, 5 * WHOLE));
        let mixed = Site::parse("a100-sxm4-80gb:6, a30:4", 99).unwrap();
        assert_eq!(mixed.to_string(), "6 a100-sxm4-80gb + 4 a30");
        assert_eq!(mixed.boards()[1].weight(1), WHOLE / 4);
    }

    #[test]
    fn what_is_no_fleet_is_refused_with_what_to_write() {
        let words = |text: &str| Site::parse(text, 1).unwrap_err().to_string();
        assert!(words("a100").contains("a100-sxm4-40gb"), "{}", words("a100"));
        assert!(words("a30:x").contains("no number"));
        assert!(words("a30:0").contains("no number"));
        assert!(words("a30,a100-sxm4-80gb:2").contains("how many GPUs of each"));
        assert!(words("a30:1,a30:2").contains("twice"));
        assert!(words("a30:900000,a100-sxm4-80gb:900000").contains("at most"));
        assert!(words("").contains("how many"));
    }

    #[test]
    fn every_grid_divides_the_weight_of_a_gpu() {
        for board in catalog::boards() {
            let grid = u64::from(board.geometry().grid.get());
            assert_eq!(WHOLE % grid, 0, "{} has {grid} units", board.id);
        }
    }
}
