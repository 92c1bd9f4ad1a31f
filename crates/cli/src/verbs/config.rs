//! `migctl config`: the configuration checked, printed, taken over.
//!
//! Must never write a file of the owner.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ::config::{Effective, Place};
use api::{Client, ClientError, ConfigurationView};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::configuration::{self, sources};
use crate::draw::table::{Side, Table};
use crate::failure::Exit;
use crate::{Context, Failure, connect};

/// How long a daemon may take to read its configuration.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between looks at whether it did.
const PAUSE: Duration = Duration::from_millis(20);

/// Options of `config`.
#[derive(Debug, Args)]
#[command(
    about = "Check, print or reload the configuration",
    long_about = "The rules are in one file: /etc/migd/migd.toml for root's daemon, \
                  ~/.config/migd/migd.toml for others', or what --config names. Options beat the \
                  environment beats the file; root's daemon does not follow the environment.",
    after_help = "Examples:\n  \
        migctl config default > /etc/migd/migd.toml\n  \
        migctl config check --effective\n  \
        migctl config reload"
)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    verb: ConfigVerb,
}

#[derive(Debug, Subcommand)]
enum ConfigVerb {
    /// Find mistakes in a file; the exit code is 1 if there are some
    Check(CheckArgs),
    /// Print a file with every key, its default and its meaning
    Default,
    /// Have the daemon read its file anew (as SIGHUP does)
    Reload,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// The file; without it, the one that a daemon started here would read
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print every value that would be in force, and where it comes from
    #[arg(long)]
    effective: bool,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &ConfigArgs) -> Result<ExitCode, Failure> {
    match &args.verb {
        ConfigVerb::Check(args) => check(context, args),
        ConfigVerb::Default => {
            context.output.print(&::config::default_file())?;
            Ok(ExitCode::SUCCESS)
        }
        ConfigVerb::Reload => reload(context),
    }
}

#[derive(Debug, Serialize)]
struct EntryView {
    key: String,
    value: String,
    from: String,
}

#[derive(Debug, Serialize)]
struct FaultView {
    at: String,
    what: String,
    instead: String,
}

fn check(context: &Context, args: &CheckArgs) -> Result<ExitCode, Failure> {
    let sources = sources(context, args.file.as_deref())?;
    let effective = match sources.load() {
        Ok(effective) => effective,
        Err(faults) if context.json() => {
            let fault = |fault: &::config::Fault| FaultView {
                at: fault.place.to_string(),
                what: fault.what.clone(),
                instead: fault.instead.clone(),
            };
            context.output.data(&faults.0.iter().map(fault).collect::<Vec<_>>())?;
            return Ok(Exit::Negative.into());
        }
        Err(faults) => return Err(configuration::failure(&faults).exit(Exit::Negative)),
    };
    if args.effective {
        print(context, &effective)?;
    } else if context.json() {
        context.output.data::<[FaultView]>(&[])?;
    }
    let words = match (&effective.file, &sources.file) {
        (Some(file), _) => format!("{} is sound", file.display()),
        (None, Some(file)) => format!("there is no {}: the defaults hold", file.display()),
        (None, None) => "no file is read here: the defaults hold".to_owned(),
    };
    context.output.say(&format!("migctl: {words}"));
    Ok(ExitCode::SUCCESS)
}

fn print(context: &Context, effective: &Effective) -> Result<(), Failure> {
    let from = |place: &Place| match place {
        // One file is in force: its name is said once, below.
        Place::File { line, .. } => format!("line {line}"),
        Place::Default | Place::Variable(_) | Place::Flag(_) => place.to_string(),
    };
    let entries = effective.entries.iter();
    if context.json() {
        let view = |entry: &::config::Entry| EntryView {
            key: entry.key.clone(),
            value: entry.value.clone(),
            from: entry.place.to_string(),
        };
        return context.output.data(&entries.map(view).collect::<Vec<_>>());
    }
    let mut table = Table::new([("KEY", Side::Left), ("VALUE", Side::Left), ("FROM", Side::Left)]);
    for entry in entries {
        table.row([entry.key.clone(), entry.value.clone(), from(&entry.place)]);
    }
    context.output.line(&table.lines().join("\n"))
}

/// Sends SIGHUP, and waits until the daemon has read its file.
fn reload(context: &Context) -> Result<ExitCode, Failure> {
    connect::runtime()?.block_on(async {
        let client = connect::required(context).await?;
        let failed = |error: ClientError| Failure::of_client("cannot reload", &error);
        let before = read(&client).await?;
        let pid = client.version().await.map_err(failed)?.pid;
        hang_up(pid)?;
        let begun = Instant::now();
        loop {
            let now = read(&client).await?;
            if now.loads > before.loads {
                return told(context, &now);
            }
            if begun.elapsed() > PATIENCE {
                return Err(Failure::new("E-RELOAD", "the daemon did not read its configuration")
                    .exit(Exit::Busy)
                    .hint("its log says more"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    })
}

async fn read(client: &Client) -> Result<ConfigurationView, Failure> {
    let failed = |error: ClientError| Failure::of_client("cannot reload", &error);
    client.node().await.map_err(failed)?.configuration.ok_or_else(|| {
        Failure::new("E-RELOAD", "the daemon does not tell about its configuration")
            .hint("it is older than this migctl; restart it")
    })
}

fn hang_up(pid: u32) -> Result<(), Failure> {
    let process = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    let sent = process
        .ok_or(rustix::io::Errno::SRCH)
        .and_then(|process| rustix::process::kill_process(process, rustix::process::Signal::HUP));
    sent.map_err(|error| {
        let failure =
            Failure::caused("E-RELOAD", &format!("cannot signal the daemon, pid {pid}"), &error);
        if error == rustix::io::Errno::PERM {
            failure.exit(Exit::Permission).hint("only its own user and root may: try with sudo")
        } else {
            failure
        }
    })
}

fn told(context: &Context, now: &ConfigurationView) -> Result<ExitCode, Failure> {
    if context.json() {
        context.output.data(now)?;
    }
    if !now.problems.is_empty() {
        let message = format!(
            "the daemon did not take over its configuration; the one before stays in force:\n{}",
            now.problems.join("\n")
        );
        return Err(Failure::new("E-CONFIG", message)
            .exit(Exit::Negative)
            .hint("mend the file and run `migctl config reload` again"));
    }
    let file = now.file.as_deref().unwrap_or("the defaults: there is no file");
    context.output.say(&format!("migctl: the daemon follows {file}"));
    if !now.restart.is_empty() {
        context
            .output
            .warn(&format!("note: waits for a restart of the daemon: {}", now.restart.join(", ")));
    }
    Ok(ExitCode::SUCCESS)
}
