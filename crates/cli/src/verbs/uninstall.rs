//! `migctl uninstall`: what migd changed on the machine is given back.
//!
//! Must never end a process, destroy a slice, or remove a file that migd did not write.

use std::fs;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use config::Sockets;
use serde::Serialize;

use crate::{Context, Exit, Failure, configuration, connect};

/// Where container engines look for descriptions of devices.
const CDI_FOLDERS: [&str; 2] = ["/etc/cdi", "/run/cdi"];
/// What every file of ours says in there.
const CDI_KIND: &str = "migd.dev/";
/// Files of the state folder that only `--purge` takes, by the beginning of their names.
const STATE: [&str; 5] = ["journal.db", "ledger.db", "daemon.", "stock-access.json", "start.lock"];

/// Options of `uninstall`.
#[derive(Debug, Args)]
#[command(
    about = "Give back what migd changed on this machine",
    long_about = "Gives every slice's nodes the driver's own permissions, and removes the sockets and \
                  the files for container engines. Slices and programs on them stay as they are; so \
                  does the journal, unless --purge. Stop the daemon first.",
    after_help = "Examples:\n  \
        systemctl disable --now migd.socket migd-admin.socket migd\n  \
        migctl uninstall\n  \
        migctl uninstall --purge --yes"
)]
pub(crate) struct UninstallArgs {
    /// Remove the journal, too: who had what, and the names and keys of tokens
    #[arg(long)]
    purge: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// What was done.
#[derive(Debug, Default, Serialize)]
struct Undone {
    /// Nodes whose permissions were not the driver's.
    nodes_restored: usize,
    /// Files that are gone.
    removed: Vec<String>,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &UninstallArgs) -> Result<ExitCode, Failure> {
    if connect::runtime()?.block_on(connect::existing(context))?.is_some() {
        return Err(Failure::new("E-DAEMON-RUNS", "the daemon runs, and would do it all again")
            .exit(Exit::Busy)
            .hint("`systemctl disable --now migd.socket migd-admin.socket migd`, then again"));
    }
    let files = files(context, args.purge)?;
    ask(context, args, &files)?;
    let places = context.places()?;
    let report = daemon::stock_without_daemon(None, &places.host_root(), places.state_dir())
        .map_err(|error| super::of_daemon("cannot give back the nodes", &error))?;
    if let Some(error) = report.errors().next() {
        let failure = Failure::caused("E-ACCESS", "cannot give back every node", error);
        let exit = if error.is_permission() { Exit::Permission } else { Exit::Failure };
        return Err(failure.exit(exit).hint("nothing was removed; it takes root"));
    }
    let mut undone = Undone { nodes_restored: report.changed(), removed: Vec::new() };
    for file in files.iter().chain(&notes(context, args.purge)?) {
        match fs::remove_file(file) {
            Ok(()) => undone.removed.push(file.display().to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let what = format!("cannot remove {}", file.display());
                return Err(Failure::caused("E-UNINSTALL", &what, &error)
                    .hint("the nodes are the driver's again; remove the rest by hand"));
            }
        }
    }
    tell(context, args, &undone)
}

/// What goes: sockets, files for container engines, and the state if it is asked for.
fn files(context: &Context, purge: bool) -> Result<Vec<PathBuf>, Failure> {
    let places = context.places()?;
    let keys = configuration::load(&configuration::sources(context, None)?);
    let config = keys.map(|read| read.config).unwrap_or_default();
    let users = context.named_socket().or(config.daemon.socket);
    let sockets = Sockets { users, admins: config.daemon.admin_socket };
    let admins = sockets.beside().unwrap_or_else(|| places.admin_socket());
    let mut files = vec![sockets.users.unwrap_or_else(|| places.socket()), admins];
    let root = places.host_root();
    let folders = CDI_FOLDERS.iter().map(|folder| root.resolve(folder));
    files.extend(folders.flat_map(|folder| listed(&folder)).filter(|file| is_ours(file)));
    files.extend(config.cdi.path.filter(|file| is_ours(file)));
    files.extend(notes(context, purge)?);
    files.retain(|file| file.exists());
    files.sort();
    files.dedup();
    Ok(files)
}

/// The files of the state folder, if the state goes, too.
fn notes(context: &Context, purge: bool) -> Result<Vec<PathBuf>, Failure> {
    if !purge {
        return Ok(Vec::new());
    }
    let of_state = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        STATE.iter().any(|begin| name.starts_with(begin))
    };
    Ok(listed(context.places()?.state_dir()).into_iter().filter(of_state).collect())
}

fn listed(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    files.filter(|path| path.symlink_metadata().is_ok_and(|found| found.is_file())).collect()
}

/// Whether a description of devices is one that migd wrote.
fn is_ours(file: &Path) -> bool {
    let small = file.metadata().is_ok_and(|found| found.is_file() && found.len() < 16 << 20);
    small && fs::read_to_string(file).is_ok_and(|text| text.contains(CDI_KIND))
}

fn ask(context: &Context, args: &UninstallArgs, files: &[PathBuf]) -> Result<(), Failure> {
    context
        .output
        .say("migctl: every slice's nodes get the driver's own permissions; these files go:");
    for file in files {
        context.output.say(&format!("  {}", file.display()));
    }
    if args.yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("nobody is there to be asked").hint("add --yes"));
    }
    context.output.warn("Go on? [y/N] ");
    let mut answer = String::new();
    let _ = io::stdin().lock().read_line(&mut answer);
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::new("E-CANCELLED", "nothing was changed").exit(Exit::Negative))
}

fn tell(context: &Context, args: &UninstallArgs, undone: &Undone) -> Result<ExitCode, Failure> {
    if context.json() {
        context.output.data(undone)?;
    }
    let (nodes, files) = (undone.nodes_restored, undone.removed.len());
    context.output.say(&format!("migctl: {nodes} nodes given back, {files} files removed"));
    if !args.purge {
        let state = context.places()?.state_dir().display().to_string();
        context.output.say(&format!("migctl: the journal stays in {state} (--purge takes it)"));
    }
    Ok(ExitCode::SUCCESS)
}
