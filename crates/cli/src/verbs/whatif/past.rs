//! What happened, as requests that can be made again.
//!
//! Must never drop a request without counting it.

use std::collections::BTreeMap;

use api::{ArrangementKind, AskedView, EndKind, LeaseView, PastLease, PriorityKind};
use broker::{Arrangement, GpuSelector, Holder, Patience, Priority, RequestSpec, Terms, Wanted};
use lab::replay::{Job, JobEnd, JobOutcome, Outcome, grid_of, size, units_of};
use model::geometry::Need;
use model::{MemoryRequest, Millis, NodeSnapshot, ProfileSelector, Tenant, Timestamp, Uid};

use super::Source;
use super::alter::Alteration;

/// Leases from before the time that is looked at begin so long before it.
const BEFORE: Millis = Millis::from_secs(3600);

/// How long somebody would have run who never did, where nobody did that could be compared.
const UNKNOWN_RUN: Millis = Millis::from_secs(3600);

/// What is known of one request.
#[derive(Debug)]
struct Known {
    spec: RequestSpec,
    asked_at: Timestamp,
    granted_at: Option<Timestamp>,
    /// When it was over; for what is not over yet, the end of the time.
    ended_at: Timestamp,
    end: JobEnd,
    preempted: bool,
    moved: u32,
}

/// The requests, and what became of them.
pub(super) struct Trace {
    known: Vec<Known>,
    /// The same requests to be made again, aligned.
    pub(super) jobs: Vec<Job>,
    unreadable: usize,
    never_ran: usize,
    before: usize,
    booked: usize,
}

impl Trace {
    pub(super) fn new(source: &Source) -> Self {
        let mut unreadable = 0;
        let mut known: Vec<Known> = Vec::new();
        for lease in &source.past {
            match past(lease) {
                Some(found) => known.push(found),
                None => unreadable += 1,
            }
        }
        for lease in &source.live {
            match live(lease, source.to) {
                Some(found) => known.push(found),
                None => unreadable += 1,
            }
        }
        known.sort_by_key(|found| found.asked_at);
        let runs = Runs::of(&known);
        let begin = Timestamp::from_millis(source.from.as_millis().saturating_sub(BEFORE.get()));
        let jobs = known.iter().map(|found| job(found, &runs, begin)).collect();
        let never_ran = known.iter().filter(|found| found.granted_at.is_none()).count();
        let before = known.iter().filter(|found| found.asked_at < source.from).count();
        let booked = source.live.iter().filter(|lease| lease.booking.is_some()).count();
        Self { known, jobs, unreadable, never_ran, before, booked }
    }

    /// Requests that were made within the time.
    pub(super) fn requests(&self) -> usize {
        self.known.len() - self.before
    }

    /// What really happened, in the form of a replay.
    pub(super) fn really(&self, node: &NodeSnapshot) -> Outcome {
        let jobs = self.known.iter().map(|found| {
            let waited_until = found.granted_at.unwrap_or(found.ended_at);
            let stint = found.granted_at.map(|granted| (granted, found.ended_at));
            JobOutcome {
                asked_at: found.asked_at,
                spec: found.spec.clone(),
                units: units_of(&found.spec, &node.gpus),
                stints: stint.into_iter().collect(),
                waited: waited_until.since(found.asked_at),
                end: found.end,
                preempted: u32::from(found.preempted),
                moved: found.moved,
                avoidable: false,
            }
        });
        Outcome { jobs: jobs.collect(), grid: grid_of(node), ..Outcome::default() }
    }

    /// What the replay takes for granted, a sentence each.
    pub(super) fn assumed(&self, alterations: &[Alteration]) -> Vec<String> {
        let mut words = vec![
            String::from(
                "leases last as long as they did, used or not: nothing idle is taken back, and \
                 nobody comes or goes because waits are other than they were",
            ),
            String::from(
                "every GPU is well all the time; bookings and windows are not kept, and instances \
                 of others are not there",
            ),
            String::from(
                "requests that were refused at once, because they would not wait, are in no history",
            ),
        ];
        let mut count = |count: usize, what: &str| {
            if count > 0 {
                words.push(format!("{count} {what}"));
            }
        };
        count(
            self.never_ran,
            "never started: they have as much patience again, and would run as long as half of those \
             that asked for the same",
        );
        count(
            self.before,
            "were asked for earlier: they hold room, and their waits are not counted",
        );
        count(self.booked, "running leases are on booked places; here they are leases like others");
        count(self.unreadable, "could not be understood and are left out");
        if alterations.iter().any(|one| one.is_fixed) {
            words.push(String::from(
                "in the fixed layout a request takes the smallest free slices that hold it, in \
                 migd's order; how several lie to each other is not looked at",
            ));
        }
        words
    }
}

/// Median run times, by what was asked for, and of all.
struct Runs {
    by_size: BTreeMap<String, Millis>,
    all: Millis,
}

impl Runs {
    fn of(known: &[Known]) -> Self {
        let mut runs: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        let mut all = Vec::new();
        for found in known {
            if let Some(granted) = found.granted_at {
                let run = found.ended_at.since(granted).get();
                runs.entry(size(&found.spec)).or_default().push(run);
                all.push(run);
            }
        }
        let by_size = runs.into_iter().map(|(size, runs)| (size, median(runs)));
        Self { by_size: by_size.collect(), all: median(all) }
    }

    fn like(&self, spec: &RequestSpec) -> Millis {
        self.by_size.get(&size(spec)).copied().unwrap_or(self.all)
    }
}

fn median(mut values: Vec<u64>) -> Millis {
    values.sort_unstable();
    values.get(values.len() / 2).map_or(UNKNOWN_RUN, |middle| Millis::new(*middle))
}

fn job(found: &Known, runs: &Runs, begin: Timestamp) -> Job {
    let mut spec = found.spec.clone();
    let run = if let Some(granted) = found.granted_at {
        found.ended_at.since(granted.max(begin))
    } else {
        // Whoever gave up by hand had this much patience, as far as anybody can say.
        let waited = found.ended_at.since(found.asked_at);
        if spec.patience == Patience::Forever && found.end == JobEnd::GaveUp {
            spec.patience = Patience::AtMost(waited.max(Millis::new(1)));
        }
        runs.like(&spec)
    };
    // A limit that ended it is no accident of this time; one that is shorter than its own past is.
    spec.time = spec.time.map(|time| time.max(run));
    Job { asked_at: found.asked_at.max(begin), spec, run: run.max(Millis::new(1)) }
}

fn past(lease: &PastLease) -> Option<Known> {
    let spec = spec(&lease.tenant, lease.uid, lease.asked.as_ref(), &lease.wish)?;
    let granted_at = lease.granted_at_ms.map(Timestamp::from_millis);
    let never = granted_at.is_none();
    let cut_off = matches!(lease.end, EndKind::TimeLimit | EndKind::Preempted);
    Some(Known {
        spec,
        asked_at: Timestamp::from_millis(lease.requested_at_ms),
        granted_at,
        ended_at: Timestamp::from_millis(lease.ended_at_ms),
        end: match (never, cut_off) {
            (true, _) => JobEnd::GaveUp,
            (false, true) => JobEnd::CutOff,
            (false, false) => JobEnd::Done,
        },
        preempted: lease.end == EndKind::Preempted,
        moved: lease.displaced,
    })
}

fn live(lease: &LeaseView, now: Timestamp) -> Option<Known> {
    let spec = spec(&lease.tenant, lease.uid, lease.life.asked.as_ref(), &lease.wish)?;
    let granted_at = lease.granted_at_ms.map(Timestamp::from_millis);
    let end = if granted_at.is_some() { JobEnd::Done } else { JobEnd::NeverServed };
    Some(Known {
        spec,
        asked_at: Timestamp::from_millis(lease.requested_at_ms),
        granted_at,
        ended_at: now,
        end,
        preempted: false,
        moved: lease.life.displaced,
    })
}

/// A request as it was, from its terms, or where a daemon did not tell them from its words.
fn spec(tenant: &str, uid: u32, asked: Option<&AskedView>, wish: &str) -> Option<RequestSpec> {
    let from_words = || of_words(wish);
    let asked = asked.cloned().or_else(from_words)?;
    let gpu = asked.gpu.as_deref().map(str::parse::<GpuSelector>);
    Some(RequestSpec {
        tenant: Tenant::new(tenant),
        uid: Uid::new(uid),
        wanted: wanted(&asked)?,
        count: asked.count.max(1),
        gpu: gpu.transpose().ok()?.unwrap_or_default(),
        time: asked.time_ms.map(Millis::new),
        expect: asked.expect_ms.map(Millis::new),
        patience: match asked.max_wait_ms {
            None => Patience::Forever,
            Some(0) => Patience::Immediate,
            Some(span) => Patience::AtMost(Millis::new(span)),
        },
        name: None,
        holder: Holder::Token { life: Millis::new(u64::MAX / 4) },
        command: None,
        terms: Terms {
            priority: match asked.priority {
                PriorityKind::Low => Priority::Low,
                PriorityKind::Normal => Priority::Normal,
                PriorityKind::High => Priority::High,
            },
            arrangement: match asked.arrangement {
                None => Arrangement::Any,
                Some(ArrangementKind::Pack) => Arrangement::Pack,
                Some(ArrangementKind::Spread) => Arrangement::Spread,
                Some(ArrangementKind::SameGpu) => Arrangement::SameGpu,
                Some(ArrangementKind::OtherGpu) => Arrangement::OtherGpu,
            },
            preemptible: asked.preemptible,
            restartable: asked.restartable,
            ..Terms::default()
        },
    })
}

fn wanted(asked: &AskedView) -> Option<Wanted> {
    if asked.whole_gpu {
        return Some(Wanted::WholeGpu);
    }
    if let Some(profile) = &asked.profile {
        return Some(Wanted::Profile(profile.parse().ok()?));
    }
    let memory = asked.gpu_mem.as_deref().map(str::parse::<MemoryRequest>).transpose().ok()?;
    let slices = asked.compute.as_deref().map(|text| text.trim_end_matches('g').parse::<u8>());
    let compute_slices = slices.transpose().ok()?;
    (memory.is_some() || compute_slices.is_some())
        .then_some(Wanted::Need(Need { memory, compute_slices }))
}

/// `2 x 1g.5gb`, `whole GPU`: the wishes that say all there is to say.
fn of_words(wish: &str) -> Option<AskedView> {
    let (count, what) = match wish.split_once(" x ") {
        Some((count, what)) => (count.parse().ok()?, what),
        None => (1, wish),
    };
    let asked = AskedView { count, ..AskedView::default() };
    if what == "whole GPU" {
        return Some(AskedView { whole_gpu: true, ..asked });
    }
    what.parse::<ProfileSelector>().ok()?;
    Some(AskedView { profile: Some(what.to_owned()), ..asked })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_old_histories_are_understood_where_they_say_all() {
        let asked = of_words("2 x 1g.5gb").unwrap();
        assert_eq!((asked.count, asked.profile.as_deref()), (2, Some("1g.5gb")));
        assert!(of_words("whole GPU").unwrap().whole_gpu);
        assert_eq!(of_words("20g of memory and 3 compute slices"), None);
    }

    #[test]
    fn terms_make_the_request_again() {
        let asked = AskedView {
            gpu_mem: Some("20g".into()),
            compute: Some("3g".into()),
            count: 2,
            gpu: Some("1".into()),
            arrangement: Some(ArrangementKind::SameGpu),
            max_wait_ms: Some(5_000),
            priority: PriorityKind::Low,
            preemptible: true,
            ..AskedView::default()
        };
        let spec = spec("vision", 7, Some(&asked), "").unwrap();
        let Wanted::Need(need) = spec.wanted else { panic!("{spec:?}") };
        assert_eq!(need.compute_slices, Some(3));
        assert_eq!(need.memory.map(|memory| memory.to_string()), Some("20g".into()));
        assert_eq!((spec.count, spec.gpu), (2, GpuSelector::Index(1)));
        assert_eq!(spec.patience, Patience::AtMost(Millis::new(5_000)));
        assert_eq!(spec.terms.arrangement, Arrangement::SameGpu);
        assert!(spec.terms.preemptible && spec.terms.priority == Priority::Low);
        let odd = AskedView { profile: Some("9q".into()), count: 1, ..AskedView::default() };
        assert!(super::spec("vision", 7, Some(&odd), "").is_none());
    }

    #[test]
    fn a_median_is_the_middle_and_nothing_is_an_hour() {
        assert_eq!(median(vec![5, 1, 9]), Millis::new(5));
        assert_eq!(median(Vec::new()), UNKNOWN_RUN);
    }
}
