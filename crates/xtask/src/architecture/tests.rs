//! The workspace as it is, and graphs that break each rule.
//!
//! Must never pass because nothing was looked at.

use std::path::PathBuf;

use super::graph::{Crate, Dependency, Graph, Kind};
use super::*;

fn dependency(name: &str, kind: Kind) -> Dependency {
    Dependency { name: name.to_owned(), kind, default_features: false }
}

fn krate(name: &str, dependencies: Vec<Dependency>) -> Crate {
    Crate { name: name.to_owned(), folder: PathBuf::new(), roots: Vec::new(), dependencies }
}

fn graph(crates: Vec<Crate>) -> Graph {
    Graph { root: PathBuf::new(), crates }
}

/// The pure core as agreed.
fn agreed() -> Vec<Crate> {
    vec![
        krate("model", vec![dependency("serde", Kind::Code)]),
        krate(
            "checker",
            vec![dependency("model", Kind::Code), dependency("proptest", Kind::Tests)],
        ),
        krate("planner", vec![dependency("model", Kind::Code), dependency("checker", Kind::Tests)]),
        krate("broker", vec![dependency("model", Kind::Code), dependency("planner", Kind::Code)]),
        krate("host", vec![dependency("model", Kind::Code), dependency("rustix", Kind::Code)]),
        krate("cli", vec![dependency("host", Kind::Code)]),
    ]
}

/// What is wrong when `from` has `more` beside what was agreed.
fn with(from: &str, more: Dependency) -> Vec<Violation> {
    let mut crates = agreed();
    let changed = crates.iter_mut().find(|krate| krate.name == from).unwrap();
    changed.dependencies.push(more);
    check_graph(&graph(crates))
}

#[test]
fn this_workspace_is_as_agreed() {
    let report = of_this_workspace().unwrap();
    let lines: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "\n{}", lines.join("\n"));
    assert!(report.crates >= 14, "only {} crates were seen", report.crates);
    assert!(report.edges >= 20, "only {} arrows were seen", report.edges);
}

#[test]
fn the_agreed_graph_is_fine() {
    assert_eq!(check_graph(&graph(agreed())), []);
}

#[test]
fn an_arrow_that_is_not_in_the_table_is_named() {
    let edge = |from: &str, to: &str| Violation::Edge { from: from.into(), to: to.into() };
    assert!(with("model", dependency("broker", Kind::Code)).contains(&edge("model", "broker")));
    assert_eq!(with("host", dependency("cli", Kind::Code)), [edge("host", "cli")]);
    assert_eq!(with("planner", dependency("checker", Kind::Code)), [edge("planner", "checker")]);
    assert_eq!(with("model", dependency("checker", Kind::Tests)), []);
}

#[test]
fn the_wall_between_checker_and_planner_holds_for_tests_too() {
    let wall = |through: &[&str]| Violation::Wall {
        through: through.iter().map(|name| (*name).to_owned()).collect(),
    };
    assert_eq!(
        with("checker", dependency("planner", Kind::Tests)),
        [wall(&["checker", "planner"])]
    );
    assert_eq!(
        with("checker", dependency("broker", Kind::Tests)),
        [wall(&["checker", "broker", "planner"])]
    );
}

#[test]
fn pure_crates_use_only_foreign_crates_on_the_list() {
    let foreign = Violation::ForeignDependency { from: "broker".into(), to: "tokio".into() };
    assert_eq!(with("broker", dependency("tokio", Kind::Code)), [foreign]);
    assert_eq!(with("broker", dependency("tokio", Kind::Tests)), []);
    assert_eq!(with("host", dependency("tokio", Kind::Code)), []);
    let defaults = Violation::DefaultFeatures { from: "broker".into(), to: "serde".into() };
    let serde = Dependency { default_features: true, ..dependency("serde", Kind::Code) };
    assert_eq!(with("broker", serde), [defaults]);
}

#[test]
fn a_crate_nobody_agreed_on_is_named() {
    let mut crates = agreed();
    crates.push(krate("utils", Vec::new()));
    assert_eq!(check_graph(&graph(crates)), [Violation::UnknownCrate("utils".into())]);
}

#[test]
fn purity_is_read_from_the_source() {
    use sources::{has_no_std, takes_std_back};
    assert!(has_no_std("//! Words.\n\n#![no_std]\n"));
    assert!(!has_no_std("// #![no_std]\n"));
    assert!(!has_no_std("#![cfg_attr(not(test), no_std)]\n"));
    assert!(takes_std_back("extern crate alloc;\nextern crate std;\n"));
    assert!(takes_std_back("pub extern crate std as outside;\n"));
    assert!(!takes_std_back("#[cfg(test)]\nextern crate std;\n"));
    assert!(!takes_std_back("// extern crate std;\n"));
}

#[test]
fn a_pure_crate_without_the_attribute_is_named() {
    let folder = std::env::temp_dir().join(format!("migd-xtask-{}", std::process::id()));
    let source = folder.join("src/lib.rs");
    std::fs::create_dir_all(folder.join("src")).unwrap();
    std::fs::write(&source, "//! Words.\nextern crate std;\n").unwrap();
    let mut pure = krate("model", Vec::new());
    pure.folder.clone_from(&folder);
    pure.roots.push(source.clone());
    let found = sources::check_pure(&pure).unwrap();
    std::fs::write(&source, format!("#![no_std]\n{}", "// A line.\n".repeat(400))).unwrap();
    let mended = sources::check_pure(&pure).unwrap();
    let long = sources::long_files(&pure, &folder).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(mended, []);
    assert_eq!(long, ["src/lib.rs has 401 lines; split it by noun (about 400 at most)"]);
}

#[test]
fn unsafe_code_stays_where_the_table_allows_it() {
    const ROOT: &str = "[workspace.lints.rust]\nunsafe_code = \"forbid\"\nmissing_docs = \"warn\"\n\
                        [workspace.lints.clippy]\nall = \"warn\"\n";
    const OWN: &str = "[lints.rust]\nmissing_docs = \"warn\"\nunsafe_code = \"deny\"\n\
                       [lints.clippy]\nall = \"warn\"\n";
    let check = |krate: &str, manifest: &str| lints::check(krate, manifest, ROOT).unwrap().len();
    assert_eq!(check("host", "[lints]\nworkspace = true\n"), 0);
    assert_eq!(check("host", "[package]\nname = \"host\"\n"), 1);
    assert_eq!(check("host", OWN), 1);
    assert_eq!(check("driver", OWN), 0);
    assert_eq!(check("driver", "[package]\nname = \"driver\"\n"), 1);
    assert_eq!(check("driver", &OWN.replace("deny", "allow")), 1);
    assert_eq!(check("driver", &OWN.replace("missing_docs = \"warn\"\n", "")), 1);
    let lax = ROOT.replace("forbid", "warn");
    assert_eq!(lints::check("host", "[lints]\nworkspace = true\n", &lax).unwrap().len(), 1);
}
