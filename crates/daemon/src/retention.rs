//! When old events are forgotten.
//!
//! Must never hold up the actor for longer than a commit does.

use std::time::{Duration, Instant};

use broker::State;
use model::{Millis, Timestamp};
use store::Journal;

/// Between looks for old events, and between calls while there are more.
const SELDOM: Duration = Duration::from_secs(600);
const SOON: Duration = Duration::from_secs(1);

/// The next time.
#[derive(Debug)]
pub(crate) struct Retention {
    due: Instant,
}

impl Default for Retention {
    fn default() -> Self {
        Self { due: Instant::now() + SOON }
    }
}

impl Retention {
    /// Looks now: how long is kept has changed.
    pub(crate) fn hurry(&mut self) {
        self.due = Instant::now();
    }

    /// Forgets a little of what is older than `kept`, if it is time.
    pub(crate) fn turn(
        &mut self,
        journal: &mut Journal,
        state: &State,
        kept: Option<Millis>,
        now: Timestamp,
    ) {
        let Some(kept) = kept else { return };
        if self.due > Instant::now() {
            return;
        }
        let before = now.as_millis().saturating_sub(kept.get());
        let more = journal.prune(Timestamp::from_millis(before), state).unwrap_or_else(|error| {
            tracing::warn!(%error, "old events cannot be forgotten; they stay");
            false
        });
        self.due = Instant::now() + if more { SOON } else { SELDOM };
    }
}
