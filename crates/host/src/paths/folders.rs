//! Making folders that are ours, and proving it.
//!
//! Must never follow a link that somebody else could have put there.

use std::fs::{DirBuilder, Metadata, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use model::Uid;

use super::PathsError;

/// Makes `folder` and its parents, the missing ones for their owner alone, proves that it is
/// `owner`'s own folder and no link, and gives it `mode`.
///
/// # Errors
/// [`PathsError::Unusable`], [`PathsError::Untrusted`].
pub fn ensure_folder(folder: &Path, owner: Uid, mode: u32) -> Result<(), PathsError> {
    let unusable = |source| PathsError::Unusable { path: folder.to_path_buf(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unusable)?;
    // Not following a link: in /tmp anybody may have put one there first.
    let found = std::fs::symlink_metadata(folder).map_err(unusable)?;
    if !found.is_dir() {
        return Err(untrusted(folder, String::from("it is a link or a file")));
    }
    if found.uid() != owner.get() {
        let reason = format!("it belongs to uid {}, not {owner}", found.uid());
        return Err(untrusted(folder, reason));
    }
    if found.mode() & 0o777 != mode {
        std::fs::set_permissions(folder, Permissions::from_mode(mode)).map_err(unusable)?;
    }
    Ok(())
}

/// Proves that nobody but `owner` and root can put another folder in `folder`'s place: everything
/// above is theirs, and where others may write, the sticky bit keeps them from renaming (/tmp).
pub(super) fn check_above(folder: &Path, owner: Uid) -> Result<(), PathsError> {
    let outside = owner_outside();
    let trusted = |found: &Metadata| {
        found.uid() == owner.get() || found.uid() == 0 || Some(found.uid()) == outside
    };
    for above in folder.ancestors().skip(1) {
        let unusable = |source| PathsError::Unusable { path: above.to_path_buf(), source };
        let link = std::fs::symlink_metadata(above).map_err(unusable)?;
        let found = std::fs::metadata(above).map_err(unusable)?;
        let open = found.mode() & 0o002 != 0 && found.mode() & 0o1000 == 0;
        if open || !trusted(&link) || !trusted(&found) {
            let reason = format!("others may exchange what is in {}", above.display());
            return Err(untrusted(folder, reason));
        }
    }
    Ok(())
}

/// The owner that files of unmapped users show inside a user namespace, as a sandbox has one: there
/// `/` and `/tmp` seem to be nobody's, being the true root's. `None` where everybody is mapped.
fn owner_outside() -> Option<u32> {
    let map = std::fs::read_to_string("/proc/self/uid_map").ok()?;
    let overflow = std::fs::read_to_string("/proc/sys/kernel/overflowuid").ok()?;
    if maps_everybody(&map) { None } else { overflow.trim().parse().ok() }
}

/// Whether a `uid_map` covers every user id, as that of the first user namespace does.
pub(super) fn maps_everybody(uid_map: &str) -> bool {
    let mut lines = uid_map.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.any(|fields| fields == ["0", "0", "4294967295"])
}

fn untrusted(path: &Path, reason: String) -> PathsError {
    PathsError::Untrusted { path: path.to_path_buf(), reason }
}
