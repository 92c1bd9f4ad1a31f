//! Requests made again: nothing is lost, the same comes out again, and waits are what a pencil says.

use broker::{GpuSelector, Holder, Patience, Policy, RequestSpec, Terms, Wanted};
use lab::replay::migbench::{BENCH_SEED, Entry, Told, Where, generate, jobs_of, play};
use lab::replay::{Job, JobEnd, Outcome, Served, Setting, Site, Summary, lay_out_on, replay};
use model::{Millis, ProfileSelector, Tenant, Timestamp, Uid};
use sim_gpu::{GpuSpec, HostSpec, Latencies};

const BEGIN: Timestamp = Timestamp::from_millis(1_000_000_000_000);

fn site(board: &str, gpus: usize) -> Site {
    let mut spec = HostSpec { host: "box".to_owned(), ..HostSpec::default() };
    spec.add(&GpuSpec::new(board), gpus);
    let latencies = Latencies { create_gpu_instance: Millis::new(250), ..Latencies::ZERO };
    Site { latencies, ..Site::new(spec) }
}

fn job(slices: u8, at: u64, run: u64, told: bool) -> Job {
    let run = Millis::from_secs(run);
    let spec = RequestSpec {
        tenant: Tenant::new("lab"),
        uid: Uid::new(1),
        wanted: Wanted::Profile(ProfileSelector::Slices(slices)),
        count: 1,
        gpu: GpuSelector::Any,
        time: None,
        expect: told.then_some(run),
        patience: Patience::Forever,
        name: None,
        holder: Holder::Token { life: Millis::from_secs(1) },
        command: None,
        terms: Terms::default(),
    };
    Job { asked_at: BEGIN.plus(Millis::from_secs(at)), spec, run }
}

fn waits(outcome: &Outcome) -> Vec<u64> {
    assert_eq!(outcome.violations, Vec::<String>::new());
    outcome.jobs.iter().map(|job| job.waited.get()).collect()
}

#[test]
fn three_jobs_on_one_gpu_wait_as_a_pencil_says() {
    let setting = Setting {
        laws_at_every_act: true,
        ..Setting::new(site("a100-sxm4-40gb", 1), Policy::default())
    };
    let jobs = |told| [job(7, 0, 100, told), job(7, 10, 50, told), job(7, 20, 10, told)];
    // The first waits for its slice to be made; the others have it as it is.
    let outcome = replay(&setting, &jobs(false)).expect("a machine");
    assert_eq!(waits(&outcome), [250, 90_250, 130_250], "the older one first");
    assert_eq!((outcome.made, outcome.makespan()), (1, Millis::new(160_250)));
    let told = replay(&setting, &jobs(true)).expect("a machine");
    assert_eq!(waits(&told), [250, 100_250, 80_250], "the shorter one first");
    let end = BEGIN.plus(Millis::new(160_250));
    let summary = Summary::of(&told, BEGIN, end);
    assert!((summary.room_held - 160_000.0 / 160_250.0).abs() < 1e-9, "{}", summary.room_held);
    assert_eq!((summary.requests, summary.started, summary.by_size.len()), (3, 3, 1));
    let late = Summary::of(&told, BEGIN.plus(Millis::from_secs(15)), end);
    assert_eq!(late.requests, 1, "who asked before is not counted");
}

#[test]
fn nothing_is_lost_on_two_machines_and_the_same_comes_out_again() {
    let trace = generate(BENCH_SEED);
    let entry = Entry { place: Where::TwoMachines, told: Told::Length, ..Entry::ALL[1] };
    let jobs = jobs_of(&entry, &trace[..60]);
    let sites = vec![site("h100-sxm5-80gb", 2), site("h100-sxm5-80gb", 1)];
    let setting = Setting {
        sites,
        policy: Policy::default(),
        served: Served::Daemons,
        laws_at_every_act: true,
    };
    let outcome = replay(&setting, &jobs).expect("two machines");
    assert_eq!(waits(&outcome).len(), 60);
    for (job, done) in jobs.iter().zip(&outcome.jobs) {
        assert_eq!(done.end, JobEnd::Done);
        let [(from, to)] = done.stints[..] else { panic!("{done:?} was interrupted") };
        assert_eq!(to.since(from), job.run);
        assert_eq!(from.since(job.asked_at), done.waited);
    }
    assert!(outcome.laws_checked > 500, "{}", outcome.laws_checked);
    assert_eq!(replay(&setting, &jobs).expect("two machines"), outcome);
}

#[test]
fn baselines_serve_the_same_jobs() {
    let trace = &generate(BENCH_SEED)[..40];
    let row = play(&Entry::ALL[0], trace).expect("a machine");
    assert_eq!((row.done, row.made), (40, 40));
    let board = "a100-sxm4-40gb";
    let geometry = std::sync::Arc::new(model::catalog::board(board).expect("known").geometry());
    let id = |slices| geometry.select(&ProfileSelector::Slices(slices)).expect("one").id;
    let cut = lay_out_on(&geometry, &[(id(3), None), (id(2), None), (id(1), None)]);
    let setting = Setting {
        served: Served::Fixed(vec![cut.expect("a layout")]),
        ..Setting::new(site(board, 1), Policy::default())
    };
    // The 1g is taken, so the next one gets the 2g and the third the 3g; nobody has a 4g.
    let jobs =
        [job(1, 0, 50, false), job(1, 1, 50, false), job(1, 2, 50, false), job(4, 3, 1, false)];
    let outcome = replay(&setting, &jobs).expect("a machine");
    assert_eq!(waits(&outcome), [0, 0, 0, 0]);
    let ends: Vec<JobEnd> = outcome.jobs.iter().map(|job| job.end).collect();
    assert_eq!(ends, [JobEnd::Done, JobEnd::Done, JobEnd::Done, JobEnd::Refused]);
}

#[test]
fn whoever_gives_up_is_told_from_whoever_is_served() {
    let setting = Setting::new(site("a100-sxm4-40gb", 1), Policy::default());
    let mut impatient = job(7, 10, 50, false);
    impatient.spec.patience = Patience::AtMost(Millis::from_secs(30));
    let mut never = job(7, 20, 50, false);
    never.spec.patience = Patience::Immediate;
    let outcome = replay(&setting, &[job(7, 0, 100, false), impatient, never]).expect("a machine");
    let ends: Vec<JobEnd> = outcome.jobs.iter().map(|job| job.end).collect();
    assert_eq!(ends, [JobEnd::Done, JobEnd::GaveUp, JobEnd::Refused]);
    assert_eq!(waits(&outcome)[1], 30_000);
    assert!(outcome.jobs[1].stints.is_empty() && !outcome.jobs[1].avoidable);
}
