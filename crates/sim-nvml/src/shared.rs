//! State shared by processes: a file with a mapped generation word and two slots.
//!
//! Must never leave the file in a state that a reader or the next writer cannot use, at whatever
//! instruction a writer dies: a writer touches only the slot that is not in force, and one store of
//! the generation word puts it in force.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use memmap2::{MmapOptions, MmapRaw};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::lock::FileLock;
use crate::slot::{HEADER, encode, read_slot, slot_offset};

/// First bytes of the state file; the last one is the format's number.
const MAGIC: u64 = u64::from_le_bytes(*b"migdsim\x02");
/// Where the generation word lies in the mapped page.
const GENERATION_AT: usize = 8;
/// Where the generation lies that the followers of the value were last brought up to.
const FOLLOWED_AT: usize = 16;
/// Reads that lose the race against two commits in a row are repeated this often before the file
/// is called damaged.
const READ_ATTEMPTS: u32 = 1000;

/// Why shared state cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is not one of ours, or of another format.
    #[error("{} is not the state of a simulated host of this version", .0.display())]
    Foreign(PathBuf),
    /// No slot holds what its checksum promises.
    #[error("{} is damaged: the slot in force does not match its checksum", .0.display())]
    Damaged(PathBuf),
    /// The value does not fit a slot, or cannot be encoded.
    #[error("the state cannot be encoded: {0}")]
    Encode(String),
    /// This process may read the state but not change it.
    #[error("no permission to change {}", .0.display())]
    ReadOnly(PathBuf),
}

impl SharedError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    /// Whether the caller's rights are the reason.
    pub fn is_permission(&self) -> bool {
        match self {
            Self::ReadOnly(_) => true,
            Self::Io { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
            Self::Foreign(_) | Self::Damaged(_) | Self::Encode(_) => false,
        }
    }
}

/// The value as it was at one generation.
#[derive(Debug, Clone)]
pub struct Version<T> {
    /// Number of the commit that made it; grows by one per commit.
    pub generation: u64,
    /// Bytes of the log that belong to it.
    pub log_len: u64,
    /// The value.
    pub value: T,
}

/// A value that every process on the host sees, and a log that agrees with it exactly.
#[derive(Debug)]
pub(crate) struct Shared<T> {
    path: PathBuf,
    lock_path: PathBuf,
    log_path: PathBuf,
    file: File,
    header: MmapRaw,
    writable: bool,
    cached: RwLock<Arc<Version<T>>>,
    writing: Mutex<()>,
}

/// A value that can be shared.
pub(crate) trait Shareable: Serialize + DeserializeOwned + Clone {
    /// Completes a value that was just decoded with what is not encoded; false if that fails.
    fn revive(&mut self) -> bool;
}

/// What a commit does to the log.
#[derive(Debug)]
pub(crate) enum LogChange {
    /// Nothing.
    Keep,
    /// Adds this line (without its newline).
    Append(String),
    /// Forgets every line.
    Clear,
}

impl<T: Shareable> Shared<T> {
    /// Writes the first version of a shared value into `dir`, replacing what was there. Everybody
    /// may read it; `mode` is the permission of its files.
    ///
    /// # Errors
    /// [`SharedError::Io`], [`SharedError::Encode`].
    pub(crate) fn create(dir: &Path, value: &T, mode: u32) -> Result<(), SharedError> {
        let new_path = dir.join("state.new");
        let open = |path: &Path| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .mode(mode)
                .open(path)
                .map_err(SharedError::io("create", path))
        };
        for name in ["lock", "calls.jsonl"] {
            let path = dir.join(name);
            let file = open(&path)?;
            set_mode(&file, mode, &path)?;
        }
        let file = open(&new_path)?;
        set_mode(&file, mode, &new_path)?;
        let mut header = vec![0; HEADER as usize];
        header[..8].copy_from_slice(&MAGIC.to_le_bytes());
        header[GENERATION_AT..GENERATION_AT + 8].copy_from_slice(&1u64.to_le_bytes());
        let slot = encode(value, 1, 0)?;
        file.write_all_at(&header, 0).map_err(SharedError::io("write", &new_path))?;
        file.write_all_at(&slot, slot_offset(1)).map_err(SharedError::io("write", &new_path))?;
        let path = dir.join("state");
        std::fs::rename(&new_path, &path).map_err(SharedError::io("rename", &new_path))
    }

    /// Opens the value in `dir`; read-only where the files do not allow more.
    ///
    /// # Errors
    /// [`SharedError::Io`], [`SharedError::Foreign`], [`SharedError::Damaged`].
    pub(crate) fn open(dir: &Path) -> Result<Self, SharedError> {
        let path = dir.join("state");
        let (file, writable) = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => (file, true),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                (File::open(&path).map_err(SharedError::io("open", &path))?, false)
            }
            Err(error) => return Err(SharedError::io("open", &path)(error)),
        };
        let mut magic = [0; 8];
        let length = file.metadata().map_err(SharedError::io("read", &path))?.len();
        if length < HEADER {
            return Err(SharedError::Foreign(path));
        }
        file.read_exact_at(&mut magic, 0).map_err(SharedError::io("read", &path))?;
        if u64::from_le_bytes(magic) != MAGIC {
            return Err(SharedError::Foreign(path));
        }
        let mut options = MmapOptions::new();
        let options = options.len(HEADER as usize);
        let mapped =
            if writable { options.map_raw(&file) } else { options.map_raw_read_only(&file) };
        let header = mapped.map_err(SharedError::io("map", &path))?;
        let first = read_version(&file, &path, || generation_of(&header))?;
        Ok(Self {
            lock_path: dir.join("lock"),
            log_path: dir.join("calls.jsonl"),
            path,
            file,
            header,
            writable,
            cached: RwLock::new(Arc::new(first)),
            writing: Mutex::new(()),
        })
    }

    /// The generation in force. One atomic load.
    pub(crate) fn generation(&self) -> u64 {
        generation_of(&self.header).load(Ordering::Acquire)
    }

    /// The value in force; decodes only when it changed since the last call.
    ///
    /// # Errors
    /// [`SharedError::Io`], [`SharedError::Damaged`].
    pub(crate) fn read(&self) -> Result<Arc<Version<T>>, SharedError> {
        {
            let cached = self.cached.read().unwrap_or_else(PoisonError::into_inner);
            if cached.generation == self.generation() {
                return Ok(Arc::clone(&cached));
            }
        }
        let fresh = Arc::new(read_version(&self.file, &self.path, || generation_of(&self.header))?);
        self.remember(&fresh);
        Ok(fresh)
    }

    fn remember(&self, fresh: &Arc<Version<T>>) {
        let mut cached = self.cached.write().unwrap_or_else(PoisonError::into_inner);
        if cached.generation < fresh.generation {
            *cached = Arc::clone(fresh);
        }
    }

    /// Changes the value: one process at a time runs `change` on a copy of the value in force;
    /// then the copy and the log change come into force together. `change` gets the generation
    /// that the commit will have.
    ///
    /// `follow` brings whatever must follow the value up to date, still under the lock: it gets the
    /// old and the new version and whether everything had followed the old one. If the writer dies
    /// in between, the next `follow` is told so.
    ///
    /// # Errors
    /// Any [`SharedError`]; then nothing came into force.
    pub(crate) fn write<R>(
        &self,
        change: impl FnOnce(&mut T, u64) -> (R, LogChange),
        follow: impl FnOnce(&T, &T, bool) -> bool,
    ) -> Result<R, SharedError> {
        if !self.writable {
            return Err(SharedError::ReadOnly(self.path.clone()));
        }
        let _one_thread = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let _one_process = FileLock::take(&self.lock_path)?;
        let before = self.read()?;
        let generation = before.generation + 1;
        let mut value = before.value.clone();
        let (answer, log) = change(&mut value, generation);
        let log_len = self.write_log(before.log_len, log)?;
        let slot = encode(&value, generation, log_len)?;
        self.file
            .write_all_at(&slot, slot_offset(generation))
            .map_err(SharedError::io("write", &self.path))?;
        generation_of(&self.header).store(generation, Ordering::Release);
        let after = Arc::new(Version { generation, log_len, value });
        self.remember(&after);
        let followed = word_of(&self.header, FOLLOWED_AT);
        let up_to_date = followed.load(Ordering::Acquire) == before.generation;
        if follow(&before.value, &after.value, up_to_date) {
            followed.store(generation, Ordering::Release);
        }
        Ok(answer)
    }

    /// Whether everything that follows the value had been brought up to date.
    pub(crate) fn is_followed(&self) -> bool {
        word_of(&self.header, FOLLOWED_AT).load(Ordering::Acquire) == self.generation()
    }

    fn write_log(&self, committed: u64, change: LogChange) -> Result<u64, SharedError> {
        let line = match change {
            LogChange::Keep => return Ok(committed),
            LogChange::Clear => return Ok(0),
            LogChange::Append(mut line) => {
                line.push('\n');
                line
            }
        };
        let path = &self.log_path;
        let log =
            OpenOptions::new().write(true).open(path).map_err(SharedError::io("open", path))?;
        let length = log.metadata().map_err(SharedError::io("read", path))?.len();
        if length > committed {
            log.set_len(committed).map_err(SharedError::io("truncate", path))?;
        }
        log.write_all_at(line.as_bytes(), committed).map_err(SharedError::io("write", path))?;
        Ok(committed + line.len() as u64)
    }

    /// The lines of the log that belong to the value in force.
    ///
    /// # Errors
    /// [`SharedError::Io`], [`SharedError::Damaged`].
    pub(crate) fn log(&self) -> Result<String, SharedError> {
        let _one_process = FileLock::share(&self.lock_path)?;
        let version = self.read()?;
        let path = &self.log_path;
        let file = File::open(path).map_err(SharedError::io("open", path))?;
        let mut bytes = vec![0; version.log_len as usize];
        file.read_exact_at(&mut bytes, 0).map_err(SharedError::io("read", path))?;
        String::from_utf8(bytes).map_err(|_| SharedError::Damaged(path.clone()))
    }

    /// Whether this process may change the value.
    pub(crate) const fn is_writable(&self) -> bool {
        self.writable
    }
}

fn set_mode(file: &File, mode: u32, path: &Path) -> Result<(), SharedError> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(mode))
        .map_err(SharedError::io("set the permissions of", path))
}

fn generation_of(header: &MmapRaw) -> &AtomicU64 {
    word_of(header, GENERATION_AT)
}

/// The word at `at`, a multiple of 8 inside the header.
fn word_of(header: &MmapRaw, at: usize) -> &AtomicU64 {
    #[expect(clippy::cast_ptr_alignment, reason = "a mapping begins on a page")]
    let page = header.as_mut_ptr().cast::<u64>();
    let word = page.wrapping_add(at % HEADER as usize / 8);
    #[expect(unsafe_code, reason = "a word of a shared mapping is reached through a pointer")]
    // SAFETY: the mapping is HEADER bytes long and page aligned, so the word is inside it and
    // aligned to 8; it lives as long as `header`; every process accesses the word atomically; on a
    // read-only mapping it is only loaded (`write` refuses first).
    unsafe {
        AtomicU64::from_ptr(word)
    }
}

fn read_version<'a, T: Shareable>(
    file: &File,
    path: &Path,
    generation: impl Fn() -> &'a AtomicU64,
) -> Result<Version<T>, SharedError> {
    for _ in 0..READ_ATTEMPTS {
        let now = generation().load(Ordering::Acquire);
        if let Some(version) = read_slot(file, now).map_err(SharedError::io("read", path))? {
            return Ok(version);
        }
        if generation().load(Ordering::Acquire) == now {
            return Err(SharedError::Damaged(path.to_owned()));
        }
    }
    Err(SharedError::Damaged(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::SLOT_HEADER;

    impl Shareable for Vec<u8> {
        fn revive(&mut self) -> bool {
            true
        }
    }

    fn set(state: &Shared<Vec<u8>>, value: u8, log: LogChange) {
        let change = |bytes: &mut Vec<u8>, _| (bytes.push(value), log);
        state.write(change, |_, _, _| true).unwrap();
    }

    #[test]
    fn commits_are_seen_by_another_opener_and_logged_exactly() {
        let dir = tempfile::tempdir().unwrap();
        Shared::create(dir.path(), &vec![1u8], 0o644).unwrap();
        let one: Shared<Vec<u8>> = Shared::open(dir.path()).unwrap();
        let two: Shared<Vec<u8>> = Shared::open(dir.path()).unwrap();
        assert_eq!(two.read().unwrap().value, [1]);
        set(&one, 2, LogChange::Append("first".into()));
        assert_eq!(one.generation(), 2);
        assert_eq!(two.read().unwrap().value, [1, 2]);
        assert_eq!(two.log().unwrap(), "first\n");
        set(&two, 3, LogChange::Clear);
        assert_eq!(one.log().unwrap(), "");
    }

    #[test]
    fn what_a_dead_writer_left_behind_is_ignored_and_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        Shared::create(dir.path(), &vec![7u8], 0o644).unwrap();
        let state: Shared<Vec<u8>> = Shared::open(dir.path()).unwrap();
        set(&state, 8, LogChange::Append("kept".into()));
        // A writer that died after filling its slot and the log, before the flip.
        let file = OpenOptions::new().write(true).open(dir.path().join("state")).unwrap();
        let slot = encode(&vec![99u8], 3, 500).unwrap();
        file.write_all_at(&slot, slot_offset(3)).unwrap();
        let mut log = std::fs::read(dir.path().join("calls.jsonl")).unwrap();
        log.extend_from_slice(b"never happe");
        std::fs::write(dir.path().join("calls.jsonl"), log).unwrap();

        let reopened: Shared<Vec<u8>> = Shared::open(dir.path()).unwrap();
        assert_eq!(reopened.read().unwrap().value, [7, 8]);
        assert_eq!(reopened.log().unwrap(), "kept\n");
        set(&reopened, 9, LogChange::Append("next".into()));
        assert_eq!(state.read().unwrap().value, [7, 8, 9]);
        assert_eq!(state.log().unwrap(), "kept\nnext\n");
    }

    #[test]
    fn followers_are_told_when_one_was_missed() {
        let dir = tempfile::tempdir().unwrap();
        Shared::create(dir.path(), &vec![7u8], 0o644).unwrap();
        let state: Shared<Vec<u8>> = Shared::open(dir.path()).unwrap();
        assert!(!state.is_followed());
        let mut told = Vec::new();
        for follows in [true, false, true, true] {
            let follow = |_: &Vec<u8>, _: &Vec<u8>, up_to_date| {
                told.push(up_to_date);
                follows
            };
            state.write(|_, _| ((), LogChange::Keep), follow).unwrap();
        }
        assert_eq!(told, [false, true, false, true]);
        assert!(state.is_followed());
    }

    #[test]
    fn a_damaged_slot_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        Shared::create(dir.path(), &vec![5u8; 100], 0o644).unwrap();
        let file = OpenOptions::new().write(true).open(dir.path().join("state")).unwrap();
        file.write_all_at(&[6], slot_offset(1) + SLOT_HEADER as u64 + 50).unwrap();
        assert!(matches!(
            Shared::<Vec<u8>>::open(dir.path()),
            Err(SharedError::Damaged(path)) if path.ends_with("state")
        ));
        std::fs::write(dir.path().join("state"), [0; 8192]).unwrap();
        assert!(matches!(Shared::<Vec<u8>>::open(dir.path()), Err(SharedError::Foreign(_))));
    }
}
