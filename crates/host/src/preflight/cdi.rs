//! The CDI specifications that container engines read, whoever wrote them.
//!
//! Must never parse more than it needs: they are YAML or JSON, and what counts is the device nodes
//! and slices that they name.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::children;
use crate::root::HostRoot;

/// Where engines look for specifications.
const FOLDERS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// A specification that names devices of NVIDIA's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CdiSpec {
    /// Its file, on the machine.
    pub path: PathBuf,
    /// Device nodes of NVIDIA's that it names.
    pub nodes: BTreeSet<PathBuf>,
    /// UUIDs of slices that it names.
    pub slices: BTreeSet<String>,
}

/// The specifications of a machine that name devices of NVIDIA's.
pub fn cdi_specs(root: &HostRoot) -> Vec<CdiSpec> {
    let mut found = Vec::new();
    for folder in FOLDERS {
        for path in children(&root.resolve(folder)) {
            let is_spec = path
                .extension()
                .is_some_and(|end| ["json", "yaml", "yml"].iter().any(|known| end == *known));
            let Some(text) = fs::read_to_string(&path).ok().filter(|_| is_spec) else { continue };
            let name = path.file_name().unwrap_or_default().to_owned();
            let nodes: BTreeSet<PathBuf> =
                tokens(&text, "/dev/nvidia").map(PathBuf::from).collect();
            let slices: BTreeSet<String> =
                tokens(&text, "MIG-").filter(|token| is_uuid(token)).map(str::to_owned).collect();
            if !nodes.is_empty() || !slices.is_empty() {
                found.push(CdiSpec { path: PathBuf::from(folder).join(name), nodes, slices });
            }
        }
    }
    found
}

/// The words of a text that begin so.
fn tokens<'t>(text: &'t str, beginning: &'static str) -> impl Iterator<Item = &'t str> {
    let part = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
    text.split(move |c: char| !part(c)).filter(move |token| token.starts_with(beginning))
}

/// `MIG-` and a UUID: other words begin so, too.
fn is_uuid(token: &str) -> bool {
    let digits: Vec<&str> = token.split('-').skip(1).collect();
    let lengths: Vec<usize> = digits.iter().map(|part| part.len()).collect();
    lengths == [8, 4, 4, 4, 12]
        && digits.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::machine;
    use super::*;

    #[test]
    fn nodes_and_slices_are_found_in_both_forms() {
        let yaml = "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n- name: \"0:0\"\n  \
                    containerEdits:\n    deviceNodes:\n    - path: /dev/nvidia-caps/nvidia-cap21\n\
                    - name: MIG-4f3e1c7a-0123-5678-9abc-def012345678\n";
        let json = r#"{"devices":[{"name":"a","containerEdits":{"env":["X=MIG-mode"],
                      "deviceNodes":[{"path":"/dev/nvidia0"},{"path":"/dev/nvidiactl"}]}}]}"#;
        let (_folder, root) = machine(&[
            ("etc/cdi/nvidia.yaml", yaml),
            ("var/run/cdi/own.json", json),
            ("etc/cdi/other.json", "{\"kind\":\"intel.com/gpu\"}"),
            ("etc/cdi/notes.txt", "/dev/nvidia0"),
        ]);
        let found = cdi_specs(&root);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].path, PathBuf::from("/etc/cdi/nvidia.yaml"));
        assert!(found[0].nodes.contains(&PathBuf::from("/dev/nvidia-caps/nvidia-cap21")));
        assert_eq!(found[0].slices.len(), 1);
        assert_eq!(found[1].nodes.len(), 2);
        assert!(found[1].slices.is_empty());
    }
}
