//! A deployment as people read it.
//!
//! Must never be wider than it has to, nor say `fewest` of what is not proven.

use planner::size::{Deployment, Point, Seat};

use super::{Service, Sizing};
use crate::draw::table::{Side, Table};
use crate::draw::text::{clean, paragraph, ranges};
use crate::draw::{Glyphs, HEADING, Page};
use crate::output::styled;

/// The lines of a deployment.
pub(crate) fn lines(sizing: &Sizing, deployment: &Deployment, page: Page) -> Vec<String> {
    let mut lines = head(sizing, deployment);
    lines.push(String::new());
    lines.extend(table(sizing, deployment, page.glyphs).lines());
    lines.push(String::new());
    lines.extend(layouts(sizing, deployment, page));
    let limits = limits(sizing, deployment, page);
    if !limits.is_empty() {
        lines.push(String::new());
        lines.push(styled(HEADING, "What limits it"));
        lines.extend(limits);
    }
    lines
}

fn plural(count: u64, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

/// Thousandths as a number with two digits behind the point, rounded up: `1.43`.
fn hundredths(thousandths: u64) -> String {
    let hundredths = thousandths.div_ceil(10);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

fn head(sizing: &Sizing, deployment: &Deployment) -> Vec<String> {
    let gpus = deployment.gpus.len() as u64;
    let floor = deployment.floor;
    let title = format!(
        "{} on {} of {}",
        plural(sizing.services.len() as u64, "service"),
        plural(gpus, "GPU"),
        sizing.board.title
    );
    let used = format!("{title}, {}", plural(deployment.slices, "compute slice"));
    let proven = match (deployment.has_fewest_gpus(), deployment.is_smallest()) {
        (true, true) => format!(
            "proven: fewer GPUs cannot carry this, nor fewer compute slices on {}",
            plural(gpus, "GPU")
        ),
        (true, false) => format!(
            "proven: fewer GPUs cannot carry this; not proven: fewer compute slices might ({} at \
             least)",
            floor.slices
        ),
        (false, _) => format!(
            "not proven to be the fewest: {} at least, as far as the search went",
            plural(floor.gpus, "GPU")
        ),
    };
    let share = format!(
        "the rates take {} GPUs before rounding up to whole slices and GPUs",
        hundredths(floor.share)
    );
    vec![styled(HEADING, &used), proven, share]
}

fn table(sizing: &Sizing, deployment: &Deployment, glyphs: Glyphs) -> Table {
    let times = glyphs.times();
    let mut table = Table::new([
        ("SERVICE", Side::Left),
        ("SLICES", Side::Left),
        ("BATCH", Side::Right),
        ("PROC", Side::Right),
        ("MS", Side::Right),
        ("UNDER", Side::Right),
        ("RATE/S", Side::Right),
        ("CARRIES", Side::Right),
        ("OVER", Side::Right),
        ("GPUS", Side::Right),
    ]);
    for (load, service) in sizing.services.iter().enumerate() {
        let counts = &deployment.counts[load];
        let carried = deployment.carried(load, &service.slices());
        let over = carried.percent_over(service.rate).map_or(String::new(), |p| format!("{p}%"));
        let share = deployment.shares.get(load).copied().unwrap_or(0);
        let whole = [rounded(service.rate), rounded(carried), over, hundredths(share)];
        if counts.is_empty() {
            let none = [clean(&service.name), String::from("none")].into_iter();
            table.row(none.chain([const { String::new() }; 4]).chain(whole).collect::<Vec<_>>());
            continue;
        }
        for (number, (profile, count)) in counts.iter().enumerate() {
            let Some(point) = service.point(*profile) else { continue };
            let first = number == 0;
            let name = if first { clean(&service.name) } else { String::new() };
            let cells = [
                name,
                format!("{count} {times} {}", sizing.board.name(*profile)),
                point.batch.to_string(),
                point.processes.to_string(),
                point.latency.to_string(),
                if first { service.limit.to_string() } else { String::new() },
            ];
            let rest = if first { whole.clone() } else { [const { String::new() }; 4] };
            table.row(cells.into_iter().chain(rest).collect::<Vec<_>>());
        }
    }
    table
}

/// A rate with as many digits as say something: `0.25`, `74.4`, `2318`.
fn rounded(rate: model::Rate) -> String {
    let value = rate.millionths() as f64 / 1e6;
    let text = if value >= 1000.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    };
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// One line for GPUs that are alike.
fn layouts(sizing: &Sizing, deployment: &Deployment, page: Page) -> Vec<String> {
    let mut groups: Vec<(&Vec<Seat>, Vec<u32>)> = Vec::new();
    for (number, seats) in deployment.gpus.iter().enumerate() {
        let index = sizing.board.index(number);
        match groups.iter_mut().find(|(known, _)| *known == seats) {
            Some((_, indices)) => indices.push(index),
            None => groups.push((seats, vec![index])),
        }
    }
    let mut lines = Vec::new();
    for (seats, indices) in groups {
        let one = indices.len() == 1;
        let first = format!("GPU{} {}: ", if one { "" } else { "s" }, ranges(&indices));
        let seat = |seat: &Seat| {
            let name = sizing.services.get(seat.load).map_or("", |service| service.name.as_str());
            let (profile, start) =
                (sizing.board.name(seat.part.profile), seat.part.placement.start);
            format!("{profile}@{start} {}", clean(name))
        };
        let seats: Vec<String> = seats.iter().map(seat).collect();
        lines.extend(crate::draw::text::wrap(&seats, ", ", page.width, &first, "   "));
    }
    lines
}

/// For services that latency holds back, what it keeps from them.
fn limits(sizing: &Sizing, deployment: &Deployment, page: Page) -> Vec<String> {
    let mut lines = Vec::new();
    for (load, service) in sizing.services.iter().enumerate() {
        let main = deployment.counts[load].iter().max_by_key(|(_, count)| *count);
        let Some(used) = main.and_then(|(profile, _)| service.point(*profile)) else { continue };
        let Some(beyond) = service.beyond_limit(used) else { continue };
        let words = format!(
            "{}: latency. {} on {} would carry {}/s instead of {}/s and takes {} ms; it must stay \
             under {} ms",
            clean(&service.name),
            setting(&beyond),
            sizing.board.name(used.profile),
            rounded(beyond.throughput),
            rounded(used.throughput),
            beyond.latency,
            service.limit
        );
        lines.extend(paragraph(&words, page.width, "  ", "    "));
    }
    lines
}

fn setting(point: &Point) -> String {
    let processes = if point.processes == 1 { "process" } else { "processes" };
    format!("Batch {} with {} {processes}", point.batch, point.processes)
}

/// What to tell of a service that no slice meets.
pub(crate) fn unmet_lines(sizing: &Sizing, service: &Service, page: Page) -> Vec<String> {
    let name = clean(&service.name);
    let share = format!("{}.{}", sizing.latency_share / 10, sizing.latency_share % 10);
    let mut lines = paragraph(
        &format!(
            "{name}: no slice does a batch in under {} ms, which is {} % of its objective of {} ms",
            service.limit,
            share.trim_end_matches(".0"),
            service.slo
        ),
        page.width,
        "",
        "  ",
    );
    let fastest = sizing.fastest(service);
    if fastest.is_empty() {
        lines.push(String::from("  nothing was measured on the slices that it may use"));
        return lines;
    }
    let mut table = Table::new([
        ("  SLICE", Side::Left),
        ("FASTEST MS", Side::Right),
        ("BATCH", Side::Right),
        ("PROC", Side::Right),
        ("OBJECTIVE THAT WOULD DO", Side::Right),
    ]);
    for point in &fastest {
        let enough = point.latency.whole_of(sizing.latency_share);
        table.row([
            format!("  {}", sizing.board.name(point.profile)),
            point.latency.to_string(),
            point.batch.to_string(),
            point.processes.to_string(),
            enough.map_or(String::new(), |enough| format!("{} ms", enough.get().div_ceil(1000))),
        ]);
    }
    lines.extend(table.lines());
    lines
}
