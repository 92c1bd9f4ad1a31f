//! `migctl why`: what a request waits for, and until when.
//!
//! Must never start a daemon.

use std::process::ExitCode;

use api::{StartView, WhyView};
use clap::Args;
use jiff::tz::TimeZone;

use crate::draw::Page;
use crate::draw::text::{clean, paragraph};
use crate::draw::time::moment;
use crate::{Context, Failure, connect};

/// Options of `why`.
#[derive(Debug, Args)]
#[command(
    about = "Say what a request waits for, and until when",
    long_about = "Says what a waiting request waits for: the leases in its way and when they end, \
                  the turn of others, a cap, room that is kept for somebody. The latest start \
                  follows from hard limits (--time) of everybody before it; where somebody has \
                  none it is unknown. It holds unless somebody with a better right comes.",
    after_help = "Examples:\n  \
        migctl why L9\n  \
        migctl why nightly --json | jq .blockers"
)]
pub(crate) struct WhyArgs {
    /// The request, by id (L9) or name
    #[arg(value_name = "REQUEST")]
    pub(crate) request: String,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &WhyArgs) -> Result<ExitCode, Failure> {
    let why = connect::runtime()?.block_on(async {
        let Some(client) = connect::existing(context).await? else {
            return Err(connect::no_daemon(context)?);
        };
        let message = format!("cannot say why {} waits", clean(&args.request));
        client.why(&args.request).await.map_err(|error| Failure::of_client(&message, &error))
    })?;
    if context.json() {
        context.output.data(&why)?;
    } else {
        let page = Page::current();
        context.output.line(&lines(&why, page.width, &TimeZone::system()).join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn lines(why: &WhyView, width: usize, zone: &TimeZone) -> Vec<String> {
    let place = match why.position {
        1 => String::from("is next in line and"),
        position => format!("is number {position} in line and"),
    };
    let first = format!("{} {place} waits for {}", why.id, clean(&why.sentence));
    let mut lines = paragraph(&first, width, "", "  ");
    for blocker in &why.blockers {
        let what = blocker.profile.as_deref().map_or_else(|| String::from("all"), clean);
        let until = blocker
            .ends_at_ms
            .map_or_else(|| String::from("no limit"), |at| format!("gone by {}", moment(at, zone)));
        let taken = blocker.taken_at_ms.filter(|at| blocker.ends_at_ms.is_none_or(|end| *at < end));
        let until = match taken {
            Some(at) => format!("{until}; taken back at {} unless it is used", moment(at, zone)),
            None => until,
        };
        let (id, tenant, gpu) = (blocker.lease, clean(&blocker.tenant), blocker.gpu);
        lines.push(format!("  {id} of {tenant}, {what} on GPU {gpu}: {until}"));
    }
    let now = StartView { not_later_than_ms: why.not_later_than_ms, likely_ms: why.likely_ms };
    lines.push(format!("starts {}", start_words(&now, zone)));
    if let Some(said) =
        why.said_before.filter(|said| said.not_later_than_ms != now.not_later_than_ms)
    {
        lines.push(format!("it was told: {}", start_words(&said, zone)));
    }
    lines
}

/// `by 11-14 22:13:20 at the latest, probably 11-14 21:00:00`.
pub(crate) fn start_words(start: &StartView, zone: &TimeZone) -> String {
    let probably = start.likely_ms.map(|at| format!("probably {}", moment(at, zone)));
    match (start.not_later_than_ms, probably) {
        (Some(latest), Some(probably)) if start.likely_ms != Some(latest) => {
            format!("by {} at the latest, {probably}", moment(latest, zone))
        }
        (Some(latest), _) => format!("by {} at the latest", moment(latest, zone)),
        (None, Some(probably)) => format!("{probably}; the latest moment is unknown"),
        (None, None) => String::from("nobody knows when"),
    }
}

#[cfg(test)]
mod tests {
    use api::BlockerView;
    use model::LeaseId;

    use super::*;

    #[test]
    fn the_sentence_the_leases_and_both_moments_are_told() {
        let why = WhyView {
            id: LeaseId::new(9),
            sentence: "L3 of ann (1g.5gb on GPU 0, idle for 2h00m) to end".into(),
            not_later_than_ms: Some(7_200_000),
            likely_ms: Some(3_600_000),
            position: 2,
            blockers: vec![BlockerView {
                lease: LeaseId::new(3),
                tenant: "ann".into(),
                profile: Some("1g.5gb".into()),
                gpu: 0,
                ends_at_ms: None,
                taken_at_ms: Some(1_800_000),
            }],
            said_before: Some(StartView { not_later_than_ms: None, likely_ms: None }),
            now_ms: 0,
        };
        assert_eq!(
            lines(&why, 80, &TimeZone::UTC).join("\n"),
            "\
L9 is number 2 in line and waits for L3 of ann (1g.5gb on GPU 0, idle for 2h00m)
  to end
  L3 of ann, 1g.5gb on GPU 0: no limit; taken back at 01-01 00:30:00 unless it is used
starts by 01-01 02:00:00 at the latest, probably 01-01 01:00:00
it was told: nobody knows when"
        );
    }
}
