//! Lets people live through their time: they ask, work, idle, leave, come back and ask again.
//!
//! Must never treat one column otherwise than another.

pub(crate) mod column;
pub(crate) mod daemon;
pub(crate) mod fixed;
pub(crate) mod packing;
pub(crate) mod work;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use broker::{Activity, Metered, Patience};
use model::{Millis, Timestamp};

use column::{Blocked, Column, News, Trouble, Why};
use work::{Course, Work};

/// Work that can be stopped is saved so often: each hour.
const SAVED_EVERY: u64 = 3_600_000;

/// How long it takes people to notice that their job was stopped, and to submit it again.
const NOTICED_AFTER: Millis = Millis::from_secs(60);

/// How long something that waits is left waiting when nobody runs or comes any more.
const HOPELESS_AFTER: Millis = Millis::from_secs(2 * 3600);

/// Where the fingerprint begins (FNV-1a).
const SEED: u64 = 0xCBF2_9CE4_8422_2325;

/// Something that people or bad luck do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    Trouble(usize),
    Finish(usize, u32),
    Turn(usize, u32),
    Ask(usize),
}

/// How a piece of work stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    Before,
    Waiting(Timestamp),
    Running(Timestamp),
    /// Its lease was taken back; somebody comes back to it.
    Away,
    Over,
}

/// What became of a piece of work in the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    /// The time was over before.
    #[default]
    Unfinished,
    Done,
    /// Its own hard limit cut it off.
    CutOff,
    Refused,
    GaveUp,
    /// Taken back when nobody was there any more.
    TakenBack,
}

/// What is known of a piece of work when the time is over.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    pub(crate) fate: Fate,
    /// Whether it ever had its slices.
    pub(crate) served: bool,
    /// From when to when it had them, oldest first.
    pub(crate) stints: Vec<(Timestamp, Timestamp)>,
    /// Waiting before the first grant.
    pub(crate) first_wait: u64,
    /// All its waiting.
    pub(crate) waited: u64,
    /// How often it asked.
    pub(crate) asked: u32,
    /// Times its notebook was taken back and wanted again, and the waiting for that.
    pub(crate) came_back: u32,
    pub(crate) back_wait: u64,
    /// Unit-milliseconds it had, and those in which it worked.
    pub(crate) held: u64,
    pub(crate) used: u64,
    /// Unit-milliseconds of work that was lost when it was stopped.
    pub(crate) lost: u64,
    /// Unit-milliseconds that it would have kept without use, had they not been taken back.
    pub(crate) taken_back: u64,
    pub(crate) blocked: Vec<Blocked>,
    pub(crate) refused: Option<Blocked>,
    /// Times it was ended for others, for a broken GPU, agreed to move.
    pub(crate) stopped: [u32; 3],
}

struct Own {
    stands: Stands,
    attempt: u32,
    /// Work that is done and saved.
    saved: u64,
    /// Units it has.
    held: u32,
    /// Since when it is at work, if it is.
    busy_since: Option<Timestamp>,
    /// Time at work, in this lease.
    busy: u64,
    back: bool,
    record: Record,
}

/// From when to when people live.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Term {
    pub(crate) begin: Timestamp,
    /// `None`: until nobody waits, runs or comes any more, but those who wait for nothing.
    pub(crate) end: Option<Timestamp>,
    /// The hard limit of leases whose owners name none.
    pub(crate) default_time: Millis,
}

/// People's time under way.
pub(crate) struct Play<'a, C> {
    pub(crate) column: &'a mut C,
    works: &'a [Work],
    troubles: &'a [(Timestamp, usize, Trouble)],
    own: Vec<Own>,
    acts: BinaryHeap<Reverse<(Timestamp, Act)>>,
    now: Timestamp,
    term: Term,
    /// Since when nothing will be done by anybody.
    still_since: Option<Timestamp>,
    /// Tells apart what was asked: each first request as it was made.
    fingerprint: u64,
}

impl<'a, C: Column> Play<'a, C> {
    pub(crate) fn new(
        column: &'a mut C,
        works: &'a [Work],
        troubles: &'a [(Timestamp, usize, Trouble)],
        term: Term,
    ) -> Self {
        let asks = works.iter().enumerate().map(|(index, work)| (work.asked_at, Act::Ask(index)));
        let ills = troubles.iter().enumerate().map(|(index, ill)| (ill.0, Act::Trouble(index)));
        let own = works.iter().map(|_| Own {
            stands: Stands::Before,
            attempt: 0,
            saved: 0,
            held: 0,
            busy_since: None,
            busy: 0,
            back: false,
            record: Record::default(),
        });
        let own = own.collect();
        let acts = asks.chain(ills).map(Reverse).collect();
        let (now, still_since) = (term.begin, None);
        Self { column, works, troubles, own, acts, now, term, still_since, fingerprint: SEED }
    }

    /// Until the time is over; what became of each piece of work, and a number that tells what was
    /// asked for from anything else.
    pub(crate) fn run(mut self) -> (Vec<Record>, u64) {
        loop {
            let act = self.acts.peek().map(|Reverse((at, _))| *at);
            let next = [act, self.column.due(self.now)].into_iter().flatten().min();
            let in_time = |at: &Timestamp| self.term.end.is_none_or(|end| *at < end);
            let Some(next) = next.filter(in_time).filter(|_| !self.is_hopeless()) else { break };
            if next > self.now {
                self.now = next;
                self.column.pass(next);
                self.hear();
            }
            while let Some(Reverse((at, act))) = self.acts.peek().copied() {
                if at > self.now {
                    break;
                }
                self.acts.pop();
                self.act(act);
                self.hear();
            }
        }
        self.now = self.term.end.unwrap_or(self.now);
        for index in 0..self.own.len() {
            match self.own[index].stands {
                Stands::Waiting(_) => self.stop_waiting(index),
                Stands::Running(_) => self.stop_running(index),
                Stands::Before | Stands::Away | Stands::Over => {}
            }
        }
        (self.own.into_iter().map(|own| own.record).collect(), self.fingerprint)
    }

    /// Whether everything is over where time has no end, or will never be.
    fn is_hopeless(&mut self) -> bool {
        if self.term.end.is_some() || !self.acts.is_empty() {
            self.still_since = None;
            return false;
        }
        let since = *self.still_since.get_or_insert(self.now);
        let over = self.own.iter().all(|own| own.stands == Stands::Over);
        over || self.now.since(since) >= HOPELESS_AFTER
    }

    fn later(&mut self, at: Timestamp, act: Act) {
        self.acts.push(Reverse((at.max(self.now), act)));
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Trouble(index) => {
                let (_, gpu, trouble) = self.troubles[index];
                self.column.trouble(gpu, trouble);
            }
            Act::Ask(index) => self.ask(index),
            Act::Finish(index, attempt) if self.own[index].attempt == attempt => {
                self.column.release(index);
                self.stop_running(index);
                self.over(index, Fate::Done);
            }
            Act::Turn(index, attempt) if self.own[index].attempt == attempt => self.turn(index),
            Act::Finish(..) | Act::Turn(..) => {}
        }
    }

    fn over(&mut self, index: usize, fate: Fate) {
        let own = &mut self.own[index];
        own.stands = Stands::Over;
        own.attempt += 1;
        own.record.fate = fate;
    }

    fn ask(&mut self, index: usize) {
        // Somebody may have nothing left to come back for.
        if self.rest(index).is_none() {
            return self.over(index, Fate::Done);
        }
        if self.own[index].record.asked == 0 {
            let text = format!("{:?} {:?} {:?}", self.now, index, self.works[index]);
            self.fingerprint = text.bytes().fold(self.fingerprint, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
            });
        }
        self.own[index].record.asked += 1;
        let (accepted, blocked) = self.column.ask(index, &self.works[index]);
        let own = &mut self.own[index];
        if accepted {
            own.record.blocked.extend(blocked);
            own.stands = Stands::Waiting(self.now);
            own.attempt += 1;
        } else {
            own.record.refused = blocked.or(Some(Blocked::default()));
            self.over(index, Fate::Refused);
        }
    }

    /// Work that is left to do; for people, whether they still want to be there.
    fn rest(&self, index: usize) -> Option<u64> {
        match &self.works[index].course {
            Course::Labour(work) => Some(work.get().saturating_sub(self.own[index].saved).max(1)),
            Course::Present { spans, .. } => {
                spans.iter().any(|span| span.1 > self.now).then_some(0)
            }
        }
    }

    fn hear(&mut self) {
        loop {
            let news = self.column.news();
            if news.is_empty() {
                return;
            }
            for (index, news) in news {
                match news {
                    News::Granted(units) => self.granted(index, units),
                    News::Ended(why) => self.ended(index, why),
                    News::Moving => self.moving(index),
                }
            }
        }
    }

    fn granted(&mut self, index: usize, units: u32) {
        self.stop_waiting(index);
        let own = &mut self.own[index];
        own.record.served = true;
        own.stands = Stands::Running(self.now);
        own.attempt += 1;
        own.held = units;
        own.busy = 0;
        let attempt = own.attempt;
        match &self.works[index].course {
            Course::Labour(_) => {
                own.busy_since = Some(self.now);
                let rest = self.rest(index).unwrap_or(1);
                self.later(self.now.plus(Millis::new(rest)), Act::Finish(index, attempt));
                self.tell(index, Activity::Busy);
            }
            Course::Present { .. } => self.turn(index),
        }
    }

    /// Somebody begins to work, pauses, or goes.
    fn turn(&mut self, index: usize) {
        let works = self.works;
        let Course::Present { spans, leaves } = &works[index].course else { return };
        let now = self.now;
        let attempt = self.own[index].attempt;
        self.rest_now(index);
        if leaves.is_some_and(|at| at <= now) {
            self.column.release(index);
            self.stop_running(index);
            return self.over(index, Fate::Done);
        }
        let at_work = spans.iter().find(|span| span.0 <= now && now < span.1);
        let next = spans.iter().map(|span| span.0).find(|from| *from > now);
        match (at_work, next) {
            (Some(span), _) => {
                self.own[index].busy_since = Some(now);
                self.later(span.1, Act::Turn(index, attempt));
                self.tell(index, Activity::Busy);
            }
            (None, next) => {
                if let Some(at) = next.or(*leaves) {
                    self.later(at, Act::Turn(index, attempt));
                }
                self.tell(index, Activity::Idle { since: now });
            }
        }
    }

    /// Whoever was at work is not any more.
    fn rest_now(&mut self, index: usize) {
        let own = &mut self.own[index];
        if let Some(since) = own.busy_since.take() {
            let span = self.now.since(since).get();
            own.busy += span;
            own.record.used += span * u64::from(self.works[index].units);
        }
    }

    fn tell(&mut self, index: usize, activity: Activity) {
        let own = &self.own[index];
        let Stands::Running(since) = own.stands else { return };
        let metered = Metered {
            peak_memory: None,
            busy: Millis::new(own.busy),
            observed: self.now.since(since),
        };
        self.column.activity(index, activity, metered);
    }

    fn stop_waiting(&mut self, index: usize) {
        let own = &mut self.own[index];
        let Stands::Waiting(since) = own.stands else { return };
        let wait = self.now.since(since).get();
        own.record.waited += wait;
        if !own.record.served {
            own.record.first_wait += wait;
        }
        if std::mem::take(&mut own.back) {
            own.record.came_back += 1;
            own.record.back_wait += wait;
        }
    }

    /// The slices are gone.
    fn stop_running(&mut self, index: usize) {
        self.rest_now(index);
        let own = &mut self.own[index];
        let Stands::Running(since) = own.stands else { return };
        own.record.held += self.now.since(since).get() * u64::from(own.held);
        own.record.stints.push((since, self.now));
    }

    /// What of the work of this lease is saved, if it saves itself so often.
    fn save(&mut self, index: usize, every: Option<u64>) {
        let own = &mut self.own[index];
        if matches!(self.works[index].course, Course::Labour(_)) {
            let kept = every.map_or(0, |every| own.busy / every * every);
            own.saved += kept;
            own.record.lost += (own.busy - kept) * u64::from(self.works[index].units);
        }
    }

    /// What others have of a lease that was taken back until its owner would have used it again, or
    /// would have left, or until its limit.
    fn taken_back(&mut self, index: usize, again: Option<Timestamp>) {
        let work = &self.works[index];
        let own = &mut self.own[index];
        let Stands::Running(since) = own.stands else { return };
        let Course::Present { leaves, .. } = &work.course else { return };
        let limit = since.plus(work.spec.time.unwrap_or(self.term.default_time));
        let until = again.or(*leaves).unwrap_or(limit).min(limit);
        let until = self.term.end.map_or(until, |end| until.min(end));
        own.record.taken_back += until.since(self.now).get() * u64::from(own.held);
    }

    fn moving(&mut self, index: usize) {
        self.stop_running(index);
        self.save(index, Some(1));
        let own = &mut self.own[index];
        own.stands = Stands::Waiting(self.now);
        own.attempt += 1;
        own.record.stopped[2] += 1;
    }

    fn ended(&mut self, index: usize, why: Why) {
        match self.own[index].stands {
            Stands::Waiting(_) => {
                self.stop_waiting(index);
                return self.over(index, Fate::GaveUp);
            }
            Stands::Running(_) => self.stop_running(index),
            Stands::Before | Stands::Away | Stands::Over => return,
        }
        let work = &self.works[index];
        match why {
            Why::Preempted => self.own[index].record.stopped[0] += 1,
            Why::GpuLost => self.own[index].record.stopped[1] += 1,
            Why::Idle | Why::TimeLimit | Why::WaitExpired | Why::Other => {}
        }
        if let Course::Present { spans, .. } = &work.course {
            let now = self.now;
            let again = spans.iter().find(|span| span.1 > now).map(|span| span.0.max(now));
            if why == Why::Idle {
                self.taken_back(index, again);
            }
            let fate = if why == Why::Idle { Fate::TakenBack } else { Fate::Done };
            let Some(at) = again else { return self.over(index, fate) };
            let own = &mut self.own[index];
            own.stands = Stands::Away;
            own.attempt += 1;
            own.back = true;
            return self.later(at.max(now.plus(NOTICED_AFTER)), Act::Ask(index));
        }
        let will_not_wait = work.spec.patience == Patience::Immediate;
        if matches!(why, Why::TimeLimit | Why::WaitExpired) || will_not_wait {
            return self.over(index, Fate::CutOff);
        }
        self.save(index, work.spec.terms.preemptible.then_some(SAVED_EVERY));
        let own = &mut self.own[index];
        own.stands = Stands::Away;
        own.attempt += 1;
        self.later(self.now.plus(NOTICED_AFTER), Act::Ask(index));
    }
}
