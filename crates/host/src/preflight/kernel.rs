//! What the kernel allows: control groups, user namespaces, capabilities; and whether the machine
//! is virtual.
//!
//! Must never take a file that is missing for a "no".

use std::fs;

use crate::root::HostRoot;

/// How control groups are mounted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ControlGroups {
    /// Whether version 2 is mounted, alone or beside version 1.
    pub unified: bool,
    /// Whether version 1's controller of devices is mounted.
    pub devices: bool,
}

/// How control groups are mounted; `None` without a mount table.
pub fn control_groups(root: &HostRoot) -> Option<ControlGroups> {
    let text = fs::read_to_string(root.resolve("/proc/self/mountinfo")).ok()?;
    let mut found = ControlGroups::default();
    for line in text.lines() {
        let Some((_, rest)) = line.split_once(" - ") else { continue };
        let mut rest = rest.split(' ');
        match (rest.next(), rest.nth(1)) {
            (Some("cgroup2"), _) => found.unified = true,
            (Some("cgroup"), Some(options)) => {
                found.devices |= options.split(',').any(|option| option == "devices");
            }
            (_, _) => {}
        }
    }
    Some(found)
}

/// What the kernel says about user namespaces of ordinary users.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UserNamespaces {
    /// The most there may be (`user.max_user_namespaces`).
    pub most: Option<u64>,
    /// Whether ordinary users may make them (`kernel.unprivileged_userns_clone`, Debian's).
    pub allowed: Option<bool>,
    /// Whether AppArmor takes the rights inside away (`kernel.apparmor_restrict_unprivileged_userns`,
    /// Ubuntu's).
    pub restricted: Option<bool>,
}

/// What the kernel says about user namespaces.
pub fn user_namespaces(root: &HostRoot) -> UserNamespaces {
    let number = |path: &str| {
        fs::read_to_string(root.resolve("/proc/sys").join(path)).ok()?.trim().parse::<u64>().ok()
    };
    UserNamespaces {
        most: number("user/max_user_namespaces"),
        allowed: number("kernel/unprivileged_userns_clone").map(|value| value != 0),
        restricted: number("kernel/apparmor_restrict_unprivileged_userns").map(|value| value != 0),
    }
}

/// The effective capabilities of this process, as the kernel's bits.
pub fn capabilities(root: &HostRoot) -> Option<u64> {
    let text = fs::read_to_string(root.resolve("/proc/self/status")).ok()?;
    let bits = text.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(bits.trim(), 16).ok()
}

/// What makes this machine a virtual one, as its firmware names itself; `None` on bare metal.
pub fn hypervisor(root: &HostRoot) -> Option<String> {
    const NAMES: [&str; 9] = [
        "KVM",
        "QEMU",
        "VMware",
        "VirtualBox",
        "Xen",
        "Virtual Machine",
        "Google Compute Engine",
        "OpenStack",
        "Bochs",
    ];
    let read = |name: &str| {
        let text = fs::read_to_string(root.resolve("/sys/class/dmi/id").join(name));
        text.unwrap_or_default().trim().to_owned()
    };
    let told = format!("{} {}", read("sys_vendor"), read("product_name"));
    let told = told.trim().to_owned();
    NAMES.iter().any(|name| told.contains(name)).then_some(told)
}

#[cfg(test)]
mod tests {
    use super::super::tests::machine;
    use super::*;

    #[test]
    fn control_groups_are_told_apart() {
        let v2 = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let v1 = "35 30 0:30 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n\
                  36 30 0:31 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        let told = |text: &str| {
            let (_folder, root) = machine(&[("proc/self/mountinfo", text)]);
            control_groups(&root).unwrap()
        };
        assert_eq!(told(v2), ControlGroups { unified: true, devices: false });
        assert_eq!(told(v1), ControlGroups { unified: false, devices: true });
        assert_eq!(told(&format!("{v1}{v2}")), ControlGroups { unified: true, devices: true });
        let (_folder, root) = machine(&[]);
        assert_eq!(control_groups(&root), None);
    }

    #[test]
    fn switches_that_are_missing_are_unknown() {
        let (_folder, root) = machine(&[
            ("proc/sys/user/max_user_namespaces", "0\n"),
            ("proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n"),
            ("proc/self/status", "Name:\tx\nCapEff:\t00000000a80425fb\n"),
            ("sys/class/dmi/id/sys_vendor", "QEMU\n"),
        ]);
        let found = user_namespaces(&root);
        assert_eq!((found.most, found.allowed, found.restricted), (Some(0), None, Some(true)));
        assert_eq!(capabilities(&root), Some(0xa804_25fb));
        assert_eq!(hypervisor(&root).as_deref(), Some("QEMU"));
        let (_folder, root) = machine(&[("sys/class/dmi/id/sys_vendor", "NVIDIA\n")]);
        assert_eq!(hypervisor(&root), None);
        assert_eq!(capabilities(&root), None);
        assert_eq!(user_namespaces(&root), UserNamespaces::default());
    }
}
