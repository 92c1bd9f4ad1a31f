//! `migctl history`: leases that are over.
//!
//! Must never start a daemon.

use std::process::ExitCode;

use api::{Client, PastLease};
use clap::Args;
use jiff::tz::TimeZone;
use model::{LeaseId, Millis};

use crate::draw::Page;
use crate::draw::table::{Side, Table};
use crate::draw::text::{clean, clip, mib};
use crate::draw::time;
use crate::failure::Exit;
use crate::session::notices::gpu_hours;
use crate::{Context, Failure, connect};

/// The most leases one call brings.
const BATCH: u32 = 1000;

/// Options of `history`.
#[derive(Debug, Args)]
#[command(
    about = "Show leases that are over",
    long_about = "Lists leases that are over, oldest first: how long each waited and was held, \
                  what it is charged, how much memory it used at most, and why it ended. Users see \
                  their own, administrators all. With a lease's id, everything about it.",
    after_help = "Examples:\n  \
        migctl history --since 7d\n  \
        migctl history L7\n  \
        migctl history --last 100 --json | jq '.[].receipt.gpu_ms'"
)]
pub(crate) struct HistoryArgs {
    /// One lease (L7)
    #[arg(value_name = "ID", conflicts_with_all = ["since", "tenant", "last"])]
    pub(crate) lease: Option<LeaseId>,
    /// Leases that ended within this time (12h, 7d)
    #[arg(long, value_name = "T")]
    pub(crate) since: Option<Millis>,
    /// Leases charged to this tenant
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Option<String>,
    /// At most so many, the newest [default: 20, or all with --since]
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) last: Option<u32>,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &HistoryArgs) -> Result<ExitCode, Failure> {
    let found = connect::runtime()?.block_on(async {
        let client = connect::required(context).await?;
        past(&client, args).await
    })?;
    if context.json() {
        context.output.data(&found)?;
        return Ok(ExitCode::SUCCESS);
    }
    let zone = TimeZone::system();
    match (args.lease, found.as_slice()) {
        (Some(id), []) => {
            return Err(Failure::new("E-NOT-OVER", format!("no lease {id} of yours is over"))
                .exit(Exit::Negative)
                .hint("`migctl status` shows leases that run"));
        }
        (None, []) => context.output.say("no lease is over"),
        (Some(_), [lease, ..]) => {
            context.output.line(&story(lease, &zone).join("\n"))?;
        }
        (None, found) => {
            context.output.line(&lines(found, &zone, Page::current()).join("\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The leases that are meant, oldest first.
async fn past(client: &Client, args: &HistoryArgs) -> Result<Vec<PastLease>, Failure> {
    let mut filter = Vec::new();
    filter.extend(args.lease.map(|id| format!("lease={id}")));
    if let Some(since) = args.since {
        filter.push(format!("since_ms={}", now_ms().saturating_sub(since.get())));
    }
    if let Some(tenant) = &args.tenant {
        filter.push(format!("tenant={}", api::client::escape(tenant)));
    }
    let most = args.last.unwrap_or(if args.since.is_some() { u32::MAX } else { 20 });
    pages(client, &filter.join("&"), most).await
}

/// All leases that ended at a moment or later, oldest first.
///
/// # Errors
/// [`Failure`] if the daemon does not tell.
pub(crate) async fn since(client: &Client, since_ms: u64) -> Result<Vec<PastLease>, Failure> {
    pages(client, &format!("since_ms={since_ms}"), u32::MAX).await
}

async fn pages(client: &Client, filter: &str, most: u32) -> Result<Vec<PastLease>, Failure> {
    let mut found: Vec<PastLease> = Vec::new();
    let mut cursor = None;
    loop {
        let left = most.saturating_sub(u32::try_from(found.len()).unwrap_or(u32::MAX));
        let page = client.history(filter, left.clamp(1, BATCH), cursor.as_deref()).await;
        let page = page.map_err(|error| Failure::of_client("cannot read the history", &error))?;
        found.extend(page.items);
        cursor = page.next;
        if cursor.is_none() || found.len() >= most as usize {
            break;
        }
    }
    found.truncate(most as usize);
    found.reverse();
    Ok(found)
}

/// Now, for a span that the user gave.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}

fn lines(found: &[PastLease], zone: &TimeZone, page: Page) -> Vec<String> {
    let mut table = Table::new([
        ("LEASE", Side::Left),
        ("FOR", Side::Left),
        ("WHAT", Side::Left),
        ("ENDED", Side::Left),
        ("WAITED", Side::Right),
        ("HELD", Side::Right),
        ("PEAK", Side::Right),
        ("END", Side::Left),
    ]);
    for lease in found {
        let receipt = lease.receipt.as_ref();
        let dash = || String::from("-");
        let peak = receipt.and_then(|receipt| receipt.metered.peak_memory_mib);
        table.row([
            lease.id.to_string(),
            clean(&lease.tenant),
            clean(&lease.wish),
            time::moment(lease.ended_at_ms, zone),
            receipt.map_or_else(dash, |receipt| Millis::new(receipt.waited_ms).to_string()),
            receipt.map_or_else(dash, |receipt| Millis::new(receipt.held_ms).to_string()),
            peak.map_or_else(dash, mib),
            clean(&lease.end_reason),
        ]);
    }
    table.lines().iter().map(|line| clip(line, page.width, page.glyphs)).collect()
}

/// Everything about one lease, a fact a line.
fn story(lease: &PastLease, zone: &TimeZone) -> Vec<String> {
    let at = |at: u64| time::moment(at, zone);
    let mut facts = vec![("lease", lease.id.to_string())];
    facts.extend(lease.name.as_deref().map(|name| ("name", clean(name))));
    facts.push(("tenant", clean(&lease.tenant)));
    facts.push(("what", clean(&lease.wish)));
    facts.extend(lease.command.as_deref().map(|command| ("command", clean(command))));
    facts.push(("asked", at(lease.requested_at_ms)));
    let promised = match (lease.predicted_likely_ms, lease.predicted_not_later_ms) {
        (Some(likely), Some(latest)) => {
            Some(format!("{}, at the latest {}", at(likely), at(latest)))
        }
        (Some(likely), None) => Some(at(likely)),
        (None, Some(latest)) => Some(format!("at the latest {}", at(latest))),
        (None, None) => None,
    };
    facts.extend(promised.map(|promised| ("predicted", promised)));
    facts.extend(lease.granted_at_ms.map(|granted| ("started", at(granted))));
    facts.push(("ended", format!("{}: {}", at(lease.ended_at_ms), clean(&lease.end_reason))));
    if lease.displaced > 0 {
        facts.push(("moved", format!("{} times", lease.displaced)));
    }
    if let Some(receipt) = &lease.receipt {
        facts.push(("had", clean(&receipt.profiles.join(", "))));
        facts.push(("waited", Millis::new(receipt.waited_ms).to_string()));
        facts.push(("held", Millis::new(receipt.held_ms).to_string()));
        facts.push(("charged", gpu_hours(receipt.gpu_ms)));
        let metered = &receipt.metered;
        let peak = metered
            .peak_memory_mib
            .map(|peak| ("peak", format!("{} of {}", mib(peak), mib(receipt.memory_mib))));
        facts.extend(peak);
        let percent = metered.busy_ms.saturating_mul(100).checked_div(metered.observed_ms);
        let used = percent.map_or_else(
            || String::from("unknown"),
            |percent| format!("{percent} % of the {} observed", Millis::new(metered.observed_ms)),
        );
        facts.push(("used", used));
        facts.extend(receipt.advice.as_deref().map(|advice| ("next time", clean(advice))));
    }
    facts.into_iter().map(|(name, value)| format!("{name:<10} {value}")).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use api::{EndKind, MeteredView, ReceiptView};

    use super::*;
    use crate::draw::Glyphs;

    fn past_lease() -> PastLease {
        PastLease {
            id: LeaseId::new(7),
            name: Some("night".into()),
            tenant: "kim".into(),
            uid: 1000,
            wish: "2g.20gb".into(),
            command: Some("python train.py".into()),
            requested_at_ms: 1_700_000_000_000,
            granted_at_ms: Some(1_700_000_240_000),
            ended_at_ms: 1_700_007_620_000,
            predicted_not_later_ms: Some(1_700_000_300_000),
            predicted_likely_ms: None,
            end: EndKind::Idle,
            end_reason: "it was not used".into(),
            displaced: 0,
            receipt: Some(ReceiptView {
                profiles: vec!["2g.20gb".into()],
                whole_gpus: 0,
                memory_mib: 19_968,
                held_ms: 7_380_000,
                waited_ms: 240_000,
                gpu_ms: 1_845_000,
                metered: MeteredView {
                    peak_memory_mib: Some(7270),
                    busy_ms: 340_000,
                    observed_ms: 1_000_000,
                },
                advice: None,
            }),
            asked: None,
            seq: 9,
        }
    }

    #[test]
    fn a_list_has_a_line_a_lease_and_fits_the_page() {
        let mut never = past_lease();
        never.receipt = None;
        never.end_reason = "cancelled".into();
        let page = Page { width: 80, glyphs: Glyphs::Ascii };
        let text = lines(&[past_lease(), never], &TimeZone::UTC, page).join("\n");
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "\
LEASE  FOR  WHAT     ENDED           WAITED   HELD       PEAK  END
L7     kim  2g.20gb  11-15 00:20:20   4m00s  2h03m  7,270 MiB  it was not used
L7     kim  2g.20gb  11-15 00:20:20       -      -          -  cancelled"
        );
    }

    #[test]
    fn a_story_tells_what_was_predicted_and_what_came() {
        let text = story(&past_lease(), &TimeZone::UTC).join("\n");
        for line in [
            "predicted  at the latest 11-14 22:18:20",
            "started    11-14 22:17:20",
            "ended      11-15 00:20:20: it was not used",
            "charged    0.51 GPU-hours",
            "peak       7,270 MiB of 19,968 MiB",
            "used       34 % of the 16m40s observed",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
