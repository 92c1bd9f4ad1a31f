//! What systemd is told, and what it hands over: readiness, the watchdog, sockets.
//!
//! Must never say that the daemon is well when its actor does not answer.

use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::sync::mpsc::Sender;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::net::UnixListener;
use tokio::sync::oneshot;

use crate::actor::Message;

/// The names of the sockets in `migd.socket` and `migd-admin.socket`.
const USERS: &str = "users";
const ADMINS: &str = "admins";

/// The daemon listens, and does what it is asked.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// It reads its configuration; [`ready`] follows.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// It ends.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Without systemd there is nobody to tell, which is no error.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd cannot be told");
    }
}

/// Pings systemd's watchdog, if it has one for this process, each time the actor has answered. An
/// actor that hangs is not pinged for, so that systemd restarts the daemon; leases live on.
pub(crate) async fn watchdog(inbox: Sender<Message>) {
    let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) else {
        return std::future::pending().await;
    };
    // A third, so that one late answer does no harm.
    let pause = (limit / 3).max(Duration::from_millis(1));
    loop {
        let (reply, answer) = oneshot::channel();
        if inbox.send(Message::Alive(reply)).is_ok() && answer.await.is_ok() {
            tell(&[NotifyState::Watchdog]);
        }
        tokio::time::sleep(pause).await;
    }
}

/// Sockets that systemd opened for this daemon; it opens what is missing here itself.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    pub(crate) users: Option<UnixListener>,
    pub(crate) admins: Option<UnixListener>,
}

impl Inherited {
    /// Takes them over. Call once, within a runtime.
    ///
    /// # Errors
    /// When systemd handed over something that is no listening unix socket, or has another name.
    pub(crate) fn take() -> io::Result<Self> {
        let mut given = ListenFd::from_env();
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut inherited = Self::default();
        for index in 0..given.len() {
            let name = names.next().unwrap_or_default();
            let place = match name {
                // A unit without FileDescriptorName= gives the socket unit's own name.
                USERS | "migd.socket" | "" => &mut inherited.users,
                ADMINS | "migd-admin.socket" => &mut inherited.admins,
                other => {
                    return Err(io::Error::other(format!(
                        "a socket is called `{other}`; say FileDescriptorName={USERS} or {ADMINS}"
                    )));
                }
            };
            if let Some(listener) = given.take_unix_listener(index)? {
                *place = Some(listening(listener)?);
            }
        }
        Ok(inherited)
    }
}

fn listening(listener: StdListener) -> io::Result<UnixListener> {
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}
