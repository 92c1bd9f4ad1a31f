//! `migctl release`: give leases back.
//!
//! Must never take more than what was named.

use std::process::ExitCode;

use api::{Client, ClientError, EndKind, LeaseState, LeaseView};
use clap::Args;

use crate::draw::text::clean;
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

fn said(view: &LeaseView) -> String {
    let what = clean(&view.wish);
    match view.state {
        LeaseState::Ending if !view.held_by.is_empty() => {
            let held_by = clean(&view.held_by.join(", "));
            match view.end {
                Some(EndKind::Released) | None => format!(
                    "{id} ({what}) released; it stays charged while its slice is used by \
                     {held_by}; `migctl release {id}` once more ends them",
                    id = view.id
                ),
                Some(_) => format!(
                    "{} ({what}) ends; its slice is still used by {held_by}, who are told to end",
                    view.id
                ),
            }
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
    fn an_unknown_lease_is_a_negative_answer() {
        let problem = |status| {
            ClientError::Refused(api::Problem {
                status,
                code: "E-X".into(),
                title: "t".into(),
                detail: "d".into(),
                hint: None,
            })
        };
        assert_eq!(refused("release", "L7", &problem(404)).exit, Exit::Negative);
        assert_eq!(refused("release", "L7", &problem(403)).exit, Exit::Permission);
        assert_eq!(refused("release", "L7", &problem(409)).exit, Exit::Busy);
    }
}
