//! The crates of the workspace and what they depend on, as cargo tells it.
//!
//! Must never leave out an optional or platform-specific dependency: an arrow is an arrow.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// The workspace.
#[derive(Debug)]
pub(super) struct Graph {
    /// Its folder.
    pub(super) root: PathBuf,
    /// Its crates, by name.
    pub(super) crates: Vec<Crate>,
}

/// One crate of the workspace.
#[derive(Debug)]
pub(super) struct Crate {
    /// Its name.
    pub(super) name: String,
    /// The folder of its manifest.
    pub(super) folder: PathBuf,
    /// The files cargo starts compiling from, build scripts and tests left out.
    pub(super) roots: Vec<PathBuf>,
    /// What it depends on.
    pub(super) dependencies: Vec<Dependency>,
}

/// A dependency as a manifest states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dependency {
    /// Name of the package.
    pub(super) name: String,
    /// What needs it.
    pub(super) kind: Kind,
    /// Whether its default features are on.
    pub(super) default_features: bool,
}

/// What needs a dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The crate itself or its build script.
    Code,
    /// Only its tests.
    Tests,
}

impl Graph {
    /// Asks cargo about the workspace that holds this crate.
    pub(super) fn of_workspace() -> anyhow::Result<Self> {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let metadata = MetadataCommand::new()
            .manifest_path(manifest)
            .no_deps()
            .exec()
            .context("cargo metadata failed")?;
        let mut crates: Vec<Crate> =
            metadata.workspace_packages().into_iter().map(crate_of).collect();
        crates.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(Self { root: metadata.workspace_root.clone().into_std_path_buf(), crates })
    }

    /// Whether `name` is a crate of the workspace.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.crates.iter().any(|krate| krate.name == name)
    }

    /// The arrows between crates of the workspace, those of tests left out.
    pub(super) fn arrows(&self) -> impl Iterator<Item = (&str, &str)> {
        self.crates.iter().flat_map(|krate| {
            let code = krate.dependencies.iter().filter(|found| found.kind == Kind::Code);
            let own = code.filter(|dependency| self.contains(&dependency.name));
            own.map(|dependency| (krate.name.as_str(), dependency.name.as_str()))
        })
    }

    /// How `from` reaches `to`, its tests included, if it does: the crates on the way. Tests of the
    /// crates in between do not count, since they are not built for `from`.
    pub(super) fn path(&self, from: &str, to: &str) -> Option<Vec<String>> {
        let find = |name: &str| self.crates.iter().find(|krate| krate.name == name);
        let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
        let mut open = vec![find(from)?];
        while let Some(krate) = open.pop() {
            for dependency in &krate.dependencies {
                let counts = dependency.kind == Kind::Code || krate.name == from;
                let Some(next) = find(&dependency.name).filter(|_| counts) else { continue };
                if next.name == from || came_from.contains_key(next.name.as_str()) {
                    continue;
                }
                came_from.insert(&next.name, &krate.name);
                open.push(next);
            }
        }
        let mut path = vec![to.to_owned()];
        let mut at = *came_from.get(to)?;
        path.push(at.to_owned());
        while let Some(before) = came_from.get(at) {
            at = before;
            path.push(at.to_owned());
        }
        path.reverse();
        Some(path)
    }
}

fn crate_of(package: &Package) -> Crate {
    let folder = package.manifest_path.parent().map(|folder| folder.as_std_path().to_path_buf());
    let code = package.targets.iter().filter(|target| {
        !target.is_test() && !target.is_bench() && !target.is_example() && !target.is_custom_build()
    });
    let dependencies = package.dependencies.iter().map(|dependency| Dependency {
        name: dependency.name.clone(),
        kind: if dependency.kind == DependencyKind::Development { Kind::Tests } else { Kind::Code },
        default_features: dependency.uses_default_features,
    });
    Crate {
        name: package.name.to_string(),
        folder: folder.unwrap_or_default(),
        roots: code.map(|target| target.src_path.as_std_path().to_path_buf()).collect(),
        dependencies: dependencies.collect(),
    }
}
