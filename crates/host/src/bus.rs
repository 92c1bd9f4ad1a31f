//! NVIDIA's functions on the PCI bus, whether NVIDIA's driver has them or not.
//!
//! Must never leave out a GPU because no driver, or another one, is bound to it.

use std::fs;
use std::path::{Path, PathBuf};

use model::PciAddress;

use crate::root::HostRoot;

/// NVIDIA's vendor id.
const NVIDIA: &str = "0x10de";

/// A display or 3D controller of NVIDIA's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Where it is.
    pub pci: PciAddress,
    /// The driver that is bound to it (`nvidia`, `vfio-pci`, `nouveau`).
    pub driver: Option<String>,
    /// Its group for virtual machines (`/dev/vfio/N`).
    pub iommu_group: Option<u32>,
    /// Whether the kernel can reset it alone.
    pub resets: bool,
    /// How many virtual functions it has; `None` if it cannot have any.
    pub virtual_functions: Option<u32>,
    /// Whether virtual GPUs can be made of it (mediated devices).
    pub mediated: bool,
}

/// Every GPU on the bus, ascending by address.
pub fn gpus(root: &HostRoot) -> Vec<Function> {
    let Ok(entries) = fs::read_dir(root.resolve("/sys/bus/pci/devices")) else { return Vec::new() };
    let mut found: Vec<Function> =
        entries.flatten().filter_map(|entry| read(&entry.path())).collect();
    found.sort_by_key(|function| function.pci);
    found
}

/// The GPU at an address.
pub fn function(root: &HostRoot, pci: PciAddress) -> Option<Function> {
    read(&folder(root, pci))
}

/// Whether the kernel offers to reset the device at an address alone.
pub fn resets(root: &HostRoot, pci: PciAddress) -> bool {
    folder(root, pci).join("reset").exists()
}

fn folder(root: &HostRoot, pci: PciAddress) -> PathBuf {
    let PciAddress { domain, bus, device } = pci;
    root.resolve("/sys/bus/pci/devices").join(format!("{domain:04x}:{bus:02x}:{device:02x}.0"))
}

fn read(folder: &Path) -> Option<Function> {
    let text = |name: &str| Some(fs::read_to_string(folder.join(name)).ok()?.trim().to_owned());
    // Display controllers are class 03; a GPU's own sound device is 04.
    if text("vendor")? != NVIDIA || !text("class")?.starts_with("0x03") {
        return None;
    }
    let target = |name: &str| {
        let target = fs::read_link(folder.join(name)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    };
    Some(Function {
        pci: folder.file_name()?.to_str()?.parse().ok()?,
        driver: target("driver"),
        iommu_group: target("iommu_group").and_then(|group| group.parse().ok()),
        resets: folder.join("reset").exists(),
        virtual_functions: text("sriov_numvfs").and_then(|count| count.parse().ok()),
        mediated: folder.join("mdev_supported_types").exists(),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn device(root: &Path, address: &str, vendor: &str, class: &str) -> PathBuf {
        let folder = root.join("sys/bus/pci/devices").join(address);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("vendor"), format!("{vendor}\n")).unwrap();
        fs::write(folder.join("class"), format!("{class}\n")).unwrap();
        folder
    }

    #[test]
    fn gpus_are_found_whoever_drives_them() {
        let folder = tempfile::tempdir().unwrap();
        let root = HostRoot::at(folder.path());
        assert_eq!(gpus(&root), []);
        let own = device(folder.path(), "0000:0f:00.0", NVIDIA, "0x030200");
        symlink("../../drivers/nvidia", own.join("driver")).unwrap();
        fs::write(own.join("reset"), "").unwrap();
        let guest = device(folder.path(), "0000:07:00.0", NVIDIA, "0x030000");
        symlink("../../drivers/vfio-pci", guest.join("driver")).unwrap();
        symlink("../../../kernel/iommu_groups/42", guest.join("iommu_group")).unwrap();
        fs::write(guest.join("sriov_numvfs"), "2\n").unwrap();
        device(folder.path(), "0000:07:00.1", NVIDIA, "0x040300");
        device(folder.path(), "0000:08:00.0", "0x8086", "0x030000");
        let found = gpus(&root);
        let told: Vec<_> =
            found.iter().map(|gpu| (gpu.pci.bus, gpu.driver.as_deref(), gpu.resets)).collect();
        assert_eq!(told, [(7, Some("vfio-pci"), false), (15, Some("nvidia"), true)]);
        assert_eq!((found[0].iommu_group, found[0].virtual_functions), (Some(42), Some(2)));
        assert_eq!(function(&root, found[1].pci).as_ref(), Some(&found[1]));
        let absent = PciAddress { domain: 0, bus: 1, device: 0 };
        assert_eq!(function(&root, absent), None);
    }
}
