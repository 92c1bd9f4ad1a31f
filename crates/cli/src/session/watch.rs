//! Following a lease while its command runs.
//!
//! Must never end the command: the lease is the daemon's, the command is its owner's.

use std::time::Duration;

use api::{Client, ClientError, LeaseState, LeaseView};
use model::LeaseId;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// How long one call waits for a change.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between attempts while the daemon is away.
const PAUSE: Duration = Duration::from_millis(500);
/// How much longer than asked for a call may take until the daemon counts as away.
const SILENCE: Duration = Duration::from_secs(5);

/// What is heard of a lease.
#[derive(Debug)]
pub(crate) enum Heard {
    /// The daemon knows the command.
    Attached,
    /// The daemon refuses the command; in words.
    Rejected(String),
    /// The lease changed.
    Changed(Box<LeaseView>),
    /// The daemon stopped answering.
    Lost,
    /// The daemon answers again.
    Back,
    /// The daemon no longer knows the lease.
    Gone,
}

/// Tells the daemon about the command, then follows the lease until it ends. A daemon that goes
/// away is waited for, and told again if it had not heard.
pub(crate) fn watch(client: Client, lease: &LeaseView, pid: u32) -> UnboundedReceiver<Heard> {
    let (sender, receiver) = unbounded_channel();
    let watcher =
        Watcher { client, id: lease.id, revision: lease.revision, pid, sender, away: false };
    tokio::spawn(watcher.run());
    receiver
}

struct Watcher {
    client: Client,
    id: LeaseId,
    revision: u64,
    pid: u32,
    sender: UnboundedSender<Heard>,
    away: bool,
}

impl Watcher {
    async fn run(mut self) {
        if self.attach().await {
            self.follow().await;
        }
    }

    /// Whether the lease is worth following.
    async fn attach(&mut self) -> bool {
        loop {
            match self.client.attach(self.id, self.pid).await {
                Ok(lease) => {
                    self.back();
                    self.revision = self.revision.max(lease.revision);
                    self.tell(Heard::Attached);
                    return true;
                }
                Err(error) if is_absence(&error) => self.pause().await,
                Err(error) => {
                    self.tell(Heard::Rejected(crate::failure::chain(&error)));
                    return false;
                }
            }
        }
    }

    async fn follow(&mut self) {
        // A lease that moves is followed by another watcher from then on.
        while !self.sender.is_closed() {
            let call = self.client.lease_after(self.id, self.revision, PATIENCE);
            let Ok(answer) = tokio::time::timeout(PATIENCE + SILENCE, call).await else {
                self.pause().await;
                continue;
            };
            match answer {
                Ok(lease) => {
                    self.back();
                    let over = lease.state == LeaseState::Ended;
                    if lease.revision != self.revision {
                        self.revision = lease.revision;
                        self.tell(Heard::Changed(Box::new(lease)));
                    }
                    if over {
                        return;
                    }
                }
                Err(error) if is_absence(&error) => self.pause().await,
                Err(ClientError::Refused(problem)) if problem.status == 404 => {
                    self.tell(Heard::Gone);
                    return;
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    fn back(&mut self) {
        if std::mem::take(&mut self.away) {
            self.tell(Heard::Back);
        }
    }

    async fn pause(&mut self) {
        if !std::mem::replace(&mut self.away, true) {
            self.tell(Heard::Lost);
        }
        tokio::time::sleep(PAUSE).await;
    }

    /// Nobody listens any more once the command has ended.
    fn tell(&self, heard: Heard) {
        let _ = self.sender.send(heard);
    }
}

const fn is_absence(error: &ClientError) -> bool {
    matches!(error, ClientError::NotRunning { .. } | ClientError::Broken { .. })
}
