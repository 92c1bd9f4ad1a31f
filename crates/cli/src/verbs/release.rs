//! `migctl release`: give leases back.
//!
//! Must never take more than what was named.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use api::{Client, ClientError, EndKind, LeaseState, LeaseView};
use clap::Args;

use crate::draw::text::clean;
use crate::session::environment::LEASE_KEY;
use crate::session::settled;
use crate::{Context, Exit, Failure, connect};

/// Options of `release`.
#[derive(Debug, Args)]
#[command(
    about = "Give leases back",
    long_about = "Gives leases back, by id or by name. The command of a lease of run or shell is \
                  told to end. A lease of the verb lease ends no process: while some still use its \
                  slice, it stays charged and is not granted again; releasing it a second time \
                  ends them (TERM, then KILL after the daemon's grace).",
    after_help = "Examples:\n  \
        migctl release L7\n  \
        migctl release dev L12 L13"
)]
pub(crate) struct ReleaseArgs {
    /// Leases, by id (L7) or name
    #[arg(required = true, value_name = "LEASE")]
    pub(crate) leases: Vec<String>,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &ReleaseArgs) -> Result<ExitCode, Failure> {
    leave_lease();
    connect::runtime()?.block_on(async {
        let client = connect::required(context).await?;
        each(context, &args.leases, async |name| {
            let view =
                client.release(name).await.map_err(|error| refused("release", name, &error))?;
            let view = settled(&client, view).await;
            Ok((said(&view), view))
        })
        .await
    })
}

/// Does `act` for each name, says what came of it, and goes on after failures; the last failure
/// decides how the verb ends.
pub(crate) async fn each(
    context: &Context,
    names: &[String],
    act: impl AsyncFn(&str) -> Result<(String, LeaseView), Failure>,
) -> Result<ExitCode, Failure> {
    let mut views = Vec::new();
    let mut last = None;
    for name in names {
        match act(name).await {
            Ok((line, view)) => {
                context.output.say(&line);
                views.push(view);
            }
            Err(failure) => {
                if let Some(earlier) = last.replace(failure) {
                    context.output.complain(&earlier);
                }
            }
        }
    }
    if context.json() {
        context.output.data(&views)?;
    }
    last.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// The failure for a lease that the daemon does not know or does not give up: an unknown one is a
/// negative answer.
pub(crate) fn refused(verb: &str, name: &str, error: &ClientError) -> Failure {
    let failure = Failure::of_client(&format!("cannot {verb} {}", clean(name)), error);
    match error {
        ClientError::Refused(problem) if problem.status == 404 => failure.exit(Exit::Negative),
        ClientError::Refused(_)
        | ClientError::NotRunning { .. }
        | ClientError::Untrusted { .. }
        | ClientError::Broken { .. } => failure,
    }
}

/// Who uses the slice of an ending lease, on a line each.
pub(crate) fn holders(view: &LeaseView) -> String {
    let lines: Vec<String> = view.held_by.iter().map(|holder| clean(holder)).collect();
    ["", lines.join("\n  ").as_str()].join("\n  ")
}

/// Leaves the lease whose variables this process inherited, by beginning anew without them. Somebody
/// who releases a lease from the shell that exported it does not use its slice, and must not be
/// ended for it.
fn leave_lease() {
    if std::env::var_os(LEASE_KEY).is_none() {
        return;
    }
    let mut words = std::env::args_os();
    let mut again = Command::new("/proc/self/exe");
    again.arg0(words.next().unwrap_or_else(|| "migctl".into())).args(words).env_remove(LEASE_KEY);
    // It returns only if the system refuses; then this process goes on as it is.
    let _ = again.exec();
}

fn said(view: &LeaseView) -> String {
    let what = clean(&view.wish);
    match view.state {
        LeaseState::Ending if !view.held_by.is_empty() => {
            let released = matches!(view.end, Some(EndKind::Released) | None);
            let what_now = if released {
                format!(
                    "released; it stays charged until these end, and `migctl release {}` once \
                     more ends them:",
                    view.id
                )
            } else {
                String::from("ends; told to end, and still on its slice:")
            };
            format!("{} ({what}) {what_now}{}", view.id, holders(view))
        }
        LeaseState::Ending => format!("{} ({what}) ends once nobody is on its slice", view.id),
        LeaseState::Queued | LeaseState::Granting | LeaseState::Active | LeaseState::Ended => {
            format!("{} ({what}) released", view.id)
        }
    }
}

/// The lease as it stands.
///
/// # Errors
/// [`Failure`]; exit code 1 when there is none of that name.
pub(crate) async fn look(client: &Client, verb: &str, name: &str) -> Result<LeaseView, Failure> {
    client.lease(name).await.map_err(|error| refused(verb, name, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_that_leaves_processes_says_what_a_second_one_does() {
        let mut view = crate::session::summary::tests::lease();
        view.state = LeaseState::Ending;
        view.end = Some(EndKind::Released);
        view.held_by = vec!["pid 7 (python, user kim) runs on its slice".into(), "pid 8".into()];
        assert_eq!(
            said(&view),
            "L7 (2 x 1g.5gb) released; it stays charged until these end, and `migctl release L7` \
             once more ends them:\n  pid 7 (python, user kim) runs on its slice\n  pid 8"
        );
        view.end = Some(EndKind::Revoked);
        view.held_by.truncate(1);
        assert_eq!(
            said(&view),
            "L7 (2 x 1g.5gb) ends; told to end, and still on its slice:\n  \
             pid 7 (python, user kim) runs on its slice"
        );
    }

    #[test]
    fn an_unknown_lease_is_a_negative_answer() {
        let problem = |status| ClientError::Refused(api::Problem::new(status, "E-X", "t", "d"));
        assert_eq!(refused("release", "L7", &problem(404)).exit, Exit::Negative);
        assert_eq!(refused("release", "L7", &problem(403)).exit, Exit::Permission);
        assert_eq!(refused("release", "L7", &problem(409)).exit, Exit::Busy);
    }
}
