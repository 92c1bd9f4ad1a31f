//! Where the daemon's files and sockets belong.
//!
//! Must never follow a variable of the environment for a real machine as root: whoever can set
//! root's environment would choose where root writes.

use std::ffi::OsString;
use std::fs::{DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use model::Uid;

use crate::root::HostRoot;

/// Longest path of a unix socket in bytes, its end mark left out (`sun_path` of unix(7) has 108).
pub const SOCKET_PATH_MAX: usize = 107;

const SOCKET: &str = "migd.sock";
const ADMIN_SOCKET: &str = "admin.sock";

/// Name of a simulated machine: it is a folder's name too, so letters, digits and `-._@` only, at
/// most 40 bytes, beginning with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineName(String);

/// Why a text is no name of a simulated machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a name for a simulated machine: use letters, digits, - . _ (at most 40)")]
pub struct MachineNameError(pub String);

impl MachineName {
    /// The name of the machine described by `spec`, a preset (`dgx-a100`) or a board and a count:
    /// `a30-24gb:4` becomes `a30-24gb@4`, since a colon would part search paths.
    ///
    /// # Errors
    /// [`MachineNameError`] where nothing but the colon is wrong with it.
    pub fn for_spec(spec: &str) -> Result<Self, MachineNameError> {
        spec.replace(':', "@").parse().map_err(|_| MachineNameError(spec.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MachineName {
    type Err = MachineNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = !text.is_empty() && text.len() <= 40;
        let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._@".contains(c);
        if fits && starts && text.chars().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(MachineNameError(text.to_owned()))
        }
    }
}

impl std::fmt::Display for MachineName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

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
        Ok(Self { uid: surroundings.uid, machine: machine.clone(), state, runtime })
    }

    /// The folder below which every simulated machine of this user has its own, by its name.
    ///
    /// # Errors
    /// [`PathsError::Relative`], [`PathsError::NoHome`].
    pub fn simulated_machines(surroundings: &Surroundings) -> Result<PathBuf, PathsError> {
        let any = Machine::Simulated(MachineName(String::from("any")));
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
    /// [`PathsError::Unusable`] if one cannot be made, [`PathsError::Untrusted`] if it belongs to
    /// somebody else, is a link, or others may write in it.
    pub fn prepare(&self, reach: Reach) -> Result<(), PathsError> {
        ensure_folder(&self.state, self.uid, 0o700)?;
        let mode = match reach {
            Reach::Owner => 0o700,
            Reach::Everybody => 0o755,
        };
        ensure_folder(&self.runtime, self.uid, mode)
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

/// Makes `folder` and its parents, the missing ones with `mode`, and proves that it is `owner`'s
/// own; an existing one gets `mode`.
///
/// # Errors
/// [`PathsError::Unusable`], [`PathsError::Untrusted`].
pub fn ensure_folder(folder: &Path, owner: Uid, mode: u32) -> Result<(), PathsError> {
    let unusable = |source| PathsError::Unusable { path: folder.to_path_buf(), source };
    DirBuilder::new().recursive(true).mode(mode).create(folder).map_err(unusable)?;
    // Not following a link: in /tmp anybody may have put one there first.
    let found = std::fs::symlink_metadata(folder).map_err(unusable)?;
    check_owner(folder, &found, owner)?;
    if let Some(parent) = folder.parent() {
        check_parent(parent, owner)?;
    }
    if found.mode() & 0o777 != mode {
        std::fs::set_permissions(folder, Permissions::from_mode(mode)).map_err(unusable)?;
    }
    Ok(())
}

fn check_owner(folder: &Path, found: &Metadata, owner: Uid) -> Result<(), PathsError> {
    let untrusted = |reason: String| PathsError::Untrusted { path: folder.to_path_buf(), reason };
    if !found.is_dir() {
        return Err(untrusted(String::from("it is not a folder of its own")));
    }
    if found.uid() != owner.get() {
        return Err(untrusted(format!("it belongs to uid {}, not {owner}", found.uid())));
    }
    Ok(())
}

/// A folder in which others may rename what is ours is no place for a socket; a sticky one (/tmp)
/// lets nobody rename what is not his own.
fn check_parent(parent: &Path, owner: Uid) -> Result<(), PathsError> {
    let found = std::fs::metadata(parent)
        .map_err(|source| PathsError::Unusable { path: parent.to_path_buf(), source })?;
    let foreign = found.uid() != owner.get() && found.uid() != 0;
    let open = found.mode() & 0o002 != 0 && found.mode() & 0o1000 == 0;
    if foreign || open {
        let reason = String::from("others may rename what is in it");
        return Err(PathsError::Untrusted { path: parent.to_path_buf(), reason });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(uid: u32, state: Option<&str>, runtime: Option<&str>) -> Surroundings {
        Surroundings {
            uid: Uid::new(uid),
            home: Some(PathBuf::from("/home/kim")),
            state_dir: state.map(PathBuf::from),
            runtime_dir: runtime.map(PathBuf::from),
        }
    }

    fn simulated(name: &str) -> Machine {
        Machine::Simulated(name.parse().unwrap())
    }

    fn places(machine: &Machine, surroundings: &Surroundings) -> (String, String) {
        let places = Places::of(machine, surroundings).unwrap();
        (places.journal().display().to_string(), places.socket().display().to_string())
    }

    fn pair(journal: &str, socket: &str) -> (String, String) {
        (journal.to_owned(), socket.to_owned())
    }

    #[test]
    fn root_on_a_real_machine_ignores_the_environment() {
        let wanted = pair("/var/lib/migd/journal.db", "/run/migd/migd.sock");
        assert_eq!(places(&Machine::Real, &user(0, Some("/evil"), Some("/evil"))), wanted);
    }

    #[test]
    fn root_may_choose_where_a_simulated_machine_lives() {
        let machine = simulated("dgx-a100");
        let default =
            pair("/var/lib/migd/sim/dgx-a100/journal.db", "/run/migd/sim/dgx-a100/migd.sock");
        assert_eq!(places(&machine, &user(0, None, Some("/run/user/0"))), default);
        let chosen = pair("/t/s/sim/dgx-a100/journal.db", "/t/s/sim/dgx-a100/run/migd.sock");
        assert_eq!(places(&machine, &user(0, Some("/t/s"), None)), chosen);
    }

    #[test]
    fn a_user_has_state_at_home_and_sockets_in_the_runtime_folder() {
        let state = "/home/kim/.local/state/migd/sim/a/journal.db";
        let with_runtime = user(1000, None, Some("/run/user/1000"));
        assert_eq!(
            places(&simulated("a"), &with_runtime),
            pair(state, "/run/user/1000/migd/sim/a/migd.sock")
        );
        assert_eq!(
            places(&simulated("a"), &user(1000, None, None)),
            pair(state, "/tmp/migd-1000/sim/a/migd.sock")
        );
    }

    #[test]
    fn a_long_chosen_folder_gets_a_short_socket_of_its_own() {
        let long = |last: &str| format!("/{}/{last}", "d".repeat(120));
        let first = places(&simulated("a"), &user(0, Some(&long("x")), None)).1;
        let second = places(&simulated("a"), &user(0, Some(&long("y")), None)).1;
        assert_ne!(first, second);
        for socket in [first, second] {
            assert!(
                socket.starts_with("/run/migd/") && socket.len() <= SOCKET_PATH_MAX,
                "{socket}"
            );
        }
        let runtime = format!("/{}", "r".repeat(100));
        let error = Places::of(&simulated("a"), &user(7, None, Some(&runtime))).unwrap_err();
        assert!(matches!(error, PathsError::SocketTooLong(_)), "{error}");
    }

    #[test]
    fn without_a_home_or_with_a_relative_folder_there_is_no_place() {
        let mut nobody = user(1000, None, None);
        nobody.home = None;
        assert!(matches!(Places::of(&Machine::Real, &nobody), Err(PathsError::NoHome)));
        let relative = user(1000, Some("state"), None);
        assert!(matches!(Places::of(&Machine::Real, &relative), Err(PathsError::Relative(_))));
    }

    #[test]
    fn names_are_safe_as_folders() {
        assert_eq!(MachineName::for_spec("a30-24gb:4").unwrap().as_str(), "a30-24gb@4");
        for good in ["dgx-a100", "a", "A.b_c@2"] {
            assert!(good.parse::<MachineName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "../x", "a/b", "-x", "a b", "a\n", "ä", &"a".repeat(41)] {
            assert!(bad.parse::<MachineName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn folders_are_made_private_and_others_are_refused() {
        let top = tempfile::tempdir().unwrap();
        let me = Surroundings::current();
        let surroundings = Surroundings { state_dir: Some(top.path().join("state")), ..me.clone() };
        let places = Places::of(&simulated("x"), &surroundings).unwrap();
        places.prepare(Reach::Owner).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(places.state_dir()), 0o700);
        assert_eq!(mode(places.runtime_dir()), 0o700);
        places.prepare(Reach::Everybody).unwrap();
        assert_eq!(mode(places.runtime_dir()), 0o755);

        let stranger = Uid::new(me.uid.get() + 1);
        let error = ensure_folder(places.state_dir(), stranger, 0o700).unwrap_err();
        assert!(matches!(error, PathsError::Untrusted { .. }), "{error}");

        let link = top.path().join("link");
        std::os::unix::fs::symlink(places.state_dir(), &link).unwrap();
        let error = ensure_folder(&link, me.uid, 0o700).unwrap_err();
        assert!(matches!(error, PathsError::Untrusted { .. }), "{error}");

        let open = top.path().join("open");
        ensure_folder(&open, me.uid, 0o777).unwrap();
        let error = ensure_folder(&open.join("inner"), me.uid, 0o700).unwrap_err();
        assert!(matches!(error, PathsError::Untrusted { .. }), "{error}");
    }
}
