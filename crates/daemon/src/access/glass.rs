//! The note that an administrator gave everybody access to slices, kept beside the journal: it must
//! hold without a daemon, too, and for the next one.
//!
//! Must never be lost by a crash: it is written whole under another name, then moved into place.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use model::{GpuUuid, NodeSnapshot};
use serde::{Deserialize, Serialize};

use crate::hands::lock;

const FILE: &str = "stock-access.json";

/// For which GPUs permissions are as the driver's tools make them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BrokenGlass {
    /// For every GPU.
    pub all: bool,
    /// For these.
    pub gpus: BTreeSet<GpuUuid>,
}

impl BrokenGlass {
    /// Whether a GPU's permissions are left as the driver's tools make them.
    pub fn covers(&self, gpu: &GpuUuid) -> bool {
        self.all || self.gpus.contains(gpu)
    }

    /// Whether no GPU is meant.
    pub fn is_whole(&self) -> bool {
        !self.all && self.gpus.is_empty()
    }

    /// `every slice`, or `the slices of GPU 0, 3`.
    pub(crate) fn words(&self, observed: &NodeSnapshot) -> String {
        if self.all {
            return "every slice".to_owned();
        }
        let name = |uuid: &GpuUuid| {
            observed.gpu(uuid).map_or_else(|| uuid.to_string(), |gpu| gpu.index.to_string())
        };
        let names: Vec<String> = self.gpus.iter().map(name).collect();
        format!("the slices of GPU {}", names.join(", "))
    }

    /// Reads the note in a daemon's state folder.
    ///
    /// # Errors
    /// [`GlassError`] when it is there and cannot be read.
    pub fn read(state_dir: &Path) -> Result<Self, GlassError> {
        let path = state_dir.join(FILE);
        let failed = |source| GlassError { path: path.clone(), source };
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map_err(|error| failed(error.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(failed(error)),
        }
    }

    /// Writes the note into a daemon's state folder.
    ///
    /// # Errors
    /// [`GlassError`]; the old note stands then.
    pub fn write(&self, state_dir: &Path) -> Result<(), GlassError> {
        let path = state_dir.join(FILE);
        let fresh = state_dir.join(format!("{FILE}.new"));
        let write = || -> io::Result<()> {
            if self.is_whole() {
                return match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                    _ => Ok(()),
                };
            }
            let mut file = File::create(&fresh)?;
            file.write_all(serde_json::to_string(self)?.as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, &path)
        };
        write()
            .and_then(|()| File::open(state_dir)?.sync_all())
            .map_err(|source| GlassError { path: path.clone(), source })
    }
}

/// Why the note could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot note in {} whose permissions are enforced", path.display())]
pub struct GlassError {
    /// The note.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// The note as a daemon keeps it.
#[derive(Debug)]
pub(super) struct Glass {
    state_dir: PathBuf,
    now: Mutex<BrokenGlass>,
}

impl Glass {
    /// A note that cannot be read counts as saying nothing, so that nobody gets in by damaging it.
    pub(super) fn open(state_dir: &Path) -> Self {
        let now = BrokenGlass::read(state_dir).unwrap_or_else(|error| {
            tracing::error!(error = crate::executor::chain(&error), "permissions are enforced");
            BrokenGlass::default()
        });
        Self { state_dir: state_dir.to_path_buf(), now: Mutex::new(now) }
    }

    pub(super) fn get(&self) -> BrokenGlass {
        lock(&self.now).clone()
    }

    pub(super) fn shatter(&self, gpu: Option<&GpuUuid>) -> Result<(), GlassError> {
        let mut now = lock(&self.now);
        let mut next = now.clone();
        match gpu {
            Some(gpu) => {
                next.gpus.insert(gpu.clone());
            }
            None => next.all = true,
        }
        next.write(&self.state_dir)?;
        *now = next;
        Ok(())
    }

    pub(super) fn mend(&self) -> Result<(), GlassError> {
        let mut now = lock(&self.now);
        BrokenGlass::default().write(&self.state_dir)?;
        *now = BrokenGlass::default();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_note_outlives_its_daemon_and_is_gone_when_mended() {
        let folder = tempfile::tempdir().unwrap();
        let gpu = GpuUuid::new("GPU-a");
        Glass::open(folder.path()).shatter(Some(&gpu)).unwrap();
        let next = Glass::open(folder.path());
        assert!(next.get().covers(&gpu) && !next.get().covers(&GpuUuid::new("GPU-b")));
        next.shatter(None).unwrap();
        assert!(Glass::open(folder.path()).get().covers(&GpuUuid::new("GPU-b")));
        next.mend().unwrap();
        assert!(Glass::open(folder.path()).get().is_whole());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_note_lets_nobody_in() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "{\"all\": tr").unwrap();
        assert!(BrokenGlass::read(folder.path()).is_err());
        assert!(Glass::open(folder.path()).get().is_whole());
    }
}
