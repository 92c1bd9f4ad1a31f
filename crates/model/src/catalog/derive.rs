//! The full geometry of a board, its unknown values filled in by stated rules.
//!
//! Must never fill a value without listing it in [`Board::derived`].

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::board::{Board, ProfileFacts, Sm};
use super::compute::{ComputeFacts, aligned};
use super::family::Shape;
use crate::geometry::{ComputeInstanceProfile, EngineCounts, Geometry, GpuInstanceProfile};
use crate::ids::{ComputeInstanceProfileId, GpuInstanceProfileId};
use crate::profile::ProfileName;
use crate::units::{MemoryMib, SliceCount, SliceIndex};

/// How a missing value was filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Total memory: the whole GiB of the profile names.
    NominalTotal,
    /// Total memory: 0, as the profiles report, because the memory is the host's.
    MemoryOfHost,
    /// Memory: the share of the total less the reserve of the board's largest known share.
    OwnReserve,
    /// Memory: the share of the total less the sister board's reserve at the same share.
    SisterReserve,
    /// Id: that of the same NVML profile on the sister board.
    SisterId,
    /// Id: the next above the board's highest.
    NextId,
    /// SM count: an unconfirmed recollection kept beside the data.
    Hint,
    /// SM count: the full profile has those of the whole GPU.
    WholeGpu,
    /// SM count: compute slices times the SMs per slice of the board's largest known size, made
    /// even.
    PerSlice,
    /// SM count: compute slices times an even share of the whole GPU's SMs.
    EvenShare,
    /// SM count: that of the same NVML profile on the sister board.
    SisterSm,
    /// Compute instance: the SMs of the GPU instance profile with as many slices, but no more than
    /// an even share of those of the GPU instance it lies in.
    SameSlices,
    /// Compute instance: as many as fit side by side.
    SideBySide,
    /// Compute instance: starts at multiples of its size (a 3-slice one at 0 and 4, as the GPU
    /// instance of three slices).
    AlignedStarts,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NominalTotal => "the GiB of the profile names",
            Self::MemoryOfHost => "the memory is the host's",
            Self::OwnReserve => "the share of the total less what the largest known share lacks",
            Self::SisterReserve => {
                "the share of the total less what the sister board's share lacks"
            }
            Self::SisterId => "the id of the same profile on the sister board",
            Self::NextId => "the next id above the board's highest",
            Self::Hint => "an unconfirmed recollection",
            Self::WholeGpu => "the SMs of the whole GPU",
            Self::PerSlice => "the SMs per slice of the largest known size",
            Self::EvenShare => "an even share of the whole GPU's SMs",
            Self::SisterSm => "the SMs of the same profile on the sister board",
            Self::SameSlices => "the SMs of the GPU instance with as many slices",
            Self::SideBySide => "as many as fit side by side",
            Self::AlignedStarts => "starts at multiples of the size",
        })
    }
}

/// What of a profile was filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// The board's total memory, in MiB.
    TotalMemory,
    /// The driver's profile id.
    ProfileId,
    /// Usable memory, in MiB.
    Memory,
    /// Streaming multiprocessors.
    Multiprocessors,
    /// SMs of the compute instance profile with this NVML enum value.
    ComputeMultiprocessors(u32),
    /// The most compute instances of the profile with this NVML enum value.
    ComputeMaxCount(u32),
    /// Legal starts of the compute instance profile with this NVML enum value.
    ComputeStarts(u32),
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TotalMemory => f.write_str("total memory in MiB"),
            Self::ProfileId => f.write_str("profile id"),
            Self::Memory => f.write_str("memory in MiB"),
            Self::Multiprocessors => f.write_str("SMs"),
            Self::ComputeMultiprocessors(number) => {
                write!(f, "SMs of compute instance profile {number}")
            }
            Self::ComputeMaxCount(number) => {
                write!(f, "count of compute instance profile {number}")
            }
            Self::ComputeStarts(number) => write!(f, "starts of compute instance profile {number}"),
        }
    }
}

/// A value that no source tells and that a rule supplied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DerivedFact {
    /// The GPU instance profile; `None` for a fact about the board.
    pub profile: Option<ProfileName>,
    /// What was filled in.
    pub field: Field,
    /// The value, as printed.
    pub value: String,
    /// How it was found.
    pub rule: Rule,
}

impl fmt::Display for DerivedFact {
    /// `3g.90gb memory in MiB: 91392 (the share of …)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(profile) = self.profile {
            write!(f, "{profile} ")?;
        }
        write!(f, "{}: {} ({})", self.field, self.value, self.rule)
    }
}

/// Usable memory is handed out in 64 MiB steps: every size seen is a multiple of one sixteenth GiB.
const MEMORY_STEP_MIB: u64 = 64;

impl Board {
    /// Total memory. Where NVML's figure is unknown it is the nominal one, and
    /// [`Board::derived`] says so.
    pub fn total_memory(&self) -> MemoryMib {
        let nominal = u64::from(self.nominal_gib) * 1024;
        MemoryMib::new(self.total_mib.map_or(nominal, u64::from))
    }

    /// The full geometry. What the catalog does not know is filled in; see [`Board::derived`].
    pub fn geometry(&self) -> Geometry {
        Filling::of(self).0
    }

    /// Every value of [`Board::geometry`] and [`Board::total_memory`] that a rule supplied.
    pub fn derived(&self) -> Vec<DerivedFact> {
        Filling::of(self).1
    }
}

/// The work of filling in one board.
struct Filling<'a> {
    board: &'a Board,
    sister: Option<(&'static Board, Geometry)>,
    derived: Vec<DerivedFact>,
}

impl<'a> Filling<'a> {
    fn of(board: &'a Board) -> (Geometry, Vec<DerivedFact>) {
        let sister = board.sister.and_then(super::board).map(|board| (board, board.geometry()));
        let mut filling = Self { board, sister, derived: Vec::new() };
        filling.total();
        let mut shapes: Vec<&Shape> = board.family.shapes.iter().collect();
        shapes.sort_by_key(|shape| shape.nvml_enum);
        let mut profiles: Vec<GpuInstanceProfile> = Vec::new();
        for (shape, facts) in shapes.iter().zip(board.profiles()) {
            let made = filling.profile(shape, &facts, &profiles);
            profiles.push(made);
        }
        for (shape, facts) in shapes.iter().zip(board.profiles()) {
            let made = facts.compute.iter().map(|c| filling.compute(shape, &facts, c)).collect();
            if let Some(profile) = profiles.iter_mut().find(|p| p.nvml_enum == shape.nvml_enum) {
                profile.compute_profiles = made;
            }
        }
        let copy = profiles.iter().map(|profile| profile.engines.copy).max().unwrap_or(0);
        let geometry = Geometry {
            grid: SliceCount::new(board.family.grid),
            profiles,
            engine_capacity: EngineCounts { copy, ..board.family.engine_capacity },
            rules: board.family.rules.to_vec(),
        };
        (geometry, filling.derived)
    }

    fn note(&mut self, profile: Option<ProfileName>, field: Field, value: String, rule: Rule) {
        self.derived.push(DerivedFact { profile, field, value, rule });
    }

    fn total(&mut self) {
        if self.board.total_mib.is_none() {
            let rule =
                if self.board.nominal_gib == 0 { Rule::MemoryOfHost } else { Rule::NominalTotal };
            let value = self.board.total_memory().get().to_string();
            self.note(None, Field::TotalMemory, value, rule);
        }
    }

    fn profile(
        &mut self,
        shape: &Shape,
        facts: &ProfileFacts,
        made: &[GpuInstanceProfile],
    ) -> GpuInstanceProfile {
        let name = Some(facts.name);
        let id = facts.id.value.unwrap_or_else(|| {
            let (id, rule) = self.id(shape, made);
            self.note(name, Field::ProfileId, id.to_string(), rule);
            id
        });
        let memory = facts.memory.value.unwrap_or_else(|| {
            let (memory, rule) = self.memory(shape);
            self.note(name, Field::Memory, memory.get().to_string(), rule);
            memory
        });
        let multiprocessors = facts.multiprocessors.value.unwrap_or_else(|| {
            let (count, rule) = self.multiprocessors(shape.size);
            self.note(name, Field::Multiprocessors, count.to_string(), rule);
            count
        });
        let size = &self.board.family.sizes[shape.size];
        GpuInstanceProfile {
            id,
            nvml_enum: shape.nvml_enum,
            name: facts.name,
            memory,
            multiprocessors,
            engines: shape.engines,
            size: SliceCount::new(size.span),
            starts: size.starts.iter().copied().map(SliceIndex::new).collect(),
            max_instances: shape.max_instances,
            p2p: facts.p2p,
            compute_profiles: Vec::new(),
        }
    }

    /// The profile of the sister board with the same NVML enum value.
    fn sister_profile(&self, nvml_enum: u32) -> Option<&GpuInstanceProfile> {
        let (_, geometry) = self.sister.as_ref()?;
        geometry.profiles.iter().find(|profile| profile.nvml_enum == nvml_enum)
    }

    fn id(&self, shape: &Shape, made: &[GpuInstanceProfile]) -> (GpuInstanceProfileId, Rule) {
        if let Some(sister) = self.sister_profile(shape.nvml_enum) {
            return (sister.id, Rule::SisterId);
        }
        let known = self.board.family.shapes.iter().filter_map(|shape| shape.id);
        let highest = known.chain(made.iter().map(|profile| profile.id.get())).max();
        (GpuInstanceProfileId::new(highest.map_or(0, |id| id + 1)), Rule::NextId)
    }

    fn memory(&self, shape: &Shape) -> (MemoryMib, Rule) {
        let portion = self.board.family.sizes[shape.size].portion;
        let share = |board: &Board, portion: usize| {
            let of = board.family.shares[portion].map_or(1, |share| u64::from(share.of));
            board.total_memory().get() / of
        };
        let mut known = self.board.portions.iter().enumerate().rev();
        let own = known.find_map(|(at, portion)| Some((at, u64::from(portion.mib?))));
        let (reserve, rule) = match own {
            Some((at, mib)) => (share(self.board, at).saturating_sub(mib), Rule::OwnReserve),
            None => (self.sister_reserve(portion).unwrap_or(0), Rule::SisterReserve),
        };
        let usable = share(self.board, portion).saturating_sub(reserve);
        (MemoryMib::new(usable / MEMORY_STEP_MIB * MEMORY_STEP_MIB), rule)
    }

    /// What the sister board keeps back of the same share.
    fn sister_reserve(&self, portion: usize) -> Option<u64> {
        let share = self.board.family.shares[portion]?;
        let (sister, geometry) = self.sister.as_ref()?;
        let at = sister.family.shares.iter().position(|other| *other == Some(share))?;
        let same =
            sister.family.shapes.iter().find(|s| sister.family.sizes[s.size].portion == at)?;
        let profile = geometry.profiles.iter().find(|p| p.nvml_enum == same.nvml_enum)?;
        let whole = sister.total_memory().get() / u64::from(share.of);
        Some(whole.saturating_sub(profile.memory.get()))
    }

    /// The SMs of the size at `index`, known or by rule.
    fn multiprocessors(&self, index: usize) -> (u32, Rule) {
        let board = self.board;
        let slices = u32::from(board.family.sizes[index].slices);
        let all = board.family.sizes.iter().map(|size| u32::from(size.slices)).max().unwrap_or(1);
        if let Sm::Hint(count) = board.sms[index] {
            return (count, Rule::Hint);
        }
        let known = board.family.sizes.iter().zip(board.sms).rev();
        let largest = known.filter_map(|(size, sm)| Some((sm.known()?, u32::from(size.slices))));
        // SMs come in pairs (one TPC), so a size has an even number.
        match (board.multiprocessors, largest.max_by_key(|(_, slices)| *slices)) {
            (Some(whole), _) if slices == all => (whole, Rule::WholeGpu),
            (_, Some((count, of))) => (count * slices / of / 2 * 2, Rule::PerSlice),
            (Some(whole), None) => (slices * (whole / all / 2 * 2), Rule::EvenShare),
            (None, None) => {
                let shape = board.family.shapes.iter().find(|shape| shape.size == index);
                let sister = shape.and_then(|shape| self.sister_profile(shape.nvml_enum));
                (sister.map_or(0, |profile| profile.multiprocessors), Rule::SisterSm)
            }
        }
    }

    fn compute(
        &mut self,
        shape: &Shape,
        facts: &ProfileFacts,
        compute: &ComputeFacts,
    ) -> ComputeInstanceProfile {
        let name = Some(facts.name);
        let number = compute.nvml_enum;
        let slices = self.board.family.sizes[shape.size].slices;
        let max_count = compute.max_count.unwrap_or_else(|| {
            let count = u32::from(slices / compute.pitch.max(1));
            let field = Field::ComputeMaxCount(number);
            self.note(name, field, count.to_string(), Rule::SideBySide);
            count
        });
        let multiprocessors = compute.multiprocessors.unwrap_or_else(|| {
            let whole = self.size_multiprocessors(shape.size);
            let same = self.compute_multiprocessors(shape.size, compute.slices);
            let count = if max_count > 1 { same.min(whole / max_count / 2 * 2) } else { same };
            let field = Field::ComputeMultiprocessors(number);
            self.note(name, field, count.to_string(), Rule::SameSlices);
            count
        });
        let starts = compute.starts.clone().unwrap_or_else(|| {
            let pitch = if compute.slices == 3 { 4 } else { compute.pitch };
            let starts = aligned(slices, compute.slices.max(compute.pitch.min(slices)), pitch);
            self.note(
                name,
                Field::ComputeStarts(number),
                format!("{starts:?}"),
                Rule::AlignedStarts,
            );
            starts
        });
        ComputeInstanceProfile {
            id: ComputeInstanceProfileId::new(compute.id),
            nvml_enum: number,
            slices: compute.slices,
            multiprocessors,
            max_count,
            starts: starts.into_iter().map(SliceIndex::new).collect(),
        }
    }

    /// The SMs of a compute instance of `part` slices in a GPU instance of the size at `index`.
    fn compute_multiprocessors(&self, index: usize, part: u8) -> u32 {
        let sizes = self.board.family.sizes;
        let same = if sizes[index].slices == part {
            Some(index)
        } else {
            super::compute::smallest_of(self.board, part)
        };
        same.map_or(0, |index| self.size_multiprocessors(index))
    }

    fn size_multiprocessors(&self, index: usize) -> u32 {
        self.board.sms[index].known().unwrap_or_else(|| self.multiprocessors(index).0)
    }
}
