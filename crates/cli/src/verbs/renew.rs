//! `migctl renew`: leases without a process live on.
//!
//! Must never renew what needs no renewal without saying so.

use std::process::ExitCode;

use api::LeaseView;
use clap::Args;
use model::Millis;

use super::release::{each, refused};
use crate::draw::text::clean;
use crate::{Context, Failure, connect};

/// Options of `renew`.
#[derive(Debug, Args)]
#[command(
    about = "Renew leases that no process holds",
    long_about = "Renews leases of the verb lease, by id or by name: each lives on for as long as \
                  its --for (8h if it was not said) from now. Leases of run and shell need none: \
                  they live as long as their command.",
    after_help = "Examples:\n  \
        migctl renew dev\n  \
        migctl renew L12 L13"
)]
pub(crate) struct RenewArgs {
    /// Leases, by id (L7) or name
    #[arg(required = true, value_name = "LEASE")]
    pub(crate) leases: Vec<String>,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &RenewArgs) -> Result<ExitCode, Failure> {
    connect::runtime()?.block_on(async {
        let client = connect::required(context).await?;
        each(context, &args.leases, async |name| {
            let view = client.renew(name).await.map_err(|error| refused("renew", name, &error))?;
            Ok((said(&view), view))
        })
        .await
    })
}

fn said(view: &LeaseView) -> String {
    let left = view.expires_at_ms.map(|at| Millis::new(at.saturating_sub(view.now_ms)));
    let until = left.map_or_else(String::new, |left| format!(", expires in {left}"));
    format!("{} ({}) renewed{until}", view.id, clean(&view.wish))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewal_says_how_long_it_lasts() {
        let mut view = crate::session::summary::tests::lease();
        view.expires_at_ms = Some(view.now_ms + 28_800_000);
        assert_eq!(said(&view), "L7 (2 x 1g.5gb) renewed, expires in 8h00m");
    }
}
