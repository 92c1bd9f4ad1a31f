//! Command lines as people type them.

use std::path::Path;

use clap::{CommandFactory, Parser};

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(["migctl"].into_iter().chain(line.split_whitespace()))
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn global_options_stand_before_or_behind_the_verb() {
    for line in [
        "--simulate dgx-a100 --state-dir /s --shared --json -vv status",
        "status --simulate dgx-a100 --state-dir /s --shared --json -vv",
    ] {
        let global = parse(line).unwrap().global;
        assert_eq!(global.simulate.as_deref(), Some("dgx-a100"), "{line}");
        assert_eq!(global.state_dir.as_deref(), Some(Path::new("/s")));
        assert!(global.shared && global.json);
        assert_eq!(global.verbosity(), 2);
    }
    assert_eq!(parse("-q status").unwrap().global.verbosity(), -1);
    assert!(parse("-q -v status").is_err());
}

#[test]
fn what_follows_two_dashes_is_the_commands() {
    let cli = parse("run -p 1g.5gb --time 5m -- python -u x.py --profile y --json").unwrap();
    assert!(!cli.global.json);
    let Command::Run(run) = cli.command else { panic!("{:?}", cli.command) };
    assert_eq!(run.command, ["python", "-u", "x.py", "--profile", "y", "--json"]);
    assert_eq!(run.wish.time, Some(model::Millis::from_secs(300)));
}

#[test]
fn the_command_may_follow_without_dashes() {
    let cli = parse("run -p 1g.5gb nvidia-smi -L --json").unwrap();
    assert!(!cli.global.json);
    let Command::Run(run) = cli.command else { panic!("{:?}", cli.command) };
    assert_eq!(run.command, ["nvidia-smi", "-L", "--json"]);
}

#[test]
fn what_is_missing_is_named() {
    for (line, words) in [
        ("run -p 1g.5gb", "<CMD>"),
        ("run -- true", "--profile <P>"),
        ("shell", "--profile <P>"),
        ("lease", "--profile <P>"),
        ("release", "<LEASE>"),
        ("cancel", "<REQUEST>"),
        ("completions", "<SHELL>"),
        ("completions klingon", "klingon"),
        ("lease -p 7g --for soon", "not a length of time"),
        ("lease -p 7g --export --json", "cannot be used with"),
        ("status --gpu", "--gpu <SEL>"),
        ("daemon --grace 0s", "not a length of time"),
        ("frobnicate", "frobnicate"),
    ] {
        let error = parse(line).unwrap_err();
        assert!(error.use_stderr(), "{line}");
        assert!(error.to_string().contains(words), "{line}: {error}");
    }
}

#[test]
fn a_daemon_leaves_to_its_file_what_no_option_says() {
    let Command::Daemon(daemon) = parse("daemon").unwrap().command else { panic!() };
    assert_eq!((daemon.grace, daemon.warm_for, daemon.config), (None, None, None));
    assert!(!daemon.auto_mig && !daemon.detached && daemon.leave_when_idle.is_none());
}

#[test]
fn every_verb_has_help_with_examples_and_hidden_ones_stay_hidden() {
    let mut command = Cli::command();
    command.build();
    let without = ["sim", "help"];
    for verb in command.get_subcommands().filter(|verb| !without.contains(&verb.get_name())) {
        if verb.is_hide_set() {
            continue;
        }
        let help = verb.clone().render_long_help().to_string();
        assert!(help.contains("Examples:"), "{}: {help}", verb.get_name());
        assert!(help.matches("\n  migctl ").count() + help.matches("\n  eval ").count() >= 2);
        assert!(verb.get_long_about().is_some(), "{}", verb.get_name());
    }
    let help = Cli::command().render_help().to_string();
    assert!(!help.contains("held") && !help.contains("manual pages"), "{help}");
}
