//! From text to document: whose format it is, and then its reader.
//!
//! Must never guess between two formats that both claim a file.

use crate::document::Document;
use crate::fault::{Faults, Findings};
use crate::mig_parted;
use crate::yaml;

/// Reads a file of layouts, YAML or JSON, mig-parted's or ours.
///
/// # Errors
/// Everything that is wrong with it, with line and column; nothing of it is used then.
pub fn read(text: &str) -> Result<Document, Faults> {
    let mut findings = Findings::default();
    let root = yaml::parse(text, &mut findings)?;
    let Some(pairs) = root.map().filter(|pairs| !pairs.is_empty()) else {
        let what = format!("the file holds {}", root.words());
        let instead =
            "begin it with `version: v1` (mig-parted's format) or `schema: migd/v1` (ours)";
        findings.refuse(root.at, what, instead);
        return Err(Faults(findings.faults));
    };
    let document = mig_parted::read::document(pairs, &mut findings);
    let (document, warnings) = findings.finish(document)?;
    Ok(Document { warnings, ..document })
}
