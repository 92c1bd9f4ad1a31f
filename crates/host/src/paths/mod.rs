//! Where the daemon's files and sockets belong.
//!
//! Must never follow a variable of the environment for a real machine as root: whoever can set
//! root's environment would choose where root writes.

mod folders;
mod name;

use std::ffi::OsString;
use std::fs::Permissions;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use model::Uid;

use crate::root::HostRoot;
use folders::check_above;
pub use folders::ensure_folder;
pub use name::{MachineName, MachineNameError};

/// Longest path of a unix socket in bytes, its end mark left out (`sun_path` of unix(7) has 108).
pub const SOCKET_PATH_MAX: usize = 107;

const SOCKET: &str = "migd.sock";
const ADMIN_SOCKET: &str = "admin.sock";

/// Which machine is managed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Machine {
    /// The one this program runs on.
    Real,
    /// A simulated one.
    Simulated(MachineName),
}

/// Who asks and what the environment says; read once at the edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// The effective user.
    pub uid: Uid,
    /// `$HOME`.
    pub home: Option<PathBuf>,
    /// `$MIGD_STATE_DIR`.
    pub state_dir: Option<PathBuf>,
    /// `$XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<PathBuf>,
}

impl Surroundings {
    /// Those of this process. Empty variables count as unset.
    pub fn current() -> Self {
        let variable = |name: &str| {
            std::env::var_os(name).filter(|value: &OsString| !value.is_empty()).map(PathBuf::from)
        };
        Self {
            uid: Uid::new(rustix::process::geteuid().as_raw()),
            home: variable("HOME"),
            state_dir: variable("MIGD_STATE_DIR"),
            runtime_dir: variable("XDG_RUNTIME_DIR"),
        }
    }

    const fn is_root(&self) -> bool {
        self.uid.get() == 0
    }

    /// Below which folder everything is kept, and whether somebody chose it.
    fn state_base(&self, machine: &Machine) -> Result<(PathBuf, bool), PathsError> {
        let chosen = match machine {
            Machine::Real if self.is_root() => None,
            Machine::Real | Machine::Simulated(_) => self.state_dir.as_ref(),
        };
        if let Some(folder) = chosen {
            return if folder.is_absolute() {
                Ok((folder.clone(), true))
            } else {
                Err(PathsError::Relative(folder.clone()))
            };
        }
        if self.is_root() {
            return Ok((PathBuf::from("/var/lib/migd"), false));
        }
        let home = self.home.as_ref().filter(|home| home.is_absolute());
        let home = home.ok_or(PathsError::NoHome)?;
        Ok((home.join(".local/state/migd"), false))
    }

    /// A short folder for sockets, gone after a reboot.
    fn runtime_base(&self) -> PathBuf {
        if self.is_root() {
            return PathBuf::from("/run/migd");
        }
        match self.runtime_dir.as_ref().filter(|folder| folder.is_absolute()) {
            Some(folder) => folder.join("migd"),
            None => PathBuf::from(format!("/tmp/migd-{}", self.uid)),
        }
    }
}

/// Why files have no place.
#[derive(Debug, thiserror::Error)]
pub enum PathsError {
    /// `$MIGD_STATE_DIR` is relative, so every command would mean another folder by it.
    #[error("MIGD_STATE_DIR must be an absolute path, not `{}`", .0.display())]
    Relative(PathBuf),
    /// There is no `$HOME` to put state under.
    #[error("no place for state: set HOME, or MIGD_STATE_DIR to an absolute path")]
    NoHome,
    /// No short enough path for a socket was found.
    #[error("the socket path `{}` is longer than {SOCKET_PATH_MAX} bytes; use a shorter name", .0.display())]
    SocketTooLong(PathBuf),
    /// A folder cannot be made or looked at.
    #[error("cannot prepare the folder {}", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Somebody else could have put what is in there.
    #[error("will not use {}: {reason}", path.display())]
    Untrusted {
        /// Which folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Where the files of one machine's daemon are. Nothing is made before [`Places::prepare`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    uid: Uid,
    machine: Machine,
    state: PathBuf,
    runtime: PathBuf,
    /// Whether the folder of the state was chosen by whoever set the environment.
    chosen: bool,
}

impl Places {
    /// The places of `machine` for whoever `surroundings` describes.
    ///
    /// State: `$MIGD_STATE_DIR`, else `/var/lib/migd` for root, else `~/.local/state/migd`; as root
    /// the variable counts for simulated machines only. A simulated machine has `sim/NAME` below.
    ///
    /// Sockets: a folder `run` beside the state where the state folder was chosen and is short
    /// enough; else below `/run/migd` for root, `$XDG_RUNTIME_DIR/migd`, or `/tmp/migd-UID`, with a
    /// number made from the chosen folder so that two of them never share a socket.
    ///
    /// # Errors
    /// [`PathsError::Relative`], [`PathsError::NoHome`], [`PathsError::SocketTooLong`].
    pub fn of(machine: &Machine, surroundings: &Surroundings) -> Result<Self, PathsError> {
        let (base, chosen) = surroundings.state_base(machine)?;
        let below = match machine {
            Machine::Real => PathBuf::new(),
            Machine::Simulated(name) => Path::new("sim").join(name.as_str()),
        };
        let state = base.join(&below);
        let beside = state.join("run");
        let runtime = if !chosen {
            surroundings.runtime_base().join(&below)
        } else if socket_fits(&beside) {
            beside
        } else {
            let number = fingerprint(base.as_os_str().as_bytes());
            surroundings.runtime_base().join(format!("{number:016x}")).join(&below)
        };
        if !socket_fits(&runtime) {
            return Err(PathsError::SocketTooLong(runtime.join(ADMIN_SOCKET)));
        }
        Ok(Self { uid: surroundings.uid, machine: machine.clone(), state, runtime, chosen })
    }

    /// The folder below which every simulated machine of this user has its own, by its name.
    ///
    /// # Errors
    /// [`PathsError::Relative`], [`PathsError::NoHome`].
    pub fn simulated_machines(surroundings: &Surroundings) -> Result<PathBuf, PathsError> {
        let any = Machine::Simulated(MachineName::any());
        Ok(surroundings.state_base(&any)?.0.join("sim"))
    }

    /// Which machine they belong to.
    pub const fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The folder of what must survive a reboot.
    pub fn state_dir(&self) -> &Path {
        &self.state
    }

    /// The folder of the sockets.
    pub fn runtime_dir(&self) -> &Path {
        &self.runtime
    }

    /// The event journal.
    pub fn journal(&self) -> PathBuf {
        self.state.join("journal.db")
    }

    /// What an automatically started daemon prints.
    pub fn log(&self) -> PathBuf {
        self.state.join("daemon.log")
    }

    /// The file whose lock says that a daemon runs.
    pub fn lock(&self) -> PathBuf {
        self.state.join("daemon.lock")
    }

    /// The socket for users.
    pub fn socket(&self) -> PathBuf {
        self.runtime.join(SOCKET)
    }

    /// The socket for administrators.
    pub fn admin_socket(&self) -> PathBuf {
        self.runtime.join(ADMIN_SOCKET)
    }

    /// The trees of the machine: `/`, or the folder `root` of a simulated one.
    pub fn host_root(&self) -> HostRoot {
        match self.machine {
            Machine::Real => HostRoot::real(),
            Machine::Simulated(_) => HostRoot::at(self.state.join("root")),
        }
    }

    /// Makes the folders. The state folder is the user's alone; so is the socket folder, unless
    /// `reach` lets others through to the socket.
    ///
    /// # Errors
    /// [`PathsError::Unusable`] if one cannot be made; [`PathsError::Untrusted`] if one belongs to
    /// somebody else or is a link, or if others may exchange a folder above it. What lies above a
    /// chosen folder is left to whoever chose it.
    pub fn prepare(&self, reach: Reach) -> Result<(), PathsError> {
        let inside = self.runtime.starts_with(&self.state);
        let (state, runtime) = match reach {
            Reach::Owner => (0o700, 0o700),
            // Others pass through the state folder where the socket lies in it, and list nothing.
            Reach::Everybody if inside => (0o711, 0o755),
            Reach::Everybody => (0o700, 0o755),
        };
        ensure_folder(&self.state, self.uid, state)?;
        ensure_folder(&self.runtime, self.uid, runtime)?;
        if !self.chosen {
            check_above(&self.state, self.uid)?;
            check_above(&self.runtime, self.uid)?;
        }
        match reach {
            Reach::Owner => Ok(()),
            Reach::Everybody => self.open_the_way(),
        }
    }

    /// Lets others pass through the folders of our own above the sockets: `sim`, and `migd` itself.
    fn open_the_way(&self) -> Result<(), PathsError> {
        let depth = match self.machine {
            Machine::Real => 0,
            Machine::Simulated(_) => 2,
        };
        let below = if self.runtime.starts_with(&self.state) { &self.state } else { &self.runtime };
        for folder in below.ancestors().skip(1).take(depth) {
            let unusable = |source| PathsError::Unusable { path: folder.to_path_buf(), source };
            let found = std::fs::symlink_metadata(folder).map_err(unusable)?;
            if found.uid() == self.uid.get() && found.is_dir() && found.mode() & 0o011 != 0o011 {
                let mode = found.mode() & 0o7777 | 0o011;
                std::fs::set_permissions(folder, Permissions::from_mode(mode)).map_err(unusable)?;
            }
        }
        Ok(())
    }
}

/// Who may get to the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The daemon's own user.
    Owner,
    /// Every user of the machine; who may do what is the daemon's decision by peer credentials.
    Everybody,
}

fn socket_fits(folder: &Path) -> bool {
    let longest = folder.join(ADMIN_SOCKET);
    longest.as_os_str().len() <= SOCKET_PATH_MAX
}

/// FNV-1a, 64 bits: a short name for a long path, the same in every version.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;
