//! NVIDIA's PCI functions as the kernel lists them: GPUs that the driver has, GPUs that are kept for
//! virtual machines, NVSwitches.
//!
//! Must never write: a driver is bound and a device reset elsewhere.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use model::PciAddress;

use crate::root::HostRoot;

const NVIDIA: &str = "0x10de";
/// Class of a bridge that is none of the kinds the standard names: an NVSwitch.
const OTHER_BRIDGE: u32 = 0x0680;
/// Classes of VGA and 3D controllers.
const GPU_CLASSES: [u32; 2] = [0x0300, 0x0302];

/// One function of an NVIDIA device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PciFunction {
    /// Its name in sysfs, `0000:07:00.0`.
    pub name: String,
    /// Class and subclass.
    pub class: u32,
    /// The kernel driver that has it; `None`: none has.
    pub driver: Option<String>,
    /// Whether it is a share of another function (SR-IOV), as vGPUs are made of.
    pub is_virtual: bool,
    /// How many shares of it are switched on (SR-IOV); 0 on most machines.
    pub shares: u32,
    /// Its group for virtual machines (`/dev/vfio/N`).
    pub iommu_group: Option<u32>,
    /// Whether the kernel can reset it alone.
    pub resets: bool,
    /// Whether virtual GPUs can be made of it (mediated devices).
    pub mediated: bool,
}

impl PciFunction {
    /// Where it sits; `None` for a function other than the first of its device.
    pub fn address(&self) -> Option<PciAddress> {
        self.name.parse().ok()
    }

    /// Whether it is a GPU, or a share of one.
    pub fn is_gpu(&self) -> bool {
        GPU_CLASSES.contains(&self.class)
    }

    /// Whether it is a switch between GPUs.
    pub const fn is_nvswitch(&self) -> bool {
        self.class == OTHER_BRIDGE
    }

    /// Why the NVIDIA driver on this machine cannot use this GPU, and what to do; `None` if it can.
    pub fn why_not_ours(&self) -> Option<String> {
        if !self.is_gpu() || self.is_virtual {
            return None;
        }
        let name = &self.name;
        match self.driver.as_deref() {
            Some("nvidia") if self.shares == 0 => None,
            Some("nvidia") => Some(format!(
                "the GPU at {name} is split into {} shares for virtual machines (vGPU); the \
                 hypervisor's tools change its MIG mode, with the machines stopped",
                self.shares
            )),
            Some(driver) if driver.contains("vfio") => Some(format!(
                "the GPU at {name} is kept for a virtual machine (driver {driver}), so MIG is \
                 changed inside that machine, or here after `driverctl unset-override {name}`"
            )),
            Some(driver) => Some(format!(
                "the GPU at {name} belongs to the driver {driver}, not to nvidia; blacklist {driver} \
                 and reboot"
            )),
            None => Some(format!(
                "no driver has the GPU at {name}; see `dmesg | grep -i nvrm` for why nvidia does not"
            )),
        }
    }
}

/// Why PCI functions cannot be listed.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", path.display())]
pub struct PciError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// NVIDIA's functions on the machine, by address; none on a machine without PCI. What goes while it is
/// read is left out.
///
/// # Errors
/// [`PciError`] if the list is there and cannot be read.
pub fn nvidia_functions(root: &HostRoot) -> Result<Vec<PciFunction>, PciError> {
    let folder = root.resolve("/sys/bus/pci/devices");
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(PciError { path: folder, source }),
    };
    let mut found: Vec<PciFunction> =
        entries.filter_map(|entry| read(&entry.ok()?.path())).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Every GPU on the bus that is one of its own, ascending by address, whether NVIDIA's driver has it or
/// not; none where the list cannot be read.
pub fn gpus(root: &HostRoot) -> Vec<PciFunction> {
    let mut found = nvidia_functions(root).unwrap_or_default();
    found.retain(|function| function.is_gpu() && !function.is_virtual);
    found
}

/// NVIDIA's function at an address.
pub fn function(root: &HostRoot, pci: PciAddress) -> Option<PciFunction> {
    read(&folder(root, pci))
}

/// The folder of the kernel for the device at an address.
pub(crate) fn folder(root: &HostRoot, pci: PciAddress) -> PathBuf {
    let PciAddress { domain, bus, device } = pci;
    root.resolve("/sys/bus/pci/devices").join(format!("{domain:04x}:{bus:02x}:{device:02x}.0"))
}

/// Whether the kernel offers to reset the device at an address alone.
pub fn resets(root: &HostRoot, pci: PciAddress) -> bool {
    folder(root, pci).join("reset").exists()
}

fn read(folder: &Path) -> Option<PciFunction> {
    let text = |name: &str| {
        let read = fs::read_to_string(folder.join(name)).ok();
        read.map(|text| text.trim().to_owned())
    };
    if text("vendor")? != NVIDIA {
        return None;
    }
    let class = text("class")?;
    let class = u32::from_str_radix(class.trim_start_matches("0x"), 16).ok()?;
    let target = |name: &str| {
        let target = fs::read_link(folder.join(name)).ok()?;
        Some(target.file_name()?.to_str()?.to_owned())
    };
    Some(PciFunction {
        name: folder.file_name()?.to_str()?.to_owned(),
        class: class >> 8,
        driver: target("driver"),
        is_virtual: folder.join("physfn").exists(),
        shares: text("sriov_numvfs").and_then(|number| number.parse().ok()).unwrap_or(0),
        iommu_group: target("iommu_group").and_then(|group| group.parse().ok()),
        resets: folder.join("reset").exists(),
        mediated: folder.join("mdev_supported_types").exists(),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Adds a function to the tree of a machine.
    pub(crate) fn add(root: &HostRoot, name: &str, class: &str, driver: Option<&str>) -> PathBuf {
        let folder = root.resolve("/sys/bus/pci/devices").join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("vendor"), "0x10de\n").unwrap();
        fs::write(folder.join("class"), format!("{class}\n")).unwrap();
        if let Some(driver) = driver {
            let link = Path::new("../../../../bus/pci/drivers").join(driver);
            std::os::unix::fs::symlink(link, folder.join("driver")).unwrap();
        }
        folder
    }

    #[test]
    fn who_has_each_gpu_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let root = HostRoot::at(folder.path());
        assert_eq!(nvidia_functions(&root).unwrap(), []);
        add(&root, "0000:07:00.0", "0x030200", Some("nvidia"));
        add(&root, "0000:0f:00.0", "0x030200", Some("vfio-pci"));
        add(&root, "0000:47:00.0", "0x030000", Some("nouveau"));
        let shared = add(&root, "0000:4e:00.0", "0x030200", Some("nvidia"));
        fs::write(shared.join("sriov_numvfs"), "16\n").unwrap();
        let share = add(&root, "0000:4e:00.4", "0x030200", Some("nvidia"));
        std::os::unix::fs::symlink("../0000:4e:00.0", share.join("physfn")).unwrap();
        add(&root, "0000:87:00.0", "0x030200", None);
        add(&root, "0000:c4:00.0", "0x068000", Some("nvidia-nvswitch"));
        let other = add(&root, "0000:01:00.0", "0x020000", Some("mlx5_core"));
        fs::write(other.join("vendor"), "0x15b3\n").unwrap();
        let found = nvidia_functions(&root).unwrap();
        assert_eq!(found.len(), 7);
        let of = |name: &str| found.iter().find(|function| function.name == name).unwrap();
        let why = |name: &str| of(name).why_not_ours().unwrap_or_default();
        assert_eq!(why("0000:07:00.0"), "");
        assert!(why("0000:0f:00.0").contains("kept for a virtual machine (driver vfio-pci)"));
        assert!(why("0000:47:00.0").contains("belongs to the driver nouveau"));
        assert!(why("0000:4e:00.0").contains("16 shares"));
        assert_eq!(why("0000:4e:00.4"), "");
        assert!(why("0000:87:00.0").contains("no driver has"));
        assert!(of("0000:c4:00.0").is_nvswitch() && !of("0000:c4:00.0").is_gpu());
        assert_eq!(of("0000:0f:00.0").address().unwrap().bus, 0x0f);
        assert_eq!(of("0000:4e:00.4").address(), None);
    }

    #[test]
    fn gpus_are_found_whoever_drives_them_and_their_shares_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let root = HostRoot::at(folder.path());
        assert_eq!(gpus(&root), []);
        let own = add(&root, "0000:0f:00.0", "0x030200", Some("nvidia"));
        fs::write(own.join("reset"), "").unwrap();
        let guest = add(&root, "0000:07:00.0", "0x030000", Some("vfio-pci"));
        std::os::unix::fs::symlink("../../../kernel/iommu_groups/42", guest.join("iommu_group"))
            .unwrap();
        let share = add(&root, "0000:0f:00.4", "0x030200", None);
        std::os::unix::fs::symlink("../0000:0f:00.0", share.join("physfn")).unwrap();
        add(&root, "0000:07:00.1", "0x040300", None);
        let found = gpus(&root);
        let told: Vec<_> = found
            .iter()
            .map(|gpu| (gpu.name.as_str(), gpu.driver.as_deref(), gpu.resets, gpu.iommu_group))
            .collect();
        let expected = [
            ("0000:07:00.0", Some("vfio-pci"), false, Some(42)),
            ("0000:0f:00.0", Some("nvidia"), true, None),
        ];
        assert_eq!(told, expected);
        let at = found[1].address().unwrap();
        assert_eq!(function(&root, at).as_ref(), Some(&found[1]));
        assert!(resets(&root, at));
        let absent = PciAddress { domain: 0, bus: 1, device: 0 };
        assert!(function(&root, absent).is_none() && !resets(&root, absent));
    }
}
