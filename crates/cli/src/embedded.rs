//! The simulated driver's `libnvidia-ml.so.1`, carried inside this executable.
//!
//! Must never leave a half-written library where a program may load it: a file appears under its
//! final name complete, or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::UNIX_EPOCH;

static LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libnvidia-ml.so.1"));
const SHA256: &str = env!("MIGD_LIBRARY_SHA256");
const FILE_NAME: &str = "libnvidia-ml.so.1";
/// Some programs ask for the name without a version first.
const SHORT_NAME: &str = "libnvidia-ml.so";

/// Puts the library into `DIR/SHA256/` unless it is there already, and gives that folder.
/// Programs find it with the folder in `LD_LIBRARY_PATH`. Any number of processes may do this at
/// the same time; libraries of other versions stay for the programs that run with them.
///
/// # Errors
/// What the system said when a folder or a file could not be made.
pub(crate) fn unpack(dir: &Path) -> io::Result<PathBuf> {
    let folder = dir.join(SHA256);
    let library = folder.join(FILE_NAME);
    if !holds(&library, LIBRARY) {
        DirBuilder::new().recursive(true).mode(0o755).create(&folder)?;
        put(&library, LIBRARY)?;
    }
    if !fs::read_link(folder.join(SHORT_NAME)).is_ok_and(|target| target == Path::new(FILE_NAME)) {
        link(&folder)?;
    }
    Ok(folder)
}

/// Whether the file at `path` can be read and consists of `bytes`.
fn holds(path: &Path, bytes: &[u8]) -> bool {
    let Ok(mut file) = File::open(path) else { return false };
    let right_length = file.metadata().is_ok_and(|found| found.len() == bytes.len() as u64);
    if !right_length {
        return false;
    }
    let mut found = Vec::with_capacity(bytes.len());
    file.read_to_end(&mut found).is_ok() && found == bytes
}

fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = temporary(path);
    let written = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new).and_then(
        |mut file| {
            file.set_permissions(fs::Permissions::from_mode(0o644))?;
            file.write_all(bytes)
        },
    );
    finish(written, &new, path)
}

fn link(folder: &Path) -> io::Result<()> {
    let path = folder.join(SHORT_NAME);
    let new = temporary(&path);
    finish(symlink(FILE_NAME, &new), &new, &path)
}

/// Renames `new` into place, or takes it away if it could not be completed.
fn finish(made: io::Result<()>, new: &Path, path: &Path) -> io::Result<()> {
    let result = made.and_then(|()| fs::rename(new, path));
    if result.is_err() {
        // Not there, or not ours to remove: the first error is the one to tell.
        let _ = fs::remove_file(new);
    }
    result
}

/// A name beside `path` that no other process or thread uses. The time tells it from what a dead
/// process with the same pid left, and from a process of another pid namespace.
fn temporary(path: &Path) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let time = UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}-{number}-{time}.new", std::process::id()));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_unpacked_once_and_mended_when_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let folder = unpack(dir.path()).unwrap();
        let library = folder.join(FILE_NAME);
        assert_eq!(folder.file_name().unwrap().to_str(), Some(SHA256));
        assert_eq!(fs::read(&library).unwrap(), LIBRARY);
        assert_eq!(fs::read(folder.join(SHORT_NAME)).unwrap(), LIBRARY);
        assert_eq!(fs::metadata(&library).unwrap().permissions().mode() & 0o777, 0o644);

        let untouched = fs::metadata(&library).unwrap().modified().unwrap();
        unpack(dir.path()).unwrap();
        assert_eq!(fs::metadata(&library).unwrap().modified().unwrap(), untouched);

        let mut damaged = LIBRARY.to_vec();
        damaged[100] ^= 1;
        fs::write(&library, damaged).unwrap();
        unpack(dir.path()).unwrap();
        assert_eq!(fs::read(&library).unwrap(), LIBRARY);
    }

    #[test]
    fn many_at_once_leave_one_whole_library_and_no_rubbish() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let folder = unpack(dir.path()).unwrap();
                    assert_eq!(fs::read(folder.join(FILE_NAME)).unwrap(), LIBRARY);
                });
            }
        });
        let folder = unpack(dir.path()).unwrap();
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [SHORT_NAME, FILE_NAME]);
    }
}
