//! Whom a change is asked of: the daemon that runs, one that is started on a simulated machine, or
//! one for this command alone.
//!
//! Must never leave a second owner of the machine behind.

use std::time::Duration;

use api::Client;

use crate::changing::alone::Alone;
use crate::context::Machine;
use crate::{Context, Failure, autostart, connect};

/// Looks at a fresh daemon until it is taken as it is, and the time between two.
const SETTLING: u32 = 150;
const PAUSE: Duration = Duration::from_millis(100);
/// Looks at a change that is taken back until it is planned all the same.
const TAKING_BACK: u32 = 600;

/// A daemon that may be asked for a change.
#[derive(Debug)]
pub(crate) struct Door {
    client: Client,
    own: Option<Alone>,
}

impl Door {
    /// Finds a daemon, or starts one: for good on a simulated machine, else, and with `alone`, for
    /// as long as this door is open.
    ///
    /// # Errors
    /// [`Failure`] when there is none and this user cannot have one.
    pub(crate) async fn open(context: &Context, alone: bool) -> Result<Self, Failure> {
        if context.url().is_some() || connect::existing(context).await?.is_some() {
            let client = connect::administrative(context).await?;
            return Ok(Self { client, own: None });
        }
        if matches!(context.machine()?, Machine::Simulated(_)) && !alone {
            settled(&autostart::started(context).await?).await;
            return Ok(Self { client: connect::administrative(context).await?, own: None });
        }
        // Says what is missing where there is no driver, and makes a simulated machine.
        connect::gpus(context)?;
        let (own, client) = Alone::start(context).await?;
        taken_back(context, &client).await;
        Ok(Self { client, own: Some(own) })
    }

    /// Whether it is there for this command alone.
    pub(crate) const fn is_alone(&self) -> bool {
        self.own.is_some()
    }

    /// For calls.
    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    /// Ends what was started for this command.
    pub(crate) async fn close(self) {
        if let Some(own) = self.own {
            own.stop().await;
        }
    }
}

/// A daemon that has just been started on a simulated machine makes its GPUs ready first; what is
/// planned meanwhile would be for a machine that changes.
async fn settled(client: &Client) {
    for _ in 0..SETTLING {
        let changing = |node: api::NodeView| node.gpus.iter().any(|gpu| gpu.maintenance);
        if !client.node().await.is_ok_and(changing) {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A change that was cut off with its daemon is taken back by the next one; what is planned before
/// that has happened would be for a machine that changes.
async fn taken_back(context: &Context, client: &Client) {
    let mut told = false;
    for _ in 0..TAKING_BACK {
        let changes = client.changes().await.unwrap_or_default();
        let moving = |change: &&api::ChangeView| {
            !change.state.is_over() && change.state != api::ChangeState::Waiting
        };
        let Some(change) = changes.iter().find(moving) else { return };
        if change.gpus.iter().any(|gpu| gpu.late) {
            return;
        }
        if !told {
            context.output.say(&format!(
                "migctl: {} ({}) was cut off and is taken back first",
                change.id, change.words
            ));
            told = true;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
