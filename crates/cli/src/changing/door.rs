//! Whom a change is asked of: the daemon that runs, one that is started on a simulated machine, or
//! one inside this process for this command alone.
//!
//! Must never leave a second owner of the machine behind.

use api::Client;

use crate::context::Machine;
use crate::{Context, Failure, autostart, connect};

/// A daemon that may be asked for a change.
#[derive(Debug)]
pub(crate) struct Door {
    client: Client,
}

impl Door {
    /// Finds a daemon, or is one for a while.
    ///
    /// # Errors
    /// [`Failure`] when there is none and this user cannot be one.
    pub(crate) async fn open(context: &Context) -> Result<Self, Failure> {
        if context.url().is_some() || connect::existing(context).await?.is_some() {
            return Ok(Self { client: connect::administrative(context).await? });
        }
        if matches!(context.machine()?, Machine::Simulated(_)) {
            autostart::started(context).await?;
            return Ok(Self { client: connect::administrative(context).await? });
        }
        Err(connect::no_daemon(context)?)
    }

    /// For calls.
    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }
}
