//! Under which folder the trees `/dev`, `/proc` and `/sys` of a machine are found.
//!
//! Must never be used for processes: those of a simulated machine are real, and stay in the true
//! `/proc`.

use std::path::{Path, PathBuf};

/// `/`, or the folder in which the simulator keeps the device and kernel trees of its machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostRoot(PathBuf);

impl HostRoot {
    /// The machine this program runs on.
    pub fn real() -> Self {
        Self(PathBuf::from("/"))
    }

    /// A machine whose trees lie under `folder`.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// The folder.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// Whether it is the machine this program runs on.
    pub fn is_real(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// Where the absolute path `path` of the machine is found: `/dev/nvidia0` becomes
    /// `FOLDER/dev/nvidia0`.
    #[must_use]
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_paths_move_under_the_folder() {
        assert_eq!(HostRoot::real().resolve("/dev/nvidia0"), Path::new("/dev/nvidia0"));
        assert_eq!(HostRoot::at("/s/r").resolve("/dev/nvidia0"), Path::new("/s/r/dev/nvidia0"));
        assert_eq!(HostRoot::at("/s/r").resolve("dev/nvidia0"), Path::new("/s/r/dev/nvidia0"));
        assert!(HostRoot::real().is_real());
        assert!(!HostRoot::at("/s/r").is_real());
    }
}
