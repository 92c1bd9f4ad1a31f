//! Those who wait for news of one lease: each is woken by what concerns its lease, not by every
//! commit, of which a busy machine has hundreds a second.
//!
//! Must never be what somebody decides by: whoever is woken looks at the newest picture.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use model::LeaseId;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::hands::lock;

type Bells = Arc<Mutex<BTreeMap<LeaseId, Arc<Notify>>>>;

/// Where waiting is noted. Clones are the same place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waiting(Bells);

/// One who waits for a lease, until it is dropped.
#[derive(Debug)]
pub(crate) struct Waiter {
    bells: Bells,
    lease: LeaseId,
    bell: Arc<Notify>,
}

impl Waiting {
    /// Begins to wait for a lease.
    pub(crate) fn join(&self, lease: LeaseId) -> Waiter {
        let bell = Arc::clone(lock(&self.0).entry(lease).or_default());
        Waiter { bells: Arc::clone(&self.0), lease, bell }
    }

    /// Wakes those who wait for one of these leases. The picture that has the news is published
    /// already.
    pub(crate) fn tell(&self, leases: impl IntoIterator<Item = LeaseId>) {
        let bells = lock(&self.0);
        for lease in leases {
            if let Some(bell) = bells.get(&lease) {
                bell.notify_waiters();
            }
        }
    }

    fn tell_all(&self) {
        for bell in lock(&self.0).values() {
            bell.notify_waiters();
        }
    }
}

impl Waiter {
    /// Ends with the next news from this call on, awaited or not: taken before a look at the
    /// picture, nothing falls between.
    pub(crate) fn news(&self) -> Notified<'_> {
        self.bell.notified()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut bells = lock(&self.bells);
        // The map's and this one's: the last one takes the bell away.
        if Arc::strong_count(&self.bell) <= 2 {
            bells.remove(&self.lease);
        }
    }
}

/// Wakes everybody when it is dropped: nothing will be told any more.
#[derive(Debug)]
pub(crate) struct LastBell(pub(crate) Waiting);

impl Drop for LastBell {
    fn drop(&mut self) {
        self.0.tell_all();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn is_ready(news: Notified<'_>) -> bool {
        pin!(news).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn news_of_a_lease_wakes_those_who_wait_for_it_and_nobody_else() {
        let waiting = Waiting::default();
        let (one, two) = (LeaseId::new(1), LeaseId::new(2));
        let (first, second, other) = (waiting.join(one), waiting.join(one), waiting.join(two));
        let (a, b, c) = (first.news(), second.news(), other.news());
        waiting.tell([one, LeaseId::new(3)]);
        assert!(is_ready(a) && is_ready(b) && !is_ready(c));
        // What was told before is no news.
        assert!(!is_ready(first.news()));
        let last = other.news();
        drop(LastBell(waiting));
        assert!(is_ready(last));
    }

    #[test]
    fn nobody_who_left_is_remembered() {
        let waiting = Waiting::default();
        let (first, second) = (waiting.join(LeaseId::new(1)), waiting.join(LeaseId::new(1)));
        drop(first);
        let news = second.news();
        waiting.tell([LeaseId::new(1)]);
        assert!(is_ready(news));
        drop(second);
        assert!(lock(&waiting.0).is_empty());
    }
}
