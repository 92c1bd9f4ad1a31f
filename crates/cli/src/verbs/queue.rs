//! `migctl queue`: the requests that wait, and what for.
//!
//! Must never start a daemon.

use std::process::ExitCode;

use api::{LeaseState, LeaseView};
use clap::Args;
use jiff::tz::TimeZone;
use model::Millis;

use crate::draw::Page;
use crate::draw::table::{Side, Table};
use crate::draw::text::{clean, paragraph};
use crate::verbs::why::start_words;
use crate::{Context, Failure, connect};

/// Options of `queue`.
#[derive(Debug, Args)]
#[command(
    about = "List the requests that wait, and what for",
    long_about = "Lists the requests that wait for a slice in the order in which they will be \
                  looked at, each with a sentence that says what it waits for.",
    after_help = "Examples:\n  \
        migctl queue\n  \
        migctl queue --json | jq '.[].waits_for'"
)]
pub(crate) struct QueueArgs {}

/// Runs the verb.
pub(crate) fn run(context: &Context, _args: &QueueArgs) -> Result<ExitCode, Failure> {
    let waiting = connect::runtime()?.block_on(waiting(context))?;
    if context.json() {
        context.output.data(&waiting)?;
    } else if waiting.is_empty() {
        context.output.say("nothing waits");
    } else {
        context.output.line(&lines(&waiting, Page::current(), &TimeZone::system()).join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn waiting(context: &Context) -> Result<Vec<LeaseView>, Failure> {
    let Some(client) = connect::existing(context).await? else {
        // Whether anything waits is known to the daemon alone.
        return Err(connect::no_daemon(context)?);
    };
    let leases = client.leases().await;
    let mut waiting =
        leases.map_err(|error| Failure::of_client("cannot read the queue", &error))?;
    waiting.retain(|lease| matches!(lease.state, LeaseState::Queued | LeaseState::Granting));
    waiting.sort_by_key(|lease| (lease.queue_position.unwrap_or(0), lease.id));
    Ok(waiting)
}

fn lines(waiting: &[LeaseView], page: Page, zone: &TimeZone) -> Vec<String> {
    let mut table = Table::new([
        ("POS", Side::Right),
        ("REQUEST", Side::Left),
        ("WANTS", Side::Left),
        ("ON", Side::Left),
        ("FOR", Side::Left),
        ("NAME", Side::Left),
        ("SINCE", Side::Right),
    ]);
    for lease in waiting {
        let since = Millis::new(lease.now_ms.saturating_sub(lease.requested_at_ms));
        table.row([
            lease.queue_position.map_or_else(|| String::from("-"), |at| at.to_string()),
            lease.id.to_string(),
            clean(&lease.wish),
            clean(&lease.gpu),
            clean(&lease.tenant),
            lease.name.as_deref().map_or_else(String::new, clean),
            since.to_string(),
        ]);
    }
    let mut drawn = table.lines().into_iter();
    let mut lines: Vec<String> = drawn.next().into_iter().collect();
    for (line, lease) in drawn.zip(waiting) {
        lines.push(line);
        let why = match (&lease.waits_for, lease.state) {
            (_, LeaseState::Granting) => String::from("being made"),
            (Some(why), _) => format!("waits for {}", clean(why)),
            (None, _) => continue,
        };
        lines.extend(paragraph(&why, page.width, "     ", "     "));
        let told = lease.life.told_start.filter(|told| told.likely_ms.is_some());
        if let (Some(told), LeaseState::Queued) = (told, lease.state) {
            lines.push(format!("     starts {}", start_words(&told, zone)));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use api::HolderKind;
    use model::LeaseId;

    use super::*;
    use crate::draw::Glyphs;

    #[test]
    fn each_request_says_what_it_waits_for() {
        let lease = LeaseView {
            id: LeaseId::new(9),
            name: Some("밤".into()),
            tenant: "kim".into(),
            uid: 1,
            state: LeaseState::Queued,
            wish: "2 x 3g.20gb".into(),
            gpu: "any GPU".into(),
            count: 2,
            requested_at_ms: 0,
            granted_at_ms: None,
            deadline_ms: None,
            expires_at_ms: None,
            slices: vec![],
            whole_gpus: Vec::new(),
            booking: None,
            holder: HolderKind::Process,
            client_pid: None,
            command_pid: None,
            command: None,
            queue_position: Some(1),
            waits_for: Some(
                "L7 of root (7g.40gb on GPU 0) to end and for GPU 1 to be made ready".into(),
            ),
            end: None,
            end_reason: None,
            held_by: vec![],
            last_failure: None,
            revision: 1,
            now_ms: 65_000,
            note: None,
            life: api::LifeView {
                told_start: Some(api::StartView { not_later_than_ms: None, likely_ms: Some(0) }),
                ..api::LifeView::default()
            },
        };
        let text =
            lines(&[lease], Page { width: 60, glyphs: Glyphs::Ascii }, &TimeZone::UTC).join("\n");
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "\
POS  REQUEST  WANTS        ON       FOR  NAME  SINCE
  1  L9       2 x 3g.20gb  any GPU  kim  밤    1m05s
     waits for L7 of root (7g.40gb on GPU 0) to end and for
     GPU 1 to be made ready
     starts probably 01-01 00:00:00; the latest moment is unknown"
        );
    }
}
