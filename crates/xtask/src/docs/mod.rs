//! Pages that are made from the code, and pages that must keep up with it.
//!
//! Must never be edited around: a page that differs is written again by `cargo xtask docs`.

mod boards;
mod config;
mod errors;
mod layouts;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// A page and what it must hold.
#[derive(Debug)]
pub(crate) struct Page {
    /// Its path below the project's folder.
    pub(crate) path: &'static str,
    /// Its text.
    pub(crate) text: String,
}

impl Page {
    /// Whether the file says exactly this.
    pub(crate) fn is_current(&self) -> bool {
        fs::read_to_string(root().join(self.path)).is_ok_and(|found| found == self.text)
    }

    /// Writes the file.
    pub(crate) fn write(&self) -> anyhow::Result<()> {
        let path = root().join(self.path);
        fs::write(&path, &self.text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Every page that is made from the code.
pub(crate) fn generated() -> Vec<Page> {
    vec![
        Page { path: boards::PATH, text: boards::text() },
        Page { path: config::PATH, text: config::text() },
    ]
}

/// What the page of error codes lacks and what it has too much, in sentences.
pub(crate) fn error_codes() -> anyhow::Result<Vec<String>> {
    errors::differences(&root())
}

/// The project's folder.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}
