//! Whole runs: what must hold whatever is played.

use std::time::Duration;

use model::{Millis, Timestamp};

use super::mixes::{self, Demand, Mix};
use super::run::Course;
use super::work::{Names, Span, Wish};
use super::*;

fn frozen() -> Duration {
    Duration::ZERO
}

fn site(text: &str) -> Site {
    Site::parse(text, 6).unwrap()
}

fn queues() -> [Discipline; 4] {
    let drain = Some(Millis::from_secs(60));
    [
        Discipline::Loss,
        Discipline::Fifo,
        Discipline::Area { drain: None },
        Discipline::Area { drain },
    ]
}

fn settings(discipline: Discipline) -> Settings {
    Settings { discipline, ..Settings::default() }
}

fn play(site: &Site, work: &Workload, name: &str, discipline: Discipline) -> Figures {
    let contender = Contender::named(name).unwrap();
    simulate(site, work, &contender, settings(discipline), &frozen).figures
}

/// Requests by hand: arrival and length in seconds, profile, count.
fn requests(site: &Site, rows: &[(u64, u64, &str, u32)]) -> Workload {
    let mut names = Names::new(site);
    let row = |(arrival, length, profile, count): &(u64, u64, &str, u32)| Request {
        arrival: Timestamp::from_millis(arrival * 1000),
        holds: Some(Millis::from_secs(*length)),
        kind: names.kind(Wish::Profile(profile.parse().unwrap())).unwrap(),
        count: *count,
        tenant: names.tenant("t"),
    };
    let requests = rows.iter().map(row).collect();
    let Names { kinds, tenants, .. } = names;
    let measured = Span { from: Timestamp::default(), to: Timestamp::from_millis(1_000_000) };
    let (name, notes) = ("by hand".into(), Vec::new());
    Workload { name, requests, kinds, tenants, measured, room: measured, notes }
}

/// After every moment each GPU is a legal layout and no slice overlaps another, and the sums that
/// are kept up to date are those of the slices; at the end everything is accounted for.
#[test]
fn no_two_slices_ever_overlap_and_no_request_is_lost() {
    for boards in ["a100-sxm4-80gb", "a100-sxm4-80gb:3,a30:2,rtx-pro-6000-bse:1"] {
        let site = site(boards);
        for (seed, discipline) in queues().into_iter().enumerate() {
            let demand = Demand::Steady(1.3);
            let work = mixes::workload(&site, Mix::ALL[seed % 4], demand, seed as u64);
            for contender in Contender::all().iter().filter(|c| !c.is_oracle()) {
                let mut course =
                    Course::new(&site, &work, contender, settings(discipline), &frozen);
                let mut moments = 0;
                while course.step() {
                    moments += 1;
                    if moments % 7 == 0 {
                        let ground = course.keeper.ground().unwrap();
                        assert!(ground.is_sound(), "{contender}, {discipline}, {:?}", course.now);
                    }
                }
                assert!(course.keeper.ground().unwrap().is_sound());
                let figures = course.close().figures;
                let all = figures.accepted + figures.rejected + figures.waiting;
                assert_eq!(figures.asked, all, "{contender}, {discipline}");
                assert!(figures.accepted > 0);
                if discipline != Discipline::Loss {
                    assert_eq!(figures.waiting + figures.rejected, 0, "everybody is served");
                }
                let by_kind: u64 = figures.kinds.iter().map(|kind| kind.asked).sum();
                assert_eq!(by_kind, figures.asked);
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_figures_on_any_number_of_threads() {
    let plan = || Plan {
        site: site("a100-sxm4-80gb"),
        settings: settings(Discipline::Area { drain: Some(Millis::from_secs(30)) }),
        contenders: ["scar", "round-robin", "oracle"]
            .map(|n| Contender::named(n).unwrap())
            .to_vec(),
        sources: vec![
            Source::Mix(Mix::Bimodal, Demand::Steady(1.1)),
            Source::Mix(Mix::Uniform, Demand::Fill(1.0)),
        ],
        seeds: vec![3, 4, 5],
    };
    let figures = |threads| {
        let study = plan().play(threads, &frozen, &|_, _| {});
        study.cells.into_iter().map(|cell| cell.runs).collect::<Vec<_>>()
    };
    let one = figures(1);
    assert_eq!(one.len(), 6);
    assert_eq!(one, figures(3));
    assert_ne!(one[0][0], one[0][1], "seeds differ");
}

/// Without departures the order of packing does not matter to whoever repacks: what fits is decided
/// by the counts alone. So nobody ever holds more than it does before it rejects for the first time.
#[test]
fn nobody_accepts_more_of_a_filling_fleet_than_perfect_repacking() {
    let site = site("a100-sxm4-80gb");
    for mix in Mix::ALL {
        let mut sums: std::collections::BTreeMap<&str, u64> = std::collections::BTreeMap::new();
        for seed in 0..12 {
            let work = mixes::workload(&site, mix, Demand::Fill(1.0), seed);
            for contender in Contender::all() {
                let figures = play(&site, &work, contender.name, Discipline::Loss);
                *sums.entry(contender.name).or_insert(0) += figures.accepted_weight;
                if contender.is_oracle() {
                    assert_eq!(figures.avoidable, 0, "it rejects only what cannot fit");
                }
            }
        }
        for (name, sum) in &sums {
            assert!(*sum <= sums["oracle"], "{mix}: {name} {sum} of {}", sums["oracle"]);
        }
        assert!(sums["worst-fit"] < sums["oracle"], "{mix}: nothing was tried");
    }
}

/// Two 1g at the ends of a GPU make a 3g impossible that fits if they lie together; a 7g is
/// impossible however they lie.
#[test]
fn a_rejection_is_avoidable_only_if_a_repacking_fits() {
    let site = Site::of("a100-sxm4-80gb", 1).unwrap();
    let rows = [(0, 10, "1g", 1), (0, 900, "1g", 6), (20, 900, "7g", 1), (30, 900, "3g", 1)];
    let work = requests(&site, &rows);
    let figures = play(&site, &work, "first-fit", Discipline::Loss);
    assert_eq!((figures.asked, figures.rejected), (4, 2));
    assert_eq!(figures.avoidable, 0, "six 1g leave no room for a 3g");
    // First fit lays them at 0 to 3; then the first and the third go: 1 and 3 are left.
    let rows = [
        (0, 10, "1g", 1),
        (1, 900, "1g", 1),
        (2, 10, "1g", 1),
        (3, 900, "1g", 1),
        (4, 900, "3g", 1),
        (30, 900, "2g", 1),
        (31, 900, "7g", 1),
    ];
    let work = requests(&site, &rows);
    let figures = play(&site, &work, "first-fit", Discipline::Loss);
    assert_eq!((figures.rejected, figures.avoidable), (2, 1), "the 2g, not the 7g");
    let of = |name: &str| figures.kinds.iter().find(|kind| kind.name == name).unwrap().avoidable;
    assert_eq!((of("2g.20gb"), of("7g.80gb")), (1, 0));
    let oracle = play(&site, &work, "oracle", Discipline::Loss);
    assert_eq!((oracle.rejected, oracle.avoidable), (1, 0));
}

#[test]
fn several_slices_are_given_all_or_not_at_all() {
    let site = Site::of("a100-sxm4-80gb", 2).unwrap();
    let work = requests(&site, &[(0, 100, "3g", 3), (1, 100, "3g", 2), (2, 100, "3g", 1)]);
    let figures = play(&site, &work, "scar", Discipline::Loss);
    assert_eq!((figures.accepted, figures.rejected), (2, 1));
    assert_eq!(figures.kinds[0].asked, 3);
    let queued = play(&site, &work, "scar", Discipline::Fifo);
    assert_eq!((queued.accepted, queued.waits.count), (3, 3));
    assert!((queued.waits.mean - 33.0).abs() < 0.01, "{:?}", queued.waits);
    let never = requests(&site, &[(0, 1, "7g", 3)]);
    assert_eq!(play(&site, &never, "scar", Discipline::Fifo).rejected, 1);
}

/// A stream of small requests keeps a large one out for ever, unless room is kept for it.
#[test]
fn kept_room_lets_a_large_request_in() {
    let site = Site::of("a100-sxm4-80gb", 1).unwrap();
    let small = (0..400).map(|n| (n * 10, 95, "1g", 1));
    let mut rows: Vec<(u64, u64, &str, u32)> = small.collect();
    rows.push((100, 50, "7g", 1));
    rows.sort_by_key(|row| row.0);
    let work = requests(&site, &rows);
    let wait = |discipline| {
        let figures = play(&site, &work, "scar", discipline);
        let large = figures.kinds.iter().find(|kind| kind.name == "7g.80gb").unwrap();
        assert_eq!(large.accepted, 1);
        large.waits.mean
    };
    let (fifo, drain) =
        (wait(Discipline::Fifo), wait(Discipline::Area { drain: Some(Millis::from_secs(60)) }));
    assert!(fifo > 3000.0, "{fifo}");
    // Kept after 60 s; whoever is there leaves within 95 s, and those who are gone in time may come.
    assert!(drain <= 60.0 + 95.0 + 10.0, "{drain}");
}

/// Age over area: of two that wait equally long the smaller goes first, and waiting makes up for
/// size.
#[test]
fn a_queue_serves_age_over_area() {
    let site = Site::of("a100-sxm4-80gb", 1).unwrap();
    let rows = [(0, 100, "7g", 1), (1, 1000, "7g", 1), (2, 100, "7g", 1)];
    let work = requests(&site, &rows);
    let waits = |discipline| play(&site, &work, "scar", discipline).waits.mean;
    // In order of arrival: 0, 99 and 1,098 s; the short one first: 0, 98 and 199 s.
    assert!((waits(Discipline::Fifo) - 399.0).abs() < 0.5);
    assert!((waits(Discipline::Area { drain: None }) - 99.0).abs() < 0.5);
    let mut unknown = settings(Discipline::Area { drain: None });
    unknown.lengths_known = false;
    let scar = Contender::named("scar").unwrap();
    let blind = simulate(&site, &work, &scar, unknown, &frozen).figures.waits.mean;
    assert!((blind - 399.0).abs() < 0.5, "without lengths only age counts: {blind}");
}

#[test]
fn room_is_measured_over_time() {
    let site = Site::of("a100-sxm4-80gb", 2).unwrap();
    let mut work = requests(&site, &[(0, 50, "7g", 1), (50, 50, "3g", 1)]);
    work.room.to = Timestamp::from_millis(100_000);
    // The level is followed to the end of the measured span, so the queue is not what ends it.
    let figures = play(&site, &work, "first-fit", Discipline::Fifo);
    assert!((figures.used - 0.375).abs() < 1e-9, "{}", figures.used);
    assert!((figures.used_compute - (0.25 + 3.0 / 28.0)).abs() < 1e-9, "{}", figures.used_compute);
    assert!((figures.active_gpus - 1.0).abs() < 1e-9);
    assert!((figures.makespan - 100.0).abs() < 1e-9);
}

#[test]
fn a_hundred_thousand_gpus_are_no_matter() {
    let site = Site::of("a100-sxm4-80gb", 100_000).unwrap();
    let rows: Vec<(u64, u64, &str, u32)> =
        (0..200).map(|n| (n, 50, ["1g", "2g", "3g", "7g"][n as usize % 4], 1)).collect();
    let figures = play(&site, &requests(&site, &rows), "scar", Discipline::Loss);
    assert_eq!((figures.asked, figures.rejected), (200, 0));
}
