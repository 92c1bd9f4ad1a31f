//! Reading the legal shapes of a GPU from NVML.
//!
//! Must never loop to a compiled-in profile count, and must never prefer the catalog to what the
//! driver tells: the catalog fills only what the driver refuses to say.

use core::ffi::c_uint;
use std::collections::BTreeSet;
use std::sync::Arc;

use model::catalog::{self, Board};
use model::{
    Attributes, ComputeInstanceProfile, ComputeInstanceProfileId, EngineCounts, Geometry,
    GpuInstanceProfile, GpuInstanceProfileId, Media, MemoryMib, ProfileName, SliceCount,
    SliceIndex,
};
use nvml_wrapper_sys::bindings::{
    nvmlComputeInstanceProfileInfo_t, nvmlGpuInstanceProfileInfo_t,
    nvmlGpuInstanceProfileInfo_v2_t, nvmlGpuInstanceProfileInfo_v3_t,
};

use crate::raw::{Plain, text_in};
use crate::returns::NvmlReturn;
use crate::symbols::{Call, CallError, Device, GpuInstanceHandle, Symbols};

/// A stop for enumerations that never meet INVALID_ARGUMENT; header 13.3 ends at 0x12.
const MOST_ENUMS: c_uint = 256;

/// The geometry of one GPU and how far it was read from the driver.
#[derive(Debug, Clone)]
pub(crate) struct KnownGeometry {
    /// The driver version it was read with.
    pub(crate) driver: String,
    /// The shapes.
    pub(crate) geometry: Arc<Geometry>,
    /// Whether NVML told them; else they are the catalog's, since NVML told nothing with MIG off.
    pub(crate) from_nvml: bool,
    /// GPU instance profiles whose compute profiles were read from a living instance.
    pub(crate) compute_read: BTreeSet<GpuInstanceProfileId>,
}

impl KnownGeometry {
    /// Replaces the compute profiles of one GPU instance profile with what a living instance tells.
    pub(crate) fn correct(
        &mut self,
        symbols: &Symbols,
        profile: GpuInstanceProfileId,
        instance: GpuInstanceHandle,
    ) {
        if self.compute_read.contains(&profile) {
            return;
        }
        let Ok(read) = read_compute_profiles(symbols, instance) else { return };
        self.compute_read.insert(profile);
        let differs =
            self.geometry.profile(profile).is_some_and(|known| known.compute_profiles != read);
        if differs && !read.is_empty() {
            let geometry = Arc::make_mut(&mut self.geometry);
            if let Some(known) = geometry.profiles.iter_mut().find(|known| known.id == profile) {
                known.compute_profiles = read;
            }
        }
    }
}

/// The catalog's row for a GPU, if there is one: by PCI ids, else by name.
pub(crate) fn board_of(pci_device: u32, pci_subsystem: u32, name: &str) -> Option<&'static Board> {
    let subsystem = (pci_subsystem != 0).then_some(pci_subsystem);
    catalog::by_pci(pci_device, subsystem).or_else(|| catalog::by_nvml_name(name))
}

/// Reads a GPU's geometry; `None` if neither NVML nor the catalog knows one.
pub(crate) fn read_geometry(
    symbols: &Symbols,
    device: Device,
    total: MemoryMib,
    board: Option<&'static Board>,
) -> Call<Option<(Geometry, bool)>> {
    let row = board.map(Board::geometry);
    let mut profiles = Vec::new();
    for nvml_enum in 0..MOST_ENUMS {
        match read_profile(symbols, device, nvml_enum) {
            Ok(told) => profiles.push(complete(symbols, device, total, row.as_ref(), told)),
            // The end; or no function or no leave to ask, and the catalog has to do.
            Err(
                CallError::Returned(NvmlReturn::InvalidArgument | NvmlReturn::NoPermission)
                | CallError::Missing(_),
            ) => break,
            Err(CallError::Returned(NvmlReturn::NotSupported)) => {}
            Err(error) => return Err(error),
        }
    }
    if profiles.is_empty() {
        return Ok(row.map(|geometry| (geometry, false)));
    }
    let engine_capacity = profiles.iter().fold(EngineCounts::default(), most_engines);
    Ok(Some((
        Geometry {
            grid: Geometry::grid_of(&profiles),
            profiles,
            engine_capacity,
            rules: row.map(|geometry| geometry.rules).unwrap_or_default(),
        },
        true,
    )))
}

/// The engines of the whole GPU: each is in full in at least one profile.
fn most_engines(most: EngineCounts, profile: &GpuInstanceProfile) -> EngineCounts {
    let engines = profile.engines;
    EngineCounts {
        copy: most.copy.max(engines.copy),
        decoders: most.decoders.max(engines.decoders),
        encoders: most.encoders.max(engines.encoders),
        jpeg: most.jpeg.max(engines.jpeg),
        ofa: most.ofa.max(engines.ofa),
    }
}

/// What one profile query told.
struct Told {
    nvml_enum: c_uint,
    id: c_uint,
    slices: c_uint,
    instances: c_uint,
    multiprocessors: c_uint,
    engines: EngineCounts,
    memory: MemoryMib,
    name: Option<String>,
    p2p: bool,
}

/// Asks for v3, then v2, then v1: older drivers lack the first ones, and some answer them only with
/// MIG on. The error is that of the last form.
fn read_profile(symbols: &Symbols, device: Device, nvml_enum: c_uint) -> Call<Told> {
    if let Ok(v3) = symbols.profile_v3(device, nvml_enum) {
        return Ok(Told::by_v3(nvml_enum, &v3));
    }
    let newer = match symbols.profile_v2(device, nvml_enum) {
        Ok(v2) => return Ok(Told::by_v2(nvml_enum, &v2)),
        Err(error) => error,
    };
    let mut v1 = nvmlGpuInstanceProfileInfo_t::zeroed();
    match symbols.nvmlDeviceGetGpuInstanceProfileInfo(device, nvml_enum, &mut v1) {
        Ok(()) => Ok(Told::by_v1(nvml_enum, &v1)),
        Err(CallError::Missing(_)) => Err(newer),
        Err(error) => Err(error),
    }
}

impl Told {
    fn by_v3(nvml_enum: c_uint, info: &nvmlGpuInstanceProfileInfo_v3_t) -> Self {
        Self {
            nvml_enum,
            id: info.id,
            slices: info.sliceCount,
            instances: info.instanceCount,
            multiprocessors: info.multiprocessorCount,
            engines: EngineCounts {
                copy: info.copyEngineCount,
                decoders: info.decoderCount,
                encoders: info.encoderCount,
                jpeg: info.jpegCount,
                ofa: info.ofaCount,
            },
            memory: MemoryMib::new(info.memorySizeMB),
            name: Some(text_in(&info.name)),
            p2p: info.capabilities & 1 != 0,
        }
    }

    fn by_v2(nvml_enum: c_uint, info: &nvmlGpuInstanceProfileInfo_v2_t) -> Self {
        Self {
            nvml_enum,
            id: info.id,
            slices: info.sliceCount,
            instances: info.instanceCount,
            multiprocessors: info.multiprocessorCount,
            engines: EngineCounts {
                copy: info.copyEngineCount,
                decoders: info.decoderCount,
                encoders: info.encoderCount,
                jpeg: info.jpegCount,
                ofa: info.ofaCount,
            },
            memory: MemoryMib::new(info.memorySizeMB),
            name: Some(text_in(&info.name)),
            p2p: info.isP2pSupported != 0,
        }
    }

    fn by_v1(nvml_enum: c_uint, info: &nvmlGpuInstanceProfileInfo_t) -> Self {
        Self {
            nvml_enum,
            id: info.id,
            slices: info.sliceCount,
            instances: info.instanceCount,
            multiprocessors: info.multiprocessorCount,
            engines: EngineCounts {
                copy: info.copyEngineCount,
                decoders: info.decoderCount,
                encoders: info.encoderCount,
                jpeg: info.jpegCount,
                ofa: info.ofaCount,
            },
            memory: MemoryMib::new(info.memorySizeMB),
            name: None,
            p2p: info.isP2pSupported != 0,
        }
    }
}

fn complete(
    symbols: &Symbols,
    device: Device,
    total: MemoryMib,
    row: Option<&Geometry>,
    told: Told,
) -> GpuInstanceProfile {
    let known = row.and_then(|row| {
        row.profiles.iter().find(|known| {
            known.nvml_enum == told.nvml_enum && u32::from(known.name.slices) == told.slices
        })
    });
    let slices = told.slices.min(32) as u8;
    let name = told.name.and_then(|name| name.parse::<ProfileName>().ok());
    let name = name.unwrap_or_else(|| ProfileName {
        compute: None,
        slices,
        memory: Geometry::nominal_gb(told.memory, total),
        attributes: attributes_of(told.nvml_enum),
    });
    let (size, starts) = match symbols.placements(device, told.id) {
        Ok(list) if !list.is_empty() => {
            let mut starts: Vec<SliceIndex> =
                list.iter().map(|at| SliceIndex::new(at.start.min(255) as u8)).collect();
            starts.sort_unstable();
            starts.dedup();
            (SliceCount::new(list[0].size.min(255) as u8), starts)
        }
        // Privileged on some drivers, refused with MIG off on others.
        Ok(_) | Err(_) => known.map(|known| (known.size, known.starts.clone())).unwrap_or_default(),
    };
    let compute_profiles = known.map_or_else(
        || compute_profiles_by_rule(slices, told.multiprocessors),
        |known| known.compute_profiles.clone(),
    );
    GpuInstanceProfile {
        id: GpuInstanceProfileId::new(told.id),
        nvml_enum: told.nvml_enum,
        name,
        memory: told.memory,
        multiprocessors: told.multiprocessors,
        engines: told.engines,
        size,
        starts,
        max_instances: told.instances,
        p2p: told.p2p,
        compute_profiles,
    }
}

/// What the enum value says beyond the size (`nvml.h`, `NVML_GPU_INSTANCE_PROFILE_*`).
fn attributes_of(nvml_enum: c_uint) -> Attributes {
    let (media, graphics) = match nvml_enum {
        7 | 8 => (Media::Extensions, false),
        0xA..=0xC | 0x11 => (Media::Share, true),
        0xD | 0xE => (Media::None, false),
        0xF | 0x10 => (Media::All, false),
        _ => (Media::Share, false),
    };
    Attributes { media, graphics }
}

/// The compute profiles of a GPU instance with `slices` slices on a board nobody knows: C slices of
/// G exist if C = G or 2C ≤ G + 1, at most floor(G / C) times, with ids 0 to 4 for 1, 2, 3, 4 and 7
/// slices (logs of A100, A30 and H100).
fn compute_profiles_by_rule(slices: u8, multiprocessors: u32) -> Vec<ComputeInstanceProfile> {
    const NUMBERS: [(u8, u32); 7] = [(1, 0), (2, 1), (3, 2), (4, 3), (7, 4), (8, 5), (6, 6)];
    let whole = slices.max(1);
    NUMBERS
        .iter()
        .filter(|(part, _)| *part == whole || 2 * part <= whole + 1)
        .filter(|(part, _)| *part <= whole)
        .map(|(part, number)| ComputeInstanceProfile {
            id: ComputeInstanceProfileId::new(*number),
            nvml_enum: *number,
            slices: *part,
            multiprocessors: multiprocessors * u32::from(*part) / u32::from(whole),
            max_count: u32::from(whole / part),
            starts: starts_of(whole, *part),
        })
        .collect()
}

fn starts_of(whole: u8, part: u8) -> Vec<SliceIndex> {
    (0..=whole.saturating_sub(part)).map(SliceIndex::new).collect()
}

/// The compute profiles a living GPU instance tells.
fn read_compute_profiles(
    symbols: &Symbols,
    instance: GpuInstanceHandle,
) -> Call<Vec<ComputeInstanceProfile>> {
    const SHARED_ENGINES: c_uint = 0;
    let mut told: Vec<(c_uint, nvmlComputeInstanceProfileInfo_t)> = Vec::new();
    for nvml_enum in 0..MOST_ENUMS {
        let mut info = nvmlComputeInstanceProfileInfo_t::zeroed();
        match symbols.nvmlGpuInstanceGetComputeInstanceProfileInfo(
            instance,
            nvml_enum,
            SHARED_ENGINES,
            &mut info,
        ) {
            Ok(()) => told.push((nvml_enum, info)),
            Err(CallError::Returned(NvmlReturn::InvalidArgument)) => break,
            Err(CallError::Returned(NvmlReturn::NotSupported)) => {}
            Err(error) => return Err(error),
        }
    }
    let whole = told.iter().map(|(_, info)| info.sliceCount).max().unwrap_or(0);
    let profile = |(nvml_enum, info): &(c_uint, nvmlComputeInstanceProfileInfo_t)| {
        let starts = match symbols.compute_placements(instance, info.id) {
            Ok(list) if !list.is_empty() => {
                let mut starts: Vec<SliceIndex> =
                    list.iter().map(|at| SliceIndex::new(at.start.min(255) as u8)).collect();
                starts.sort_unstable();
                starts.dedup();
                starts
            }
            Ok(_) | Err(_) => starts_of(whole.min(255) as u8, info.sliceCount.min(255) as u8),
        };
        ComputeInstanceProfile {
            id: ComputeInstanceProfileId::new(info.id),
            nvml_enum: *nvml_enum,
            slices: info.sliceCount.min(255) as u8,
            multiprocessors: info.multiprocessorCount,
            max_count: info.instanceCount,
            starts,
        }
    };
    Ok(told.iter().map(profile).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_boards_divide_by_the_logged_rule() {
        let parts = |slices| -> Vec<u8> {
            compute_profiles_by_rule(slices, 14).iter().map(|profile| profile.slices).collect()
        };
        assert_eq!(parts(1), [1]);
        assert_eq!(parts(2), [1, 2]);
        assert_eq!(parts(3), [1, 2, 3]);
        assert_eq!(parts(4), [1, 2, 4]);
        assert_eq!(parts(7), [1, 2, 3, 4, 7]);
        let seven = compute_profiles_by_rule(7, 98);
        let whole = seven.last().unwrap();
        assert_eq!((whole.id.get(), whole.multiprocessors, whole.max_count), (4, 98, 1));
        assert_eq!(seven[1].max_count, 3);
        assert_eq!(seven[1].starts.len(), 6);
    }

    #[test]
    fn enum_values_give_attributes_where_no_name_is_told() {
        let text = |nvml_enum| {
            let name =
                ProfileName { attributes: attributes_of(nvml_enum), ..ProfileName::plain(1, 5) };
            name.to_string()
        };
        assert_eq!(text(0), "1g.5gb");
        assert_eq!(text(7), "1g.5gb+me");
        assert_eq!(text(9), "1g.5gb");
        assert_eq!(text(0x11), "1g.5gb+gfx");
        assert_eq!(text(0xD), "1g.5gb-me");
        assert_eq!(text(0xF), "1g.5gb+me.all");
    }
}
