//! Lint tables: every crate has the workspace's, so that `unsafe` stays where the table allows it.
//!
//! Must never compare text: a table may be written in any order.

use anyhow::Context as _;
use toml::{Table, Value};

use super::{Violation, table};

/// Checks the lints of the crate `krate` with the manifest `manifest` against those of the
/// workspace's manifest `root`.
pub(super) fn check(krate: &str, manifest: &str, root: &str) -> anyhow::Result<Vec<Violation>> {
    let manifest: Table = manifest.parse().with_context(|| format!("manifest of {krate}"))?;
    let root: Table = root.parse().context("manifest of the workspace")?;
    let agreed = at(&root, &["workspace", "lints"]).context("the workspace has no lints")?;
    let found = manifest.get("lints");
    let wrong = |why: &str| vec![Violation::Lints { krate: krate.to_owned(), why: why.to_owned() }];
    let inherits = |lints: &Value| lints.get("workspace").and_then(Value::as_bool) == Some(true);
    if !table::UNSAFE.contains(&krate) {
        if unsafe_code(agreed) != Some("forbid") {
            return Ok(wrong("the workspace does not forbid unsafe_code"));
        }
        let fine = found.is_some_and(inherits);
        return Ok(if fine { Vec::new() } else { wrong("needs `[lints] workspace = true`") });
    }
    let Some(found) = found else { return Ok(wrong("has none")) };
    if inherits(found) {
        return Ok(Vec::new());
    }
    if unsafe_code(found) != Some("deny") {
        return Ok(wrong("must deny unsafe_code, so that each use states its reason"));
    }
    let same = without_unsafe_code(found) == without_unsafe_code(agreed);
    Ok(if same {
        Vec::new()
    } else {
        wrong("differ from the workspace's in more than unsafe_code")
    })
}

fn at<'a>(table: &'a Table, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(table.get(*first)?, |value, key| value.get(key))
}

fn unsafe_code(lints: &Value) -> Option<&str> {
    lints.get("rust")?.get("unsafe_code")?.as_str()
}

fn without_unsafe_code(lints: &Value) -> Value {
    let mut lints = lints.clone();
    if let Some(rust) = lints.get_mut("rust").and_then(Value::as_table_mut) {
        rust.remove("unsafe_code");
    }
    lints
}
