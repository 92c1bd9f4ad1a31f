//! `migctl cancel`: withdraw requests that wait.
//!
//! Must never end a lease that has its slice: that is `release`, and has to be meant.

use std::process::ExitCode;

use api::LeaseState;
use clap::Args;

use super::release::{each, look, refused};
use crate::draw::text::clean;
use crate::{Context, Exit, Failure, connect};

/// Options of `cancel`.
#[derive(Debug, Args)]
#[command(
    about = "Withdraw requests that wait",
    long_about = "Withdraws requests that wait for a slice, by id or by name. A lease that has its \
                  slice is left alone; give it back with release.",
    after_help = "Examples:\n  \
        migctl cancel L9\n  \
        migctl cancel nightly L10"
)]
pub(crate) struct CancelArgs {
    /// Requests, by id (L9) or name
    #[arg(required = true, value_name = "REQUEST")]
    pub(crate) requests: Vec<String>,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &CancelArgs) -> Result<ExitCode, Failure> {
    connect::runtime()?.block_on(async {
        let client = connect::required(context).await?;
        each(context, &args.requests, async |name| {
            let view = look(&client, "cancel", name).await?;
            if !matches!(view.state, LeaseState::Queued | LeaseState::Granting) {
                let message = format!("cannot cancel {}: it does not wait", clean(name));
                return Err(Failure::new("E-NOT-WAITING", message)
                    .exit(Exit::Negative)
                    .hint(format!("give it back with `migctl release {}`", view.id)));
            }
            let id = view.id.to_string();
            let view =
                client.release(&id).await.map_err(|error| refused("cancel", name, &error))?;
            Ok((format!("{id} ({}) withdrawn", clean(&view.wish)), view))
        })
        .await
    })
}
