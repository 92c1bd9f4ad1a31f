//! What every verb needs: the options, the machine they mean, and where its files are.
//!
//! Must never choose a simulated machine by itself: it takes the flag or its variable.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use api::Remote;
use config::Sockets;
use host::paths::Reach;
use host::{MachineName, Places, Surroundings};
use model::Uid;

use crate::args::GlobalOptions;
use crate::configuration;
use crate::embedded;
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// Variable that stands for `--simulate`; also what a command under `run` inherits.
pub(crate) const SIMULATE: &str = "MIGD_SIMULATE";
/// Variable that tells the simulated library the folder of its machine.
pub(crate) const SIM_HOST: &str = "MIGD_SIM_HOST";
/// Variable that stands for `--state-dir`.
pub(crate) const STATE_DIR: &str = "MIGD_STATE_DIR";

/// Variables that stand for `--url`, `--token-file` and `--ca`.
const URL: &str = "MIGD_URL";
const TOKEN_FILE: &str = "MIGD_TOKEN_FILE";
const CA: &str = "MIGD_CA";

/// Which machine a verb is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Machine {
    /// The one this program runs on.
    Real,
    /// A simulated one.
    Simulated(SimulatedHost),
}

/// A simulated machine: what was asked for, and where it lives. It may not exist yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulatedHost {
    /// Its name, which is the name of its folder.
    pub name: String,
    /// Its description: a preset, `<catalog-id>:<n>`, or the absolute path of a TOML file.
    pub spec: String,
    /// Its folder, `$STATE/sim/NAME`.
    pub dir: PathBuf,
}

/// The options, the output, and the world as the process found it.
#[derive(Debug)]
pub struct Context {
    /// What was typed in front of or behind the verb.
    pub options: GlobalOptions,
    /// Where to print.
    pub output: Output,
    surroundings: Surroundings,
    inherited_spec: Option<String>,
    distance: Distance,
    sudo_uid: Option<u32>,
}

/// What the environment says of a daemon elsewhere.
#[derive(Debug, Clone, Default)]
struct Distance {
    url: Option<String>,
    token_file: Option<PathBuf>,
    ca: Option<PathBuf>,
}

impl Context {
    /// Takes the options and reads the environment, once.
    pub fn new(options: GlobalOptions) -> Self {
        let output = Output::new(options.color, options.verbosity(), options.json);
        let mut surroundings = Surroundings::current();
        let inherited_spec = std::env::var(SIMULATE).ok().filter(|spec| !spec.is_empty());
        if let Some(folder) = &options.state_dir {
            surroundings.state_dir =
                Some(std::path::absolute(folder).unwrap_or_else(|_| folder.clone()));
        }
        let said = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let distance = Distance {
            url: said(URL).and_then(|url| url.into_string().ok()),
            token_file: said(TOKEN_FILE).map(PathBuf::from),
            ca: said(CA).map(PathBuf::from),
        };
        let behind = || std::env::var("SUDO_UID").ok()?.parse().ok();
        // Under sudo the request is the user's, not root's.
        let sudo_uid = if surroundings.uid.get() == 0 { behind() } else { None };
        Self { options, output, surroundings, inherited_spec, distance, sudo_uid }
    }

    /// The daemon over the network that is meant, if one is.
    ///
    /// # Errors
    /// [`Failure`] when its address, the token's file or the certificates make no sense.
    pub fn remote(&self) -> Result<Option<Remote>, Failure> {
        let Some(url) = self.url() else { return Ok(None) };
        let inherited = self.heeds_environment();
        let or = |option: &Option<PathBuf>, said: &Option<PathBuf>| {
            option.clone().or_else(|| said.clone().filter(|_| inherited))
        };
        let file = or(&self.options.token_file, &self.distance.token_file).ok_or_else(|| {
            Failure::usage("a daemon over the network wants a token")
                .hint("name its file with --token-file; `migctl token create` makes one")
        })?;
        let token = std::fs::read_to_string(&file).map_err(|error| {
            Failure::caused("E-TOKEN-FILE", &format!("cannot read {}", file.display()), &error)
        })?;
        let ca = or(&self.options.ca, &self.distance.ca);
        let remote = Remote::new(url, &token, ca.as_deref());
        remote.map(Some).map_err(|error| {
            Failure::caused("E-URL", "cannot call over the network", &error).exit(Exit::Usage)
        })
    }

    /// The address of a daemon elsewhere; options that name a machine of this host go before.
    pub fn url(&self) -> Option<&str> {
        let options = &self.options;
        let here =
            options.simulate.is_some() || options.state_dir.is_some() || options.socket.is_some();
        let said = || self.distance.url.as_deref().filter(|_| !here && self.heeds_environment());
        self.options.url.as_deref().or_else(said)
    }

    /// The user for whom root acts.
    pub const fn sudo_uid(&self) -> Option<u32> {
        self.sudo_uid
    }

    /// Whoever sets root's environment must not choose what root talks to.
    fn heeds_environment(&self) -> bool {
        self.uid() != 0 || !has_real_driver()
    }

    /// Whether data is wanted as JSON.
    pub const fn json(&self) -> bool {
        self.options.json
    }

    /// The effective user.
    pub fn uid(&self) -> u32 {
        self.surroundings.uid.get()
    }

    /// The machine that `--simulate` names, else the real one. Nothing is created.
    ///
    /// # Errors
    /// [`Failure`] with exit code 3 when the description names no folder.
    pub fn machine(&self) -> Result<Machine, Failure> {
        let Some(spec) = self.spec() else { return Ok(Machine::Real) };
        let (name, spec) = if looks_like_file(spec) {
            let path = std::path::absolute(spec)
                .map_err(|error| Failure::caused("E-SIM-FILE", "cannot find the file", &error))?;
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            (stem, path.to_string_lossy().into_owned())
        } else {
            (spec.to_owned(), spec.to_owned())
        };
        let name = MachineName::for_spec(&name).map_err(|error| {
            Failure::usage(format!("cannot simulate: {error}"))
                .hint("name a preset such as dgx-a100, or a board and a count such as a30:4")
        })?;
        let places = self.places_of(&host::Machine::Simulated(name.clone()))?;
        let dir = places.state_dir().to_path_buf();
        Ok(Machine::Simulated(SimulatedHost { name: name.as_str().to_owned(), spec, dir }))
    }

    /// The simulated machine.
    ///
    /// # Errors
    /// [`Failure`] that names the flag when there is none.
    pub fn simulated(&self) -> Result<SimulatedHost, Failure> {
        match self.machine()? {
            Machine::Simulated(host) => Ok(host),
            Machine::Real => Err(Failure::usage("this verb works on simulated machines only")
                .hint("name one, as in `migctl --simulate dgx-a100 ...`")),
        }
    }

    /// Where the machine's files and sockets are. Nothing is created.
    ///
    /// # Errors
    /// [`Failure`] when there is no place for them.
    pub fn places(&self) -> Result<Places, Failure> {
        let machine = match self.machine()? {
            Machine::Real => host::Machine::Real,
            Machine::Simulated(host) => host::Machine::Simulated(machine_name(&host.name)?),
        };
        self.places_of(&machine)
    }

    /// Who may reach the machine: everybody with `--shared`.
    pub const fn reach(&self) -> Reach {
        if self.options.shared { Reach::Everybody } else { Reach::Owner }
    }

    /// The state folder somebody chose by flag or variable, if any.
    pub fn chosen_state_dir(&self) -> Option<&Path> {
        self.surroundings.state_dir.as_deref()
    }

    /// The folder into which the simulated `libnvidia-ml.so.1` is unpacked: beside the simulated
    /// machines, since they share it.
    ///
    /// # Errors
    /// [`Failure`] when there is no place for it.
    pub fn library_dir(&self) -> Result<PathBuf, Failure> {
        let machines = Places::simulated_machines(&self.surroundings).map_err(no_place)?;
        Ok(machines.parent().unwrap_or(&machines).join("lib"))
    }

    /// Unpacks the simulated `libnvidia-ml.so.1`; the folder it is in.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be written there.
    pub fn library(&self) -> Result<PathBuf, Failure> {
        embedded::unpack(&self.library_dir()?).map_err(|error| {
            Failure::caused("E-LIBRARY", "cannot unpack the simulated library", &error)
                .hint("free some space, or choose another folder with --state-dir")
        })
    }

    /// What a program on the simulated machine needs in its environment so that migctl in it
    /// means the same machine, and the simulated library finds it.
    pub fn simulation_environment(&self, host: &SimulatedHost) -> Vec<(String, OsString)> {
        let mut variables = vec![
            (SIM_HOST.to_owned(), host.dir.clone().into_os_string()),
            (SIMULATE.to_owned(), host.spec.clone().into()),
        ];
        if let Some(folder) = self.chosen_state_dir() {
            variables.push((STATE_DIR.to_owned(), folder.as_os_str().to_owned()));
        }
        if let Some(socket) = self.named_socket() {
            variables.push((configuration::SOCKET.to_owned(), socket.into_os_string()));
        }
        variables
    }

    /// The socket that was named with `--socket`.
    pub fn named_socket(&self) -> Option<PathBuf> {
        let named = self.options.socket.as_ref()?;
        Some(std::path::absolute(named).unwrap_or_else(|_| named.clone()))
    }

    /// The socket to call: the one that was named by option, by variable (not for root) or in the
    /// daemon's configuration, in this order. Else, on a real machine without a chosen state folder,
    /// that of the system's daemon, which is root's; a daemon of one's own counts where the system
    /// has none.
    ///
    /// # Errors
    /// [`Failure`] when there is no place for a socket.
    pub fn socket(&self) -> Result<PathBuf, Failure> {
        Ok(match self.sockets()?.users {
            Some(socket) => socket,
            None => self.usual_socket()?,
        })
    }

    /// The socket for acts of administrators, if somebody said where it is.
    ///
    /// # Errors
    /// [`Failure`] as [`Context::socket`].
    pub fn admin_socket(&self) -> Result<Option<PathBuf>, Failure> {
        Ok(self.sockets()?.beside())
    }

    fn sockets(&self) -> Result<Sockets, Failure> {
        if let Some(named) = self.named_socket() {
            return Ok(Sockets { users: Some(named), admins: None });
        }
        let mut sources = configuration::sources(self, None)?;
        if self.calls_the_system()? {
            // Its daemon is root's, whose file root alone may write.
            let own = sources.sockets();
            let said = sources.overrides.iter().any(|over| over.key == "daemon.socket");
            if said || own.users.as_ref().is_some_and(|users| users.exists()) {
                return Ok(own);
            }
            sources.file = config::default_path(0, None, None);
            sources.reader = None;
        }
        Ok(sources.sockets())
    }

    /// Whether the daemon of the machine is meant, and not one of the user's own.
    fn calls_the_system(&self) -> Result<bool, Failure> {
        let chosen = self.chosen_state_dir().is_some();
        Ok(!chosen && self.uid() != 0 && self.machine()? == Machine::Real)
    }

    fn usual_socket(&self) -> Result<PathBuf, Failure> {
        let own = self.places()?.socket();
        if !self.calls_the_system()? {
            return Ok(own);
        }
        let root = Surroundings { uid: Uid::new(0), ..self.surroundings.clone() };
        let system = Places::of(&host::Machine::Real, &root).map_err(no_place)?.socket();
        Ok(if system.exists() || !own.exists() { system } else { own })
    }

    fn places_of(&self, machine: &host::Machine) -> Result<Places, Failure> {
        Places::of(machine, &self.surroundings).map_err(no_place)
    }

    /// The flag, else the variable; the variable is ignored for root where there is a real driver,
    /// since whoever sets root's environment must not choose what root talks to.
    fn spec(&self) -> Option<&str> {
        if self.url().is_some() {
            return None;
        }
        let inherited = || self.inherited_spec.as_deref().filter(|_| self.heeds_environment());
        self.options.simulate.as_deref().or_else(inherited)
    }
}

fn has_real_driver() -> bool {
    Path::new("/proc/driver/nvidia/version").exists()
}

/// Presets and boards hold neither a slash nor end in `.toml`.
fn looks_like_file(spec: &str) -> bool {
    let toml = Path::new(spec).extension().is_some_and(|end| end.eq_ignore_ascii_case("toml"));
    spec.contains('/') || toml
}

fn machine_name(name: &str) -> Result<MachineName, Failure> {
    name.parse().map_err(|error: host::paths::MachineNameError| {
        Failure::usage(format!("cannot simulate: {error}"))
    })
}

fn no_place(error: host::paths::PathsError) -> Failure {
    Failure::caused("E-NO-PLACE", "cannot place the state", &error)
        .exit(Exit::Usage)
        .hint("choose a folder with --state-dir DIR")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Cli;

    fn context(arguments: &[&str]) -> Context {
        let cli = Cli::try_parse_from(["migctl"].iter().chain(arguments)).unwrap();
        let mut context = Context::new(cli.global);
        context.inherited_spec = None;
        context.distance = Distance::default();
        context
    }

    #[test]
    fn the_flag_names_the_machine_and_its_folder() {
        let context = context(&["--simulate", "a30:4", "--state-dir", "/tmp/place", "status"]);
        let host = context.simulated().unwrap();
        assert_eq!(host.name, "a30@4");
        assert_eq!(host.spec, "a30:4");
        assert_eq!(host.dir, Path::new("/tmp/place/sim/a30@4"));
        let places = context.places().unwrap();
        assert_eq!(places.socket(), Path::new("/tmp/place/sim/a30@4/run/migd.sock"));
        assert_eq!(context.library_dir().unwrap(), Path::new("/tmp/place/lib"));
    }

    #[test]
    fn a_file_gives_its_name() {
        let host = context(&["--simulate", "/etc/lab.toml", "status"]).simulated().unwrap();
        assert_eq!((host.name.as_str(), host.spec.as_str()), ("lab", "/etc/lab.toml"));
    }

    #[test]
    fn no_flag_is_the_real_machine_and_bad_names_are_usage_errors() {
        assert_eq!(context(&["status"]).machine().unwrap(), Machine::Real);
        assert_eq!(context(&["status"]).simulated().unwrap_err().exit, Exit::Usage);
        let bad = context(&["--simulate", "two words", "status"]);
        assert_eq!(bad.machine().unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn users_of_a_real_machine_call_its_daemon() {
        let mut context = context(&["status"]);
        context.surroundings.uid = Uid::new(4242);
        context.surroundings.home = Some("/home/kim".into());
        context.surroundings.runtime_dir = Some("/nonexistent/runtime".into());
        context.surroundings.state_dir = None;
        assert_eq!(context.socket().unwrap(), Path::new("/run/migd/migd.sock"));
        context.surroundings.state_dir = Some("/tmp/own".into());
        assert_eq!(context.socket().unwrap(), Path::new("/tmp/own/run/migd.sock"));
    }

    #[test]
    fn a_socket_that_was_named_is_called() {
        let named = context(&["--simulate", "a30:1", "--socket", "/run/x/y.sock", "status"]);
        assert_eq!(named.socket().unwrap(), Path::new("/run/x/y.sock"));
        assert_eq!(named.admin_socket().unwrap().unwrap(), Path::new("/run/x/admin.sock"));
        let host = named.simulated().unwrap();
        let inherited = named.simulation_environment(&host);
        assert!(inherited.contains(&("MIGD_DAEMON_SOCKET".into(), "/run/x/y.sock".into())));
        let usual = context(&["--simulate", "a30:1", "--state-dir", "/tmp/p", "status"]);
        assert_eq!(usual.socket().unwrap(), Path::new("/tmp/p/sim/a30@1/run/migd.sock"));
        assert_eq!(usual.admin_socket().unwrap(), None);
    }

    #[test]
    fn programs_on_a_simulated_machine_find_it_again() {
        let context = context(&["--simulate", "dgx-a100", "--state-dir", "/tmp/p", "status"]);
        let host = context.simulated().unwrap();
        let variables = context.simulation_environment(&host);
        let of = |name: &str| {
            variables.iter().find(|(n, _)| n == name).map(|(_, v)| v.to_str().unwrap())
        };
        assert_eq!(of("MIGD_SIM_HOST"), Some("/tmp/p/sim/dgx-a100"));
        assert_eq!(of("MIGD_SIMULATE"), Some("dgx-a100"));
        assert_eq!(of("MIGD_STATE_DIR"), Some("/tmp/p"));
    }
}
