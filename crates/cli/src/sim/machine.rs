//! Which simulated machine a verb means, and which of its parts.
//!
//! Must never make a machine that was not named, nor take one machine for another.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use model::{ComputeInstanceId, GpuInstanceId, GpuUuid, PciAddress};
use rustix::fs::{FlockOperation, flock};
use sim_gpu::{Gpu, HostSpec, Node, Return, Target};
use sim_nvml::{HostOptions, SimError, SimHost};

use crate::context::{Machine, SIM_HOST, SimulatedHost};
use crate::failure::Exit;
use crate::{Context, Failure};

/// What to do about a machine that one may not touch.
const FOREIGN_MACHINE: &str = "the machine belongs to another user, who can let others in by making it with --shared; \
     --state-dir DIR makes one of your own";

/// The machine that `--simulate` names, made if it does not exist; else the one of
/// `MIGD_SIM_HOST`.
///
/// # Errors
/// [`Failure`] with exit code 3 when no machine is named or the description makes no sense, 4
/// when it is somebody else's.
pub(super) fn open(context: &Context) -> Result<SimHost, Failure> {
    match context.machine()? {
        Machine::Simulated(named) => open_or_create(context, &named),
        Machine::Real => match inherited() {
            Some(dir) => SimHost::open(&dir).map_err(|error| of_sim("cannot open it", &error)),
            None => Err(no_machine(context)),
        },
    }
}

fn no_machine(context: &Context) -> Failure {
    match context.simulated() {
        Err(failure) => failure,
        Ok(_) => Failure::usage("no simulated machine is named"),
    }
}

fn inherited() -> Option<PathBuf> {
    std::env::var_os(SIM_HOST).filter(|dir| !dir.is_empty()).map(PathBuf::from)
}

/// Opens a machine by its description, and makes it first if it does not exist. Two commands that
/// do this at the same time get the same machine.
///
/// # Errors
/// [`Failure`].
pub(crate) fn open_or_create(context: &Context, named: &SimulatedHost) -> Result<SimHost, Failure> {
    let what = format!("cannot simulate {}", named.name);
    match SimHost::open(&named.dir) {
        Err(SimError::Missing(_)) => {}
        other => return other.map_err(|error| of_sim(&what, &error)),
    }
    let spec = describe(named)?;
    let _one_at_a_time = creation_lock(&named.dir).map_err(|error| {
        let failure = Failure::caused("E-SIM-CREATE", &what, &error);
        if error.kind() == io::ErrorKind::PermissionDenied {
            failure.exit(Exit::Permission).hint(FOREIGN_MACHINE)
        } else {
            failure
        }
    })?;
    let options = HostOptions { shared: context.options.shared, ..HostOptions::default() };
    let made = match SimHost::open(&named.dir) {
        Err(SimError::Missing(_)) => SimHost::create(&named.dir, &spec, &options),
        other => other,
    };
    made.map_err(|error| of_sim(&what, &error))
}

fn creation_lock(dir: &Path) -> io::Result<File> {
    fs::create_dir_all(dir)?;
    let file = File::options().create(true).truncate(false).write(true).open(dir.join("making"))?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

fn describe(named: &SimulatedHost) -> Result<HostSpec, Failure> {
    let path = Path::new(&named.spec);
    if !path.is_absolute() {
        return HostSpec::named(&named.name, &named.spec).map_err(|error| {
            Failure::usage(format!("cannot simulate {}: {error}", named.spec))
                .hint("`migctl sim list` shows what can be simulated")
        });
    }
    let what = format!("cannot read {}", path.display());
    let text =
        fs::read_to_string(path).map_err(|error| Failure::caused("E-SIM-FILE", &what, &error))?;
    sim_nvml::spec_from_toml(&named.name, &text)
        .map_err(|error| Failure::caused("E-SIM-FILE", &what, &error).exit(Exit::Usage))
}

/// What a program on the machine finds in its environment.
///
/// # Errors
/// [`Failure`] when the description of the machine makes no sense.
pub(super) fn environment(
    context: &Context,
    machine: &SimHost,
) -> Result<Vec<(String, OsString)>, Failure> {
    Ok(match context.machine()? {
        Machine::Simulated(named) => context.simulation_environment(&named),
        Machine::Real => vec![(SIM_HOST.to_owned(), machine.dir().as_os_str().to_owned())],
    })
}

/// The failure for what the simulated machine refused; `what` was being done.
pub(super) fn of_sim(what: &str, error: &SimError) -> Failure {
    let failure = if let SimError::Driver { code, .. } = error {
        // The operation is in `what` already.
        Failure::new("E-SIM", format!("{what}: {code}"))
    } else {
        Failure::caused("E-SIM", what, error)
    };
    match error {
        SimError::Driver { code: Return::InUse, .. } => failure
            .exit(Exit::Busy)
            .hint("`migctl sim show` names the processes and holders; end or remove them first"),
        SimError::Driver { code: Return::NoPermission, .. } => failure.exit(Exit::Permission),
        SimError::State { source, .. } if source.is_permission() => {
            failure.exit(Exit::Permission).hint(FOREIGN_MACHINE)
        }
        SimError::Missing(_) => failure.exit(Exit::Usage).hint("name a machine with --simulate"),
        SimError::Spec(_) => failure.exit(Exit::Usage),
        SimError::State { .. }
        | SimError::Exists(_)
        | SimError::Make { .. }
        | SimError::Units { .. }
        | SimError::Driver { .. }
        | SimError::OtherHost(_) => failure,
    }
}

/// A GPU as it is typed: its index, its UUID or the beginning of it, or its PCI address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum GpuSelector {
    Index(usize),
    Uuid(GpuUuid),
    Pci(PciAddress),
}

impl FromStr for GpuSelector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(index) = text.parse() {
            return Ok(Self::Index(index));
        }
        if text.starts_with("GPU-") {
            return Ok(Self::Uuid(GpuUuid::new(text)));
        }
        let wrong = || "write an index (0), a UUID (GPU-...) or a PCI address (0000:07:00.0)";
        text.parse().map(Self::Pci).map_err(|_| wrong().to_owned())
    }
}

impl GpuSelector {
    /// The index of the GPU on the machine.
    ///
    /// # Errors
    /// [`Failure`] with exit code 3 that lists what there is.
    pub(super) fn on(&self, node: &Node) -> Result<usize, Failure> {
        let is_it = |index: usize, gpu: &Gpu| match self {
            Self::Index(wanted) => *wanted == index,
            Self::Uuid(begin) => gpu.uuid.as_str().starts_with(begin.as_str()),
            Self::Pci(pci) => gpu.pci == *pci,
        };
        let found: Vec<usize> = node
            .gpus
            .iter()
            .enumerate()
            .filter(|(index, gpu)| is_it(*index, gpu))
            .map(|(index, _)| index)
            .collect();
        let typed = match self {
            Self::Index(index) => index.to_string(),
            Self::Uuid(uuid) => uuid.to_string(),
            Self::Pci(pci) => pci.to_string(),
        };
        let last = node.gpus.len().saturating_sub(1);
        match found.as_slice() {
            [one] => Ok(*one),
            [] => Err(Failure::usage(format!("there is no GPU {typed} on this machine"))
                .hint(format!("it has the GPUs 0 to {last}; see `migctl sim show`"))),
            _ => Err(Failure::usage(format!("more than one GPU begins with {typed}"))),
        }
    }
}

/// An instance on a GPU, as options name it.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct TargetOptions {
    /// Id of a GPU instance
    #[arg(long, value_name = "ID")]
    gi: Option<u32>,
    /// Id of a compute instance in it
    #[arg(long, value_name = "ID", requires = "gi")]
    ci: Option<u32>,
}

impl TargetOptions {
    /// Whether they name an instance at all.
    pub(super) const fn is_named(self) -> bool {
        self.gi.is_some()
    }

    /// What they name, if it exists.
    ///
    /// # Errors
    /// [`Failure`] with exit code 3 when there is no such instance.
    pub(super) fn on(self, gpu: usize, found: &Gpu) -> Result<Target, Failure> {
        let Some(gi) = self.gi.map(GpuInstanceId::new) else { return Ok(Target::Gpu) };
        let missing = |what: String| {
            Failure::usage(format!("there is no {what} on GPU {gpu}"))
                .hint("`migctl sim show` lists the instances")
        };
        let instance = found.instance(gi).ok_or_else(|| missing(format!("GPU instance {gi}")))?;
        let Some(ci) = self.ci.map(ComputeInstanceId::new) else {
            return Ok(Target::Instance(gi));
        };
        if instance.compute.iter().any(|compute| compute.id == ci) {
            Ok(Target::Compute(gi, ci))
        } else {
            Err(missing(format!("compute instance {ci} in GPU instance {gi}")))
        }
    }
}

/// `GPU 3`, `GPU 3 GI 2`, `GPU 3 GI 2 CI 0`, `all GPUs`.
pub(super) fn place(gpu: Option<usize>, target: Target) -> String {
    let gpu = gpu.map_or_else(|| "all GPUs".to_owned(), |gpu| format!("GPU {gpu}"));
    match target {
        Target::Gpu => gpu,
        Target::Instance(gi) => format!("{gpu} GI {gi}"),
        Target::Compute(gi, ci) => format!("{gpu} GI {gi} CI {ci}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_named_in_three_ways() {
        assert_eq!("3".parse(), Ok(GpuSelector::Index(3)));
        assert_eq!("GPU-12".parse(), Ok(GpuSelector::Uuid(GpuUuid::new("GPU-12"))));
        assert!(matches!("0000:07:00.0".parse(), Ok(GpuSelector::Pci(_))));
        for bad in ["", "-1", "x", "MIG-1"] {
            assert!(bad.parse::<GpuSelector>().is_err(), "{bad}");
        }
    }

    #[test]
    fn places_read_as_people_say_them() {
        let gi = GpuInstanceId::new(2);
        assert_eq!(place(None, Target::Gpu), "all GPUs");
        assert_eq!(place(Some(3), Target::Instance(gi)), "GPU 3 GI 2");
        let ci = ComputeInstanceId::new(0);
        assert_eq!(place(Some(3), Target::Compute(gi, ci)), "GPU 3 GI 2 CI 0");
    }
}
