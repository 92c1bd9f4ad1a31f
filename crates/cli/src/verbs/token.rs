//! `migctl token`: tokens for callers over the network.
//!
//! Must never write the secret of a token anywhere but to stdout, once.

use std::process::ExitCode;

use api::{Role, TokenRequest, TokenView};
use clap::{Args, Subcommand, ValueEnum};
use jiff::tz::TimeZone;
use model::Millis;

use crate::draw::table::{Side, Table};
use crate::draw::text::clean;
use crate::draw::time::day;
use crate::{Context, Failure, connect, session};

/// Options of `token`.
#[derive(Debug, Args)]
#[command(
    about = "Make, list and revoke tokens for callers over the network",
    long_about = "A token lets its holder call the daemon over the network: as a user of this \
                  machine, charged to a tenant, within a role and scopes, until it expires or is \
                  revoked. The daemon keeps a digest of it alone. For administrators.",
    after_help = "Examples:\n  \
        migctl token create --name grafana --role viewer --scope node:read > token\n  \
        migctl token create --name ci --role user --user kim --tenant vision --expires 90d\n  \
        migctl token revoke 3"
)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a token; its secret is printed, this once
    Create(CreateArgs),
    /// List tokens, revoked and expired ones too
    List,
    /// Revoke a token
    Revoke {
        /// Its number
        #[arg(value_name = "NUMBER")]
        id: u64,
    },
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// What it is called, in listings and in the audit
    #[arg(long, value_name = "N", default_value = "token")]
    name: String,
    /// What it may do
    #[arg(long, value_name = "ROLE")]
    role: RoleName,
    /// The user it acts as, by name or number; needed for the role user
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Whom its requests are charged to; the user, unless told
    #[arg(long, value_name = "T")]
    tenant: Option<String>,
    /// Only this within its role (leases:read, leases:write, events:read, ...)
    #[arg(long = "scope", value_name = "NOUN:RIGHT", value_delimiter = ',')]
    scopes: Vec<String>,
    /// How long it counts
    #[arg(long, value_name = "T", default_value = "30d")]
    expires: Millis,
}

/// Roles as they are typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleName {
    /// Look
    Viewer,
    /// Ask for slices, and give back one's own
    User,
    /// Everything
    Admin,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: TokenArgs) -> Result<ExitCode, Failure> {
    match args.verb {
        Verb::Create(args) => create(context, args),
        Verb::List => list(context),
        Verb::Revoke { id } => revoke(context, id),
    }
}

fn create(context: &Context, args: CreateArgs) -> Result<ExitCode, Failure> {
    let request = TokenRequest {
        name: args.name,
        role: match args.role {
            RoleName::Viewer => Role::Viewer,
            RoleName::User => Role::User,
            RoleName::Admin => Role::Admin,
        },
        user: args.user,
        tenant: args.tenant,
        scopes: args.scopes,
        life_ms: Some(args.expires.get()),
    };
    let made = connect::runtime()?.block_on(async {
        let client = connect::administrative(context).await?;
        let made = client.create_token(&request, &session::ask::key()).await;
        made.map_err(|error| Failure::of_client("cannot make a token", &error))
    })?;
    if context.json() {
        context.output.data(&made)?;
    } else {
        context.output.line(&made.secret)?;
        context.output.say(&format!(
            "token {} ({}) counts until {}; its secret is not shown again",
            made.token.id,
            clean(&made.token.name),
            day(made.token.expires_at_ms, &TimeZone::system())
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn list(context: &Context) -> Result<ExitCode, Failure> {
    let tokens = connect::runtime()?.block_on(async {
        let client = connect::administrative(context).await?;
        let found = client.tokens().await;
        found.map_err(|error| Failure::of_client("cannot list the tokens", &error))
    })?;
    if context.json() {
        context.output.data(&tokens)?;
    } else if tokens.is_empty() {
        context.output.say("there are no tokens; `migctl token create` makes one");
    } else {
        context.output.line(&lines(&tokens, &TimeZone::system()).join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn revoke(context: &Context, id: u64) -> Result<ExitCode, Failure> {
    let token = connect::runtime()?.block_on(async {
        let client = connect::administrative(context).await?;
        let revoked = client.revoke_token(id).await;
        revoked.map_err(|error| Failure::of_client(&format!("cannot revoke token {id}"), &error))
    })?;
    if context.json() {
        context.output.data(&token)?;
    } else {
        context.output.say(&format!("token {id} ({}) counts no more", clean(&token.name)));
    }
    Ok(ExitCode::SUCCESS)
}

fn lines(tokens: &[TokenView], zone: &TimeZone) -> Vec<String> {
    let mut table = Table::new([
        ("NO", Side::Right),
        ("NAME", Side::Left),
        ("ROLE", Side::Left),
        ("UID", Side::Right),
        ("TENANT", Side::Left),
        ("SCOPES", Side::Left),
        ("UNTIL", Side::Left),
    ]);
    for token in tokens {
        let until = match token.revoked_at_ms {
            Some(at) => format!("revoked {}", day(at, zone)),
            None if token.expires_at_ms <= token.now_ms => {
                format!("expired {}", day(token.expires_at_ms, zone))
            }
            None => day(token.expires_at_ms, zone),
        };
        let scopes =
            if token.scopes.is_empty() { "all".to_owned() } else { token.scopes.join(" ") };
        table.row([
            token.id.to_string(),
            clean(&token.name),
            token.role.name().to_owned(),
            token.uid.to_string(),
            clean(&token.tenant),
            clean(&scopes),
            until,
        ]);
    }
    table.lines()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_until_when_it_counts() {
        let token = TokenView {
            id: 1,
            name: "ci".into(),
            role: Role::User,
            uid: 1000,
            tenant: "vision".into(),
            scopes: vec!["leases:read".into(), "leases:write".into()],
            created_at_ms: 0,
            created_by: 0,
            expires_at_ms: 1_700_000_000_000,
            revoked_at_ms: None,
            now_ms: 1_600_000_000_000,
        };
        let expired =
            TokenView { id: 2, now_ms: 1_700_000_000_000, scopes: vec![], ..token.clone() };
        let text = lines(&[token, expired], &TimeZone::UTC).join("\n");
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "\
NO  NAME  ROLE   UID  TENANT  SCOPES                    UNTIL
 1  ci    user  1000  vision  leases:read leases:write  2023-11-14 22:13
 2  ci    user  1000  vision  all                       expired 2023-11-14 22:13"
        );
    }
}
