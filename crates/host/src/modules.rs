//! Kernel modules that are loaded, and what uses them.
//!
//! Must never say which process uses a module: the kernel only counts.

use crate::root::HostRoot;

/// A loaded module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its name, as the kernel has it (`nvidia_drm`).
    pub name: String,
    /// How often it is in use, by other modules too.
    pub references: u32,
    /// The modules that use it.
    pub users: Vec<String>,
}

/// The loaded modules; empty on kernels without modules.
pub fn loaded(root: &HostRoot) -> Vec<Module> {
    let text = std::fs::read_to_string(root.resolve("/proc/modules")).unwrap_or_default();
    text.lines().filter_map(parse).collect()
}

/// `nvidia 14381056 2 nvidia_uvm,nvidia_modeset, Live 0x0 (OE)`.
fn parse(line: &str) -> Option<Module> {
    let mut fields = line.split_whitespace();
    let name = fields.next()?.to_owned();
    let references = fields.nth(1)?.parse().ok()?;
    let users = fields.next()?.split(',').filter(|user| !user.is_empty() && *user != "-");
    Some(Module { name, references, users: users.map(str::to_owned).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_are_understood() {
        let folder = tempfile::tempdir().unwrap();
        let root = HostRoot::at(folder.path());
        assert_eq!(loaded(&root), []);
        std::fs::create_dir(folder.path().join("proc")).unwrap();
        let text = "nvidia_drm 73728 4 - Live 0x0000000000000000 (POE)\n\
                    nvidia 14381056 2 nvidia_uvm,nvidia_modeset, Live 0x0 (POE)\nbroken\n";
        std::fs::write(folder.path().join("proc/modules"), text).unwrap();
        let found = loaded(&root);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].name.as_str(), found[0].references), ("nvidia_drm", 4));
        assert!(found[0].users.is_empty());
        assert_eq!(found[1].users, ["nvidia_uvm", "nvidia_modeset"]);
    }
}
