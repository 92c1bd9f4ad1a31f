//! Descriptions of simulated hosts in TOML.
//!
//! Must never fill in what the file leaves out: `sim-gpu` does.
//!
//! ```toml
//! host = "lab1"                  # its name; GPU UUIDs follow from it
//! driver = "580.126.09"          # driver version; hides newer symbols
//! cuda = 13000                   # CUDA version as NVML gives it
//! nvlinks = 12                   # links per GPU into NVSwitches; 0 = none
//!
//! [[gpu]]
//! board = "a100-sxm4-40gb"       # id in the catalog
//! count = 4                      # so many of them
//! chip = "swapped"               # plain or swapped numbering of GPU instances
//! virtualization = "passthrough" # bare_metal, passthrough, vgpu_guest or vgpu_host
//! resetless = true               # overrides whether a mode change needs a reset
//! mig_refused = false            # MIG is refused although the board has it
//! persistence = true
//! uuid = "GPU-…"                 # of the first one, as are serial, pci and minor
//! serial = "1320021000001"
//! pci = "00000000:07:00.0"
//! minor = 0
//! numa_node = 0
//! pcie_switch = 0
//! cpus = "0-15,128-143"
//!
//! [knobs]                        # every knob of the simulated driver
//! placement = "lowest_start"
//! stale_handles = "reuse"
//!
//! [knobs.latencies]              # milliseconds
//! create_gpu_instance = 0
//!
//! [[holder]]                     # somebody who holds GPUs from the start
//! name = "dcgm"
//! pid = 4242
//! gpu = 0
//! ```

use serde::Deserialize;
use sim_gpu::{
    ChipKind, CpuRange, GpuSpec, Holder, HostSpec, HostSpecError, Knobs, NvLinks, Virtualization,
};

/// Why a description cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpecFileError {
    /// It is not such a TOML file.
    #[error("the description of the host does not parse")]
    Syntax(#[source] Box<toml::de::Error>),
    /// A value in it has no meaning.
    #[error("`{value}` is no {what}")]
    Value {
        /// What it should be.
        what: &'static str,
        /// What it is.
        value: String,
    },
    /// Neither a preset nor `<board>:<count>`.
    #[error(transparent)]
    Spec(#[from] HostSpecError),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    host: Option<String>,
    driver: Option<String>,
    cuda: Option<u32>,
    #[serde(default)]
    nvlinks: u8,
    #[serde(default)]
    knobs: Knobs,
    #[serde(default)]
    gpu: Vec<GpuEntry>,
    #[serde(default)]
    holder: Vec<Holder>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GpuEntry {
    board: String,
    #[serde(default = "one")]
    count: usize,
    #[serde(default)]
    chip: ChipKind,
    #[serde(default)]
    virtualization: Virtualization,
    resetless: Option<bool>,
    #[serde(default)]
    mig_refused: bool,
    #[serde(default)]
    persistence: bool,
    uuid: Option<String>,
    serial: Option<String>,
    pci: Option<String>,
    minor: Option<u32>,
    numa_node: Option<u8>,
    pcie_switch: Option<u8>,
    cpus: Option<String>,
}

const fn one() -> usize {
    1
}

/// The host that `text` describes; `name` is its name if the file gives none.
///
/// # Errors
/// [`SpecFileError`].
pub fn spec_from_toml(name: &str, text: &str) -> Result<HostSpec, SpecFileError> {
    let file: File =
        toml::from_str(text).map_err(|error| SpecFileError::Syntax(Box::new(error)))?;
    let mut spec = HostSpec {
        host: file.host.unwrap_or_else(|| name.to_owned()),
        nvlinks: if file.nvlinks == 0 { NvLinks::None } else { NvLinks::Switched(file.nvlinks) },
        knobs: file.knobs,
        holders: file.holder,
        ..HostSpec::default()
    };
    if let Some(version) = file.driver {
        spec.driver.version = version;
    }
    if let Some(cuda) = file.cuda {
        spec.driver.cuda = cuda;
    }
    for entry in file.gpu {
        let count = entry.count;
        let gpu = entry.spec()?;
        // More than any machine has is refused later; here it must not fill the memory.
        spec.add(&gpu, count.min(1000));
    }
    Ok(spec)
}

/// The host that `text` means: a preset, `<board>:<count>`, or the contents of a TOML file.
///
/// # Errors
/// [`SpecFileError`].
pub fn spec_from_text(name: &str, text: &str) -> Result<HostSpec, SpecFileError> {
    if text.contains('=') { spec_from_toml(name, text) } else { Ok(HostSpec::named(name, text)?) }
}

impl GpuEntry {
    fn spec(self) -> Result<GpuSpec, SpecFileError> {
        let pci = self.pci.map(|text| {
            text.parse().map_err(|_| SpecFileError::Value { what: "PCI address", value: text })
        });
        Ok(GpuSpec {
            board: self.board,
            chip: self.chip,
            virtualization: self.virtualization,
            resetless: self.resetless,
            mig_refused: self.mig_refused,
            persistence: self.persistence,
            uuid: self.uuid.map(model::GpuUuid::new),
            serial: self.serial,
            pci: pci.transpose()?,
            minor: self.minor.map(model::GpuMinor::new),
            numa_node: self.numa_node,
            pcie_switch: self.pcie_switch,
            cpus: self.cpus.as_deref().map(cpu_ranges).transpose()?,
        })
    }
}

fn cpu_ranges(text: &str) -> Result<Vec<CpuRange>, SpecFileError> {
    let wrong = || SpecFileError::Value { what: "list of processors", value: text.to_owned() };
    text.split(',')
        .map(|part| {
            let part = part.trim();
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first = first.parse().map_err(|_| wrong())?;
            let last = last.parse().map_err(|_| wrong())?;
            if first <= last { Ok(CpuRange { first, last }) } else { Err(wrong()) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mixed_host_is_described_in_toml() {
        let spec = spec_from_toml(
            "lab",
            r#"
            driver = "550.163.01"
            nvlinks = 12
            [[gpu]]
            board = "a100-sxm4-40gb"
            count = 2
            chip = "swapped"
            pci = "00000000:07:00.0"
            cpus = "0-3,8"
            [[gpu]]
            board = "a30"
            [knobs]
            placement = "lowest_start"
            [knobs.latencies]
            create_gpu_instance = 5
            [[holder]]
            name = "dcgm"
            pid = 4242
            gpu = 0
            "#,
        )
        .unwrap();
        assert_eq!(spec.host, "lab");
        assert_eq!(spec.driver.branch(), 550);
        assert_eq!(spec.gpus.len(), 3);
        assert_eq!(spec.gpus[1].chip, ChipKind::Swapped);
        assert_eq!(spec.gpus[0].pci.unwrap().bus, 7);
        assert_eq!(spec.gpus[1].pci, None);
        assert_eq!(spec.gpus[0].cpus.as_ref().unwrap()[1], CpuRange { first: 8, last: 8 });
        assert_eq!(spec.knobs.latencies.create_gpu_instance.get(), 5);
        assert_eq!(spec.holders[0].name, "dcgm");
        assert_eq!(spec.nvlinks, NvLinks::Switched(12));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_value() {
        for (text, words) in [
            ("gpus = 3", "does not parse"),
            ("[[gpu]]\nboard = \"a30\"\ncpus = \"4-2\"", "`4-2`"),
            ("[[gpu]]\nboard = \"a30\"\npci = \"x\"", "`x`"),
        ] {
            let error = spec_from_toml("lab", text).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
        assert!(spec_from_text("lab", "dgx-a100").is_ok());
        assert!(spec_from_text("lab", "a30:0").is_err());
    }
}
