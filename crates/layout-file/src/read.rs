//! From text to document: whose format it is, and then its reader.
//!
//! Must never guess between two formats that both claim a file.

use crate::document::Document;
use crate::fault::{Faults, Findings};
use crate::tree::Pair;
use crate::{mig_parted, own, yaml};

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
    let has = |keys: [&str; 2]| pairs.iter().find(|pair| keys.contains(&pair.key.as_str()));
    let document = match (has(["schema", "layouts"]), has(["version", "mig-configs"])) {
        (Some(ours), Some(theirs)) => return Err(both(ours, theirs, findings)),
        (Some(_), None) => {
            // mig-parted's readers always took double keys and further documents; ours never did.
            for odd in std::mem::take(&mut findings.warnings) {
                findings.refuse(odd.at, odd.what, odd.instead);
            }
            own::read::document(pairs, &mut findings)
        }
        (None, _) => mig_parted::read::document(pairs, &mut findings),
    };
    let (document, warnings) = findings.finish(document)?;
    Ok(Document { warnings, ..document })
}

fn both(ours: &Pair, theirs: &Pair, mut findings: Findings) -> Faults {
    let what = format!("`{}` is of our format and `{}` of mig-parted's", ours.key, theirs.key);
    let at = ours.at.max(theirs.at);
    findings.refuse(at, what, "keep one of the two: `migctl convert` turns a file into the other");
    Faults(findings.faults)
}
