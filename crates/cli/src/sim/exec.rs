//! `migctl sim exec`: runs a foreign program on the simulated machine.
//!
//! Must never leave anything running or mounted behind: the program takes this process's place,
//! and its view ends with its namespace.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Args;

use super::view;
use crate::failure::Exit;
use crate::{Context, Failure};

/// `migctl sim exec`.
#[derive(Debug, Args)]
#[command(after_long_help = "The program finds libnvidia-ml.so.1 of the simulated driver through \
    LD_LIBRARY_PATH and the machine through MIGD_SIM_HOST. With --host-view it also sees the \
    machine's /dev/nvidia*, /proc/modules, /proc/devices, /proc/driver/nvidia* and \
    /sys/bus/pci/devices, in a mount namespace of its own.\n\nThe exit status is the program's; \
    125: migctl failed, 126: it cannot be executed, 127: it was not found.")]
pub(super) struct ExecArgs {
    /// Show the program the machine's /dev, /proc and /sys too
    #[arg(long)]
    host_view: bool,
    /// The program and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    command: Vec<OsString>,
}

/// The second half of `sim exec --host-view`, inside the new namespace.
#[derive(Debug, Args)]
pub(super) struct EnterViewArgs {
    /// The root of the simulated trees
    #[arg(long)]
    root: PathBuf,
    /// A folder to mount on while the view is made
    #[arg(long)]
    stage: PathBuf,
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

pub(super) fn run(context: &Context, args: &ExecArgs) -> Result<ExitCode, Failure> {
    let machine = super::machine::open(context)?;
    let library = context.library()?;
    let mut command = if args.host_view {
        let unshare = unshare_options();
        probe_namespaces(&unshare)?;
        let migctl = std::env::current_exe()
            .map_err(|error| Failure::caused("E-SIM-EXEC", "cannot find migctl itself", &error))?;
        let mut command = Command::new("unshare");
        command.args(unshare).arg("--").arg(migctl).args(["sim", "enter-view", "--root"]);
        command.arg(machine.root()).arg("--stage").arg(&library).arg("--").args(&args.command);
        command
    } else {
        program(&args.command)
    };
    command.env("LD_LIBRARY_PATH", in_front(library, std::env::var_os("LD_LIBRARY_PATH")));
    command.envs(super::machine::environment(context, &machine)?);
    Err(replace_by(command))
}

pub(super) fn enter_view(args: &EnterViewArgs) -> Result<ExitCode, Failure> {
    view::show(&args.root, &args.stage)
        .map_err(|error| Failure::caused("E-SIM-VIEW", "cannot show the machine", &error))?;
    // What the namespace gave us for mounting is no business of the program's.
    rustix::thread::clear_ambient_capability_set().map_err(|error| {
        Failure::caused("E-SIM-VIEW", "cannot drop the rights to mount", &error)
    })?;
    Err(replace_by(program(&args.command)))
}

fn program(words: &[OsString]) -> Command {
    let mut words = words.iter();
    // clap refuses an empty command line.
    let mut command = Command::new(words.next().cloned().unwrap_or_default());
    command.args(words);
    command
}

fn replace_by(mut command: Command) -> Failure {
    let error = command.exec();
    let is_missing = error.kind() == io::ErrorKind::NotFound;
    let exit = if is_missing { Exit::NotFound } else { Exit::CannotExecute };
    let name = command.get_program().to_string_lossy().into_owned();
    Failure::caused("E-SIM-EXEC", &format!("cannot run `{name}`"), &error).exit(exit)
}

fn in_front(folder: PathBuf, old: Option<OsString>) -> OsString {
    let mut path = folder.into_os_string();
    // An empty entry would mean the working directory.
    if let Some(old) = old.filter(|old| !old.is_empty()) {
        path.push(":");
        path.push(old);
    }
    path
}

/// How to get a mount namespace. Without root the namespace of a user of our own gives the right to
/// mount; the user stays who he is, since the rights on the simulated machine depend on it.
fn unshare_options() -> Vec<&'static str> {
    let mut options = vec!["--mount", "--propagation", "private"];
    if !rustix::process::geteuid().is_root() {
        options.extend(["--user", "--map-current-user", "--keep-caps"]);
    }
    options
}

/// Tries the namespace with a program that does nothing, so that a refusal can be told apart from
/// a failure of the program.
fn probe_namespaces(options: &[&str]) -> Result<(), Failure> {
    let failed = |why: &str| {
        Failure::new("E-SIM-VIEW", format!("cannot make a mount namespace: {why}")).hint(
            "--host-view needs unshare (util-linux 2.36 or newer) and root, or a kernel that lets \
             users make namespaces; without --host-view the program finds the library only",
        )
    };
    let probe = Command::new("unshare").args(options).args(["--", "true"]).output();
    match probe {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(failed(String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(failed(&format!("unshare: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_found_first_and_nothing_is_searched_in_the_working_directory() {
        let folder = || PathBuf::from("/lib/x");
        assert_eq!(in_front(folder(), None), "/lib/x");
        assert_eq!(in_front(folder(), Some("".into())), "/lib/x");
        assert_eq!(in_front(folder(), Some("/a:/b".into())), "/lib/x:/a:/b");
    }
}
