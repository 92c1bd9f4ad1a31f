//! Programs from PyPI, each set in a virtual environment that test runs share.
//!
//! Must never take a version that is not pinned.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where a step fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};

use crate::simulated::told;

/// A file of `tests/foreign`.
pub fn foreign(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/foreign").join(name)
}

/// The folder of the virtual environment `name` with what the file `requirements` of
/// `tests/foreign` pins; the error says why there is none.
pub fn environment(name: &str, requirements: &str) -> Result<PathBuf, String> {
    let requirements = foreign(requirements);
    let wanted = fs::read_to_string(&requirements).map_err(|error| error.to_string())?;
    let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = base.join(name);
    // Other test runs on the same target folder wait here.
    let lock = fs::File::create(base.join(format!("{name}.lock"))).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let stamp = folder.join("installed");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(folder);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    tried(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    tried(
        Command::new(folder.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(["--retries", "2", "--timeout", "30", "--requirement"])
            .arg(&requirements),
    )?;
    fs::write(&stamp, wanted).unwrap();
    Ok(folder)
}

fn tried(command: &mut Command) -> Result<(), String> {
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{command:?}: {}", told(&output))),
        Err(error) => Err(format!("{command:?}: {error}")),
    }
}
