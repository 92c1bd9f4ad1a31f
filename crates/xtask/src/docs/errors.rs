//! The page of error codes against the codes in the sources.
//!
//! Must never know a code itself: it reads them out of string literals.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The page, below the project's folder.
pub(super) const PATH: &str = "docs/errors.md";

/// What the page lacks and what it has too much.
pub(super) fn differences(root: &Path) -> anyhow::Result<Vec<String>> {
    let page = fs::read_to_string(root.join(PATH)).with_context(|| format!("no {PATH}"))?;
    let told = codes_of_page(&page);
    let used = codes_of_sources(root)?;
    let missing = used
        .iter()
        .filter(|(code, _)| !told.contains(*code))
        .map(|(code, file)| format!("{PATH} lacks {code}, which {} produces", file.display()));
    let stale = told
        .iter()
        .filter(|code| !used.contains_key(*code))
        .map(|code| format!("{PATH} explains {code}, which nothing produces"));
    Ok(missing.chain(stale).collect())
}

/// The codes that rows of the page's tables begin with.
pub(super) fn codes_of_page(page: &str) -> BTreeSet<String> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    rows.map(|(code, _)| code.to_owned()).filter(|code| code.starts_with("E-")).collect()
}

/// Every code in a string literal below `crates/*/src`, its tests left out, and a file it is in.
pub(super) fn codes_of_sources(root: &Path) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for krate in entries(&root.join("crates"))? {
        let sources = krate.join("src");
        // This crate looks for codes and has none.
        if !sources.is_dir() || krate.ends_with("xtask") {
            continue;
        }
        let mut open = vec![sources];
        while let Some(folder) = open.pop() {
            for path in entries(&folder)? {
                if path.is_dir() {
                    open.push(path);
                } else if path.extension().is_some_and(|end| end == "rs") {
                    let text = fs::read_to_string(&path)?;
                    let shown = path.strip_prefix(root).unwrap_or(&path);
                    let codes = codes_of_source(&text);
                    found.extend(codes.into_iter().map(|code| (code, shown.to_path_buf())));
                }
            }
        }
    }
    Ok(found)
}

/// The codes in one source file, in front of its tests.
pub(super) fn codes_of_source(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let literals = lines.flat_map(|line| line.split('"').skip(1).step_by(2));
    let is_code = |literal: &&str| {
        literal.strip_prefix("E-").is_some_and(|rest| {
            !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')
        })
    };
    literals.filter(is_code).map(ToOwned::to_owned).collect()
}

fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let list = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut paths = Vec::new();
    for entry in list {
        paths.push(entry?.path());
    }
    paths.sort();
    Ok(paths)
}
