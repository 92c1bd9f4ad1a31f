//! A deployment as a file of layouts that `migctl apply` takes.
//!
//! Must never leave the choice of a place open: the deployment is what was proven.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use layout_file::{
    Computes, Config, Devices, Document, Entry, GpuName, GpuSelector, Item, Mark, NamedGpu, Schema,
    Syntax, Wish, write,
};
use model::{PlacedProfile, ProfileSelector};
use planner::size::{Deployment, Seat};

use super::Sizing;

/// The name of the configuration.
const NAME: &str = "services";

/// The text: which slice is meant for which service stands in comments, as layouts have no word for
/// it. Idle slices are lent, so that the services get theirs by lease.
pub(crate) fn layout_text(sizing: &Sizing, deployment: &Deployment) -> String {
    let mut entries: BTreeMap<Vec<PlacedProfile>, Vec<u32>> = BTreeMap::new();
    let mut text = String::from("# Made by `migctl size`. Which slice is meant for whom:\n");
    for (number, seats) in deployment.gpus.iter().enumerate() {
        let index = sizing.board.index(number);
        entries.entry(seats.iter().map(|seat| seat.part).collect()).or_default().push(index);
        let seat = |seat: &Seat| {
            let name = sizing.services.get(seat.load).map_or("", |service| service.name.as_str());
            format!("{}@{} {name}", sizing.board.name(seat.part.profile), seat.part.placement.start)
        };
        let seats: Vec<String> = seats.iter().map(seat).collect();
        let _ = writeln!(text, "#   GPU {index}: {}", seats.join(", "));
    }
    let entries = entries.into_iter().map(|(parts, gpus)| entry(sizing, &parts, &gpus)).collect();
    let config = Config { name: NAME.into(), at: Mark::START, entries };
    let document = Document { schema: Schema::Own, configs: vec![config], warnings: Vec::new() };
    text + &write(&document, Syntax::Yaml)
}

fn entry(sizing: &Sizing, parts: &[PlacedProfile], gpus: &[u32]) -> Entry {
    let named = |index: &u32| NamedGpu { at: Mark::START, name: GpuName::Index(i64::from(*index)) };
    let item = |part: &PlacedProfile| Item {
        at: Mark::START,
        profile: ProfileSelector::Name(sizing.board.name(part.profile)),
        count: 1,
        start: Some(part.placement.start.get()),
        computes: Computes::Whole,
    };
    let devices = Devices::Listed(gpus.iter().map(named).collect());
    Entry {
        at: Mark::START,
        gpus: GpuSelector { filter: Vec::new(), devices, at: Mark::START },
        wish: Wish::Instances(parts.iter().map(item).collect()),
        lend: true,
    }
}
