//! Who calls: what the kernel or a token says, never what a body says.
//!
//! Must never act for a user id, or follow a process, that a body names.

use std::net::SocketAddr;
use std::sync::Arc;

use api::Role;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use broker::Peer;
use host::Users;
use model::{ProcessId, Tenant, Uid};

use store::TokenRecord;

use crate::serve::problem::Failure;

/// Which of the daemon's doors a connection came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// The socket for users.
    Users,
    /// The socket for administrators.
    Admins,
    /// The network.
    Network,
}

impl Door {
    /// Its name in the audit.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Admins => "admin",
            Self::Network => "tcp",
        }
    }
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) door: Door,
    /// The user, if the kernel tells.
    pub(crate) uid: Option<Uid>,
    /// The process, if it is in the daemon's sight.
    pub(crate) process: Option<ProcessId>,
    /// The address, over the network.
    pub(crate) address: Option<SocketAddr>,
}

/// A caller whose identity and rights the gate has established. A handler takes one as its
/// argument; a route without one is open to every role.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) origin: Origin,
    pub(crate) uid: Uid,
    pub(crate) role: Role,
    /// Whom requests are charged to, if not to the user itself.
    pub(crate) tenant: Option<Tenant>,
    /// The token that was shown.
    pub(crate) token: Option<Arc<TokenRecord>>,
    /// The idempotency key of this call, made unique among the user's tokens.
    pub(crate) key: Option<Arc<str>>,
}

impl Caller {
    /// The caller as the broker knows it.
    pub(crate) fn peer(&self) -> Peer {
        Peer { uid: self.uid, admin: self.role == Role::Admin }
    }

    /// The caller, if it is an administrator.
    pub(crate) fn admin(&self) -> Result<Peer, Failure> {
        if self.role == Role::Admin {
            return Ok(self.peer());
        }
        Err(Failure::new(StatusCode::FORBIDDEN, "E-ADMINS-ONLY", "only administrators may do that")
            .hint("use the administrators' socket as root, or a token with the role admin"))
    }

    /// Whom its requests are charged to.
    pub(crate) fn tenant(&self) -> Tenant {
        let own = || Tenant::new(Users::load().label(self.uid));
        self.tenant.clone().unwrap_or_else(own)
    }

    /// Its process, which a lease may follow; over the network there is none.
    pub(crate) const fn process(&self) -> Option<ProcessId> {
        self.origin.process
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let known = parts.extensions.get::<Self>();
        known.cloned().ok_or_else(|| Failure::internal("a call came around the gate"))
    }
}
