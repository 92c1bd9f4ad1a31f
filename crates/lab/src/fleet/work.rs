//! Requests of a workload, and what each asks for on each board.
//!
//! Must never know where anything lies.

use std::collections::BTreeMap;

use model::geometry::SelectError;
use model::{
    Geometry, GpuInstanceProfile, GpuInstanceProfileId, Millis, NominalGb, ProfileSelector,
    Timestamp,
};

use super::site::Site;

/// What somebody asks for, before it is known on which boards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// A profile by name, size or id, as `migctl run --profile` takes it.
    Profile(ProfileSelector),
    /// The largest slice of a board.
    WholeGpu,
    /// The double-memory slice of so many compute slices (`1g.20gb` of an A100 with 80 GB).
    DoubleMemory(u8),
    /// So many thousandths of a GPU's compute: the smallest plain profile that has at least that
    /// part of the compute slices.
    Share(u32),
    /// The smallest profile whose memory is the share of its compute, and enough.
    Memory(NominalGb),
}

/// A wish that no board of the fleet can fulfil.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no board of the fleet has {asked}{nearest}")]
pub struct WishError {
    /// What was asked.
    pub asked: String,
    /// What is near, with the words around it.
    pub nearest: String,
}

impl Wish {
    /// The profile that answers it on a board; `None` where none does.
    pub fn on(self, geometry: &Geometry) -> Option<&GpuInstanceProfile> {
        let full = || geometry.full_profile();
        match self {
            Self::Profile(selector) => geometry.select(&selector).ok(),
            Self::WholeGpu => full(),
            Self::DoubleMemory(slices) => geometry.profiles.iter().find(|profile| {
                profile.name.slices == slices
                    && profile.name.attributes.is_plain()
                    && geometry.is_double_memory(profile)
            }),
            Self::Share(thousandths) => {
                let all = u32::from(full()?.name.slices);
                let wanted = (thousandths * all).div_ceil(1000);
                let enough = |p: &&GpuInstanceProfile| u32::from(p.name.slices) >= wanted;
                geometry.plain_profiles().filter(enough).min_by_key(|p| (p.name.slices, p.size))
            }
            Self::Memory(gb) => {
                let enough = |p: &&GpuInstanceProfile| p.name.memory >= gb;
                geometry.plain_profiles().filter(enough).min_by_key(|p| (p.name.slices, p.size))
            }
        }
    }

    fn words(self) -> String {
        match self {
            Self::Profile(selector) => format!("profile {selector}"),
            Self::WholeGpu => "a slice of a whole GPU".into(),
            Self::DoubleMemory(slices) => format!("a {slices}g with double memory"),
            Self::Share(thousandths) => format!("{thousandths} thousandths of its compute"),
            Self::Memory(gb) => format!("a profile of {gb}gb"),
        }
    }

    fn nearest(self, site: &Site) -> String {
        let Self::Profile(selector) = self else { return String::new() };
        let mut near: Vec<String> = site
            .boards()
            .iter()
            .filter_map(|board| match board.geometry().select(&selector) {
                Err(SelectError::Unknown { nearest, .. }) => Some(nearest),
                _ => None,
            })
            .flatten()
            .map(|name| name.to_string())
            .collect();
        near.dedup();
        near.truncate(4);
        if near.is_empty() { String::new() } else { format!("; near are {}", near.join(", ")) }
    }
}

/// A wish as the boards of one fleet answer it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// Its name on the first board that has it.
    pub name: String,
    /// For each board the profile that answers.
    pub wanted: Vec<Option<GpuInstanceProfileId>>,
    /// What one slice of it weighs on the first board that has it; a whole GPU weighs 840.
    pub weight: u64,
    /// The same in compute slices, a whole GPU of seven weighs 840, too.
    pub compute: u64,
}

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// When it comes.
    pub arrival: Timestamp,
    /// How long it holds what it gets; `None`: for ever.
    pub holds: Option<Millis>,
    /// What it asks for: an index into [`Workload::kinds`].
    pub kind: usize,
    /// How many slices, all or none.
    pub count: u32,
    /// Whose: an index into [`Workload::tenants`].
    pub tenant: usize,
}

/// A span of virtual time; the end is not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its first moment.
    pub from: Timestamp,
    /// The first moment after it.
    pub to: Timestamp,
}

impl Span {
    /// Whether a moment is in it.
    pub fn has(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }
}

/// Requests for one fleet, in order of arrival.
#[derive(Debug, Clone)]
pub struct Workload {
    /// What it is called in tables.
    pub name: String,
    /// The requests.
    pub requests: Vec<Request>,
    /// What they ask for.
    pub kinds: Vec<Kind>,
    /// Whose they are.
    pub tenants: Vec<String>,
    /// Which requests count: those that come in this span.
    pub measured: Span,
    /// In which span room is measured.
    pub room: Span,
    /// What a reader has to know: rows left out, profiles that were mapped.
    pub notes: Vec<String>,
}

impl Workload {
    /// What all the slices of a request weigh.
    pub fn weight(&self, request: &Request) -> u64 {
        self.kinds[request.kind].weight * u64::from(request.count)
    }
}

/// Kinds and tenants while a workload is made.
#[derive(Debug)]
pub(crate) struct Names<'a> {
    site: &'a Site,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) tenants: Vec<String>,
    known: BTreeMap<String, usize>,
}

impl<'a> Names<'a> {
    pub(crate) fn new(site: &'a Site) -> Self {
        Self { site, kinds: Vec::new(), tenants: Vec::new(), known: BTreeMap::new() }
    }

    /// The number of a tenant.
    pub(crate) fn tenant(&mut self, name: &str) -> usize {
        if let Some(known) = self.known.get(name) {
            return *known;
        }
        let number = self.tenants.len();
        self.tenants.push(name.to_owned());
        self.known.insert(name.to_owned(), number);
        number
    }

    /// The number of a kind; wishes that the same profiles answer are one kind.
    ///
    /// # Errors
    /// [`WishError`] if no board has it.
    pub(crate) fn kind(&mut self, wish: Wish) -> Result<usize, WishError> {
        let boards = self.site.boards();
        let wanted: Vec<Option<GpuInstanceProfileId>> =
            boards.iter().map(|board| wish.on(board.geometry()).map(|p| p.id)).collect();
        if let Some(known) = self.kinds.iter().position(|kind| kind.wanted == wanted) {
            return Ok(known);
        }
        let first = boards.iter().find_map(|board| Some((board, wish.on(board.geometry())?)));
        let Some((board, profile)) = first else {
            return Err(WishError { asked: wish.words(), nearest: wish.nearest(self.site) });
        };
        let (weight, compute) = board.weights(profile.id);
        self.kinds.push(Kind { name: profile.name.to_string(), wanted, weight, compute });
        Ok(self.kinds.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_of(wish: Wish) -> Vec<String> {
        let site = Site::parse("a100-sxm4-80gb:1,a100-sxm4-40gb:1,a30:1", 0).unwrap();
        let name = |geometry: &Geometry| {
            wish.on(geometry).map_or_else(String::new, |profile| profile.name.to_string())
        };
        site.boards().iter().map(|board| name(board.geometry())).collect()
    }

    #[test]
    fn a_wish_means_something_on_each_board() {
        assert_eq!(names_of(Wish::WholeGpu), ["7g.80gb", "7g.40gb", "4g.24gb"]);
        assert_eq!(names_of(Wish::Share(500)), ["4g.40gb", "4g.20gb", "2g.12gb"]);
        assert_eq!(names_of(Wish::Share(143)), ["2g.20gb", "2g.10gb", "1g.6gb"]);
        assert_eq!(names_of(Wish::Share(142)), ["1g.10gb", "1g.5gb", "1g.6gb"]);
        assert_eq!(names_of(Wish::DoubleMemory(1)), ["1g.20gb", "1g.10gb", ""]);
        let name = Wish::Profile("1g.10gb".parse().unwrap());
        assert_eq!(names_of(name), ["1g.10gb", "1g.10gb", ""]);
    }

    #[test]
    fn what_nobody_has_is_refused_with_what_is_near() {
        let site = Site::of("a30", 1).unwrap();
        let wish = Wish::Profile("1g.5gb".parse().unwrap());
        let words = Names::new(&site).kind(wish).unwrap_err().to_string();
        assert!(words.contains("1g.5gb") && words.contains("1g.6gb"), "{words}");
    }
}
