//! `migctl audit`: who changed what, from where, and what came of it.
//!
//! Must never start a daemon.

use std::process::ExitCode;

use api::AuditView;
use clap::Args;
use jiff::tz::TimeZone;

use crate::draw::table::{Side, Table};
use crate::draw::text::clean;
use crate::draw::time::moment;
use crate::{Context, Failure, connect};

/// Options of `audit`.
#[derive(Debug, Args)]
#[command(
    about = "Show who changed what",
    long_about = "Prints the newest calls that were to change something, oldest first: who made \
                  them, through which socket or from which address, and what came of them. Refused \
                  ones are among them. For administrators.",
    after_help = "Examples:\n  \
        migctl audit --last 50\n  \
        migctl audit --json | jq '.[] | select(.status >= 400)'"
)]
pub(crate) struct AuditArgs {
    /// How many
    #[arg(short = 'n', long = "last", value_name = "N", default_value_t = 20)]
    pub(crate) count: u32,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &AuditArgs) -> Result<ExitCode, Failure> {
    let mut calls = connect::runtime()?.block_on(async {
        let client = connect::administrative(context).await?;
        let found = client.audit(args.count).await;
        found.map_err(|error| Failure::of_client("cannot read the audit", &error))
    })?;
    calls.reverse();
    if context.json() {
        context.output.data(&calls)?;
    } else if calls.is_empty() {
        context.output.say("nobody has changed anything");
    } else {
        context.output.line(&lines(&calls, &TimeZone::system()).join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn lines(calls: &[AuditView], zone: &TimeZone) -> Vec<String> {
    let mut table = Table::new([
        ("WHEN", Side::Left),
        ("WHO", Side::Left),
        ("FROM", Side::Left),
        ("RESULT", Side::Left),
        ("CALL", Side::Left),
    ]);
    for call in calls {
        let user = call.user.as_deref().unwrap_or("nobody known");
        let who = match &call.token {
            Some(token) => format!("{user} by {token}"),
            None => user.to_owned(),
        };
        let result = call.code.as_ref().map_or_else(|| call.status.to_string(), String::clone);
        let method = call.verb.split(' ').next().unwrap_or_default();
        table.row([
            moment(call.at_ms, zone),
            clean(&who),
            clean(call.address.as_deref().unwrap_or(&call.door)),
            clean(&result),
            clean(&format!("{method} {}", call.object)),
        ]);
    }
    table.lines()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_one_line_and_what_it_names_cannot_break_it() {
        let call = AuditView {
            id: 1,
            at_ms: 1_700_000_000_000,
            uid: Some(1000),
            user: Some("kim".into()),
            token: None,
            verb: "DELETE /v1/leases/{lease}".into(),
            object: "/v1/leases/L7\nrm".into(),
            door: "users".into(),
            address: None,
            status: 403,
            code: Some("E-NOT-YOURS".into()),
            key: None,
        };
        let shown = AuditView {
            token: Some("ci".into()),
            address: Some("10.0.0.9:5123".into()),
            status: 200,
            code: None,
            ..call.clone()
        };
        let text = lines(&[call, shown], &TimeZone::UTC).join("\n");
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "\
WHEN            WHO        FROM           RESULT       CALL
11-14 22:13:20  kim        users          E-NOT-YOURS  DELETE /v1/leases/L7?rm
11-14 22:13:20  kim by ci  10.0.0.9:5123  200          DELETE /v1/leases/L7?rm"
        );
    }
}
