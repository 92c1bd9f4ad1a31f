//! Windows of the configuration, as the bookings they stand for: a week ahead, as instants.
//!
//! Must never book what has begun so long ago that its owner did not come.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use broker::{BookingSpec, Command, Peer, Wanted};
use config::Window;
use host::DaemonClock;
use model::{BookingId, Millis, ProfileSelector, Tenant, Timestamp, Uid};
use tokio::sync::{oneshot, watch};

use crate::actor::{Envelope, Message, Rejected};
use crate::published::Published;

/// How far ahead windows are booked: long enough that every day of the week is.
const AHEAD: Millis = Millis::from_secs(7 * 24 * 3600);
/// Between looks.
const PAUSE: Duration = Duration::from_secs(10);

/// What keeps the bookings in step with the configuration.
#[derive(Debug)]
pub(crate) struct Windows {
    pub(crate) inbox: Sender<Message>,
    pub(crate) published: watch::Receiver<Published>,
    pub(crate) clock: Arc<DaemonClock>,
    pub(crate) by: Uid,
}

impl Windows {
    /// Serves until dropped.
    pub(crate) async fn serve(self) {
        // What was booked once is not booked again when it ends early.
        let mut booked: BTreeMap<String, BookingSpec> = BTreeMap::new();
        let mut told: BTreeSet<String> = BTreeSet::new();
        loop {
            let (wanted, made) = self.look();
            for (id, spec) in &made {
                if let Some(window) = &spec.window {
                    booked.insert(window.clone(), spec.clone());
                    let kept = wanted.iter().any(|wanted| wanted == spec);
                    if !kept && spec.from > self.clock.now() {
                        booked.remove(window);
                        let by = self.peer();
                        let _ = self.ask(Command::CancelBooking { booking: *id, by }).await;
                    }
                }
            }
            for spec in wanted {
                let Some(window) = spec.window.clone() else { continue };
                if booked.get(&window) == Some(&spec) {
                    continue;
                }
                match self.ask(Command::Book { spec: spec.clone(), by: self.peer() }).await {
                    Ok(()) => {
                        booked.insert(window, spec);
                    }
                    Err(why) => {
                        if told.insert(window.clone()) {
                            tracing::warn!("the window {window} cannot be kept for now: {why}");
                        }
                    }
                }
            }
            booked.retain(|_, spec| spec.until > self.clock.now());
            told.retain(|window| !booked.contains_key(window));
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What should be booked, and what is.
    fn look(&self) -> (Vec<BookingSpec>, Vec<(BookingId, BookingSpec)>) {
        let picture = self.published.borrow();
        let now = self.clock.now();
        let wanted = wanted(&picture.settings.config.windows, now, picture.policy.no_show, self.by);
        let bookings = picture.state.bookings.values();
        (wanted, bookings.map(|booking| (booking.id, booking.spec.clone())).collect())
    }

    const fn peer(&self) -> Peer {
        Peer { uid: self.by, admin: true }
    }

    async fn ask(&self, command: Command) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        let envelope = Box::new(Envelope { command, key: None, reply: Some(reply) });
        let ending = || "the daemon ends".to_owned();
        self.inbox.send(Message::Command(envelope)).map_err(|_| ending())?;
        match answer.await.map_err(|_| ending())? {
            Ok(_) => Ok(()),
            Err(Rejected::Refused(refusal)) => Err(refusal.to_string()),
            Err(Rejected::NotWritten(error)) => Err(error.to_string()),
        }
    }
}

/// The bookings that windows stand for, from those that began no longer ago than a place waits for
/// its owner to those of the next week.
fn wanted(windows: &[Window], now: Timestamp, no_show: Millis, by: Uid) -> Vec<BookingSpec> {
    let since = Timestamp::from_millis(now.as_millis().saturating_sub(no_show.get()));
    let spec = |window: &Window, (from, until): (Timestamp, Timestamp)| BookingSpec {
        tenant: Tenant::new(window.tenant.clone()),
        uid: by,
        wanted: Wanted::Profile(ProfileSelector::Name(window.profile)),
        count: window.count,
        gpu: window.gpu.clone(),
        from,
        until,
        name: None,
        window: Some(format!("{}@{}", window.name, from.as_millis() / 1000)),
    };
    windows
        .iter()
        .flat_map(|window| {
            let spans = window.hours.between(now, now.plus(AHEAD));
            let due = spans.into_iter().filter(move |(from, _)| *from >= since);
            due.map(move |span| spec(window, span))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_window_is_a_booking_a_day_for_a_week() {
        let text = "[tenants.v]\n[[window]]\nname = \"m\"\ntenant = \"v\"\nprofile = \"3g.20gb\"\n\
                    count = 2\ndays = \"mon-fri\"\nfrom = \"08:00\"\nto = \"12:00\"\n";
        let config = config::Effective::parse(Path::new("x"), text).unwrap().config;
        // Wednesday 2026-07-01, 08:10 UTC.
        let now = Timestamp::from_millis(1_782_893_400_000);
        let specs = wanted(&config.windows, now, Millis::from_secs(900), Uid::new(0));
        let begins: Vec<u64> = specs.iter().map(|spec| spec.from.as_millis() / 1000).collect();
        let day = 86_400;
        let first = 1_782_892_800;
        // Today (it has just begun), two more days, then Monday to Wednesday.
        assert_eq!(begins, [0, 1, 2, 5, 6, 7].map(|days| first + days * day));
        assert_eq!(specs[0].until.since(specs[0].from), Millis::from_secs(4 * 3600));
        assert_eq!(specs[0].window.as_deref(), Some("m@1782892800"));
        assert_eq!((specs[0].count, specs[0].tenant.as_str()), (2, "v"));
        // Half an hour later nobody has come: it is not booked again.
        let later = now.plus(Millis::from_secs(1800));
        let specs = wanted(&config.windows, later, Millis::from_secs(900), Uid::new(0));
        assert_eq!(specs[0].from.as_millis() / 1000, first + day);
    }
}
