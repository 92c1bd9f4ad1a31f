//! The shapes of tokens and of the audit.
//!
//! Must never carry the secret of a token but in the one answer that makes it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a caller may do; each role holds what the ones before it hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Look.
    Viewer,
    /// Ask for slices, and give back one's own.
    User,
    /// Everything.
    Admin,
}

impl Role {
    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::User => "user",
            Self::Admin => "admin",
        }
    }

    /// The role of that name.
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Viewer, Self::User, Self::Admin].into_iter().find(|role| role.name() == name)
    }
}

/// A token to be made: the body of `POST /v1/tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// What it is called, for listings and the audit.
    #[schema(max_length = 63)]
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The user it acts as: a name or number of this machine. Needed for the role `user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The tenant its requests are charged to; absent: the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 63)]
    pub tenant: Option<String>,
    /// What it may do within its role (`leases:read`, `leases:write`); empty: all of it.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// How long it counts, at most a year; absent: 30 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life_ms: Option<u64>,
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    /// Its number.
    pub id: u64,
    /// What it is called.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The user it acts as.
    pub uid: u32,
    /// The tenant its requests are charged to.
    pub tenant: String,
    /// What it may do within its role; empty: all of it.
    pub scopes: Vec<String>,
    /// When it was made, ms since the Unix epoch.
    pub created_at_ms: u64,
    /// Who made it.
    pub created_by: u32,
    /// When it stops to count.
    pub expires_at_ms: u64,
    /// When it was revoked.
    pub revoked_at_ms: Option<u64>,
    /// The daemon's clock now: compare the times with this.
    pub now_ms: u64,
}

/// A token that was just made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenMade {
    /// The token.
    pub token: TokenView,
    /// What to send as `Authorization: Bearer ...`. It is told this once and kept nowhere.
    pub secret: String,
}

/// A call that was to change something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditView {
    /// Its number.
    pub id: u64,
    /// When it was answered, or made if it was not, ms since the Unix epoch.
    pub at_ms: u64,
    /// Who, if that was established.
    pub uid: Option<u32>,
    /// The user's name.
    pub user: Option<String>,
    /// Name of the token that was shown.
    pub token: Option<String>,
    /// What was to be done (`DELETE /v1/leases/{lease}`).
    pub verb: String,
    /// To what (`/v1/leases/L7`).
    pub object: String,
    /// Through which door it came: `users` and `admin` are the sockets, `tcp` is the network.
    pub door: String,
    /// From which address, over the network.
    pub address: Option<String>,
    /// The HTTP status of the answer; 0 if the daemon ended before it could answer.
    pub status: u16,
    /// The code of the refusal; E-CUT-OFF for a call whose daemon ended before it could answer: whether
    /// it was carried out is in the history.
    pub code: Option<String>,
    /// The idempotency key.
    pub key: Option<String>,
}
