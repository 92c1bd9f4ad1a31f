//! `docs/config.md`: how the configuration works, and every key of it.
//!
//! Must never list a key by hand: the table is that from which the default file is made.

/// The page's path below the project's folder.
pub(super) const PATH: &str = "docs/config.md";

/// The page.
pub(super) fn text() -> String {
    format!("{}\n\n{}", include_str!("config_head.md").trim_end(), ::config::reference())
}
