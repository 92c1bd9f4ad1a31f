//! A week of work, from a seed: who asks when, for what, and what they then do with it.
//!
//! Must never depend on anything but the scenario: every column is served the same.

use broker::{Patience, Priority};
use model::{Millis, Timestamp};

use super::work::{Course, DAY, HOUR, MINUTE, MONDAY, Task, Work};
use crate::chance::Chance;

/// How much of a week, for how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    /// The seed.
    pub seed: u64,
    /// Days, from Monday.
    pub days: u64,
    /// Users; the arrivals of jobs are in proportion to them, and made for sixty.
    pub users: u32,
}

/// Of sixty users, how many belong to each tenant but the last, whose members run the services.
const MEMBERS: [u32; 6] = [16, 14, 8, 12, 8, 2];

/// Batch jobs an hour that sixty users submit: in working hours, and otherwise.
const JOBS_AN_HOUR: (f64, f64) = (4.6, 3.3);
/// Short tests that will not wait, an hour of working time.
const TESTS_AN_HOUR: f64 = 2.0;
/// How likely a user opens a notebook on a working day, in percent.
const NOTEBOOK_PERCENT: usize = 30;
/// How likely a notebook is left open when its user goes home, in percent.
const FORGOTTEN_PERCENT: usize = 30;

/// Whether that hour of the week is a working hour: Monday to Friday, nine to seven.
pub(crate) const fn is_working(hour: u64) -> bool {
    (hour / 24) % 7 < 5 && hour % 24 >= 9 && hour % 24 < 19
}

struct Draw {
    chance: Chance,
}

impl Draw {
    fn percent(&mut self, percent: usize) -> bool {
        self.chance.below(100) < percent
    }

    fn within(&mut self, from: u64, to: u64) -> u64 {
        from + self.chance.next() % (to - from).max(1)
    }

    /// A standard normal number: the sum of twelve even ones, less six.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.chance.unit()).sum::<f64>() - 6.0
    }

    fn lognormal(&mut self, median: u64, sigma: f64, from: u64, to: u64) -> u64 {
        ((median as f64 * (sigma * self.normal()).exp()) as u64).clamp(from, to)
    }

    /// One of the indices, by weight.
    fn weighted(&mut self, weights: &[u32]) -> usize {
        let mut left = self.chance.below(weights.iter().sum::<u32>() as usize) as u32;
        for (index, weight) in weights.iter().enumerate() {
            if left < *weight {
                return index;
            }
            left -= weight;
        }
        0
    }

    /// So many on average, within an hour.
    fn count(&mut self, mean: f64) -> u64 {
        let whole = mean as u64;
        // Two draws of half the mean each vary about as much as arrivals do.
        let mut sum = 0;
        for _ in 0..(whole + 1) * 2 {
            sum += u64::from(self.chance.unit() < mean / ((whole + 1) * 2) as f64);
        }
        sum
    }
}

const fn at(day: u64, millis: u64) -> Timestamp {
    MONDAY.plus(Millis::new(day * DAY + millis))
}

/// Everything that is asked for, in the order of asking.
pub(crate) fn arrivals(scenario: &Scenario) -> Vec<Work> {
    let mut all = Vec::new();
    notebooks(scenario, &mut all);
    jobs(scenario, &mut all);
    tests(scenario, &mut all);
    whole_gpus(scenario, &mut all);
    services(scenario, &mut all);
    all.sort_by_key(|task| task.asked_at);
    all.into_iter().map(Work::from).collect()
}

fn draw(scenario: &Scenario, what: u64) -> Draw {
    Draw { chance: Chance::new(scenario.seed, what) }
}

/// The tenant of one of sixty users, and of more or fewer in proportion.
fn tenant_of(user: u32, users: u32) -> usize {
    let mut place = user * 58 / users.max(1);
    for (tenant, members) in MEMBERS[..5].iter().enumerate() {
        if place < *members {
            return tenant;
        }
        place -= members;
    }
    4
}

fn somebody(draw: &mut Draw, scenario: &Scenario) -> (usize, u32) {
    let user = draw.chance.below(scenario.users.max(1) as usize) as u32;
    (tenant_of(user, scenario.users), 1000 + user)
}

fn notebooks(scenario: &Scenario, all: &mut Vec<Task>) {
    for day in 0..scenario.days {
        for user in 0..scenario.users {
            let mut draw = draw(scenario, 1_000_000 + day * 10_000 + u64::from(user));
            if day % 7 >= 5 || !draw.percent(NOTEBOOK_PERCENT) {
                continue;
            }
            let tenant = tenant_of(user, scenario.users);
            let begins = draw.within(8 * HOUR + 30 * MINUTE, 14 * HOUR);
            let goes = (begins + draw.within(2 * HOUR, 9 * HOUR)).min(20 * HOUR);
            let mut spans = Vec::new();
            let mut now = begins;
            while now < goes {
                let end = (now + draw.lognormal(35 * MINUTE, 0.8, 5 * MINUTE, 3 * HOUR)).min(goes);
                spans.push((at(day, now), at(day, end)));
                now = end + draw.lognormal(25 * MINUTE, 1.1, 2 * MINUTE, 5 * HOUR);
            }
            let forgotten = draw.percent(FORGOTTEN_PERCENT);
            let last = spans.last().map_or(at(day, goes), |span| span.1);
            all.push(Task {
                whole: false,
                replica: false,
                tenant,
                uid: 1000 + user,
                slices: if draw.percent(75) { 2 } else { 3 },
                count: 1,
                asked_at: at(day, begins),
                course: Course::Present { spans, leaves: (!forgotten).then_some(last) },
                time: draw.percent(50).then(|| Millis::from_secs(12 * 3600)),
                expect: None,
                patience: Patience::AtMost(Millis::new(2 * HOUR)),
                priority: Priority::Normal,
                preemptible: false,
                restartable: false,
                name: None,
            });
        }
    }
}

/// Sizes of batch jobs: slices, count, weight in percent.
const SIZES: [(u8, u32, u32); 7] =
    [(1, 1, 34), (2, 1, 26), (3, 1, 20), (4, 1, 7), (7, 1, 6), (1, 4, 4), (3, 2, 3)];

fn jobs(scenario: &Scenario, all: &mut Vec<Task>) {
    for hour in 0..scenario.days * 24 {
        let mut draw = draw(scenario, 2_000_000 + hour);
        let mean = if is_working(hour) { JOBS_AN_HOUR.0 } else { JOBS_AN_HOUR.1 };
        for _ in 0..draw.count(mean * f64::from(scenario.users) / 60.0) {
            let asked_at = at(0, hour * HOUR + draw.within(0, HOUR));
            let job = job(&mut draw, scenario, asked_at, !is_working(hour));
            all.push(job);
        }
    }
}

fn job(draw: &mut Draw, scenario: &Scenario, asked_at: Timestamp, night: bool) -> Task {
    let (tenant, uid) = somebody(draw, scenario);
    let weights: Vec<u32> = SIZES.iter().map(|size| size.2).collect();
    let (slices, count, _) = SIZES[draw.weighted(&weights)];
    let work = draw.lognormal(70 * MINUTE, 1.0, 3 * MINUTE, 20 * HOUR);
    // Owners round up generously, and now and then guess too low.
    let guess = |draw: &mut Draw, median: f64| {
        let factor = median * (0.35 * draw.normal()).exp();
        let quarter = 15 * MINUTE;
        ((work as f64 * factor) as u64 / quarter + 1) * quarter
    };
    let limited = draw.percent(70);
    let time = limited.then(|| Millis::new(guess(draw, 2.0)));
    let estimated = draw.percent(if limited { 40 } else { 60 });
    let expect = estimated.then(|| Millis::new(guess(draw, 1.2)));
    let preemptible = draw.percent(if night { 65 } else { 20 });
    Task {
        whole: false,
        replica: false,
        tenant,
        uid,
        slices,
        count,
        asked_at,
        course: Course::Labour(Millis::new(work)),
        time,
        expect,
        patience: Patience::Forever,
        priority: if preemptible && night { Priority::Low } else { Priority::Normal },
        preemptible,
        restartable: preemptible && draw.percent(50),
        name: None,
    }
}

fn tests(scenario: &Scenario, all: &mut Vec<Task>) {
    for hour in (0..scenario.days * 24).filter(|hour| is_working(*hour)) {
        let mut draw = draw(scenario, 3_000_000 + hour);
        for _ in 0..draw.count(TESTS_AN_HOUR * f64::from(scenario.users) / 60.0) {
            let (tenant, uid) = somebody(&mut draw, scenario);
            all.push(Task {
                whole: false,
                replica: false,
                tenant,
                uid,
                slices: if draw.percent(70) { 1 } else { 2 },
                count: 1,
                asked_at: at(0, hour * HOUR + draw.within(0, HOUR)),
                course: Course::Labour(Millis::new(draw.within(3 * MINUTE, 20 * MINUTE))),
                time: Some(Millis::new(30 * MINUTE)),
                expect: None,
                patience: Patience::Immediate,
                priority: Priority::Normal,
                preemptible: false,
                restartable: false,
                name: None,
            });
        }
    }
}

fn whole_gpus(scenario: &Scenario, all: &mut Vec<Task>) {
    for day in (0..scenario.days).filter(|day| day % 7 < 5) {
        let mut draw = draw(scenario, 4_000_000 + day);
        let (tenant, uid) = somebody(&mut draw, scenario);
        let work = draw.within(HOUR, 5 * HOUR);
        all.push(Task {
            whole: true,
            replica: false,
            tenant,
            uid,
            slices: 7,
            count: 1,
            asked_at: at(day, draw.within(9 * HOUR, 21 * HOUR)),
            course: Course::Labour(Millis::new(work)),
            time: Some(Millis::new(work + HOUR)),
            expect: None,
            patience: Patience::Forever,
            priority: Priority::Normal,
            preemptible: false,
            restartable: false,
            name: None,
        });
    }
}

/// A service: its name, its slices, its replicas at night and by day.
const SERVICES: [(&str, u8, u64, u64); 4] =
    [("chat", 3, 1, 2), ("embed", 1, 2, 4), ("detect", 2, 1, 3), ("speech", 1, 1, 2)];

fn services(scenario: &Scenario, all: &mut Vec<Task>) {
    for (index, (name, slices, night, day)) in SERVICES.into_iter().enumerate() {
        for replica in 0..day {
            let mut draw = draw(scenario, 5_000_000 + index as u64 * 100 + replica);
            let end = at(scenario.days, 0);
            let mut push = |from: Timestamp, to: Timestamp, number: u64| {
                all.push(Task {
                    whole: false,
                    replica: true,
                    tenant: 5,
                    uid: 900 + (index as u32 % 2),
                    slices,
                    count: 1,
                    asked_at: from,
                    course: Course::Present { spans: vec![(from, to)], leaves: Some(to) },
                    time: None,
                    expect: Some(to.since(from)),
                    patience: Patience::Forever,
                    priority: Priority::High,
                    preemptible: false,
                    restartable: false,
                    name: Some(format!("{name}-{replica}-{number}")),
                });
            };
            if replica < night {
                push(at(0, draw.within(0, 10 * MINUTE)), end, 0);
                continue;
            }
            for each in 0..scenario.days {
                let come = 7 * HOUR + draw.within(0, 3 * HOUR);
                let go = 18 * HOUR + draw.within(0, 4 * HOUR);
                push(at(each, come), at(each, go), each);
            }
        }
    }
}
