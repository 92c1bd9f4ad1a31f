//! Prints what the broker's steps cost on a full machine with nobody, fifty and five hundred waiting:
//! each beside folding the same events without deciding, which is what a replay of the journal does.
//!
//! `cargo bench -p broker --bench steps`. Must never assert anything about time.
#![allow(clippy::print_stdout, reason = "printing the figures is all this program does")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a step that is refused is no step")]
#![allow(clippy::expect_used, clippy::wildcard_enum_match_arm, dead_code, reason = "as the tests")]

#[allow(unused_imports, reason = "the tests use more of it")]
#[path = "../tests/broker/machine/mod.rs"]
mod machine;

use std::hint::black_box;
use std::time::{Duration, Instant};

use broker::{
    Command, Decision, Emptiness, GrantedSlice, OpenPlan, Patience, Phase, State, decide,
};
use model::{LeaseId, Millis, PlanId};

use machine::{PEER_ADMIN, Rig};

/// Each step is timed at least so often, and for at least so long.
const TIMES: usize = 50;
const SPAN: Duration = Duration::from_millis(300);
/// Slices of eight A100.
const SLICES: u32 = 56;
/// Wishes of those who wait: most for what becomes free, some for more.
const WISHES: [&str; 5] = ["1g.5gb", "1g.5gb", "1g.5gb", "2g.10gb", "3g.20gb"];

fn main() {
    println!("A100 x 8, {SLICES} leases of 1g.5gb; medians of at least {TIMES} in one run");
    println!(
        "{:>7}  {:<22} {:>9} {:>9} {:>9} {:>7} {:>9}",
        "waiting", "step", "us", "p99", "fold us", "ratio", "to none"
    );
    let mut alone = Vec::new();
    for waiting in [0, 50, 500] {
        let figures = steps(waiting);
        for (number, (step, decided, late, folded)) in figures.iter().enumerate() {
            let base = *alone.get(number).unwrap_or(decided);
            println!(
                "{waiting:>7}  {step:<22} {decided:>9.1} {late:>9.1} {folded:>9.1} {:>7.1} {:>9.1}",
                decided / folded,
                decided / base
            );
        }
        if waiting == 0 {
            alone = figures.iter().map(|(_, decided, ..)| *decided).collect();
        }
    }
}

/// Name, median and 99th percentile of deciding, median of folding, in microseconds.
type Figure = (&'static str, f64, f64, f64);

fn steps(waiting: u32) -> Vec<Figure> {
    let mut rig = full(waiting);
    let full = rig.state.clone();
    let tick = figure(&rig, "tick", &full, &Command::Tick);
    let lease = |id| LeaseId::new(id);
    let end = |id| Command::End { lease: lease(id), by: PEER_ADMIN, holder: false };
    let empty = |id| Command::Looked { lease: lease(id), found: Emptiness { held_by: Vec::new() } };
    let release = figure(&rig, "a release", &full, &end(1));
    after(&mut rig, end(1));
    let ended = rig.state.clone();
    let proven = figure(&rig, "its slice is empty", &ended, &empty(1));
    after(&mut rig, empty(1));
    let mut wish = rig.spec(99, "1g.5gb");
    wish.patience = Patience::Forever;
    let request = Command::Request(wish);
    let before = rig.state.clone();
    let asked = figure(&rig, "a request", &before, &request);
    after(&mut rig, request);
    let mut next = 2;
    let (plan, slices) = loop {
        if let Some(found) = handed_over(&rig.state) {
            break found;
        }
        after(&mut rig, end(next));
        after(&mut rig, empty(next));
        next += 1;
    };
    let state = rig.state.clone();
    let granted = figure(&rig, "a grant", &state, &Command::PlanFinished { plan, slices });
    vec![asked, granted, release, proven, tick]
}

/// A machine without room, and so many who wait.
fn full(waiting: u32) -> Rig {
    let mut rig = Rig::new(&["a100-sxm4-40gb"; 8]);
    rig.policy.max_waiting_per_user = 10_000;
    for number in 0..SLICES {
        let spec = rig.spec(number % 20, "1g.5gb");
        rig.command(Command::Request(spec)).unwrap();
    }
    rig.settle();
    let active = |lease: &&broker::Lease| matches!(lease.phase, Phase::Active { .. });
    assert_eq!(rig.state.leases.values().filter(active).count() as u32, SLICES);
    for number in 0..waiting {
        let mut spec = rig.spec(number % 20, WISHES[number as usize % WISHES.len()]);
        spec.patience = Patience::Forever;
        after(&mut rig, Command::Request(spec));
    }
    assert_eq!(rig.state.queue().count() as u32, waiting);
    rig.now = rig.now.plus(Millis::from_secs(5));
    rig
}

/// Takes a step without the checks of the tests.
fn after(rig: &mut Rig, command: Command) -> Decision {
    let mut state = std::mem::take(&mut rig.state);
    let decision = decide(&mut state, &rig.world(), command).unwrap();
    rig.state = state;
    decision
}

/// A plan that hands over what is there, and what it finds.
fn handed_over(state: &State) -> Option<(PlanId, Vec<GrantedSlice>)> {
    let found = |open: &OpenPlan| {
        let slice = |target: &broker::SliceTarget| {
            Some(state.slices.get(&target.key).filter(|_| target.reuse)?.slice.clone())
        };
        open.targets.iter().map(slice).collect::<Option<Vec<_>>>()
    };
    state.plans.iter().find_map(|(id, open)| Some((*id, found(open)?)))
}

fn figure(rig: &Rig, step: &'static str, state: &State, command: &Command) -> Figure {
    let (mut decided, mut folded) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    while decided.len() < TIMES || begun.elapsed() < SPAN {
        let (mut draft, again) = (state.clone(), command.clone());
        let start = Instant::now();
        let decision = decide(&mut draft, &rig.world(), again).unwrap();
        decided.push(start.elapsed().as_secs_f64() * 1e6);
        let mut replayed = state.clone();
        let start = Instant::now();
        for event in &decision.events {
            replayed.apply(rig.now, event);
        }
        folded.push(start.elapsed().as_secs_f64() * 1e6);
        assert_eq!(black_box(replayed), draft);
    }
    (step, at(&mut decided, 0.5), at(&mut decided, 0.99), at(&mut folded, 0.5).max(0.01))
}

fn at(times: &mut [f64], share: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    times[((times.len() - 1) as f64 * share) as usize]
}
