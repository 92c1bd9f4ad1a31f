//! The architecture test: which crate may use which, checked against what cargo says.
//!
//! Must never be satisfied by editing the graph it reads; only code, or the table in
//! [`table`] together with a sentence in ARCHITECTURE.md, changes its answer.

mod graph;
mod lints;
mod sources;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;

use anyhow::Context as _;

use graph::{Graph, Kind};

/// What the test found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// What breaks a rule, most important first.
    pub(crate) violations: Vec<Violation>,
    /// What breaks none but deserves a look.
    pub(crate) notes: Vec<String>,
    /// Crates in the workspace.
    pub(crate) crates: usize,
    /// Arrows between them, tests' own left out.
    pub(crate) edges: usize,
}

/// A rule that is broken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Violation {
    /// A crate uses one that it may not.
    Edge { from: String, to: String },
    /// The checker reaches the planner, if only in its tests.
    Wall { through: Vec<String> },
    /// A crate of the workspace that the table does not know.
    UnknownCrate(String),
    /// A pure crate uses a foreign crate that is not on the list.
    ForeignDependency { from: String, to: String },
    /// A pure crate switches on a foreign crate's default features, which bring in `std`.
    DefaultFeatures { from: String, to: String },
    /// A pure crate lacks `#![no_std]`, or takes `std` back.
    NotPure { krate: String, why: String },
    /// A crate's lints are not the workspace's.
    Lints { krate: String, why: String },
    /// ARCHITECTURE.md does not mention a crate.
    Undescribed(String),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edge { from, to } => write!(f, "{from} may not depend on {to}"),
            Self::Wall { through } => write!(
                f,
                "checker must share nothing with planner, but reaches it: {}",
                through.join(" -> ")
            ),
            Self::UnknownCrate(krate) => {
                write!(f, "{krate} is not in the table of crates/xtask/src/architecture/table.rs")
            }
            Self::ForeignDependency { from, to } => {
                write!(f, "{from} is pure and may not depend on {to}")
            }
            Self::DefaultFeatures { from, to } => {
                write!(f, "{from} is pure: {to} needs `default-features = false`")
            }
            Self::NotPure { krate, why } => write!(f, "{krate} must be pure: {why}"),
            Self::Lints { krate, why } => write!(f, "lints of {krate}: {why}"),
            Self::Undescribed(krate) => write!(f, "ARCHITECTURE.md does not mention `{krate}`"),
        }
    }
}

/// Checks the workspace this program was built in.
pub(crate) fn of_this_workspace() -> anyhow::Result<Report> {
    let graph = Graph::of_workspace()?;
    let mut report = Report {
        violations: check_graph(&graph),
        notes: Vec::new(),
        crates: graph.crates.len(),
        edges: graph.arrows().count(),
    };
    let root = std::fs::read_to_string(graph.root.join("Cargo.toml"))?;
    let architecture = std::fs::read_to_string(graph.root.join("ARCHITECTURE.md"))
        .context("ARCHITECTURE.md is missing")?;
    for krate in &graph.crates {
        let manifest = std::fs::read_to_string(krate.folder.join("Cargo.toml"))?;
        report.violations.extend(lints::check(&krate.name, &manifest, &root)?);
        if table::PURE.contains(&krate.name.as_str()) {
            report.violations.extend(sources::check_pure(krate)?);
        }
        if !architecture.contains(&format!("`{}`", krate.name)) {
            report.violations.push(Violation::Undescribed(krate.name.clone()));
        }
        report.notes.extend(sources::long_files(krate, &graph.root)?);
    }
    Ok(report)
}

/// Everything about the graph itself.
fn check_graph(graph: &Graph) -> Vec<Violation> {
    let mut violations = Vec::new();
    for krate in &graph.crates {
        let Some(allowed) = table::allowed(&krate.name) else {
            violations.push(Violation::UnknownCrate(krate.name.clone()));
            continue;
        };
        let pure = table::PURE.contains(&krate.name.as_str());
        for dependency in krate.dependencies.iter().filter(|found| found.kind == Kind::Code) {
            let (from, to) = (krate.name.clone(), dependency.name.clone());
            if graph.contains(&to) {
                if !allowed.contains(&to.as_str()) {
                    violations.push(Violation::Edge { from, to });
                }
            } else if pure {
                violations.extend(check_foreign(from, to, dependency.default_features));
            }
        }
    }
    violations.extend(graph.path("checker", "planner").map(|through| Violation::Wall { through }));
    violations
}

fn check_foreign(from: String, to: String, default_features: bool) -> Option<Violation> {
    match table::FOREIGN_IN_PURE.iter().find(|foreign| foreign.name == to) {
        None => Some(Violation::ForeignDependency { from, to }),
        Some(foreign) if foreign.std_by_default && default_features => {
            Some(Violation::DefaultFeatures { from, to })
        }
        Some(_) => None,
    }
}
