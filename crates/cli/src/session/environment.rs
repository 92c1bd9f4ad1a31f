//! The environment of a command on a slice.
//!
//! Must never show a command more devices than its lease has.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use api::LeaseView;

use crate::context::Machine;
use crate::{Context, Failure};

/// Marks every process of a lease. The lease's id alone would not: daemons of other machines,
/// simulated ones among them, count from L1 too.
pub(crate) const LEASE_KEY: &str = "MIGD_LEASE_KEY";

/// `SOCKET#L7`: a lease told apart from those of every other daemon on this computer.
fn key(lease: &LeaseView, socket: &Path) -> OsString {
    let mut key = socket.canonicalize().unwrap_or_else(|_| socket.to_path_buf()).into_os_string();
    key.push(format!("#{}", lease.id));
    key
}

/// What a command on a simulated machine needs besides.
#[derive(Debug, Clone)]
pub(crate) struct Simulation {
    /// Folder of the simulated library.
    library: PathBuf,
    /// Folder of this executable, so that `migctl sim workload` is found.
    programs: Option<PathBuf>,
    /// Variables that name the machine.
    variables: Vec<(String, OsString)>,
}

impl Simulation {
    /// What the machine needs; `None` for a real one. Unpacks the library.
    ///
    /// # Errors
    /// [`Failure`] when the library cannot be unpacked.
    pub(crate) fn of(context: &Context) -> Result<Option<Self>, Failure> {
        let Machine::Simulated(host) = context.machine()? else { return Ok(None) };
        let library = context.library()?;
        let programs = std::env::current_exe()
            .ok()
            .and_then(|program| program.parent().map(Path::to_path_buf));
        Ok(Some(Self { library, programs, variables: context.simulation_environment(&host) }))
    }

    /// Where programs are looked for after `PATH`.
    pub(crate) fn programs(&self) -> Option<&OsStr> {
        self.programs.as_deref().map(Path::as_os_str)
    }
}

/// What is set for a command on `lease` of the daemon on `socket`; `current` reads the environment
/// it inherits.
pub(crate) fn of(
    lease: &LeaseView,
    socket: &Path,
    simulation: Option<&Simulation>,
    current: impl Fn(&str) -> Option<OsString>,
) -> Vec<(String, OsString)> {
    let uuids = OsString::from(uuids(lease));
    let mut variables = vec![
        (String::from("CUDA_VISIBLE_DEVICES"), uuids.clone()),
        (String::from("NVIDIA_VISIBLE_DEVICES"), uuids),
        (String::from("MIGD_LEASE"), lease.id.to_string().into()),
        (String::from(LEASE_KEY), key(lease, socket)),
    ];
    if let Some(simulation) = simulation {
        variables.extend(simulation.variables.iter().cloned());
        let libraries = current("LD_LIBRARY_PATH").filter(|value| !value.is_empty());
        let first = simulation.library.as_os_str();
        variables.push((
            String::from("LD_LIBRARY_PATH"),
            libraries.map_or_else(|| first.to_owned(), |rest| joined(first, &rest)),
        ));
        if let Some(programs) = simulation.programs() {
            let path = current("PATH").filter(|value| !value.is_empty());
            let path = path.unwrap_or_else(|| OsString::from("/usr/local/bin:/usr/bin:/bin"));
            variables.push((String::from("PATH"), joined(&path, programs)));
        }
    }
    variables
}

/// The UUIDs of a lease's slices or whole GPUs, joined by commas.
fn uuids(lease: &LeaseView) -> String {
    let slices = lease.slices.iter().map(|slice| slice.uuid.as_str());
    let whole = lease.whole_gpus.iter().map(|gpu| gpu.uuid.as_str());
    let uuids: Vec<&str> = slices.chain(whole).collect();
    uuids.join(",")
}

fn joined(first: &OsStr, second: &OsStr) -> OsString {
    let mut all = first.to_owned();
    all.push(":");
    all.push(second);
    all
}

/// `command` with every `{uuid}` replaced by the UUIDs of the slices.
pub(crate) fn filled(command: &[OsString], lease: &LeaseView) -> Vec<OsString> {
    let uuids = uuids(lease);
    command.iter().map(|word| replaced(word, b"{uuid}", uuids.as_bytes())).collect()
}

fn replaced(word: &OsStr, mark: &[u8], by: &[u8]) -> OsString {
    let mut rest = word.as_bytes();
    let mut filled = Vec::with_capacity(rest.len());
    while let Some(at) = rest.windows(mark.len()).position(|window| window == mark) {
        filled.extend_from_slice(&rest[..at]);
        filled.extend_from_slice(by);
        rest = &rest[at + mark.len()..];
    }
    filled.extend_from_slice(rest);
    OsString::from_vec(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::summary::tests::lease;

    fn value<'v>(variables: &'v [(String, OsString)], name: &str) -> Option<&'v str> {
        variables.iter().find(|(n, _)| n == name).and_then(|(_, value)| value.to_str())
    }

    #[test]
    fn a_command_sees_its_slices_alone() {
        let variables = of(&lease(), Path::new("/run/x.sock"), None, |_| Some("/old".into()));
        assert_eq!(value(&variables, "CUDA_VISIBLE_DEVICES"), Some("MIG-a,MIG-b"));
        assert_eq!(value(&variables, "NVIDIA_VISIBLE_DEVICES"), Some("MIG-a,MIG-b"));
        assert_eq!(value(&variables, "MIGD_LEASE"), Some("L7"));
        assert_eq!(value(&variables, "MIGD_LEASE_KEY"), Some("/run/x.sock#L7"));
        assert_eq!(variables.len(), 4, "a real machine's paths stay as they are");
    }

    #[test]
    fn on_a_simulated_machine_it_finds_the_library_and_migctl() {
        let simulation = Simulation {
            library: "/state/lib/1".into(),
            programs: Some("/opt/migd".into()),
            variables: vec![("MIGD_SIM_HOST".into(), "/state/sim/a".into())],
        };
        let with =
            of(&lease(), Path::new("/run/x.sock"), Some(&simulation), |_| Some("/old".into()));
        assert_eq!(value(&with, "LD_LIBRARY_PATH"), Some("/state/lib/1:/old"));
        assert_eq!(value(&with, "PATH"), Some("/old:/opt/migd"));
        assert_eq!(value(&with, "MIGD_SIM_HOST"), Some("/state/sim/a"));
        let without = of(&lease(), Path::new("/run/x.sock"), Some(&simulation), |_| None);
        assert_eq!(value(&without, "LD_LIBRARY_PATH"), Some("/state/lib/1"));
        assert_eq!(value(&without, "PATH"), Some("/usr/local/bin:/usr/bin:/bin:/opt/migd"));
    }

    #[test]
    fn arguments_may_name_the_slices() {
        let command = ["x", "--dev={uuid},{uuid}", "{uuid", ""].map(OsString::from);
        let filled = filled(&command, &lease());
        assert_eq!(filled, ["x", "--dev=MIG-a,MIG-b,MIG-a,MIG-b", "{uuid", ""].map(OsString::from));
    }
}
