//! What the sources themselves show: `#![no_std]` where it must be, and files that grew too long.
//!
//! Must never fail a build for the length of a file; that is a matter of judgement.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::Violation;
use super::graph::Crate;

/// Lines above which a file should be split by noun.
const LONG: usize = 400;

/// Checks that a pure crate cannot name `std`.
pub(super) fn check_pure(krate: &Crate) -> anyhow::Result<Vec<Violation>> {
    let mut violations = Vec::new();
    let wrong = |why: String| Violation::NotPure { krate: krate.name.clone(), why };
    for root in &krate.roots {
        if !has_no_std(&read(root)?) {
            violations.push(wrong(format!("{} lacks #![no_std]", root.display())));
        }
    }
    for file in rust_files(&krate.folder.join("src"))? {
        if takes_std_back(&read(&file)?) {
            violations.push(wrong(format!("{} has `extern crate std`", file.display())));
        }
    }
    Ok(violations)
}

/// Files of `krate` that are longer than agreed, with their paths below `root`.
pub(super) fn long_files(krate: &Crate, root: &Path) -> anyhow::Result<Vec<String>> {
    let mut notes = Vec::new();
    for file in rust_files(&krate.folder)? {
        let lines = read(&file)?.lines().count();
        if lines > LONG {
            let shown = file.strip_prefix(root).unwrap_or(&file).display();
            notes.push(format!(
                "{shown} has {lines} lines; split it by noun (about {LONG} at most)"
            ));
        }
    }
    Ok(notes)
}

/// Whether the attribute stands there unconditionally: not in a comment, not in a `cfg_attr`.
pub(super) fn has_no_std(source: &str) -> bool {
    source.lines().any(|line| line.trim() == "#![no_std]")
}

/// Whether `std` is linked in outside of tests.
pub(super) fn takes_std_back(source: &str) -> bool {
    let mut before = "";
    for line in source.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let code = line.strip_prefix("pub ").unwrap_or(line);
        if code.starts_with("extern crate std") && before != "#[cfg(test)]" {
            return true;
        }
        before = line;
    }
    false
}

fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// Every Rust file below `folder`, in order; generated ones in `target` left out.
fn rust_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                if entry.file_name() != "target" {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
