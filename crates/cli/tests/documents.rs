//! Documents that follow from the program: the manual pages, and the machine that
//! `docs/simulator.md` describes.
//!
//! Must never write into the project: what differs is written again by the command it names.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where a step fails")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

fn migctl(arguments: &[&str], last: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_migctl"));
    command.args(arguments).arg(last).env_remove("MIGD_SIMULATE").env_remove("MIGD_STATE_DIR");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn pages(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let page = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        let text = fs::read_to_string(entry.path()).unwrap();
        (entry.file_name().into_string().unwrap(), text)
    };
    entries.map(page).collect()
}

#[test]
fn man_pages_are_up_to_date() {
    let made = tempfile::tempdir().unwrap();
    migctl(&["man"], made.path());
    let (made, kept) = (pages(made.path()), pages(&docs().join("man")));
    assert!(made.len() > 20, "only {} pages were made", made.len());
    let names: Vec<&String> = made.keys().chain(kept.keys()).collect();
    let differ: Vec<&String> =
        names.into_iter().filter(|name| made.get(*name) != kept.get(*name)).collect();
    assert!(
        differ.is_empty(),
        "{differ:?} differ: run `rm -r docs/man && cargo run -- man docs/man`"
    );
}

#[test]
fn the_description_of_the_api_is_up_to_date() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_migctl"));
    let made = command.arg("openapi").output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let kept = fs::read(docs().join("openapi.json")).unwrap();
    assert!(
        made.stdout == kept,
        "docs/openapi.json differs: run `cargo run -- openapi > docs/openapi.json`"
    );
    let described: Value = serde_json::from_slice(&kept).unwrap();
    assert_eq!(described["openapi"], "3.1.0");
    for (path, item) in described["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = format!("{method} {path}");
            assert!(operation["summary"].is_string(), "{name} has no summary");
            assert!(operation["operationId"].is_string(), "{name} has no operationId");
            let answers = operation["responses"].as_object().unwrap();
            assert!(answers.keys().any(|status| status.starts_with('2')), "{name}");
        }
    }
}

/// The example file of `docs/simulator.md` makes the machine it says.
#[test]
fn the_described_machine_can_be_simulated() {
    let page = fs::read_to_string(docs().join("simulator.md")).unwrap();
    let example: Vec<&str> = page
        .lines()
        .skip_while(|line| !line.starts_with("    host = "))
        .take_while(|line| line.is_empty() || line.starts_with("    "))
        .collect();
    assert!(example.len() > 20, "no example in docs/simulator.md");
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("lab1.toml");
    fs::write(&file, example.join("\n")).unwrap();
    let state = place.path().join("state");
    let state = state.to_str().unwrap();
    let output = migctl(&["--state-dir", state, "--json", "gpus", "--simulate"], &file);
    let gpus: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<&str> =
        gpus.as_array().unwrap().iter().map(|gpu| gpu["name"].as_str().unwrap()).collect();
    assert_eq!(names.iter().filter(|name| name.contains("A100")).count(), 4, "{names:?}");
    assert_eq!(names.iter().filter(|name| name.contains("A30")).count(), 2, "{names:?}");
    let output = migctl(&["--state-dir", state, "--json", "sim", "show", "--simulate"], &file);
    let shown = String::from_utf8(output.stdout).unwrap();
    for word in ["lowest_start", "reuse", "dcgm"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
}
