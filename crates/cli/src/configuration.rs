//! Where the configuration of a daemon comes from: option, environment, file.
//!
//! Must never let the environment speak for root.

use std::path::{Path, PathBuf};

use config::{Effective, Faults, Sources};

use crate::context::Machine;
use crate::failure::Exit;
use crate::{Context, Failure};

/// Variable that stands for `--config`; not for root.
const CONFIG: &str = "MIGD_CONFIG";

/// Variable that stands for `--socket`; not for root.
pub(crate) const SOCKET: &str = "MIGD_DAEMON_SOCKET";

/// The sources of the machine's daemon: the file that was named or the usual one, the environment.
/// Options of the daemon come on top. A simulated machine has no usual file: what is tried out
/// does not depend on what is in force.
///
/// # Errors
/// [`Failure`] as [`Context::machine`].
pub(crate) fn sources(context: &Context, named: Option<&Path>) -> Result<Sources, Failure> {
    let uid = context.uid();
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let named = named
        .map(Path::to_owned)
        .or_else(|| if uid == 0 { None } else { variable(CONFIG).map(PathBuf::from) });
    let required = named.is_some();
    let file = match (named, context.machine()?) {
        (Some(path), _) => Some(std::path::absolute(&path).unwrap_or(path)),
        (None, Machine::Real) => usual(context),
        (None, Machine::Simulated(_)) => None,
    };
    let mut sources = Sources { file, required, reader: Some(uid), ..Sources::default() };
    sources.environment(uid, variable);
    Ok(sources)
}

/// The file that is read where none was named.
pub(crate) fn usual(context: &Context) -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let (home, config_home) = (folder("HOME"), folder("XDG_CONFIG_HOME"));
    config::default_path(context.uid(), home.as_deref(), config_home.as_deref())
}

/// Reads the sources.
///
/// # Errors
/// [`Failure`] with every fault.
pub(crate) fn load(sources: &Sources) -> Result<Effective, Failure> {
    sources.load().map_err(|faults| failure(&faults))
}

/// Every fault on a line of its own.
pub(crate) fn failure(faults: &Faults) -> Failure {
    let count = faults.0.len();
    let things = if count == 1 { "a mistake".to_owned() } else { format!("{count} mistakes") };
    Failure::new("E-CONFIG", format!("the configuration has {things}:\n{faults}"))
        .exit(Exit::Usage)
        .hint("mend it and run `migctl config check`; `migctl config default` prints every key")
}
