//! `migctl lease`: a slice that stays until it is released.
//!
//! Must never hand out a slice without saying how to give it back.

use std::ffi::OsString;
use std::process::ExitCode;

use api::{HolderKind, LeaseView};
use clap::Args;
use model::Millis;

use crate::args::GlobalOptions;
use crate::draw::text::clean;
use crate::session::environment::{self, Simulation};
use crate::session::wish::WishArgs;
use crate::session::{ask, container, summary};
use crate::{Context, Exit, Failure, autostart, connect};

/// Options of `lease`.
#[derive(Debug, Args)]
#[command(
    about = "Take a slice and keep it until it is released",
    long_about = "Waits for a slice and keeps it: the lease lives until it is released, or its \
                  --for or --time is over. Prints the lease and the UUIDs of its \
                  slices, or with --export lines for a shell.",
    override_usage = "migctl lease (--profile P | --gpu-mem M | --compute Ng) [OPTIONS]",
    after_help = "Examples:\n  \
        migctl lease --profile 2g.20gb --name dev --for 8h\n  \
        eval \"$(migctl lease --gpu-mem 10g --export)\""
)]
pub(crate) struct LeaseArgs {
    /// What is wanted
    #[command(flatten)]
    pub(crate) wish: WishArgs,
    /// How long it lives; 8h if it is not said
    #[arg(long = "for", visible_alias = "token-life", value_name = "LIFE")]
    pub(crate) life: Option<Millis>,
    /// Follow this container (id or name, of podman or docker; auto: the one this runs in) instead
    #[arg(long, value_name = "ID", conflicts_with = "life")]
    pub(crate) container: Option<String>,
    /// Print `export` lines for a shell
    #[arg(long, conflicts_with = "json")]
    pub(crate) export: bool,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: LeaseArgs) -> Result<ExitCode, Failure> {
    let holder = if args.container.is_some() { HolderKind::Container } else { HolderKind::Token };
    let mut request = args.wish.request(holder);
    request.token_life_ms = args.life.map(Millis::get);
    let lease = connect::runtime()?.block_on(async {
        request.container = match args.container.as_deref() {
            None | Some("auto") => None,
            Some(name) => Some(container::running(name).await?),
        };
        let client = autostart::started(context).await?;
        ask::ask(context, &client, &request).await
    });
    let lease = lease.map_err(|failure| match failure.exit {
        Exit::WaitExpired => failure.exit(Exit::Busy),
        Exit::Success
        | Exit::Negative
        | Exit::Failure
        | Exit::Usage
        | Exit::Permission
        | Exit::Busy
        | Exit::Ours
        | Exit::CannotExecute
        | Exit::NotFound
        | Exit::Signal(_) => failure,
    })?;
    for line in summary::granted(&lease) {
        context.output.say(&format!("migctl: {line}"));
    }
    let back = format!("{} release {}", invocation(&context.options), lease.id);
    context.output.say(&format!("migctl: give it back with: {back}"));
    if context.json() {
        context.output.data(&lease)?;
    } else if args.export {
        context.output.line(&exports(context, &lease)?)?;
    } else {
        let words: Vec<String> = [lease.id.to_string()]
            .into_iter()
            .chain(lease.slices.iter().map(|slice| clean(slice.uuid.as_str())))
            .chain(lease.whole_gpus.iter().map(|gpu| clean(gpu.uuid.as_str())))
            .collect();
        context.output.line(&words.join(" "))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn exports(context: &Context, lease: &LeaseView) -> Result<String, Failure> {
    let simulation = Simulation::of(context)?;
    let socket = context.socket()?;
    let variables =
        environment::of(lease, &socket, simulation.as_ref(), |name| std::env::var_os(name));
    let line = |(name, value): &(String, OsString)| {
        format!("export {name}={}", quoted(&value.to_string_lossy()))
    };
    Ok(variables.iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// How this machine is named again, from any shell.
fn invocation(options: &GlobalOptions) -> String {
    let mut words = vec![String::from("migctl")];
    let mut named = |option: &str, value: &str| words.extend([option.to_owned(), quoted(value)]);
    if let Some(host) = &options.simulate {
        named("--simulate", host);
    }
    if let Some(folder) = &options.state_dir {
        named("--state-dir", &folder.to_string_lossy());
    }
    if options.shared {
        words.push("--shared".into());
    }
    words.join(" ")
}

/// `text` as one word of a POSIX shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,@%+=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn giving_back_names_the_same_machine() {
        use clap::Parser as _;
        let line = |words: &[&str]| {
            let all = ["migctl"].iter().chain(words).chain(&["status"]).copied();
            invocation(&crate::args::Cli::try_parse_from(all).unwrap().global)
        };
        assert_eq!(line(&[]), "migctl");
        assert_eq!(
            line(&["--simulate", "a30:1", "--state-dir", "/a b"]),
            "migctl --simulate a30:1 --state-dir '/a b'"
        );
    }

    #[test]
    fn words_of_a_shell_are_quoted_where_needed() {
        assert_eq!(quoted("MIG-12,MIG-34"), "MIG-12,MIG-34");
        assert_eq!(quoted("/a b/$c"), "'/a b/$c'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
