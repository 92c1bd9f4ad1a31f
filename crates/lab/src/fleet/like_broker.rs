//! The order of the modelled queue beside the broker's own.
//!
//! Must never share code with either: it asks both and compares.

use broker::event::Event;
use broker::{
    GpuSelector, Holder, IdleRule, Patience, Policy, RequestSpec, State, Terms, Wanted, World,
};
use model::{LeaseId, Millis, ProfileSelector, Tenant, Timestamp, Uid};
use planner::{Forecast, Planner};
use sim_gpu::{GpuSpec, HostSpec};

use super::queue::{Discipline, Waiting};
use super::site::Site;
use crate::{Bench, Chance, Room};

fn spec(slices: u8, expect: Millis) -> RequestSpec {
    RequestSpec {
        tenant: Tenant::new("t"),
        uid: Uid::new(1000),
        wanted: Wanted::Profile(ProfileSelector::Slices(slices)),
        count: 1,
        gpu: GpuSelector::Any,
        time: None,
        expect: Some(expect),
        patience: Patience::Forever,
        name: None,
        holder: Holder::Token { life: Millis::from_secs(1_000_000) },
        command: None,
        terms: Terms { idle: IdleRule::Never, ..Terms::default() },
    }
}

/// Random requests of one tenant, put in order by both.
#[test]
fn the_order_of_the_queue_is_the_brokers() {
    let mut host = HostSpec { host: "order".to_owned(), ..HostSpec::default() };
    host.add(&GpuSpec::new("a100-sxm4-40gb"), 1);
    let bench = Bench::new(&host).expect("a simulated machine");
    bench.enable_mig();
    let room = Room::new(bench, Policy::default(), Planner::default()).expect("a room");
    let site = Site::of("a100-sxm4-40gb", 1).expect("a board");
    let geometry = site.boards()[0].geometry();
    let now = Timestamp::from_millis(80_000_000);
    let mut chance = Chance::new(7, 0);
    let mut state = State::default();
    let mut mine: Vec<Waiting> = Vec::new();
    for number in 0..300usize {
        let since = Timestamp::from_millis(chance.below(79_000_000) as u64);
        let expect = Millis::from_secs(60 + 600 * chance.below(20) as u64);
        let slices = [1, 2, 3, 4, 7][chance.below(5)];
        let lease = LeaseId::new(number as u64 + 1);
        let spec = spec(slices, expect);
        state.apply(since, &Event::Requested { lease, spec, counts_as: None });
        let profile = geometry.select(&ProfileSelector::Slices(slices)).expect("a profile");
        let weight = site.boards()[0].weight(profile.size.get());
        let area = u128::from(weight) * u128::from(expect.get());
        mine.push(Waiting { request: number, since, area });
    }
    let (forecast, policy) = (Forecast::unknown(), Policy::default());
    let world = World {
        observed: &room.observed,
        policy: &policy,
        planner: &room.planner,
        forecast: &forecast,
        now,
        protected: false,
    };
    let brokers: Vec<u64> = broker::queue(&state, &world).iter().map(|id| id.get()).collect();
    let discipline = Discipline::Area { drain: None };
    mine.sort_by(|a, b| a.order(b, discipline, now));
    let mine: Vec<u64> = mine.iter().map(|waiting| waiting.request as u64 + 1).collect();
    assert_eq!(brokers.len(), 300);
    assert_eq!(mine, brokers);
}
