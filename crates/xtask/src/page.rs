//! Pages whose tables a command makes: what stands between two marks.
//!
//! Must never touch what stands outside the marks.

use std::path::PathBuf;

use anyhow::Context as _;

/// A page of `docs/`.
#[derive(Debug)]
pub(crate) struct Page {
    verb: &'static str,
    path: PathBuf,
}

impl Page {
    /// `docs/VERB.md`, whose tables `cargo xtask VERB --write` makes.
    pub(crate) fn new(verb: &'static str) -> anyhow::Result<Self> {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let root = root.ancestors().nth(2).context("the workspace has no root")?;
        Ok(Self { verb, path: root.join("docs").join(format!("{verb}.md")) })
    }

    /// Writes other tables between its marks.
    pub(crate) fn put(&self, tables: &str) -> anyhow::Result<()> {
        let name = self.path.display();
        let old = std::fs::read_to_string(&self.path)
            .with_context(|| format!("{name} cannot be read"))?;
        let new =
            put(self.verb, &old, tables).with_context(|| format!("{name} lacks its marks"))?;
        std::fs::write(&self.path, new).with_context(|| format!("{name} cannot be written"))
    }
}

/// The page with other tables between its marks; `None` if it lacks them.
fn put(verb: &str, old: &str, tables: &str) -> Option<String> {
    let first = format!("<!-- made by `cargo xtask {verb} --write` -->\n");
    let last = "<!-- end of what is made -->\n";
    let (before, rest) = old.split_once(&first)?;
    let (_, after) = rest.split_once(last)?;
    Some(format!("{before}{first}{tables}{last}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_put_between_the_marks() {
        let page = |tables: &str| {
            format!(
                "a\n<!-- made by `cargo xtask week --write` -->\n{tables}<!-- end of what is made -->\nb\n"
            )
        };
        assert_eq!(put("week", &page("old\n"), "new\n"), Some(page("new\n")));
        assert_eq!(put("migbench", &page("old\n"), "new\n"), None);
        assert_eq!(put("week", "nothing", "new"), None);
    }
}
