//! `migctl usage`: who used how much.
//!
//! Must never start a daemon.

use std::process::ExitCode;

use api::UsageView;
use clap::{Args, ValueEnum};
use model::Millis;

use crate::draw::table::{Side, Table};
use crate::draw::text::clean;
use crate::verbs::history::now_ms;
use crate::{Context, Failure, connect};

/// By what use is added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// Whom it is charged to
    Tenant,
    /// Whose it was
    User,
    /// When it was
    Day,
}

/// Options of `usage`.
#[derive(Debug, Args)]
#[command(
    about = "Show who used how much",
    long_about = "Adds up what leases took of the GPUs, running ones included: GPU-hours are the \
                  time a lease was held times the share of a GPU that it took. IDLE is the part \
                  of the observed time in which nothing was done; where a board does not measure \
                  its use it stays unknown.",
    after_help = "Examples:\n  \
        migctl usage\n  \
        migctl usage --by day --since 30d\n  \
        migctl usage --by user --json"
)]
pub(crate) struct UsageArgs {
    /// By what
    #[arg(long, value_enum, default_value = "tenant")]
    pub(crate) by: By,
    /// Over this time (12h, 7d)
    #[arg(long, value_name = "T", default_value = "7d")]
    pub(crate) since: Millis,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &UsageArgs) -> Result<ExitCode, Failure> {
    let by = match args.by {
        By::Tenant => "tenant",
        By::User => "user",
        By::Day => "day",
    };
    let since = now_ms().saturating_sub(args.since.get());
    let sums = connect::runtime()?.block_on(async {
        let client = connect::required(context).await?;
        let sums = client.usage(by, since).await;
        sums.map_err(|error| Failure::of_client("cannot add up what was used", &error))
    })?;
    if context.json() {
        context.output.data(&sums)?;
    } else if sums.is_empty() {
        context.output.say(&format!("nothing was used in the last {}", args.since));
    } else {
        context.output.line(&lines(args.by, &sums).join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn lines(by: By, sums: &[UsageView]) -> Vec<String> {
    let who = match by {
        By::Tenant => "TENANT",
        By::User => "USER",
        By::Day => "DAY",
    };
    let mut table = Table::new([
        (who, Side::Left),
        ("GPU-HOURS", Side::Right),
        ("SHARE", Side::Right),
        ("IDLE", Side::Right),
        ("LEASES", Side::Right),
        ("MEAN WAIT", Side::Right),
        ("LONGEST", Side::Right),
    ]);
    for sum in sums {
        let hundredths = sum.gpu_ms / 36_000;
        let idle = match sum.observed_gpu_ms {
            0 => String::from("unknown"),
            observed => format!("{} %", sum.idle_gpu_ms.saturating_mul(100) / observed),
        };
        let share = sum.share_permille;
        table.row([
            clean(&sum.who),
            format!("{}.{:02}", hundredths / 100, hundredths % 100),
            format!("{}.{} %", share / 10, share % 10),
            idle,
            sum.leases.to_string(),
            Millis::new(sum.mean_wait_ms).to_string(),
            Millis::new(sum.longest_wait_ms).to_string(),
        ]);
    }
    table.lines()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_shown_with_what_is_unknown() {
        let sum = |who: &str, observed| UsageView {
            who: who.into(),
            leases: 3,
            gpu_ms: 4_500_000,
            share_permille: 625,
            idle_gpu_ms: observed / 4,
            observed_gpu_ms: observed,
            mean_wait_ms: 61_000,
            longest_wait_ms: 3_600_000,
        };
        let text = lines(By::Tenant, &[sum("vision", 4_000_000), sum("speech", 0)]).join("\n");
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "\
TENANT  GPU-HOURS   SHARE     IDLE  LEASES  MEAN WAIT  LONGEST
vision       1.25  62.5 %     25 %       3      1m01s    1h00m
speech       1.25  62.5 %  unknown       3      1m01s    1h00m"
        );
    }
}
