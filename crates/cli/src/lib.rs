//! migctl: the commands people type.
//!
//! Must never decide where a slice goes or who gets it: that is the daemon's part. stdout is data,
//! stderr is talk; a message ends with what to do next.

mod args;
mod autostart;
mod changing;
mod configuration;
mod connect;
mod context;
mod cut_off;
mod doctor;
mod draw;
mod embedded;
mod failure;
mod gpu_list;
mod output;
mod session;
mod sharing;
mod sim;
mod sizing;
mod verbs;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

pub use args::Cli;
pub use context::{Context, Machine, SimulatedHost};
pub use failure::{Exit, Failure};
pub use output::Output;

/// The entry of `migctl`.
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

/// The entry of `migd`: the arguments of `migctl daemon`.
pub fn daemon_main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let at = arguments.len().min(1);
    arguments.insert(at, "daemon".into());
    run(arguments)
}

/// Whether the exit code is a program's, so that ours must not look like one of its.
fn runs_a_program(arguments: &[OsString]) -> bool {
    let ours: Vec<&str> = arguments
        .iter()
        .skip(1)
        .map_while(|word| word.to_str().filter(|word| *word != "--"))
        .collect();
    let exec = ours.windows(2).any(|pair| pair == ["sim", "exec"]);
    exec || ours.contains(&"run") || ours.contains(&"shell")
}

/// Whether errors are for a program; the command line as a whole was not understood.
fn wants_json(arguments: &[OsString]) -> bool {
    arguments.iter().skip(1).take_while(|word| *word != "--").any(|word| word == "--json")
}

fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let (program, json) = (runs_a_program(&arguments), wants_json(&arguments));
            return failure::refuse_usage(&error, program, json);
        }
    };
    let context = Context::new(cli.global);
    match verbs::dispatch(&context, cli.command) {
        Ok(code) => code,
        Err(failure) => failure.report(&context.output),
    }
}
