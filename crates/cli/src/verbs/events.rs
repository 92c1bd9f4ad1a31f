//! `migctl events`: what happened, from the journal.
//!
//! Must never start a daemon.

use std::process::ExitCode;
use std::time::Duration;

use api::{Client, ClientError, EventStream, EventView};
use clap::Args;
use jiff::tz::TimeZone;

use crate::draw::text::{clean, pad};
use crate::draw::time::moment;
use crate::{Context, Failure, connect};

/// Between attempts while the daemon is away.
const PAUSE: Duration = Duration::from_millis(500);

/// Options of `events`.
#[derive(Debug, Args)]
#[command(
    about = "Show what happened",
    long_about = "Prints the newest events of the journal, oldest first: requests, grants, ends, \
                  failures. With -f it goes on as they happen.",
    after_help = "Examples:\n  \
        migctl events -n 50\n  \
        migctl events -f --json"
)]
pub(crate) struct EventsArgs {
    /// Go on as events happen
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How many of the past
    #[arg(short = 'n', long = "lines", value_name = "N", default_value_t = 20)]
    pub(crate) count: u32,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &EventsArgs) -> Result<ExitCode, Failure> {
    connect::runtime()?.block_on(async {
        let client = connect::required(context).await?;
        let failed = |error: ClientError| Failure::of_client("cannot read the events", &error);
        let events =
            client.last_events(args.count.max(u32::from(args.follow))).await.map_err(failed)?;
        let last = events.last().map_or(0, |event| event.seq);
        let past = events.len().saturating_sub(args.count as usize);
        if context.json() && !args.follow {
            context.output.data(&events)?;
        } else {
            show(context, &events[past..])?;
        }
        if args.follow { follow(context, &client, last).await } else { Ok(ExitCode::SUCCESS) }
    })
}

async fn follow(context: &Context, client: &Client, mut last: u64) -> Result<ExitCode, Failure> {
    let mut away = false;
    loop {
        let ended = match client.follow(last, None).await {
            Ok(mut events) => {
                away = false;
                let ended = show_all(context, &mut events).await;
                last = events.last();
                ended?
            }
            Err(error) => error,
        };
        match ended {
            ClientError::NotRunning { .. } | ClientError::Broken { .. } => {
                if !away {
                    context.output.say("migctl: the daemon does not answer; waiting for it");
                }
                away = true;
            }
            // Let go because this reader was slow, or because the daemon ends: it goes on behind
            // the last event.
            ClientError::Refused(problem) if problem.status == 503 => {
                context.output.detail(&format!("migctl: {}", problem.detail));
            }
            error @ (ClientError::Refused(_) | ClientError::Untrusted { .. }) => {
                return Err(Failure::of_client("cannot read the events", &error));
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Shows events until the stream ends; why it did.
async fn show_all(context: &Context, events: &mut EventStream) -> Result<ClientError, Failure> {
    loop {
        match events.next().await {
            Ok(Some(event)) => show(context, &[event])?,
            Ok(None) => {
                let source = std::io::ErrorKind::UnexpectedEof.into();
                return Ok(ClientError::NotRunning { socket: context.socket()?, source });
            }
            Err(error) => return Ok(error),
        }
    }
}

fn show(context: &Context, events: &[EventView]) -> Result<(), Failure> {
    for event in events {
        if context.json() {
            context.output.data_line(event)?;
        } else {
            context.output.line(&line(event, &TimeZone::system()))?;
        }
    }
    Ok(())
}

fn line(event: &EventView, zone: &TimeZone) -> String {
    let at = moment(event.at_ms, zone);
    let lease = event.lease.map_or_else(String::new, |lease| lease.to_string());
    let kind = pad(&clean(&event.kind), 18);
    format!("{at}  {kind} {}  {}", pad(&lease, 5), clean(&event.message)).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use model::LeaseId;

    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let event = EventView {
            seq: 12,
            at_ms: 1_700_000_000_000,
            kind: "granted".into(),
            lease: Some(LeaseId::new(7)),
            message: "1g.5gb on GPU 0\nfor kim".into(),
        };
        assert_eq!(
            line(&event, &TimeZone::UTC),
            "11-14 22:13:20  granted            L7     1g.5gb on GPU 0?for kim"
        );
    }
}
