//! The hard limit of a lease, as its command's side sees it.
//!
//! Must never end a command that the daemon is already ending: two TERMs mean something else than
//! one.

use std::time::Duration;

use api::LeaseView;
use tokio::time::Instant;

use crate::session::summary;

/// The longest notice before the end.
const NOTICE: Duration = Duration::from_secs(30);
/// How long the daemon has to act before we do.
const DAEMON_ACTS: Duration = Duration::from_secs(2);
/// From our TERM to our KILL.
const GRACE: Duration = Duration::from_secs(15);

/// What is due at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Tell the user that the end is near.
    Warn,
    /// The time is over.
    Over,
    /// The daemon had time to end the command: do it if it has not.
    Term,
    /// Make it certain, if the daemon is away.
    Kill,
}

/// The moments of a limit that lie ahead, in order.
#[derive(Debug, Clone)]
pub(crate) struct Limit {
    ahead: Vec<(Instant, Due)>,
}

impl Limit {
    /// The moments of the lease's limit; none without one. `now` is when the lease was read.
    pub(crate) fn of(lease: &LeaseView, now: Instant) -> Self {
        let Some(deadline) = lease.deadline_ms else { return Self { ahead: Vec::new() } };
        let left = Duration::from_millis(deadline.saturating_sub(lease.now_ms));
        let whole = summary::limit(lease).map_or(left, |all| Duration::from_millis(all.get()));
        let notice = NOTICE.min(whole / 10);
        let over = now + left;
        let moments = [
            (left.checked_sub(notice).map(|wait| now + wait), Due::Warn),
            (Some(over), Due::Over),
            (Some(over + DAEMON_ACTS), Due::Term),
            (Some(over + DAEMON_ACTS + GRACE), Due::Kill),
        ];
        let ahead = moments.into_iter().filter_map(|(at, due)| Some((at?, due))).collect();
        Self { ahead }
    }

    /// Waits for the next moment; for ever when none lies ahead.
    pub(crate) async fn next(&mut self) -> Due {
        match self.ahead.first().copied() {
            Some((at, due)) => {
                tokio::time::sleep_until(at).await;
                self.ahead.remove(0);
                due
            }
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::summary::tests::lease;

    fn moments(granted: u64, deadline: Option<u64>, now_ms: u64) -> Vec<(u64, Due)> {
        let mut lease = lease();
        lease.granted_at_ms = Some(granted);
        lease.deadline_ms = deadline;
        lease.now_ms = now_ms;
        let now = Instant::now();
        let ahead = Limit::of(&lease, now).ahead;
        ahead.iter().map(|(at, due)| (at.duration_since(now).as_millis() as u64, *due)).collect()
    }

    #[test]
    fn notice_is_a_tenth_and_at_most_half_a_minute() {
        assert_eq!(
            moments(0, Some(60_000), 0),
            [(54_000, Due::Warn), (60_000, Due::Over), (62_000, Due::Term), (77_000, Due::Kill)]
        );
        assert_eq!(moments(0, Some(3_600_000), 0)[0], (3_570_000, Due::Warn));
        assert_eq!(moments(0, Some(60_000), 58_000)[0], (2000, Due::Over), "too late for a notice");
        assert_eq!(moments(0, None, 0), []);
    }
}
